"""The backend of a vl2cap device: checks every request of one frontend and answers it exactly once. Sans-IO.

Its driver moves requests from the command ring to ``receive_requests``, and ``take_responses`` to the ring. It performs
the calls of ``take_calls``, and tells their results by the ``complete`` methods and ``fail``. The ``req_id`` of its
request names a call: a frontend can have only one request with a number in flight.
"""

from collections.abc import Callable
from errno import EACCES, EEXIST, EINVAL, EMFILE, ENODEV, ENOTCONN
from typing import Any, ClassVar

from usbbtd.abi.layout import constants
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2capif.calls import (
    AcceptCall,
    AdvertiseCall,
    Call,
    ConnectCall,
    EchoCall,
    InfoCall,
    Kind,
    ListenCall,
    RefuseCall,
    ReleaseCall,
    ScanCall,
)
from usbbtd.l2capif.checks import FrontendLimits
from usbbtd.l2capif.objects import Object, ObjectInfo, ObjectState
from usbbtd.l2capif.requests import (
    ACCEPT,
    ADVERTISE,
    CONNECT,
    DEFAULT_INTERVAL_MS,
    ECHO,
    INFO,
    LISTEN,
    RELEASE,
    SCAN,
    failure,
    parse_request,
    timeout_s,
)
from usbbtd.l2capif.wire import (
    REQUEST_SIZE,
    AcceptRequest,
    AdvertiseRequest,
    ChannelResponse,
    ConnectRequest,
    EchoRequest,
    EchoResponse,
    InfoRequest,
    InfoResponse,
    ListenRequest,
    PlainRequest,
    PlainResponse,
    Request,
    Response,
    ScanRequest,
    pack,
    unpack,
)


