"""The frontend of a vl2cap device: makes requests, and checks every response. Sans-IO.

Its driver moves ``take_requests`` to the command ring, and responses from there to ``receive_responses``. The driver
makes grants and event channels, too, and may take them back when a request is answered with an error, or when the
RELEASE of an object is answered.
"""

from dataclasses import dataclass
from errno import ENODEV
from struct import error as struct_error

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import LE, MINIMUM_MTU, transport_of
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2capif.calls import Kind
from usbbtd.l2capif.wire import (
    RESPONSE_SIZE,
    AcceptRequest,
    AdvertiseExtendedRequest,
    AdvertiseRequest,
    AgentRequest,
    ChannelResponse,
    ConnectRequest,
    EchoRequest,
    EchoResponse,
    InfoRequest,
    InfoResponse,
    ListenRequest,
    PairRequest,
    PairResponse,
    PlainRequest,
    PlainResponse,
    Request,
    Response,
    ScanRequest,
    pack,
    unpack,
)

#: Requests that may wait for a slot of the ring, without RELEASEs.
QUEUE_LIMIT = 256

_MAX_ERRNO = 4095
_ENCRYPTED: int = constants.L2CAPIF_SECURITY_ENCRYPTED
_OOB_FLAGS = {0: 0, 16: constants.L2CAPIF_PAIR_OOB_TK, constants.L2CAPIF_OOB_SIZE: constants.L2CAPIF_PAIR_OOB}
#: The commands whose response ends the object, if it was a success, too.
_ENDING = (constants.L2CAPIF_CMD_RELEASE, constants.L2CAPIF_CMD_ECHO, constants.L2CAPIF_CMD_PAIR)
_OBJECTS: dict[type[Request], Kind] = {
    ConnectRequest: Kind.CHANNEL,
    AcceptRequest: Kind.CHANNEL,
    ListenRequest: Kind.LISTENER,
    ScanRequest: Kind.SCAN,
    AdvertiseRequest: Kind.ADVERTISEMENT,
    AdvertiseExtendedRequest: Kind.ADVERTISEMENT,
    AgentRequest: Kind.AGENT,
    EchoRequest: Kind.ECHO,
    PairRequest: Kind.PAIRING,
}


@dataclass(slots=True)
class _FrontendObject:
    kind: Kind
    transport: int = 0
    psm: int = 0
    mtu: int = 0
    security: int = 0
    releasing: bool = False


