"""Finds BR/EDR devices that want to be found (Vol 3, Part C, 6.1)."""

from collections.abc import Callable
from typing import NamedTuple

from usbbtd.bluetooth import ErrorCode
from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.activity import Activity
from usbbtd.hci.command_queue import Send
from usbbtd.hci.events import DeviceFound, Event, InquiryEnded
from usbbtd.hci.init import ControllerFacts
from usbbtd.hci.limits import INQUIRY_GRACE_S, INQUIRY_PAUSE_S, INQUIRY_TRIES, MAX_FOUND
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.commands import HciCommand
from usbbtd.hci.wire.events import ExtendedInquiryResult, InquiryComplete, InquiryResult, InquiryResultWithRssi
from usbbtd.hci.wire.inquiry import inquiry_responses

__all__ = ["Inquiring"]

#: The general inquiry access code: 0x9E8B33 (Assigned Numbers, 2.4).
_GENERAL = bytes.fromhex("338b9e")
_LENGTH, _UNIT_S = 8, 1.28  # 10.24 s, in which all that can be found is found
_ANY_NUMBER = 0


class InquiryParameters(NamedTuple):
    duplicates: bool


class Inquiring(Activity[InquiryParameters]):
    """Inquires round after round, with a pause for links in between, until it is stopped.

    A device is told once a round, and again if a response has other data, which some send first without.
    """

    def __init__(self, send: Send, emit: Callable[[Event], None]) -> None:
        super().__init__(send)
        self._emit = emit
        self.deadline: float | None = None  # when the next round begins, whether or not the last was told to end
        self._now = 0.0
        self._obstacles = 0  # how often in a row the controller was not ready for it
        self._found: dict[bytes, tuple[int, bytes]] = {}  # in this round: (class, data) by address, the oldest first
        self.counters = {"inquiry_results_malformed": 0, "inquiry_events_stray": 0}

    def start(self, *, duplicates: bool) -> None:
        self._obstacles = 0
        self._want(InquiryParameters(duplicates))

    def receive_result(self, event: InquiryResult | InquiryResultWithRssi | ExtendedInquiryResult, _now: float) -> None:
        if self._wanted is None:
            return
        try:
            responses = inquiry_responses(event)
        except RemoteProtocolError:
            self.counters["inquiry_results_malformed"] += 1
            return
        for response in responses:
            if self._is_new(response.address, response.class_of_device, response.data) or self._wanted.duplicates:
                self._emit(DeviceFound(*response))

    def receive_complete(self, event: InquiryComplete, now: float) -> None:
        """Ends a round, and begins the next after a pause."""
        self._now = now
        if not self._is_on:
            self.counters["inquiry_events_stray"] += 1
            return
        self._is_on = False
        if event.status:
            self._refused(event.status)
        else:
            self._obstacles = 0
            self.deadline = now + INQUIRY_PAUSE_S

    def handle_timeout(self, now: float) -> None:
        if self.deadline is not None and self.deadline <= now:
            self._apply()

    def _is_new(self, address: bytes, class_of_device: int, data: bytes) -> bool:
        before = self._found.get(address)
        if before is not None and (before == (class_of_device, data) or not data):
            return False
        if before is None and len(self._found) >= MAX_FOUND:
            del self._found[next(iter(self._found))]
        self._found[address] = class_of_device, data
        return True

    def _is_supported(self, controller: ControllerFacts) -> bool:
        return controller.supports_bredr

    def _may_go_on_beside(self, controller: ControllerFacts) -> bool:
        return False  # it takes the whole time of the radio, and many controllers refuse to page meanwhile

    def _commands_to_begin(self, controller: ControllerFacts, wanted: InquiryParameters) -> list[HciCommand]:
        self._found.clear()
        return [commands.Inquiry(_GENERAL, _LENGTH, _ANY_NUMBER)]

    def _commands_to_end(self, controller: ControllerFacts) -> list[HciCommand]:
        return [commands.InquiryCancel()]

    def _given_up(self, status: int) -> None:
        self._emit(InquiryEnded(status))

    def _apply(self) -> None:
        self.deadline = None
        super()._apply()

    def _answered(self, beginning: int, status: int, returned: bytes, now: float) -> None:
        self._now = now
        if not status and beginning == self._beginnings and self._is_on:
            self.deadline = now + _LENGTH * _UNIT_S + INQUIRY_GRACE_S
        super()._answered(beginning, status, returned, now)

    def _refused(self, status: int) -> None:
        """Tries again after a pause, if the controller was only busy."""
        self._obstacles += 1
        if status == ErrorCode.COMMAND_DISALLOWED and self._obstacles < INQUIRY_TRIES:
            self.deadline = self._now + INQUIRY_PAUSE_S
        else:
            self.deadline = None
            self._give_up(status)
