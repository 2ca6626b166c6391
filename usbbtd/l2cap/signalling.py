"""The signalling channel of one link: sends and receives C-frames, times requests in flight, rejects commands.

The link and its channels know what the commands mean.
"""

from collections import deque
from collections.abc import Callable, Iterator, Set
from enum import Enum
from typing import Protocol

from usbbtd.bluetooth import BREDR, LE
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.receiver import PduReceiver
from usbbtd.l2cap.wire import (
    BASIC_HEADER,
    BASIC_HEADER_SIZE,
    COMMAND_HEADER,
    REASON_INVALID_CID,
    REASON_MTU_EXCEEDED,
    REASON_NOT_UNDERSTOOD,
    RESPONSE_CODES,
    SIGNALLING_CIDS,
    CommandReject,
    FlowControlCredit,
    SignallingCommand,
)

_COMMAND_HEADER_SIZE = COMMAND_HEADER.size
_MAXIMUM_IDENTIFIER = 0xFF

#: The largest C-frame that we receive, by transport. Each side may count on 48 and 23 octets (4).
SIGNALLING_MTU = (672, 64)


class Answer(Enum):
    """How the sender of a request takes a response."""

    FINAL = "final"
    PENDING = "pending"  # the final response is to come; ERTX runs
    IGNORED = "ignored"  # not a response to this request in spite of its identifier


class Timed(Protocol):
    """An object that can have a deadline in a mux."""

    def expire(self, now: float) -> None:
        """Acts on its deadline, which has passed and is no longer in the deadlines."""


Deadlines = dict[Timed, float]

Answered = Callable[[SignallingCommand, float], Answer]


class RequestInFlight:
    """A request of ours in flight."""

    __slots__ = ("answered", "expired", "identifier", "owner", "response_code", "rtx_s", "signalling", "tries")

    def __init__(
        self,
        signalling: "Signalling",
        owner: object,
        identifier: int,
        response_code: int,
        answered: Answered,
        expired: Callable[[float], None],
    ) -> None:
        self.signalling = signalling
        self.owner = owner
        self.identifier = identifier
        self.response_code = response_code
        self.answered = answered
        self.expired = expired
        self.rtx_s = signalling.limits.rtx_s
        self.tries = signalling.limits.rtx_tries

    def expire(self, now: float) -> None:
        self.signalling.request_expired(self, now)


