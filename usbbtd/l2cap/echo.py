"""Our echo requests on one BR/EDR link: Vol 3, Part A, 4.8 and 4.9. The signalling channel of LE has none."""

from functools import partial

from usbbtd.bluetooth import BREDR
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import ECHO_REJECTED, LINK_LOST, NO_ANSWER, EchoFailed, EchoReceived, Event
from usbbtd.l2cap.signalling import Answer, Signalling
from usbbtd.l2cap.wire import L2capEchoRequest, L2capEchoResponse, SignallingCommand

#: The most octets of data in our echo requests: they fit into the smallest signalling MTU.
MAXIMUM_ECHO = 48 - 4


class Echoes:
    """Sends echo requests. Each has a number, which no other has as long as the link lives.

    A cancelled request keeps its identifier, and counts, until it is answered or has expired: otherwise its answer,
    with somebody's data, could be taken for that to another request.
    """

    def __init__(self, handle: int, transport: int, signalling: Signalling, events: list[Event]) -> None:
        self._handle = handle
        self._transport = transport
        self._signalling = signalling
        self._events = events
        self._in_flight: dict[int, bool] = {}  # by number: whether it was not cancelled
        self._last = 0

    def send(self, data: bytes, now: float) -> int:
        """Sends a request, and returns its number.

        Raises LocalProtocolError if there are more data than MAXIMUM_ECHO or too many requests in flight, and on LE.
        """
        count = len(self._in_flight)
        if self._transport != BREDR or len(data) > MAXIMUM_ECHO or count >= self._signalling.limits.echoes:
            raise LocalProtocolError(f"no echo of {len(data)} bytes with {count} in flight")
        number = self._last + 1
        answered, expired = partial(self._answered, number), partial(self._expired, number)
        self._signalling.send_request(L2capEchoRequest(data), self, now, answered, expired)
        self._in_flight[number] = True
        self._last = number
        return number

    def cancel(self, number: int) -> None:
        """Cancels a request: no event follows. Does nothing if it has ended."""
        if number in self._in_flight:
            self._in_flight[number] = False

    def lost(self) -> None:
        """Ends all requests of a link that is gone."""
        for number in tuple(self._in_flight):
            self._end(EchoFailed(self._handle, number, LINK_LOST))

    def _answered(self, number: int, response: SignallingCommand, _now: float) -> Answer:
        if isinstance(response, L2capEchoResponse):
            self._end(EchoReceived(self._handle, number, response.data))
        else:
            self._end(EchoFailed(self._handle, number, ECHO_REJECTED))
        return Answer.FINAL

    def _expired(self, number: int, _now: float) -> None:
        self._end(EchoFailed(self._handle, number, NO_ANSWER))

    def _end(self, event: EchoReceived | EchoFailed) -> None:
        if self._in_flight.pop(event.number):
            self._events.append(event)
