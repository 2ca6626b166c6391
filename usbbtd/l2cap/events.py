"""What the mux tells its owner. A channel is named by its link's handle and our own channel identifier.

A channel asked for by ``Mux.connect`` ends with exactly one ChannelRefused or ChannelEnded, with or without a
ChannelOpened before. One announced by ChannelRequested ends with one ChannelEnded, unless its owner refused it.
"""

from typing import NamedTuple

#: Reasons of ChannelEnded that owners tell apart. Every other one of a channel that was open is a breach by the peer.
DISCONNECTED = "disconnected"  # by us, in order
PEER_DISCONNECTED = "the peer disconnected"
LINK_LOST = "the link was lost"
NO_ANSWER = "the peer did not answer"
NOT_READ = "the guest did not read"
#: Of EchoFailed; the others are LINK_LOST and NO_ANSWER.
ECHO_REJECTED = "the peer rejected the echo request"


class ChannelRequested(NamedTuple):
    """A peer wants a channel to a PSM that we listen on; ``Mux.accept`` or ``Mux.refuse`` answers."""

    handle: int
    cid: int
    psm: int


class ChannelOpened(NamedTuple):
    """SDUs may go both ways: up to ``tx_mtu`` bytes to the peer, up to ``rx_mtu`` from it."""

    handle: int
    cid: int
    psm: int
    tx_mtu: int
    rx_mtu: int


class ChannelRefused(NamedTuple):
    """The peer does not want our channel. ``result`` as in its response (Vol 3, Part A, 4.3 and 4.23).

    A peer that does not know the request at all counts as 0x0002, PSM not supported.
    """

    handle: int
    cid: int
    result: int


class ChannelEnded(NamedTuple):
    """The channel is gone, or never came to be for another reason than the peer's refusal. ``reason`` is for people."""

    handle: int
    cid: int
    reason: str


class EchoReceived(NamedTuple):
    """The answer to the ``Mux.echo`` that returned ``number``. The peer may send other data, or none (4.9)."""

    handle: int
    number: int
    data: bytes


class EchoFailed(NamedTuple):
    """There is no answer to the ``Mux.echo`` that returned ``number``. ``reason`` is for people."""

    handle: int
    number: int
    reason: str


class ParametersRequested(NamedTuple):
    """Our peripheral asks for other connection parameters; ``Mux.answer_parameters`` answers.

    Units as in HCI: intervals in 1.25 ms, timeout in 10 ms. The values are within the ranges of Vol 3, Part A, 4.20.
    """

    handle: int
    interval_min: int
    interval_max: int
    latency: int
    timeout: int


class ParametersAnswered(NamedTuple):
    """The central's answer to ``Mux.request_parameters``. No answer counts as False."""

    handle: int
    accepted: bool


Event = (
    ChannelRequested
    | ChannelOpened
    | ChannelRefused
    | ChannelEnded
    | EchoReceived
    | EchoFailed
    | ParametersRequested
    | ParametersAnswered
)
