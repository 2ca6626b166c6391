"""BR/EDR connection oriented channels in basic mode (Vol 3, Part A, 3.1, 6 and 7).

The other modes that configuration can lead to (retransmission, streaming) will share the configuration below and differ
in ``receive`` and ``next_pdu``.
"""

from collections import deque
from typing import TYPE_CHECKING

from usbbtd.bluetooth import BREDR, MINIMUM_MTU, BredrResult
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2cap.channel import Channel
from usbbtd.l2cap.configuration import Answer as ConfigurationAnswer
from usbbtd.l2cap.configuration import counter_proposal, judge, mtu_option
from usbbtd.l2cap.events import NO_ANSWER, NOT_READ
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.l2cap.pdu import (
    BASIC_HEADER,
    CONFIGURATION_PENDING,
    CONFIGURATION_REJECTED,
    CONFIGURATION_SUCCESS,
    CONFIGURATION_UNACCEPTABLE,
    DEFAULT_MTU,
    FLAG_CONTINUATION,
    Command,
    ConfigurationRequest,
    ConfigurationResponse,
    ConnectionRequest,
    ConnectionResponse,
)
from usbbtd.l2cap.signalling import Answer
from usbbtd.l2cap.states import CLASSIC, Input, State

if TYPE_CHECKING:
    from usbbtd.l2cap.link import Link

_HEADER_SIZE = BASIC_HEADER.size
_pack_header = BASIC_HEADER.pack

#: Octets of options that a peer may spread over several requests.
_MAXIMUM_OPTIONS = 1024

_UNREADY = 0
_READY = 1  # basic mode has no credits: always


