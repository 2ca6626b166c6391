"""Opens channels: by one request, ours or the peer's, and what each of its channels needs until it is open.

A request for one channel is an opening of one; the enhanced requests (Vol 3, Part A, 4.25) ask for up to five.
"""

from abc import ABC, abstractmethod

from usbbtd.bluetooth import LE, MINIMUM_MTU, BredrResult, LeResult
from usbbtd.l2cap.channel import L2capChannel
from usbbtd.l2cap.configuration import Configuration
from usbbtd.l2cap.link import L2capLink
from usbbtd.l2cap.modes.credit_based import CreditBasedMode
from usbbtd.l2cap.signalling import Answer
from usbbtd.l2cap.states import CLASSIC, CREDIT_BASED, ChannelState, Input, Transitions
from usbbtd.l2cap.wire import (
    MAXIMUM_MPS,
    MINIMUM_MPS,
    STATUS_AUTHENTICATION_PENDING,
    CommandReject,
    ConnectionResponse,
    L2capConnectionRequest,
    LeConnectionRequest,
    LeConnectionResponse,
    SignallingCommand,
)

Link = L2capLink[L2capChannel]


class Opening(ABC):
    """Opens the channels of one request. ``channels``: those that are not over.

    ``identifier``: that of the request, if it is the peer's.
    """

    def __init__(self, link: Link, cids: list[int], psm: int, transitions: Transitions) -> None:
        self._link = link
        self.identifier = 0
        self.channels = [L2capChannel(link, cid, psm, transitions) for cid in cids]
        for channel in self.channels:
            channel.opening = self
            link.channels[channel.cid] = channel

    # -- our request

    def connect(self, mtu: int, now: float) -> None:
        """Sends our request. ``mtu``: the length in bytes of the longest SDU that we receive."""
        for channel in self.channels:
            channel.step(Input.OPEN_CHANNEL_REQ)
            channel.rx_mtu = mtu
        self._link.signalling.send_request(self._request(), self, now, self._answered, self._expired)

    @abstractmethod
    def _request(self) -> SignallingCommand:
        """Returns our request."""

    @abstractmethod
    def _connected(self, response: SignallingCommand, now: float) -> Answer:
        """Takes the response to our request."""

    def _answered(self, response: SignallingCommand, now: float) -> Answer:
        if not isinstance(response, CommandReject):
            return self._connected(response, now)
        for channel in tuple(self.channels):
            channel.refused(BredrResult.PSM_NOT_SUPPORTED)  # the same number in all responses
        return Answer.FINAL

    def _expired(self, now: float) -> None:
        for channel in tuple(self.channels):
            channel.expired(now)

    # -- for channels to call: see ChannelOpening

    @abstractmethod
    def accept(self, channel: L2capChannel, mtu: int, now: float) -> None: ...

    @abstractmethod
    def refuse(self, channel: L2capChannel, result: int) -> None: ...

    @abstractmethod
    def prolong(self, channel: L2capChannel, now: float) -> bool: ...

    @abstractmethod
    def postpone(self, channel: L2capChannel, now: float) -> None: ...

    def leave(self, channel: L2capChannel) -> None:
        self.channels.remove(channel)
        if not self.channels:
            self._link.signalling.forget(self)


