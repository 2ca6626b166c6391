"""The INFOs of a vl2cap frontend, which may wait until what they are answered with has changed."""

from usbbtd.l2capif.calls import Call, InfoCall
from usbbtd.l2capif.in_flight import RequestsInFlight
from usbbtd.l2capif.wire import InfoRequest


class InfoRequests:
    """Counts the generations of the facts that INFO answers. ``calls``: where those to the driver are added."""

    def __init__(self, in_flight: RequestsInFlight, calls: list[Call]) -> None:
        self.generation = 1
        self._in_flight = in_flight
        self._calls = calls
        self._waiting: list[int] = []  # the req_ids of those that wait for the next generation

    def receive(self, request: InfoRequest) -> None:
        """Takes an INFO, which waits if it asks to and its generation is still the current one."""
        self._in_flight.expect(request)
        if request.flags and request.generation == self.generation:
            self._waiting.append(request.req_id)
        else:
            self._calls.append(InfoCall(request.req_id))

    def change(self) -> None:
        """Begins the next generation, and has those answered that wait for it."""
        self.generation = self.generation % 0xFFFF_FFFF + 1  # 0 is no generation
        waiting, self._waiting = self._waiting, []
        self._calls += map(InfoCall, waiting)

    def clear(self) -> None:
        """Forgets those that wait."""
        self._waiting.clear()