class Frontend:
    """The frontend of one device.

    All requests return their number, which is also that of the object that they make. They raise LocalProtocolError if
    an argument does not fit its field, if there is no such object, after ``close``, and while QUEUE_LIMIT requests wait
    for the ring.
    """

    def __init__(self) -> None:
        self._last_id = 0
        self._objects: dict[int, _FrontendObject] = {}
        self._in_flight: dict[int, Request] = {}
        self._requests: list[bytes] = []
        self._results: list[Response] = []
        self._closed = False
        self._counts = {"requests": 0, "responses": 0, "errors": 0}

    # Requests.

    def info(self, seen: int | None = None) -> int:
        """Asks for the adapter's facts. Result: InfoResponse; with ``seen``, when their generation is another one."""
        flags = 0 if seen is None else constants.L2CAPIF_INFO_WAIT
        return self._send(InfoRequest(self._next_id(), constants.L2CAPIF_CMD_INFO, 0, flags, seen or 0))

    def connect(
        self,
        address: bytes,
        address_type: int,
        psm: int,
        *,
        mtu: int,
        ref: int,
        evtchn: int,
        security: int = 0,
        timeout_s: float = 0.0,
        fixed: bool = False,
    ) -> int:
        """Opens a channel to a peer. Result: ChannelResponse. ``timeout_s``: 0 for the backend's default.

        ``security``: the least level of the link. ``fixed``: ``psm`` is the CID of a fixed channel.
        """
        number = self._next_id()
        flags = constants.L2CAPIF_CONNECT_FIXED * fixed
        made = _FrontendObject(Kind.CHANNEL, transport_of(address_type), psm, mtu, security)
        return self._send(
            ConnectRequest(
                number, constants.L2CAPIF_CMD_CONNECT, number, flags, ref, evtchn, _checked(address), address_type,
                security, psm, mtu, round(timeout_s * 1000),
            ),
            made,
        )  # fmt: skip

    def listen(self, transport: int, psm: int, *, mtu: int, backlog: int = 0, security: int = 0) -> int:
        """Makes a listener. Result: PlainResponse. ``backlog``: 0 for the backend's default.

        ``security``: the least level of the links of its peers.
        """
        number = self._next_id()
        request = ListenRequest(number, constants.L2CAPIF_CMD_LISTEN, number, 0, psm, mtu, backlog, transport, security)
        return self._send(request, _FrontendObject(Kind.LISTENER, transport, psm, mtu, security))

    def accept(self, listener: int, *, ref: int, evtchn: int) -> int:
        """Opens the channel of a listener's next peer. Result: ChannelResponse, when a peer comes."""
        of = self._object(listener)
        if of.kind is not Kind.LISTENER:
            raise LocalProtocolError(f"ACCEPT of {of.kind} {listener}")
        number = self._next_id()
        request = AcceptRequest(number, constants.L2CAPIF_CMD_ACCEPT, number, 0, ref, evtchn, listener)
        return self._send(request, _FrontendObject(Kind.CHANNEL, of.transport, of.psm, of.mtu, of.security))

    def scan(
        self, *, ref: int, evtchn: int, active: bool = False, duplicates: bool = False, extended: bool = False,
        transport: int = LE,
    ) -> int:  # fmt: skip
        """Starts a stream of reports on who is there. Result: PlainResponse.

        They are those of ``messages.unpack_report``, or of ``unpack_extended_report`` if ``extended``, as BR/EDR needs.
        """
        number = self._next_id()
        flags = constants.L2CAPIF_SCAN_ACTIVE * active | constants.L2CAPIF_SCAN_DUPLICATES * duplicates
        flags |= constants.L2CAPIF_SCAN_EXTENDED * extended
        request = ScanRequest(number, constants.L2CAPIF_CMD_SCAN, number, flags, ref, evtchn, transport)
        return self._send(request, _FrontendObject(Kind.SCAN))

    def advertise(self, data: bytes, *, interval_ms: int = 0, connectable: bool = True) -> int:
        """Starts an advertisement. Result: PlainResponse. ``interval_ms``: 0 for the backend's default."""
        if len(data) > constants.L2CAPIF_ADVERTISE_DATA_SIZE:
            raise LocalProtocolError(f"{len(data)} octets of advertising data")
        number = self._next_id()
        flags = constants.L2CAPIF_ADVERTISE_CONNECTABLE * connectable
        request = AdvertiseRequest(number, constants.L2CAPIF_CMD_ADVERTISE, number, flags, interval_ms, len(data), data)
        return self._send(request, _FrontendObject(Kind.ADVERTISEMENT))

    def advertise_extended(
        self, ref: int, data_length: int, scan_data_length: int, *, interval_ms: int = 0, connectable: bool = True
    ) -> int:
        """Starts an advertisement with data of up to 1650 octets, and a scan response of as many.

        Result: PlainResponse, after which the page's grant may end. ``ref``: the grant reference of the page that has
        both, one after the other.
        """
        number = self._next_id()
        flags = constants.L2CAPIF_ADVERTISE_EXTENDED | constants.L2CAPIF_ADVERTISE_CONNECTABLE * connectable
        head = number, constants.L2CAPIF_CMD_ADVERTISE, number, flags
        request = AdvertiseExtendedRequest(*head, ref, interval_ms, data_length, scan_data_length)
        return self._send(request, _FrontendObject(Kind.ADVERTISEMENT))

    def agent(self, io_capability: int, *, ref: int, evtchn: int) -> int:
        """Starts a stream of prompts, which are answered in it (``messages.unpack_prompt``). Result: PlainResponse.

        ``io_capability``: L2CAPIF_IO_*.
        """
        number = self._next_id()
        request = AgentRequest(number, constants.L2CAPIF_CMD_AGENT, number, 0, ref, evtchn, io_capability)
        return self._send(request, _FrontendObject(Kind.AGENT))

    def pair(
        self, address: bytes, address_type: int, *, security: int = 0, timeout_s: float = 0.0, oob: bytes = b""
    ) -> int:
        """Pairs with a peer. Result: PairResponse; there is nothing to release.

        ``security``: the least level to reach, encrypted at least. ``timeout_s``: as in ``connect``. ``oob``: what came
        from an LE peer on another way: 16 octets of legacy pairing's temporary key, or 32 of Secure Connections'
        confirm and random values.
        """
        if len(oob) not in _OOB_FLAGS:
            raise LocalProtocolError(f"{len(oob)} octets of out-of-band data")
        number = self._next_id()
        head = number, constants.L2CAPIF_CMD_PAIR, number, _OOB_FLAGS[len(oob)]
        request = PairRequest(*head, _checked(address), address_type, security, round(timeout_s * 1000), oob)
        return self._send(request, _FrontendObject(Kind.PAIRING, security=max(security, _ENCRYPTED)))

    def echo(self, address: bytes, data: bytes, *, timeout_s: float = 0.0) -> int:
        """Asks a BR/EDR peer for its L2CAP echo. Result: EchoResponse; there is nothing to release.

        ``data``: at most 36 octets. ``timeout_s``: as in ``connect``.
        """
        if len(data) > constants.L2CAPIF_ECHO_DATA_SIZE:
            raise LocalProtocolError(f"an echo of {len(data)} octets")
        number = self._next_id()
        head = number, constants.L2CAPIF_CMD_ECHO, number, 0, _checked(address), constants.L2CAPIF_ADDR_BREDR
        return self._send(EchoRequest(*head, len(data), round(timeout_s * 1000), data), _FrontendObject(Kind.ECHO))

    def release(self, number: int) -> int:
        """Ends an object, also one whose request is not answered yet. Result: PlainResponse.

        -EINVAL there counts as success: the RELEASE crossed a response after which there was no object any more.
        """
        released = self._object(number)
        req_id = self._send(PlainRequest(self._next_id(), constants.L2CAPIF_CMD_RELEASE, number))
        released.releasing = True
        return req_id

    # The ring.

    def take_requests(self, room: int) -> list[bytes]:
        """Hands over up to ``room`` requests, in order: as many as the ring has free slots."""
        taken, self._requests = self._requests[:room], self._requests[room:]
        return taken

    def receive_responses(self, responses: list[bytes]) -> None:
        """Takes responses from the ring. Raises RemoteProtocolError for one to no request, or with an illegal value."""
        for untrusted in responses:
            self._receive_response(untrusted)

    def take_results(self) -> list[Response]:
        """Hands over the responses, checked, in the order in which they came."""
        results, self._results = self._results, []
        return results

    def close(self) -> None:
        """Ends all objects, as the backend is gone. Requests in flight have the result -ENODEV. Idempotent."""
        self._closed = True
        self._objects.clear()
        self._requests.clear()
        in_flight, self._in_flight = self._in_flight, {}
        for request in in_flight.values():
            self._results.append(_response_type(request)(request.req_id, request.cmd, request.id, -ENODEV))

    def statistics(self) -> dict[str, int]:
        return self._counts | {"objects": len(self._objects), "in_flight": len(self._in_flight)}

    # Inside.

    def _next_id(self) -> int:
        number = self._last_id
        while True:
            number = number % 0xFFFF_FFFF + 1  # 0 is not an object's: INFO has it
            if number not in self._objects and number not in self._in_flight:
                return number

    def _object(self, number: int) -> _FrontendObject:
        found = self._objects.get(number)
        if found is None or found.releasing:
            raise LocalProtocolError(f"there is no object {number}")
        return found

    def _send(self, request: Request, made: _FrontendObject | None = None) -> int:
        if self._closed:
            raise LocalProtocolError("the device is closed")
        # There are no more RELEASEs than objects, and a program may end all of them at once.
        if len(self._requests) >= QUEUE_LIMIT and request.cmd != constants.L2CAPIF_CMD_RELEASE:
            raise LocalProtocolError(f"{QUEUE_LIMIT} requests wait")
        try:
            packed = pack(request)
        except struct_error as error:
            raise LocalProtocolError(f"{request}: {error}") from error
        self._requests.append(packed)
        self._last_id = request.req_id
        self._in_flight[request.req_id] = request
        if made is not None:
            self._objects[request.id] = made
        self._counts["requests"] += 1
        return request.req_id

    def _receive_response(self, untrusted: bytes) -> None:
        if len(untrusted) != RESPONSE_SIZE:
            raise RemoteProtocolError(f"a response of {len(untrusted)} octets")
        untrusted_header = unpack(PlainResponse, untrusted)
        request = self._in_flight.get(untrusted_header.req_id)
        if request is None:
            raise RemoteProtocolError(f"a response to request {untrusted_header.req_id}, which is not in flight")
        response = unpack(_response_type(request), untrusted)
        if (response.cmd, response.id) != (request.cmd, request.id) or not -_MAX_ERRNO <= response.ret <= 0:
            raise RemoteProtocolError(f"{response} to {request}")
        if request.cmd == constants.L2CAPIF_CMD_RELEASE and request.id in self._in_flight:
            raise RemoteProtocolError(f"{response} before the response to request {request.id}, which it ends")
        if response.ret == 0:
            self._check_body(request, response)
        del self._in_flight[request.req_id]
        over = request.cmd in _ENDING
        if over or (response.ret and type(request) in _OBJECTS):
            self._objects.pop(request.id, None)
        self._counts["responses"] += 1
        self._counts["errors"] += response.ret != 0
        self._results.append(response)

    def _check_body(self, request: Request, response: Response) -> None:
        """Raises RemoteProtocolError if the body of a success is not legal, or does not fit the request."""
        match response:
            case ChannelResponse():
                asked = self._objects[request.id]
                good = (
                    response.address_type <= constants.L2CAPIF_ADDR_LE_RANDOM
                    and transport_of(response.address_type) == asked.transport
                    and response.psm == asked.psm
                    and _reaches(response.security, asked.security)
                    and response.tx_mtu >= MINIMUM_MTU[asked.transport]
                    and MINIMUM_MTU[asked.transport] <= response.rx_mtu <= asked.mtu
                )
            case InfoResponse():
                types = response.address_type, response.le_address_type
                good = max(types) <= constants.L2CAPIF_ADDR_LE_RANDOM and response.powered <= 1
            case PairResponse():
                good = _reaches(response.security, self._objects[request.id].security)
            case EchoResponse() | PlainResponse():
                good = True
        if not good:
            raise RemoteProtocolError(f"{response} to {request}")


def _checked(address: bytes) -> bytes:
    if len(address) != 6:
        raise LocalProtocolError(f"an address of {len(address)} octets")
    return address


def _reaches(level: int, asked: int) -> bool:
    """Tells whether a link's level can be, and is not less than what was asked for; 0 and 1 are the same."""
    return level <= constants.L2CAPIF_SECURITY_SC and (level >= asked or asked < _ENCRYPTED)


def _response_type(request: Request) -> type[Response]:
    if request.cmd == constants.L2CAPIF_CMD_INFO:
        return InfoResponse
    if request.cmd == constants.L2CAPIF_CMD_ECHO:
        return EchoResponse
    if request.cmd == constants.L2CAPIF_CMD_PAIR:
        return PairResponse
    return ChannelResponse if _OBJECTS.get(type(request)) is Kind.CHANNEL else PlainResponse