class Signalling(PduReceiver):
    """The signalling channel. ``counters`` has "signalling_ignored" and "signalling_dropped"."""

    _handler: Callable[[SignallingCommand, int, float], None]

    def __init__(self, transport: int, limits: L2capLimits, deadlines: Deadlines, counters: dict[str, int]) -> None:
        self.limits = limits
        #: The whole PDUs that wait for the air.
        self.out: deque[bytes] = deque()
        self._transport = transport
        self._cid = SIGNALLING_CIDS[transport]
        self._mtu = SIGNALLING_MTU[transport]
        self._codes: Set[int] = frozenset()
        self._deadlines = deadlines
        self._counters = counters
        self._in_flight: dict[int, tuple[RequestInFlight, bytes]] = {}
        self._identifier = 0
        self._last_request = b""  # the last request of the peer, to notice when it is repeated
        self._last_response: bytes | None = None

    def serve(self, codes: Set[int], handler: Callable[[SignallingCommand, int, float], None]) -> None:
        """Gives ``handler`` the peer's requests and indications with one of these codes; others are rejected.

        The handler gets (command, identifier, now).
        """
        self._codes, self._handler = codes, handler

    # -- to the peer

    def send_request(
        self,
        command: SignallingCommand,
        owner: object,
        deadline_from: float,
        answered: Answered,
        expired: Callable[[float], None],
    ) -> None:
        """Sends a request. ``answered`` gets its response or a CommandReject; ``expired`` is called if none comes.

        RTX runs from ``deadline_from``. ``owner``: the one to ``forget`` it by. Raises LocalProtocolError if 255
        requests are in flight.
        """
        identifier = self._next_identifier()
        request = RequestInFlight(self, owner, identifier, command.CODE + 1, answered, expired)
        if self._transport == LE:
            # The lower layer is reliable, and older peers take a repetition for a second request.
            request.rtx_s *= 2**request.tries - 1
            request.tries = 1
        pdu = self._frame(command.pack(identifier))
        self._in_flight[identifier] = request, pdu
        self._deadlines[request] = deadline_from + request.rtx_s
        self.out.append(pdu)

    def send_credits(self, cid: int, count: int) -> None:  # hot: per packet
        """Sends a FlowControlCredit. It is packed by hand, as the only command that data causes."""
        head = 8 | self._cid << 16 | FlowControlCredit.CODE << 32 | self._next_identifier() << 40 | 4 << 48
        self.out.append(head.to_bytes(8, "little") + (cid | count << 16).to_bytes(4, "little"))

    def respond(self, identifier: int, response: SignallingCommand) -> None:
        """Answers a request of the peer."""
        pdu = self._frame(response.pack(identifier))
        if self._last_request and self._last_request[1] == identifier:
            self._last_response = pdu
        self.out.append(pdu)

    def reject(self, identifier: int) -> None:
        """Answers that the command is not understood."""
        self.respond(identifier, CommandReject(REASON_NOT_UNDERSTOOD, b""))

    def reject_cid(self, identifier: int, local: int, remote: int) -> None:
        """Answers that a CID is invalid. ``local``, ``remote``: our CID and the peer's; 0 if the request has none."""
        self.respond(identifier, CommandReject(REASON_INVALID_CID, BASIC_HEADER.pack(local, remote)))

    def forget(self, owner: object) -> None:
        """Forgets the requests of an owner: their responses are ignored."""
        for request, _ in [entry for entry in self._in_flight.values() if entry[0].owner is owner]:
            self._remove(request)

    def close(self) -> None:
        """Forgets all requests and PDUs of a link that is gone."""
        for request, _ in list(self._in_flight.values()):
            self._remove(request)
        self.out.clear()

    def request_expired(self, request: RequestInFlight, now: float) -> None:
        """Repeats a request (6.2.1: with its identifier, and twice the time), or gives it up."""
        request.tries -= 1
        if request.tries > 0:
            request.rtx_s *= 2
            self._deadlines[request] = now + request.rtx_s
            self.out.append(self._in_flight[request.identifier][1])
            return
        self._remove(request)
        request.expired(now)

    # -- from the peer

    def receive(self, untrusted_pdu: bytes, now: float) -> None:
        """Takes one C-frame. Never raises for what is in it."""
        if len(untrusted_pdu) - BASIC_HEADER_SIZE > self._mtu:
            self._receive_too_long(untrusted_pdu)
            return
        for code, identifier, command in _commands(untrusted_pdu):
            complete = len(command) == _COMMAND_HEADER_SIZE + COMMAND_HEADER.unpack_from(command)[2]
            if self._transport == LE and len(command) != len(untrusted_pdu) - BASIC_HEADER_SIZE:
                complete = False  # an LE C-frame is exactly one command (4)
            if not identifier or (code in RESPONSE_CODES and not complete):
                self._counters["signalling_ignored"] += 1
            elif code in RESPONSE_CODES:
                self._receive_response(code, identifier, command, now)
            elif len(self.out) >= self.limits.signalling_backlog:
                self._counters["signalling_dropped"] += 1
            else:
                self._receive_request(code, identifier, command, complete, now)
            if not complete:
                return

    def _receive_request(self, code: int, identifier: int, command: bytes, complete: bool, now: float) -> None:
        if self._transport == BREDR and command == self._last_request:
            # The peer's RTX expired: it gets the same answer again, or the one that is still to come (6.2.1).
            if self._last_response is not None:
                self.out.append(self._last_response)
            return
        if code not in self._codes or not complete:
            self.reject(identifier)
            return
        try:
            request = SignallingCommand.registry[code].parse(command[_COMMAND_HEADER_SIZE:])
        except RemoteProtocolError:
            self.reject(identifier)
            return
        if code + 1 in RESPONSE_CODES:  # not an indication
            self._last_request = command
            self._last_response = None
        self._handler(request, identifier, now)

    def _receive_response(self, code: int, identifier: int, command: bytes, now: float) -> None:
        request, _ = self._in_flight.get(identifier, (None, b""))
        if request is None or code not in (request.response_code, CommandReject.CODE):
            self._counters["signalling_ignored"] += 1
            return
        try:
            response = SignallingCommand.registry[code].parse(command[_COMMAND_HEADER_SIZE:])
        except RemoteProtocolError:
            self._counters["signalling_ignored"] += 1
            return
        match request.answered(response, now):
            case Answer.FINAL:
                self._remove(request)
            case Answer.PENDING:
                request.tries = 1  # a repetition would ask the peer to begin anew
                self._deadlines[request] = now + self.limits.ertx_s
            case Answer.IGNORED:
                self._counters["signalling_ignored"] += 1

    def _receive_too_long(self, untrusted_pdu: bytes) -> None:
        """Rejects a frame that is too long, by the identifier of its first request (4.1). Without one it is ignored."""
        for code, identifier, _ in _commands(untrusted_pdu):
            if identifier and code not in RESPONSE_CODES and len(self.out) < self.limits.signalling_backlog:
                self.respond(identifier, CommandReject(REASON_MTU_EXCEEDED, self._mtu.to_bytes(2, "little")))
                return
        self._counters["signalling_ignored"] += 1

    # -- inside

    def _remove(self, request: RequestInFlight) -> None:
        self._in_flight.pop(request.identifier, None)
        self._deadlines.pop(request, None)

    def _next_identifier(self) -> int:
        """Returns an identifier that is not in flight, and was not used for as long as possible (4). It is never 0."""
        for _ in range(_MAXIMUM_IDENTIFIER):
            self._identifier = self._identifier % _MAXIMUM_IDENTIFIER + 1
            if self._identifier not in self._in_flight:
                return self._identifier
        raise LocalProtocolError("all signalling identifiers of the link are in flight")

    def _frame(self, command: bytes) -> bytes:
        return BASIC_HEADER.pack(len(command), self._cid) + command


def _commands(untrusted_pdu: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields (code, identifier, octets with header) of each command in a C-frame.

    The last may be shorter than its header says. One that is too short for a header has no identifier to answer to, and
    is left out.
    """
    offset = BASIC_HEADER_SIZE
    while len(untrusted_pdu) - offset >= _COMMAND_HEADER_SIZE:
        code, identifier, length = COMMAND_HEADER.unpack_from(untrusted_pdu, offset)
        end = offset + _COMMAND_HEADER_SIZE + length
        yield code, identifier, untrusted_pdu[offset:end]
        offset = end
