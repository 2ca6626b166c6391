"""LE credit based connection oriented channels (Vol 3, Part A, 3.4, 4.22 to 4.24, 10.1).

The channels of the enhanced requests (codes 0x17 to 0x1A) will differ in how they are connected only.
"""

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING

from usbbtd.bluetooth import LE, MINIMUM_MTU, LeResult
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.channel import Channel
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.l2cap.pdu import (
    BASIC_HEADER,
    MAXIMUM_CREDITS,
    MAXIMUM_MPS,
    MINIMUM_MPS,
    Command,
    FlowControlCredit,
    LeConnectionRequest,
    LeConnectionResponse,
)
from usbbtd.l2cap.signalling import Answer
from usbbtd.l2cap.states import CREDIT_BASED, Input, State

if TYPE_CHECKING:
    from usbbtd.l2cap.link import Link

_HEADER_SIZE = BASIC_HEADER.size
_LENGTH_SIZE = 2  # of the SDU, in front of its first segment
_FIRST_SIZE = _HEADER_SIZE + _LENGTH_SIZE
_pack_header = BASIC_HEADER.pack
_pack_first = Struct("<HHH").pack
_unpack_length = Struct("<H").unpack_from

#: The peer may have so many of the largest SDUs under way, and so many K-frames at least: small SDUs cost a credit too.
_INITIAL_SDUS = 4
_MINIMUM_INITIAL_CREDITS = 32