class ClassicChannel(Channel):
    __slots__ = (
        "_deliver",
        "_delivered",
        "_is_pending_sent",
        "_peer_mtu",
        "_peer_options",
        "_repeated_options",
        "_requests_received",
        "_requests_sent",
        "_response_options",
        "_unread_bytes",
        "_unread_limit",
        "_was_open",
    )

    transitions = CLASSIC

    def __init__(self, link: "Link", cid: int, psm: int) -> None:
        super().__init__(link, cid, psm)
        self._deliver = link.shared.sdus.append
        self._delivered: deque[int] = deque()  # cost of each SDU that is not released, oldest first
        self._unread_bytes = 0
        self._unread_limit = self.limits.unread_bytes
        self._is_pending_sent = False
        self._was_open = False
        self._peer_mtu = DEFAULT_MTU
        self._peer_options = b""
        self._repeated_options = b""  # what the peer wants to read in our request, beside the MTU
        self._response_options = b""
        self._requests_received = 0
        self._requests_sent = 0

    # -- connection

    @classmethod
    def refusal(cls, scid: int, result: int) -> Command:
        return ConnectionResponse(0, scid, result, 0)

    def connection_request(self, mtu: int) -> Command:
        self.rx_mtu = mtu
        return ConnectionRequest(self.psm, self.cid)

    def connected(self, response: Command, now: float) -> Answer:
        if not isinstance(response, ConnectionResponse):
            return Answer.IGNORED
        if response.result not in (BredrResult.SUCCESS, BredrResult.PENDING):
            return self.refused(response.result)  # whatever the channel identifiers are (4.3)
        if not self._is_meant(response.scid):
            return Answer.IGNORED
        if response.result == BredrResult.PENDING:
            self.step(Input.CONNECTION_RSP_PND)
            return Answer.PENDING
        if self.adopt(response.dcid):
            self.step(Input.CONNECTION_RSP)
            if self.state is State.WAIT_DISCONNECT:
                self.disconnect_now(now)
            else:
                self._configure(now)
        return Answer.FINAL

    def _is_meant(self, untrusted_scid: int) -> bool:
        """Whether a response with the right identifier is for this channel: some peers leave our end of it empty."""
        return untrusted_scid in (self.cid, 0)

    def requested(self, identifier: int, dcid: int, now: float) -> None:
        super().requested(identifier, dcid, now)
        self.link.shared.deadlines[self] = now + self.limits.pending_s

    def accept(self, mtu: int, now: float) -> None:
        self.step(Input.OPEN_CHANNEL_RSP)
        self.link.shared.deadlines.pop(self, None)
        self.rx_mtu = mtu
        self.link.signalling.respond(self.identifier, ConnectionResponse(self.cid, self.dcid, BredrResult.SUCCESS, 0))
        self._configure(now)

    def expire(self, now: float) -> None:
        if self.state is State.WAIT_CONNECT and not self._is_pending_sent:
            self._is_pending_sent = True
            self.link.signalling.respond(
                self.identifier, ConnectionResponse(self.cid, self.dcid, BredrResult.PENDING, 0)
            )
            self.link.shared.deadlines[self] = now + self.limits.accept_s - self.limits.pending_s
        else:
            super().expire(now)

    # -- configuration

    def configuration_requested(self, identifier: int, request: ConfigurationRequest, now: float) -> None:
        """The peer's request, in any state. On an open channel it begins a reconfiguration."""
        if not self.may(Input.CONFIGURATION_REQ):
            self.link.signalling.reject_cid(identifier, self.cid, self.dcid)
            return
        self._requests_received += 1
        self._peer_options += request.options
        if self._requests_received > self.limits.configuration_requests or len(self._peer_options) > _MAXIMUM_OPTIONS:
            self.fail("the peer's configuration does not end", now)
            return
        if request.flags & FLAG_CONTINUATION:
            answer = ConfigurationAnswer(CONFIGURATION_SUCCESS, b"", None)
            flags = FLAG_CONTINUATION
        else:
            answer = self._judge()
            flags = 0
            self._peer_options = b""
        response = ConfigurationResponse(self.dcid, flags, answer.result, answer.options)
        self.link.signalling.respond(identifier, response)
        if answer.result != CONFIGURATION_SUCCESS:
            self.step(Input.CONFIGURATION_REQ_NEG)
        elif not flags:
            self._peer_mtu = answer.mtu or self._peer_mtu
            self.step(Input.CONFIGURATION_REQ)
            if self.state is State.WAIT_SEND_CONFIG:
                self._suspend()
                self._configure(now)
            elif self.state is State.OPEN:
                self._configured()

    def _judge(self) -> ConfigurationAnswer:
        # What the owner was told of an open channel stays true: a reconfiguration cannot make its MTU smaller.
        minimum = self._peer_mtu if self._was_open else MINIMUM_MTU[BREDR]
        try:
            return judge(self._peer_options, minimum)
        except RemoteProtocolError:
            return ConfigurationAnswer(CONFIGURATION_REJECTED, b"", None)

    def _configure(self, now: float) -> None:
        """Send our own first request."""
        self.step(Input.CONFIGURE_CHANNEL_REQ)
        self._send_configuration(mtu_option(self.rx_mtu), now)

    def _send_configuration(self, options: bytes, now: float) -> None:
        self._requests_sent += 1
        if self._requests_sent > self.limits.configuration_requests:
            self.fail("the peer accepts no configuration", now)
            return
        request = ConfigurationRequest(self.dcid, 0, options)
        self.link.signalling.send_request(request, self, now, self._configuration_answered, self._configuration_expired)

    def _configuration_answered(self, response: Command, now: float) -> Answer:
        if not isinstance(response, ConfigurationResponse):
            self.fail("the peer rejected our configuration request", now)
            return Answer.FINAL
        if not self._is_meant(response.scid):
            return Answer.IGNORED
        if response.result == CONFIGURATION_PENDING:
            self.step(Input.CONFIGURATION_RSP_PND)
            return Answer.PENDING
        self._response_options += response.options
        if response.flags & FLAG_CONTINUATION:
            self._send_configuration(b"", now)  # asks for the rest (4.5)
            return Answer.FINAL
        options, self._response_options = self._response_options, b""
        if response.result == CONFIGURATION_SUCCESS:
            self.step(Input.CONFIGURATION_RSP)
            if self.state is State.OPEN:
                self._configured()
        elif response.result == CONFIGURATION_UNACCEPTABLE:
            self.step(Input.CONFIGURATION_RSP_NEG)
            self._take_proposal(options)
            self._send_configuration(mtu_option(self.rx_mtu) + self._repeated_options, now)
        else:
            self.fail(f"the peer rejected our configuration with result {response.result:#06x}", now)
        return Answer.FINAL

    def _take_proposal(self, untrusted_options: bytes) -> None:
        """Takes a smaller MTU, and whatever else we can promise."""
        try:
            mtu, self._repeated_options = counter_proposal(untrusted_options)
        except RemoteProtocolError:
            return
        if mtu is not None and MINIMUM_MTU[BREDR] <= mtu < self.rx_mtu and not self._was_open:
            self.rx_mtu = mtu

    def _configuration_expired(self, now: float) -> None:
        self.fail(NO_ANSWER, now)

    def _configured(self) -> None:
        self._requests_received = self._requests_sent = 0
        if not self._was_open:
            self._was_open = True
            self.tx_mtu = self._peer_mtu
            self.opened()
        self.credits = _READY
        self.resume()

    def _suspend(self) -> None:
        self.credits = _UNREADY
        if self.is_ready:
            self.is_ready = False
            self.link.ready.remove(self)

    # -- data

    def receive(self, untrusted_pdu: bytes, now: float) -> None:  # hot: per packet
        size = len(untrusted_pdu) - _HEADER_SIZE
        if size > self.rx_mtu:
            self.fail(f"the peer sent an SDU of {size} bytes, our MTU is {self.rx_mtu}", now)
            return
        size += SDU_OVERHEAD
        self._unread_bytes = unread = self._unread_bytes + size
        if unread > self._unread_limit:
            self.fail(NOT_READ, now)
            return
        self._delivered.append(size)
        self._deliver((self.handle, self.cid, untrusted_pdu[_HEADER_SIZE:]))

    def release(self, count: int) -> None:  # hot: per packet
        delivered = self._delivered
        if count > len(delivered):
            raise LocalProtocolError(f"channel {self.cid:#06x}: {count} SDUs released of {len(delivered)}")
        for _ in range(count):
            self._unread_bytes -= delivered.popleft()

    def limit_unread(self, octets: int) -> None:
        self._unread_limit = octets

    @property
    def unread(self) -> int:
        return len(self._delivered)

    def next_pdu(self) -> bytes:  # hot: per packet
        queue = self.queue
        sdu = queue.popleft()
        size = len(sdu)
        self.queued -= size + SDU_OVERHEAD
        if not queue:
            self.is_ready = False
        if self.is_full or self.is_draining:
            self.has_sent()
        return _pack_header(size, self.dcid) + sdu
