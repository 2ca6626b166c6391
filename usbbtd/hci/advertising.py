"""Advertises on LE: any number of advertisements, with as many advertising sets as the controller has.

Where there are more advertisements than sets they take turns: when a turn is over, those that are on the air longest
leave it to those that wait longest.
"""

from collections.abc import Callable
from itertools import count

from usbbtd.bluetooth import ErrorCode
from usbbtd.hci.advertising_set import AdvertisingParameters, AdvertisingSet, why_not_advertised
from usbbtd.hci.command_queue import Send
from usbbtd.hci.events import AdvertisementAnswered, AdvertisingStopped, Event
from usbbtd.hci.init import ControllerFacts
from usbbtd.hci.limits import TURN_S
from usbbtd.hci.wire.events import LeAdvertisingSetTerminated

__all__ = ["Advertising"]

#: With these a controller says that it has no room for one advertisement more, and not that it dislikes this one.
_NO_ROOM = frozenset(
    (
        ErrorCode.MEMORY_CAPACITY_EXCEEDED,
        ErrorCode.CONNECTION_LIMIT_EXCEEDED,
        ErrorCode.COMMAND_DISALLOWED,
        ErrorCode.LIMITED_RESOURCES,
    )
)


class Advertising:
    """Shares out a controller's advertising sets among advertisements, which outlive a reset of the controller."""

    def __init__(self, random_address: bytes, send: Send, emit: Callable[[Event], None]) -> None:
        self._random_address = random_address
        self._send = send
        self._emit = emit
        self._controller: ControllerFacts | None = None  # None if it is not up or has no LE
        self._wanted: dict[int, AdvertisingParameters] = {}  # by the user's number
        self._waiting: list[int] = []  # those that are not on the air, the one that waits longest first
        self._sets: list[AdvertisingSet] = []
        self._turns = count(1)
        self.deadline: float | None = None  # when turns end; None while nobody waits for one
        self._turn_ends = 0.0
        self._sharing_out = False
        self._links = 0
        self.counters = {
            "advertising_turns": 0,  # how often an advertisement left the air to another
            "advertising_sets_lost": 0,  # which the controller claims to have, and has no room for
        }

    @property
    def is_connectable(self) -> bool:
        """Tells whether peers are to connect to us."""
        return any(parameters.connectable for parameters in self._wanted.values())

    # The user's wishes

    def start(self, number: int, parameters: AdvertisingParameters, now: float) -> None:
        """Starts an advertisement, or changes it. AdvertisingStopped follows if the controller cannot have it."""
        if self._controller is not None and why_not_advertised(parameters, self._controller.advertising_data):
            self.stop(number)
            self._emit(AdvertisingStopped(number, ErrorCode.UNSUPPORTED_FEATURE))
            return
        if number not in self._wanted:
            if not self._waiting:
                self._turn_ends = now + TURN_S
            self._waiting.append(number)
        self._wanted[number] = parameters
        self._share_out()

    def stop(self, number: int) -> None:
        """Ends an advertisement. Does nothing if there is none of this number."""
        self._forget(number)
        for one in self._sets:
            if one.number == number:
                one.release()
        self._share_out()

    # The controller's side

    def controller_up(self, controller: ControllerFacts) -> None:
        """Begins what is wanted on a controller that was just reset."""
        if not controller.supports_le:
            self.abandon(ErrorCode.UNSUPPORTED_FEATURE)
            return
        self.controller_down()
        self._controller = controller
        for number, parameters in list(self._wanted.items()):
            if why_not_advertised(parameters, controller.advertising_data):
                self._give_up(number, ErrorCode.UNSUPPORTED_FEATURE)
        for handle in range(controller.advertising_sets):
            one = AdvertisingSet(handle, self._random_address, self._send, self._refused, self._share_out)
            one.controller_up(controller)
            self._sets.append(one)
        self._share_out()

    def controller_down(self) -> None:
        self._controller = None
        for one in self._sets:
            one.controller_down()
        self._waiting = [one.number for one in self._by_age() if one.number is not None] + self._waiting
        self._sets = []
        self.deadline = None
        self._links = 0

    def abandon(self, status: int) -> None:
        """Ends all advertisements, each with an event: the controller is of no use."""
        self.controller_down()
        for number in list(self._wanted):
            self._give_up(number, status)

    def link_up(self, handle: int, role: int) -> None:
        """Takes the news of a link, which may be the answer to an advertisement."""
        self._links += 1
        if role and self._controller is not None and not self._controller.extended:
            self._end_with(handle, self._sets[0])  # else an event follows that says which set it was

    def link_down(self) -> None:
        self._links -= 1
        for one in self._sets:
            one.retry()

    def receive_terminated(self, event: LeAdvertisingSetTerminated, _now: float) -> None:
        """Takes the news that the controller has ended a set, and why."""
        for one in self._sets:
            if one.handle == event.advertising_handle:
                if not event.status:
                    self._end_with(event.handle, one)
                elif one.is_settled and one.number is not None:
                    self._give_up(one.number, event.status)
                    one.release()
                break
        self._share_out()

    def pause(self) -> None:
        """Has the controller end all sets until resume(): for commands that are not allowed meanwhile."""
        for one in self._sets:
            one.pause()

    def resume(self) -> None:
        for one in self._sets:
            one.resume()

    def set_initiating(self, initiating: bool) -> None:
        for one in self._sets:
            one.set_initiating(initiating)

    def make_way(self) -> None:
        for one in self._sets:
            one.make_way()

    def handle_timeout(self, now: float) -> None:
        """Ends turns that are over. A set whose turn has not begun for the controller, or which is paused, keeps it."""
        if self.deadline is None or now < self.deadline:
            return
        self._turn_ends = now + TURN_S
        leaving = [one for one in self._by_age() if one.number is not None and one.is_settled and not one.is_paused]
        for one in leaving[: len(self._waiting)]:
            assert one.number is not None  # see above
            self._waiting.append(one.number)
            one.number = None
            self.counters["advertising_turns"] += 1
        self._share_out()

    # Inside

    def _by_age(self) -> list[AdvertisingSet]:
        return sorted(self._sets, key=lambda one: one.since)

    def _share_out(self) -> None:
        """Gives sets that are free those that wait, and tells sets what has changed of theirs."""
        if self._sharing_out:
            return  # what a set that refuses at once leaves is seen by the loop below
        self._sharing_out = True
        while (one := self._next_change()) is not None:
            if one.number is None:
                one.since = next(self._turns)
                one.take(number := self._waiting.pop(0), self._wanted[number])
            else:
                one.take(one.number, self._wanted[one.number])
        self._sharing_out = False
        self.deadline = self._turn_ends if self._waiting and self._sets else None

    def _next_change(self) -> AdvertisingSet | None:
        for one in self._sets:
            if one.is_settled:  # until then, as it would not be the last that waits for a slow controller
                if one.number is None:
                    if self._waiting:
                        return one
                elif self._wanted[one.number] != one.parameters:
                    return one
        return None

    def _end_with(self, handle: int, one: AdvertisingSet) -> None:
        """Begins a set anew, which the controller has ended with a connection."""
        if one.answerable is not None:
            self._emit(AdvertisementAnswered(handle, one.answerable))
        one.begin_anew()

    def _refused(self, one: AdvertisingSet, status: int) -> None:
        number = one.number
        if number is None:
            return
        if status in _NO_ROOM and any(other.is_on for other in self._sets):
            self._sets.remove(one)
            self._waiting.insert(0, number)
            self.counters["advertising_sets_lost"] += 1
            self._share_out()
        elif not self._links:  # else it is tried again when a link ends: some controllers cannot do both
            self._give_up(number, status)
            one.release()
            self._share_out()

    def _give_up(self, number: int, status: int) -> None:
        self._forget(number)
        self._emit(AdvertisingStopped(number, status))

    def _forget(self, number: int) -> None:
        self._wanted.pop(number, None)
        if number in self._waiting:
            self._waiting.remove(number)
