"""The limits of all that a peer or a guest can make grow."""

from typing import Final, NamedTuple

#: The bytes that an SDU in a queue counts for beside its octets, so that empty SDUs are bounded, too.
SDU_OVERHEAD: Final = 64


class L2capLimits(NamedTuple):
    """The limits of one Mux. Times are in seconds."""

    #: The most channels of one link, in any state. At most 100, so that the 255 signalling identifiers suffice.
    channels: int = 64
    #: The size of a channel's queue for the air; ``Mux.room`` is what is left of it.
    queue_bytes: int = 64 * 1024
    #: The most that a guest may leave unread of a basic mode channel. It is closed then: basic mode cannot say "wait".
    unread_bytes: int = 256 * 1024
    #: The largest K-frame payload that we receive.
    mps: int = 1024
    #: How many answers may wait for the air on one link; while there are as many, requests of the peer are dropped.
    signalling_backlog: int = 64
    #: The most configuration requests of one side until the channel is open.
    configuration_requests: int = 16
    #: The most echo requests in flight on one link, for all guests together, also those that were cancelled.
    echoes: int = 32
    #: When a BR/EDR peer is told that its connection request is pending: before its own RTX (1 s at least) expires.
    pending_s: float = 0.5
    #: When a ChannelRequested without an answer is refused.
    accept_s: float = 10.0
    #: When a ChannelRequested is refused whose peer was told that authentication is pending: before its ERTX expires.
    postponed_s: float = 55.0
    #: The most security manager PDUs of all links that wait for ``Mux.take_security_pdus``.
    security_backlog: int = 64
    #: How long ``Mux.disconnect`` lets queued SDUs go first.
    drain_s: float = 5.0
    #: RTX (Vol 3, Part A, 6.2.1). On BR/EDR it doubles with each repetition; on LE, without any, it is their sum.
    rtx_s: float = 2.0
    rtx_tries: int = 4
    #: ERTX (6.2.2), after the peer said that its answer is pending.
    ertx_s: float = 60.0
