"""The backend of a vl2cap device: checks every request of one frontend and answers it exactly once. Sans-IO.

Its driver moves requests from the command ring to ``receive_requests``, and ``take_responses`` to the ring. It performs
the calls of ``take_calls``, and tells their results by the ``complete`` methods and ``fail``. The ``req_id`` of its
request names a call: a frontend can have only one request with a number in flight.
"""

from collections.abc import Callable, Hashable
from errno import EACCES, EINVAL, EMFILE, ENODEV, ENOTCONN
from typing import Any, ClassVar

from usbbtd.abi.layout import constants
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2capif.calls import MAKERS, Call, Kind, ReleaseCall
from usbbtd.l2capif.in_flight import RequestsInFlight
from usbbtd.l2capif.info import InfoRequests
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.listeners import Listeners
from usbbtd.l2capif.objects import ObjectBook, ObjectInfo
from usbbtd.l2capif.requests import (
    ACCEPT,
    ADVERTISE,
    AGENT,
    CONNECT,
    ECHO,
    INFO,
    LISTEN,
    PAIR,
    RELEASE,
    SCAN,
    failure,
    parse_request,
)
from usbbtd.l2capif.states import ObjectState
from usbbtd.l2capif.wire import (
    REQUEST_SIZE,
    AcceptRequest,
    ChannelResponse,
    EchoResponse,
    InfoRequest,
    InfoResponse,
    PairResponse,
    PlainRequest,
    PlainResponse,
    Request,
    unpack,
)