class CreditBasedChannel(Channel):
    __slots__ = (
        "_deliver",
        "_delivered",
        "_held",
        "_initial_credits",
        "_missing",
        "_offset",
        "_owed",
        "_request",
        "_rx_credits",
        "_rx_mps",
        "_segments",
        "_tx_mps",
    )

    transitions = CREDIT_BASED

    _request: LeConnectionRequest  # the peer's, while it waits for an answer

    def __init__(self, link: "Link", cid: int, psm: int) -> None:
        super().__init__(link, cid, psm)
        self._deliver = link.shared.sdus.append
        self._delivered: deque[int] = deque()  # credits that each SDU holds until it is released, oldest first
        self._initial_credits = 0
        self._rx_credits = 0  # K-frames that the peer may send
        self._owed = 0  # credits of SDUs that are read, not yet given back
        self._rx_mps = 0
        self._segments: list[bytes] = []
        self._missing = 0  # octets of the SDU under way that are to come; 0: none is under way
        self._held = 0  # credits that it holds so far
        self._tx_mps = 0
        self._offset = 0  # of what is to be sent next in the first SDU of the queue

    # -- connection

    @classmethod
    def refusal(cls, scid: int, result: int) -> Command:
        return LeConnectionResponse(0, 0, 0, 0, result)

    def connection_request(self, mtu: int) -> Command:
        self._promise(mtu)
        return LeConnectionRequest(self.psm, self.cid, self.rx_mtu, self._rx_mps, self._rx_credits)

    def connected(self, response: Command, now: float) -> Answer:
        if not isinstance(response, LeConnectionResponse):
            return Answer.IGNORED
        if response.result != LeResult.SUCCESS:
            return self.refused(response.result)
        if self.adopt(response.dcid):
            self.step(Input.CONNECTION_RSP)
            if self.state is State.WAIT_DISCONNECT:
                self.disconnect_now(now)
            elif not parameters_are_valid(response):
                self.fail(f"the peer answered with an MTU of {response.mtu} and an MPS of {response.mps}", now)
            else:
                self._open(response)
        return Answer.FINAL

    def requested_with(self, identifier: int, request: LeConnectionRequest, now: float) -> None:
        """The peer asks for the channel, with parameters that are valid."""
        self._request = request
        self.requested(identifier, request.scid, now)

    def accept(self, mtu: int, now: float) -> None:
        self.step(Input.OPEN_CHANNEL_RSP)
        self.link.shared.deadlines.pop(self, None)
        self._promise(mtu)
        response = LeConnectionResponse(self.cid, self.rx_mtu, self._rx_mps, self._rx_credits, LeResult.SUCCESS)
        self.link.signalling.respond(self.identifier, response)
        self._open(self._request)

    def _open(self, peer: LeConnectionRequest | LeConnectionResponse) -> None:
        self.tx_mtu = peer.mtu
        self._tx_mps = peer.mps
        self.credits = peer.credits
        self.opened()

    def _promise(self, mtu: int) -> None:
        """What we receive. Credits bound the memory that the peer may take: that many K-frames of our MPS."""
        self.rx_mtu = mtu
        self._rx_mps = max(MINIMUM_MPS, min(mtu + _LENGTH_SIZE, self.limits.mps))
        frames = -(-(mtu + _LENGTH_SIZE) // self._rx_mps)
        self._initial_credits = self._rx_credits = max(_INITIAL_SDUS * frames, _MINIMUM_INITIAL_CREDITS)

    # -- credits

    def credits_received(self, untrusted_credits: int, now: float) -> None:
        """The peer gives credits; more than 65535 together is its fault (10.1)."""
        if self.state is not State.OPEN or not untrusted_credits:
            self.link.shared.counters["signalling_ignored"] += 1
        elif self.credits + untrusted_credits > MAXIMUM_CREDITS:
            self.fail("the peer gave more than 65535 credits", now)
        else:
            self.credits += untrusted_credits
            self.resume()

    def release(self, count: int) -> None:  # hot: per packet
        delivered = self._delivered
        if count > len(delivered):
            raise LocalProtocolError(f"channel {self.cid:#06x}: {count} SDUs released of {len(delivered)}")
        owed = self._owed
        for _ in range(count):
            owed += delivered.popleft()
        # Half of them at once costs few PDUs and keeps the peer going; one that stands still gets what there is.
        if owed and (owed * 2 >= self._initial_credits or not self._rx_credits) and self.state is State.OPEN:
            self._give(owed)
            owed = 0
        self._owed = owed

    def limit_unread(self, octets: int) -> None:
        """Credits are its limit."""

    @property
    def unread(self) -> int:
        return len(self._delivered)

    # -- data

    def receive(self, untrusted_pdu: bytes, now: float) -> None:  # hot: per packet
        size = len(untrusted_pdu) - _HEADER_SIZE
        rx_credits = self._rx_credits
        missing = self._missing
        if not rx_credits:
            self.fail("the peer sent without credits", now)
        elif size > self._rx_mps:
            self.fail(f"the peer sent a K-frame of {size} bytes, our MPS is {self._rx_mps}", now)
        elif missing:
            self._rx_credits = rx_credits - 1
            self._held += 1
            self._segments.append(untrusted_pdu[_HEADER_SIZE:])
            if size == missing:
                self._missing = 0
                self._delivered.append(self._held)
                self._deliver((self.handle, self.cid, b"".join(self._segments)))
                self._segments.clear()
            elif size > missing:
                self.fail("the peer sent segments beyond the length of their SDU", now)
            elif not size:
                self.fail("the peer sent an empty segment", now)
            else:
                self._missing = missing - size
                if rx_credits == 1:
                    self._keep_going()
        elif size < _LENGTH_SIZE:
            self.fail("the peer sent a K-frame without the length of its SDU", now)
        else:
            self._rx_credits = rx_credits - 1
            (length,) = _unpack_length(untrusted_pdu, _HEADER_SIZE)
            size -= _LENGTH_SIZE
            if length > self.rx_mtu:
                self.fail(f"the peer sent an SDU of {length} bytes, our MTU is {self.rx_mtu}", now)
            elif size == length:
                self._delivered.append(1)
                self._deliver((self.handle, self.cid, untrusted_pdu[_FIRST_SIZE:]))
            elif size < length:
                self._missing = length - size
                self._held = 1
                self._segments.append(untrusted_pdu[_FIRST_SIZE:])
                if rx_credits == 1:
                    self._keep_going()
            else:
                self.fail("the peer sent segments beyond the length of their SDU", now)

    def _keep_going(self) -> None:
        """The peer used its last credit in the middle of an SDU, which is nothing that the guest could read.

        Many peers cut SDUs into smaller segments than our MPS, so that no number of initial credits is enough for all.
        """
        self._give(self._owed + self._held)
        self._owed = self._held = 0

    def _give(self, count: int) -> None:
        self._rx_credits += count
        self.link.signalling.send_indication(FlowControlCredit(self.cid, count))

    def next_pdu(self) -> bytes:  # hot: per packet
        queue = self.queue
        sdu = queue[0]
        size = len(sdu)
        start = self._offset
        if start:
            end = start + self._tx_mps
            segment = sdu[start:end]
            pdu = _pack_header(len(segment), self.dcid) + segment
        else:
            end = self._tx_mps - _LENGTH_SIZE
            if size <= end:
                pdu = _pack_first(size + _LENGTH_SIZE, self.dcid, size) + sdu
            else:
                pdu = _pack_first(self._tx_mps, self.dcid, size) + sdu[:end]
        self.credits = left = self.credits - 1
        if end < size:
            self._offset = end
            if not left:
                self.is_ready = False
            return pdu
        self._offset = 0
        queue.popleft()
        self.queued -= size + SDU_OVERHEAD
        if not left or not queue:
            self.is_ready = False
        if self.is_full or self.is_draining:
            self.has_sent()
        return pdu


def parameters_are_valid(untrusted: LeConnectionRequest | LeConnectionResponse) -> bool:
    """The ranges of MTU and MPS (4.22)."""
    return untrusted.mtu >= MINIMUM_MTU[LE] and MINIMUM_MPS <= untrusted.mps <= MAXIMUM_MPS
