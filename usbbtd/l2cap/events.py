"""The events of a mux for its owner. The handle of its link and our CID name a channel.

A channel that ``Mux.connect`` asked for ends with exactly one ChannelRefused or ChannelEnded, with or without a
ChannelOpened before. A channel that ChannelRequested announced ends with one ChannelEnded, unless its owner refused it.
"""

from typing import NamedTuple

#: Reasons of ChannelEnded that owners tell apart. After any other one, of an open channel, the peer broke a rule.
DISCONNECTED = "disconnected"  # we did, in order
PEER_DISCONNECTED = "the peer disconnected"
LINK_LOST = "the link was lost"
NO_ANSWER = "the peer did not answer"
NOT_READ = "the guest did not read"
#: A reason of EchoFailed. The others are LINK_LOST and NO_ANSWER.
ECHO_REJECTED = "the peer rejected the echo request"


class ChannelRequested(NamedTuple):
    """A peer wants a channel to a PSM on which we listen. ``Mux.accept`` or ``Mux.refuse`` answers it."""

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
    """The peer refused our channel. ``result``: that of its response (Vol 3, Part A, 4.3 and 4.23).

    If the peer does not know the request at all it is 0x0002, PSM not supported.
    """

    handle: int
    cid: int
    result: int


class ChannelEnded(NamedTuple):
    """The channel has ended, or could not be opened other than by the peer's refusal. ``reason``: for people."""

    handle: int
    cid: int
    reason: str


class EchoReceived(NamedTuple):
    """The answer to the ``Mux.echo`` that returned ``number``. The peer may send other data, or none (4.9)."""

    handle: int
    number: int
    data: bytes


class EchoFailed(NamedTuple):
    """The ``Mux.echo`` that returned ``number`` has no answer. ``reason``: for people."""

    handle: int
    number: int
    reason: str


class ParametersRequested(NamedTuple):
    """Our peripheral asks for other connection parameters. ``Mux.answer_parameters`` answers it.

    Units are those of HCI: intervals in 1.25 ms, timeout in 10 ms. The values are legal by Vol 3, Part A, 4.20.
    """

    handle: int
    interval_min: int
    interval_max: int
    latency: int
    timeout: int


class ParametersAnswered(NamedTuple):
    """The central's answer to ``Mux.request_parameters``. ``accepted``: False also if the central did not answer."""

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
