"""The limits of all that a controller or a peer can make grow, and how long what they never say is waited for.

Times are in seconds.
"""

from typing import Final

# A host

#: A controller that has to be reset twice within this time is given up, unless its silences are bounded: see
#: ``CommandQueue.expired``.
RESET_GRACE_S = 60.0
#: The most events that may wait for take_events() before advertisements are dropped; others never are.
MAX_EVENTS = 4096
#: The most commands that may wait for the controller.
MAX_COMMANDS = 256

# Links

#: With so many links, incoming BR/EDR links are refused: a piconet has seven peers, and LE needs some room.
MAX_LINKS = 32
#: How long the set-up of a BR/EDR link may take after we have accepted the peer's request.
ACCEPT_S = 30.0
#: How long the controller may take to end a link, as a peer far away may answer late; and after how long, and how
#: often, it is told again if it refuses. Then the link has ended for us, and what still comes on it is dropped.
END_S, END_RETRY_S, END_TRIES = 10.0, 1.0, 3

# Attempts to make a link

#: The most targets of one transport that may wait for their turn.
MAX_ATTEMPTS = 64
#: How long an attempt may take. On BR/EDR it is longer than the page timeout and the time that a peer's host has to
#: accept; on LE it is the turn of one target.
BREDR_PATIENCE_S, LE_PATIENCE_S = 40.0, 5.0
#: How long the event that ends an attempt may take after the answer to a cancel; some controllers never send it.
CANCEL_GRACE_S = 1.0
#: The pause before the command is sent again after an obstacle that passes: the peer connects to us at the same moment,
#: or an earlier attempt is ending. In this time the peer's link comes up, if it is the peer's.
CREATE_RETRY_S, CREATE_TRIES = 1.0, 3

# Data

#: The most fragments that may wait on one link: a caller that heeds writable() does not reach it.
MAX_QUEUED: Final = 32768
#: How many handles, and packets on each, are kept for connections that are not announced yet.
MAX_EARLY_HANDLES, MAX_EARLY = 8, 8
#: How long before its connection is announced data may come.
EARLY_S = 0.05
#: How long after the end of a link data on its handle counts as late data of that link, and not as that of the next.
LATE_S = 0.02
#: A link whose fragments stay in the controller during STALL_CHECKS looks, STALL_CHECK_S apart, is ended: it keeps the
#: buffers from other links. That is longer than any supervision timeout (41 s), during which a peer may be silent.
STALL_CHECK_S, STALL_CHECKS = 15.0, 4

# Discovery

#: The pause between two rounds of an inquiry, and before one that the controller was not ready for; how often in a row
#: that may be; and how long after its time the end of a round may be told.
INQUIRY_PAUSE_S, INQUIRY_TRIES, INQUIRY_GRACE_S = 1.0, 3, 3.0
#: The most devices that are remembered during a round, so that each is told once; the oldest is forgotten for another.
MAX_FOUND = 256
#: The most devices whose names may be waited for, and how long a device may take to tell it.
MAX_NAMES, NAME_S = 64, 15.0

# Security

#: The most bonded peers whose private addresses a controller is asked to resolve; usual ones have room for 8 to 32.
MAX_RESOLVED = 32
# Advertising

#: The most advertising sets of a controller that are used: each costs it memory, and us some commands. Advertisements
#: beyond them take turns.
MAX_ADVERTISING_SETS = 8
#: How long a turn lasts. Several advertising events of the usual interval of 100 ms fall into it, and one of the
#: longest, as the first comes at once.
TURN_S = 0.5

# Advertisements

#: The most advertisements that are kept while fragments of them are missing; the oldest is dropped for another.
MAX_PARTIAL = 16
#: The most octets of an advertisement (Vol 6, Part B, 2.3.4.9).
MAX_ADVERTISEMENT = 1650