class Backend:
    """The backend of one frontend.

    Raises LocalProtocolError if the driver completes a request that is not in flight, or of another command.
    """

    def __init__(self, limits: FrontendLimits) -> None:
        self.limits = limits  # can be replaced, for requests from then on
        self._objects: dict[int, Object] = {}
        self._in_flight: dict[int, Request] = {}
        self._generation = 1  # of the facts that INFO answers
        self._waiting: list[int] = []  # the req_ids of INFOs that wait for the next generation
        self._offers: dict[int, Object] = {}  # the listener at which an offer waits, or the channel that it becomes
        self._calls: list[Call] = []
        self._responses: list[bytes] = []
        self._closed = False
        self._counts = {"requests": 0, "responses": 0, "errors": 0, "offers": 0, "offers_refused": 0}

    def receive_requests(self, requests: list[bytes]) -> None:
        """Takes requests in ring order, each a copy that the frontend cannot change.

        Raises RemoteProtocolError if one is not REQUEST_SIZE octets long, which a ring cannot carry.
        """
        for untrusted in requests:
            if len(untrusted) != REQUEST_SIZE:
                raise RemoteProtocolError(f"a request of {len(untrusted)} octets")
            self._counts["requests"] += 1
            if error := self._receive_request(untrusted):
                self._respond(failure(unpack(PlainRequest, untrusted), error))

    def take_calls(self) -> list[Call]:
        """Hands over the calls that the adapter has to perform, in order."""
        calls, self._calls = self._calls, []
        return calls

    def take_responses(self) -> list[bytes]:
        """Hands over the responses for the ring, in order."""
        responses, self._responses = self._responses, []
        return responses

    # The results of calls.

    def complete(self, req_id: int) -> None:
        """Answers a LISTEN, SCAN, ADVERTISE or RELEASE that is done.

        Before a RELEASE, the request that made the object is answered with -ENOTCONN, if it is still in flight.
        """
        request = self._answerable(req_id, LISTEN, SCAN, ADVERTISE, RELEASE)
        if request is None:
            return
        if request.cmd == RELEASE:
            made_by: Request = self._objects.pop(request.id).request
            if self._in_flight.get(made_by.req_id) is made_by:
                self._answer(failure(made_by, ENOTCONN))
        else:
            self._objects[request.id].enter(ObjectState.OPEN)
        self._answer(PlainResponse(req_id, request.cmd, request.id, 0))

    def complete_info(
        self, req_id: int, address: bytes, address_type: int, *, powered: bool, features: int,
        le_address: bytes = bytes(6), le_address_type: int = 0,
    ) -> None:  # fmt: skip
        """Answers an InfoCall. ``features``: L2CAPIF_FEATURE_* bits. ``le_address``: zeros if there is none."""
        if self._answerable(req_id, INFO) is not None:
            channels = self.limits.channels, self._count(Kind.CHANNEL)
            facts = (address, address_type, powered, features, *channels, self.limits.max_mtu)
            self._answer(InfoResponse(req_id, INFO, 0, 0, *facts, le_address, self._generation, le_address_type))

    def change_info(self) -> None:
        """Answers the INFOs that wait for a change: a fact of INFO, other than the channels in use, has changed."""
        self._generation = self._generation % 0xFFFF_FFFF + 1  # 0 is no generation
        waiting, self._waiting = self._waiting, []
        self._calls += map(InfoCall, waiting)

    def complete_channel(
        self, req_id: int, address: bytes, address_type: int, psm: int, tx_mtu: int, rx_mtu: int, security: int = 0
    ) -> None:
        """Answers a CONNECT or an ACCEPT whose channel is open.

        Does nothing after a ReleaseCall for the channel, whose completion answers both.
        """
        request = self._answerable(req_id, CONNECT, ACCEPT)
        if request is not None:
            opened = self._objects[request.id]
            opened.enter(ObjectState.OPEN)
            self._forget_offer(opened)
            facts = (address, address_type, security, psm, tx_mtu, rx_mtu)
            self._answer(ChannelResponse(req_id, request.cmd, request.id, 0, *facts))

    def complete_echo(self, req_id: int, data: bytes) -> None:
        """Answers an ECHO with the peer's ``data``, as much of it as a response holds."""
        request = self._answerable(req_id, ECHO)
        if request is not None:
            del self._objects[request.id]
            first = data[: constants.L2CAPIF_ECHO_DATA_SIZE]
            self._answer(EchoResponse(req_id, ECHO, request.id, 0, len(data), 0, first))

    def fail(self, req_id: int, error: int, *, result: int = 0, status: int = 0) -> None:
        """Answers a call, other than a ReleaseCall, that did not succeed. ``error``: positive.

        ``result``: that of the peer's response. ``status``: that of HCI. Does nothing after a ReleaseCall for the
        object, as ``complete_channel``.
        """
        request = self._answerable(req_id, INFO, CONNECT, LISTEN, ACCEPT, SCAN, ADVERTISE, ECHO)
        if request is not None:
            if request.cmd != INFO:
                self._forget_offer(self._objects.pop(request.id))
            self._answer(failure(request, error, result, status))

    # Peers that come to listeners.

    def offer(self, listener: int, offer: int) -> bool:
        """Offers a listener a channel that a peer wants. ``offer``: the driver's number for it.

        Returns False if there is no such listener or its backlog is full: the driver refuses the peer. Otherwise an
        AcceptCall or a RefuseCall with this number follows, at once or later, unless ``withdraw`` comes first.
        """
        if offer in self._offers:
            raise LocalProtocolError(f"offer {offer} waits already")
        self._counts["offers"] += 1
        found = self._objects.get(listener)
        if found is None or not found.listens() or found.backlog_is_full(self.limits.backlog):
            self._counts["offers_refused"] += 1
            return False
        self._offers[offer] = found
        found.offers.append(offer)
        self._match(found)
        return True

    def withdraw(self, offer: int) -> None:
        """Withdraws an offer whose peer has gone. If an ACCEPT was being completed with it, that waits for the next.

        The driver has unmapped the ring of that ACCEPT before. Does nothing if the offer is not known: it may have been
        refused meanwhile.
        """
        holder = self._offers.pop(offer, None)
        if holder is None:
            return
        listener = holder.listener
        if listener is None:  # the holder is the listener
            holder.offers.remove(offer)
            return
        holder.offer = None
        if not listener.listens():
            del self._objects[holder.request.id]
            self._answer(failure(holder.request, EACCES if listener.state is ObjectState.ENDED else ENOTCONN))
            return
        holder.enter(ObjectState.WAITING)
        listener.accepts.appendleft(holder.request.id)
        self._match(listener)

    def end_object(self, number: int) -> None:
        """Notes that a channel or scan has ended by itself. Its data ring says why; it keeps its id until its RELEASE.

        Does nothing if there is no such object, or it is being released: the end and the RELEASE may cross.
        """
        found = self._objects.get(number)
        if found is not None and found.state not in (ObjectState.ENDED, ObjectState.RELEASING):
            found.enter(ObjectState.ENDED)

    def revoke(self, number: int) -> None:
        """Ends an object that the policy does not allow any more. The driver ends its own part by itself.

        Requests that wait for it are answered with -EACCES, and peers that wait for it are refused. An object that was
        open keeps its id until its RELEASE. Does nothing if there is no such object, or it has ended.
        """
        found = self._objects.get(number)
        if found is None:
            return
        if found.state is ObjectState.OPENING:
            del self._objects[number]
            self._forget_offer(found)
            self._answer(failure(found.request, EACCES))
        elif found.state is ObjectState.OPEN:
            self._abandon(found, EACCES)
            found.enter(ObjectState.ENDED)

    # The device as a whole.

    def close(self) -> None:
        """Closes the device: answers all requests in flight, and all that still come, with -ENODEV. Idempotent.

        The driver ends all objects by itself, and need not complete the calls that it took.
        """
        self._closed = True
        self._calls.clear()
        self._waiting.clear()
        self._objects.clear()
        self._offers.clear()
        for request in tuple(self._in_flight.values()):
            self._answer(failure(request, ENODEV))

    def objects(self) -> list[ObjectInfo]:
        """Returns all objects that have an id."""
        return [ObjectInfo(number, found.kind, found.state) for number, found in self._objects.items()]

    def statistics(self) -> dict[str, int]:
        return self._counts | {kind.plural: self._count(kind) for kind in Kind} | {"in_flight": len(self._in_flight)}

    # Inside: the requests. Handlers return 0, or the error number to answer with.

    def _receive_request(self, untrusted: bytes) -> int:
        if self._closed:
            return ENODEV
        request = parse_request(untrusted, self._in_flight, self.limits)
        if isinstance(request, int):
            return request
        # A RELEASE is always taken: there is at most one for each object.
        unanswered = sum(other.cmd != RELEASE for other in self._in_flight.values())
        if request.cmd != RELEASE and unanswered >= self.limits.requests:
            return EMFILE
        return self._HANDLERS[request.cmd](self, request)

    def _info(self, request: InfoRequest) -> int:
        self._in_flight[request.req_id] = request
        if request.flags and request.generation == self._generation:
            self._waiting.append(request.req_id)
        else:
            self._calls.append(InfoCall(request.req_id))
        return 0

    def _connect(self, request: ConnectRequest) -> int:
        req_id, _, number, _, ref, evtchn, address, address_type, security, psm, mtu, timeout_ms = request
        call = ConnectCall(
            req_id, number, address, address_type, psm, mtu, security, ref, evtchn, timeout_s(timeout_ms)
        )
        return self._make(Kind.CHANNEL, request, call)

    def _listen(self, request: ListenRequest) -> int:
        req_id, _, number, _, psm, mtu, _, transport, security = request
        return self._make(Kind.LISTENER, request, ListenCall(req_id, number, transport, psm, mtu, security))

    def _accept(self, request: AcceptRequest) -> int:
        listener = self._objects.get(request.listener)
        if listener is not None and listener.kind is Kind.LISTENER and listener.state is ObjectState.ENDED:
            return EACCES  # a listener never ends by itself, only by ``revoke``
        if listener is None or not listener.listens():
            return EINVAL
        if error := self._make(Kind.CHANNEL, request, listener):
            return error
        listener.accepts.append(request.id)
        self._match(listener)
        return 0

    def _scan(self, request: ScanRequest) -> int:
        req_id, _, number, flags, ref, evtchn, transport = request
        active = bool(flags & constants.L2CAPIF_SCAN_ACTIVE)
        duplicates = bool(flags & constants.L2CAPIF_SCAN_DUPLICATES)
        return self._make(Kind.SCAN, request, ScanCall(req_id, number, transport, active, duplicates, ref, evtchn))

    def _advertise(self, request: AdvertiseRequest) -> int:
        req_id, _, number, flags, interval_ms, data_length, data = request
        connectable = bool(flags & constants.L2CAPIF_ADVERTISE_CONNECTABLE)
        call = AdvertiseCall(req_id, number, data[:data_length], interval_ms or DEFAULT_INTERVAL_MS, connectable)
        return self._make(Kind.ADVERTISEMENT, request, call)

    def _echo(self, request: EchoRequest) -> int:
        req_id, _, number, _, address, _, length, timeout_ms, data = request
        return self._make(Kind.ECHO, request, EchoCall(req_id, number, address, data[:length], timeout_s(timeout_ms)))

    def _release(self, request: PlainRequest) -> int:
        found = self._objects.get(request.id)
        if found is None or found.state is ObjectState.RELEASING:
            return EINVAL
        if found.state is ObjectState.WAITING:  # no call was made for it
            assert found.listener is not None
            found.listener.accepts.remove(request.id)
            del self._objects[request.id]
            self._answer(failure(found.request, ENOTCONN))
            self._respond(PlainResponse(request.req_id, RELEASE, request.id, 0))
            return 0
        self._abandon(found, ENOTCONN)
        self._forget_offer(found)
        found.enter(ObjectState.RELEASING)
        self._in_flight[request.req_id] = request
        self._calls.append(ReleaseCall(request.req_id, request.id, found.kind))
        return 0

    _HANDLERS: ClassVar[dict[int, Callable[[Any, Any], int]]] = {
        INFO: _info,
        CONNECT: _connect,
        LISTEN: _listen,
        ACCEPT: _accept,
        RELEASE: _release,
        SCAN: _scan,
        ADVERTISE: _advertise,
        ECHO: _echo,
    }

    # Inside: parts of the handlers.

    def _make(self, kind: Kind, request: Request, by: Call | Object) -> int:
        """Makes an object. ``by``: the call that opens it, or the listener whose next peer it waits for."""
        if request.id in self._objects:
            return EEXIST
        if self._count(kind) >= getattr(self.limits, kind.plural):
            return EMFILE
        if isinstance(by, Object):
            self._objects[request.id] = Object(kind, ObjectState.WAITING, request, by)
        else:
            self._objects[request.id] = Object(kind, ObjectState.OPENING, request)
            self._calls.append(by)
        self._in_flight[request.req_id] = request
        return 0

    def _match(self, listener: Object) -> None:
        """Makes an AcceptCall for each pair of a waiting peer and a waiting ACCEPT, in the order in which they came."""
        while listener.offers and listener.accepts:
            offer, channel = listener.offers.popleft(), self._objects[listener.accepts.popleft()]
            channel.enter(ObjectState.OPENING)
            channel.offer = offer
            self._offers[offer] = channel
            accept, mtu = channel.request, listener.request.mtu
            self._calls.append(AcceptCall(accept.req_id, accept.id, offer, mtu, accept.ref, accept.evtchn))

    def _abandon(self, listener: Object, error: int) -> None:
        """Answers the ACCEPTs that wait at a listener, and refuses its peers. Other objects have neither."""
        while listener.accepts:
            self._answer(failure(self._objects.pop(listener.accepts.popleft()).request, error))
        while listener.offers:
            offer = listener.offers.popleft()
            del self._offers[offer]
            self._calls.append(RefuseCall(offer))

    def _forget_offer(self, channel: Object) -> None:
        if channel.offer is not None:
            del self._offers[channel.offer]
            channel.offer = None

    def _count(self, kind: Kind) -> int:
        return sum(found.kind is kind for found in self._objects.values())

    def _answerable(self, req_id: int, *commands: int) -> Request | None:
        """Returns the request in flight that the driver completes; None if it is to be passed over.

        That is so after ``close``, and if its object is being released. Raises LocalProtocolError as Backend says.
        """
        if self._closed:
            return None
        request = self._in_flight.get(req_id)
        if request is None or request.cmd not in commands:
            raise LocalProtocolError(f"request {req_id} is {request}, which is not answered so")
        if request.cmd in (INFO, RELEASE):
            return request
        state = self._objects[request.id].state
        if state is ObjectState.WAITING:
            raise LocalProtocolError(f"ACCEPT {req_id} waits for a peer")
        return request if state is ObjectState.OPENING else None

    def _answer(self, response: Response) -> None:
        """Answers a request in flight."""
        del self._in_flight[response.req_id]
        self._respond(response)

    def _respond(self, response: Response) -> None:
        self._counts["responses"] += 1
        self._counts["errors"] += response.ret != 0
        self._responses.append(pack(response))
