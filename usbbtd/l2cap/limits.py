"""The bounds of everything that a peer or a guest can make grow."""

from typing import Final, NamedTuple

#: Bytes that an SDU in a queue costs beside its octets, so that empty SDUs are bounded too.
SDU_OVERHEAD: Final = 64


class L2capLimits(NamedTuple):
    """Bounds of one Mux. Times in seconds."""

    #: Channels of one link, in any state. At most 100, so that the 255 identifiers of signalling cannot run out.
    channels: int = 64
    #: SDUs that wait in one channel for the air; ``Mux.room`` counts down from here.
    queue_bytes: int = 64 * 1024
    #: SDUs of a basic mode channel that the guest has not read. Beyond, it is closed: basic mode cannot say "wait".
    unread_bytes: int = 256 * 1024
    #: The largest K-frame payload that we receive.
    mps: int = 1024
    #: Answers that wait for the air on one link; while there are more, requests of the peer are dropped.
    signalling_backlog: int = 64
    #: Configuration requests of one side until the channel is open.
    configuration_requests: int = 16
    #: Echo requests of ours in flight on one link, for all guests, incl. those that nobody waits for any more.
    echoes: int = 32
    #: A BR/EDR peer is told that its connection request is pending, before its own RTX (1 s at least) expires.
    pending_s: float = 0.5
    #: A ChannelRequested that nobody answers is refused.
    accept_s: float = 10.0
    #: ``Mux.disconnect`` lets queued SDUs go first, for so long.
    drain_s: float = 5.0
    #: RTX (Vol 3, Part A, 6.2.1): doubled with every repetition on BR/EDR; LE repeats nothing and waits for the sum.
    rtx_s: float = 2.0
    rtx_tries: int = 4
    #: ERTX (6.2.2), after the peer said that its answer is pending.
    ertx_s: float = 60.0