class Backend:
    """The backend of one frontend.

    Raises LocalProtocolError if the driver completes a request that is not in flight, or of another command.
    """

    def __init__(self, limits: FrontendLimits) -> None:
        self._book = ObjectBook(limits)
        self._in_flight = RequestsInFlight()
        self._calls: list[Call] = []
        self._listeners = Listeners(self._book, self._in_flight, self._calls)
        self._infos = InfoRequests(self._in_flight, self._calls)
        self._closed = False

    @property
    def limits(self) -> FrontendLimits:
        """Returns the limits of the frontend. They can be replaced, for requests from then on."""
        return self._book.limits

    @limits.setter
    def limits(self, limits: FrontendLimits) -> None:
        self._book.limits = limits

    def receive_requests(self, requests: list[bytes]) -> None:
        """Takes requests in ring order, each a copy that the frontend cannot change.

        Raises RemoteProtocolError if one is not REQUEST_SIZE octets long, which a ring cannot carry.
        """
        for untrusted in requests:
            if len(untrusted) != REQUEST_SIZE:
                raise RemoteProtocolError(f"a request of {len(untrusted)} octets")
            self._in_flight.counts["requests"] += 1
            if error := self._receive_request(untrusted):
                self._in_flight.respond(failure(unpack(PlainRequest, untrusted), error))

    def take_calls(self) -> list[Call]:
        """Hands over the calls that the adapter has to perform, in order."""
        calls = self._calls.copy()
        self._calls.clear()  # in place: the listeners add to it too
        return calls

    def take_responses(self) -> list[bytes]:
        """Hands over the responses for the ring, in order."""
        return self._in_flight.take()

    # What serves the objects.

    def serve(self, number: int, server: Any) -> None:
        """Keeps the driver's ``server`` with an object that a call is about, for as long as the object has its id.

        It is forgotten when ``withdraw`` makes the object wait again.
        """
        self._book[number].server = server

    def server(self, number: int) -> Any:
        """Returns what the driver serves an object with, None if it does not yet."""
        return self._book[number].server

    # The results of calls.

    def complete(self, req_id: int) -> None:
        """Answers a LISTEN, SCAN, ADVERTISE, AGENT or RELEASE that is done.

        Before a RELEASE, the request that made the object is answered with -ENOTCONN, if it is still in flight.
        """
        request = self._answerable(req_id, LISTEN, SCAN, ADVERTISE, AGENT, RELEASE)
        if request is None:
            return
        if request.cmd == RELEASE:
            made_by: Request = self._book.pop(request.id).request
            if self._in_flight.is_expected(made_by):
                self._in_flight.answer(failure(made_by, ENOTCONN))
        else:
            self._book[request.id].enter(ObjectState.OPEN)
        self._in_flight.answer(PlainResponse(req_id, request.cmd, request.id, 0))

    def complete_info(
        self, req_id: int, address: bytes, address_type: int, *, powered: bool, features: int,
        le_address: bytes = bytes(6), le_address_type: int = 0,
    ) -> None:  # fmt: skip
        """Answers an InfoCall. ``features``: L2CAPIF_FEATURE_* bits. ``le_address``: zeros if there is none."""
        if self._answerable(req_id, INFO) is not None:
            channels = self.limits.channels, self._book.count(Kind.CHANNEL)
            facts = (address, address_type, powered, features, *channels, self.limits.max_mtu)
            le_facts = le_address, self._infos.generation, le_address_type
            self._in_flight.answer(InfoResponse(req_id, INFO, 0, 0, *facts, *le_facts))

    def change_info(self) -> None:
        """Answers the INFOs that wait for a change: a fact of INFO, other than the channels in use, has changed."""
        self._infos.change()

    def complete_channel(
        self, req_id: int, address: bytes, address_type: int, psm: int, tx_mtu: int, rx_mtu: int, security: int = 0
    ) -> None:
        """Answers a CONNECT or an ACCEPT whose channel is open. ``security``: the level that the link has.

        Does nothing after a ReleaseCall for the channel, whose completion answers both.
        """
        request = self._answerable(req_id, CONNECT, ACCEPT)
        if request is not None:
            opened = self._book[request.id]
            opened.enter(ObjectState.OPEN)
            self._listeners.forget(opened)
            facts = (address, address_type, security, psm, tx_mtu, rx_mtu)
            self._in_flight.answer(ChannelResponse(req_id, request.cmd, request.id, 0, *facts))

    def complete_echo(self, req_id: int, data: bytes) -> None:
        """Answers an ECHO with the peer's ``data``, as much of it as a response holds."""
        request = self._answerable(req_id, ECHO)
        if request is not None:
            self._book.pop(request.id)
            first = data[: constants.L2CAPIF_ECHO_DATA_SIZE]
            self._in_flight.answer(EchoResponse(req_id, ECHO, request.id, 0, len(data), 0, first))

    def complete_pairing(self, req_id: int, security: int, key_size: int, *, bonded: bool) -> None:
        """Answers a PAIR with what the link has now: its level, the octets of its key, and whether that is kept."""
        request = self._answerable(req_id, PAIR)
        if request is not None:
            self._book.pop(request.id)
            self._in_flight.answer(PairResponse(req_id, PAIR, request.id, 0, security, key_size, bonded))

    def fail(self, req_id: int, error: int, *, result: int = 0, status: int = 0, why: int = 0, needed: int = 0) -> None:
        """Answers a call, other than a ReleaseCall, that did not succeed. ``error``: positive.

        ``result``: that of the peer's response. ``status``: that of HCI. ``why`` a link did not reach the level that is
        ``needed``: L2CAPIF_WHY_*. Does nothing after a ReleaseCall for the object, as ``complete_channel``.
        """
        request = self._answerable(req_id, INFO, CONNECT, LISTEN, ACCEPT, SCAN, ADVERTISE, AGENT, ECHO, PAIR)
        if request is not None:
            if request.cmd != INFO:
                self._listeners.forget(self._book.pop(request.id))
            self._in_flight.answer(failure(request, error, result, status, why, needed))

    # Peers that come to listeners.

    def offer(self, listener: int, offer: Hashable) -> bool:
        """Offers a listener a channel that a peer wants. ``offer``: the driver's own, which stands for it.

        Returns False if there is no such listener or its backlog is full: the driver refuses the peer. Otherwise an
        AcceptCall or a RefuseCall with this offer follows, at once or later, unless ``withdraw`` comes first.
        """
        return self._listeners.offer(listener, offer)

    def withdraw(self, offer: Hashable) -> None:
        """Withdraws an offer whose peer has gone. If an ACCEPT was being completed with it, that waits for the next.

        The driver has unmapped the ring of that ACCEPT before. Does nothing if the offer is not known: it may have been
        refused meanwhile.
        """
        self._listeners.withdraw(offer)

    def offers(self) -> list[Any]:
        """Returns the offers for which there is no AcceptCall yet."""
        return self._listeners.waiting()

    # Objects that end.

    def end_object(self, number: int) -> None:
        """Notes that a channel, scan or agent has ended by itself. Its data ring says why.

        It keeps its id until its RELEASE. Does nothing if there is no such object, or it is being released: the end and
        the RELEASE may cross.
        """
        found = self._book.get(number)
        if found is not None and found.state not in (ObjectState.ENDED, ObjectState.RELEASING):
            found.enter(ObjectState.ENDED)

    def revoke(self, number: int) -> None:
        """Ends an object that the policy does not allow any more. The driver ends its own part by itself.

        Requests that wait for it are answered with -EACCES, and peers that wait for it are refused. An object that was
        open keeps its id until its RELEASE. Does nothing if there is no such object, or it has ended.
        """
        found = self._book.get(number)
        if found is None:
            return
        if found.state is ObjectState.OPENING:
            self._book.pop(number)
            self._listeners.forget(found)
            self._in_flight.answer(failure(found.request, EACCES))
        elif found.state is ObjectState.OPEN:
            self._listeners.abandon(found, EACCES)
            found.enter(ObjectState.ENDED)

    # The device as a whole.

    def close(self) -> None:
        """Closes the device: answers all requests in flight, and all that still come, with -ENODEV. Idempotent.

        The driver ends all objects by itself, and need not complete the calls that it took.
        """
        self._closed = True
        self._calls.clear()
        self._infos.clear()
        self._book.clear()
        self._listeners.clear()
        for request in tuple(self._in_flight.by_req_id.values()):
            self._in_flight.answer(failure(request, ENODEV))

    def objects(self) -> list[ObjectInfo]:
        """Returns all objects that have an id."""
        return self._book.info()

    def statistics(self) -> dict[str, int]:
        objects = {kind.plural: self._book.count(kind) for kind in Kind}
        return self._in_flight.counts | self._listeners.counts | objects | {"in_flight": len(self._in_flight.by_req_id)}

    # Inside: the requests. Handlers return 0, or the error number to answer with.

    def _receive_request(self, untrusted: bytes) -> int:
        if self._closed:
            return ENODEV
        request = parse_request(untrusted, self._in_flight.by_req_id, self.limits)
        if isinstance(request, int):
            return request
        if request.cmd != RELEASE and self._in_flight.limited >= self.limits.requests:
            return EMFILE
        return self._HANDLERS[request.cmd](self, request)

    def _info(self, request: InfoRequest) -> int:
        self._infos.receive(request)
        return 0

    def _make(self, request: Any) -> int:
        kind, make_call = MAKERS[request.cmd]
        if error := self._book.add(kind, ObjectState.OPENING, request):
            return error
        self._in_flight.expect(request)
        self._calls.append(make_call(request))
        return 0

    def _accept(self, request: AcceptRequest) -> int:
        return self._listeners.accept(request)

    def _release(self, request: PlainRequest) -> int:
        found = self._book.get(request.id)
        if found is None or found.state is ObjectState.RELEASING:
            return EINVAL
        if found.state is ObjectState.WAITING:  # no call was made for it
            self._listeners.give_up(found)
            self._in_flight.respond(PlainResponse(request.req_id, RELEASE, request.id, 0))
            return 0
        self._listeners.abandon(found, ENOTCONN)
        self._listeners.forget(found)
        found.enter(ObjectState.RELEASING)
        self._in_flight.expect(request)
        self._calls.append(ReleaseCall(request.req_id, request.id, found.kind))
        return 0

    _HANDLERS: ClassVar[dict[int, Callable[[Any, Any], int]]] = {
        INFO: _info,
        CONNECT: _make,
        LISTEN: _make,
        ACCEPT: _accept,
        RELEASE: _release,
        SCAN: _make,
        ADVERTISE: _make,
        AGENT: _make,
        ECHO: _make,
        PAIR: _make,
    }

    # Inside: parts of the above.

    def _answerable(self, req_id: int, *commands: int) -> Request | None:
        """Returns the request in flight that the driver completes; None if it is to be passed over.

        That is so after ``close``, and if its object is being released. Raises LocalProtocolError as Backend says.
        """
        if self._closed:
            return None
        request = self._in_flight.find(req_id, commands)
        if request.cmd in (INFO, RELEASE):
            return request
        state = self._book[request.id].state
        if state is ObjectState.WAITING:
            raise LocalProtocolError(f"ACCEPT {req_id} waits for a peer")
        return request if state is ObjectState.OPENING else None