class BredrOpening(Opening):
    """A connection request of BR/EDR (Vol 3, Part A, 4.2 and 4.3), with the configuration of its channel."""

    def __init__(self, link: Link, cid: int, psm: int) -> None:
        super().__init__(link, [cid], psm, CLASSIC)
        self._configuration = Configuration(self.channels[0])
        self._is_pending_sent = False

    def requested(self, identifier: int, request: L2capConnectionRequest, now: float) -> None:
        """Takes the peer's request."""
        self.identifier = identifier
        self.channels[0].requested(request.scid, now + self._link.shared.limits.pending_s)

    def accept(self, channel: L2capChannel, mtu: int, now: float) -> None:
        self._respond(channel, BredrResult.SUCCESS)
        self._configuration.begin(now)

    def refuse(self, channel: L2capChannel, result: int) -> None:
        self._link.signalling.respond(self.identifier, refuse_bredr(channel.dcid, result))

    def prolong(self, channel: L2capChannel, now: float) -> bool:
        if self._is_pending_sent:
            return False
        self._is_pending_sent = True
        self._respond(channel, BredrResult.PENDING)
        limits = self._link.shared.limits
        self._link.shared.deadlines[channel] = now + limits.accept_s - limits.pending_s
        return True

    def postpone(self, channel: L2capChannel, now: float) -> None:
        self._is_pending_sent = True
        self._respond(channel, BredrResult.PENDING, STATUS_AUTHENTICATION_PENDING)
        self._link.shared.deadlines[channel] = now + self._link.shared.limits.postponed_s

    def _respond(self, channel: L2capChannel, result: int, status: int = 0) -> None:
        self._link.signalling.respond(self.identifier, ConnectionResponse(channel.cid, channel.dcid, result, status))

    def _request(self) -> SignallingCommand:
        (channel,) = self.channels
        return L2capConnectionRequest(channel.psm, channel.cid)

    def _connected(self, response: SignallingCommand, now: float) -> Answer:
        (channel,) = self.channels
        if not isinstance(response, ConnectionResponse):
            return Answer.IGNORED
        if response.result not in (BredrResult.SUCCESS, BredrResult.PENDING):
            channel.refused(response.result)  # the CIDs have no meaning then (4.3)
            return Answer.FINAL
        if response.scid not in (channel.cid, 0):  # some peers leave our CID out
            return Answer.IGNORED
        if response.result == BredrResult.PENDING:
            channel.step(Input.CONNECTION_RSP_PND)
            return Answer.PENDING
        if channel.adopt(response.dcid):
            channel.step(Input.CONNECTION_RSP)
            if channel.state is ChannelState.WAIT_DISCONNECT:
                channel.disconnect_now(now)
            else:
                self._configuration.begin(now)
        return Answer.FINAL


class LeOpening(Opening):
    """An LE credit based connection request (Vol 3, Part A, 4.22 and 4.23)."""

    _peer: LeConnectionRequest  # the peer's request

    def __init__(self, link: Link, cid: int, psm: int) -> None:
        super().__init__(link, [cid], psm, CREDIT_BASED)

    def requested(self, identifier: int, request: LeConnectionRequest, now: float) -> None:
        """Takes the peer's request, whose parameters are valid."""
        self.identifier = identifier
        self._peer = request
        self.channels[0].requested(request.scid, now + self._link.shared.limits.accept_s)

    def accept(self, channel: L2capChannel, mtu: int, now: float) -> None:
        mode = CreditBasedMode(channel)
        response = LeConnectionResponse(channel.cid, mtu, mode.rx_mps, mode.rx_credits, LeResult.SUCCESS)
        self._link.signalling.respond(self.identifier, response)
        mode.begin(self._peer.mtu, self._peer.mps, self._peer.credits)

    def refuse(self, channel: L2capChannel, result: int) -> None:
        self._link.signalling.respond(self.identifier, refuse_le(result))

    def prolong(self, channel: L2capChannel, now: float) -> bool:
        return False

    def postpone(self, channel: L2capChannel, now: float) -> None:
        """Does nothing: this response has no result that says so (4.23)."""

    def _request(self) -> SignallingCommand:
        (channel,) = self.channels
        self._mode = mode = CreditBasedMode(channel)
        return LeConnectionRequest(channel.psm, channel.cid, channel.rx_mtu, mode.rx_mps, mode.rx_credits)

    def _connected(self, response: SignallingCommand, now: float) -> Answer:
        (channel,) = self.channels
        if not isinstance(response, LeConnectionResponse):
            return Answer.IGNORED
        if response.result != LeResult.SUCCESS:
            channel.refused(response.result)
        elif channel.adopt(response.dcid):
            channel.step(Input.CONNECTION_RSP)
            if channel.state is ChannelState.WAIT_DISCONNECT:
                channel.disconnect_now(now)
            elif not parameters_are_valid(response):
                channel.fail(f"the peer answered with an MTU of {response.mtu} and an MPS of {response.mps}", now)
            else:
                self._mode.begin(response.mtu, response.mps, response.credits)
        return Answer.FINAL


#: The openings of one channel, by transport.
OPENINGS = (BredrOpening, LeOpening)


def refuse_bredr(scid: int, result: int) -> SignallingCommand:
    """Returns the response that refuses a request for a channel whose end at the peer is ``scid``."""
    return ConnectionResponse(0, scid, result, 0)


def refuse_le(result: int) -> SignallingCommand:
    """Returns the response that refuses a request."""
    return LeConnectionResponse(0, 0, 0, 0, result)


def parameters_are_valid(untrusted: LeConnectionRequest | LeConnectionResponse) -> bool:
    """Tells whether MTU and MPS are in the ranges of Vol 3, Part A, 4.22."""
    return untrusted.mtu >= MINIMUM_MTU[LE] and MINIMUM_MPS <= untrusted.mps <= MAXIMUM_MPS
