"""Brings the peers that come to a frontend's listeners and the ACCEPTs that wait there together."""

from collections.abc import Hashable
from errno import EACCES, EINVAL, ENOTCONN

from usbbtd.errors import LocalProtocolError
from usbbtd.l2capif.calls import AcceptCall, Call, Kind, RefuseCall
from usbbtd.l2capif.in_flight import RequestsInFlight
from usbbtd.l2capif.objects import Object, ObjectBook
from usbbtd.l2capif.requests import failure
from usbbtd.l2capif.states import ObjectState
from usbbtd.l2capif.wire import AcceptRequest


class Listeners:
    """Keeps the offers to all listeners of one frontend. ``calls``: where those to the driver are added."""

    def __init__(self, book: ObjectBook, in_flight: RequestsInFlight, calls: list[Call]) -> None:
        self._book = book
        self._in_flight = in_flight
        self._calls = calls
        self._offers: dict[Hashable, Object] = {}  # the listener at which one waits, or the channel that it becomes
        self.counts = {"offers": 0, "offers_refused": 0}

    # What the driver tells: see ``Backend``.

    def offer(self, number: int, offer: Hashable) -> bool:
        if offer in self._offers:
            raise LocalProtocolError(f"offer {offer} waits already")
        self.counts["offers"] += 1
        listener = self._book.get(number)
        if listener is None or not listener.listens() or listener.backlog_is_full(self._book.limits.backlog):
            self.counts["offers_refused"] += 1
            return False
        self._offers[offer] = listener
        listener.offers.append(offer)
        self._match(listener)
        return True

    def withdraw(self, offer: Hashable) -> None:
        holder = self._offers.pop(offer, None)
        if holder is None:
            return
        listener = holder.listener
        if listener is None:  # the holder is the listener
            holder.offers.remove(offer)
            return
        holder.offer = holder.server = None
        if not listener.listens():
            self._book.pop(holder.request.id)
            error = EACCES if listener.state is ObjectState.ENDED else ENOTCONN
            self._in_flight.answer(failure(holder.request, error))
            return
        holder.enter(ObjectState.WAITING)
        listener.accepts.appendleft(holder.request.id)
        self._match(listener)

    def waiting(self) -> list[Hashable]:
        """Returns the offers that no ACCEPT has taken yet."""
        return [offer for offer, holder in self._offers.items() if holder.listener is None]

    # What becomes of requests.

    def accept(self, request: AcceptRequest) -> int:
        """Takes an ACCEPT. Returns 0, or the error number."""
        listener = self._book.get(request.listener)
        if listener is not None and listener.kind is Kind.LISTENER and listener.state is ObjectState.ENDED:
            return EACCES  # a listener never ends by itself, only by ``revoke``
        if listener is None or not listener.listens():
            return EINVAL
        if error := self._book.add(Kind.CHANNEL, ObjectState.WAITING, request, listener):
            return error
        self._in_flight.expect(request)
        listener.accepts.append(request.id)
        self._match(listener)
        return 0

    def give_up(self, channel: Object) -> None:
        """Ends a channel whose ACCEPT waits for a peer; no call was made for it."""
        assert channel.listener is not None
        channel.listener.accepts.remove(channel.request.id)
        self._book.pop(channel.request.id)
        self._in_flight.answer(failure(channel.request, ENOTCONN))

    def abandon(self, listener: Object, error: int) -> None:
        """Answers the ACCEPTs that wait at a listener, and refuses its peers. Other objects have neither."""
        while listener.accepts:
            self._in_flight.answer(failure(self._book.pop(listener.accepts.popleft()).request, error))
        while listener.offers:
            offer = listener.offers.popleft()
            del self._offers[offer]
            self._calls.append(RefuseCall(offer))

    def forget(self, channel: Object) -> None:
        """Forgets the offer that a channel comes from, if it does."""
        if channel.offer is not None:
            del self._offers[channel.offer]
            channel.offer = None

    def clear(self) -> None:
        self._offers.clear()

    # Inside.

    def _match(self, listener: Object) -> None:
        """Makes an AcceptCall for each pair of a waiting peer and a waiting ACCEPT, in the order in which they came."""
        while listener.offers and listener.accepts:
            offer, channel = listener.offers.popleft(), self._book[listener.accepts.popleft()]
            channel.enter(ObjectState.OPENING)
            channel.offer = offer
            self._offers[offer] = channel
            accept, mtu = channel.request, listener.request.mtu
            self._calls.append(AcceptCall(accept.req_id, accept.id, offer, mtu, accept.ref, accept.evtchn))
