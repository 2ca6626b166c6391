"""Asks BR/EDR devices for their names, one after another (Vol 4, Part E, 7.1.19)."""

from collections.abc import Callable
from functools import partial

from usbbtd.bluetooth import ErrorCode
from usbbtd.hci.command_queue import Send
from usbbtd.hci.events import Event, NameFound
from usbbtd.hci.init import ControllerFacts
from usbbtd.hci.limits import CANCEL_GRACE_S, MAX_NAMES, NAME_S
from usbbtd.hci.states import NAMING, NamingInput, NamingState
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.events import RemoteNameRequestComplete
from usbbtd.transitions import next_state

__all__ = ["RemoteNames"]

_PAGE_SCAN_R2 = 2
_MAX_NAME = 248


class RemoteNames:
    """Answers every read() once by NameFound, unless it is cancelled.

    A request pages the device: it makes way for connections, which page, too, and is made anew after them. ``busy`` is
    called with True before the controller pages for either, and with False when it does not any more.
    """

    def __init__(self, send: Send, emit: Callable[[Event], None], busy: Callable[[bool], None]) -> None:
        self.deadline: float | None = None
        self._send = send
        self._emit = emit
        self._busy = busy
        self._controller: ControllerFacts | None = None
        self._waiting: dict[bytes, None] = {}  # the addresses, the oldest first
        self._state = NamingState.IDLE
        self._current: bytes | None = None  # None if it is idle
        self._wanted = False  # whether the name of the current one is still asked for
        self._again = False  # whether the current one is asked anew when it has ended
        self._paging = False  # whether a connection is being created
        self._requests = 0  # numbers the commands, so that an answer finds its own
        self.counters = {"names_stray": 0}

    def read(self, address: bytes, now: float) -> None:
        if self._controller is None:
            self._emit(NameFound(address, ErrorCode.HARDWARE_FAILURE, b""))
        elif not self._controller.supports_bredr:
            self._emit(NameFound(address, ErrorCode.UNSUPPORTED_FEATURE, b""))
        elif address == self._current and self._wanted:
            pass  # the answer is to both
        elif len(self._waiting) >= MAX_NAMES and address not in self._waiting:
            self._emit(NameFound(address, ErrorCode.LIMITED_RESOURCES, b""))
        else:
            self._waiting[address] = None
            self._begin_next(now)

    def cancel(self, address: bytes) -> None:
        """Gives a request up: no NameFound follows."""
        self._waiting.pop(address, None)
        if address == self._current:
            self._wanted = self._again = False
            self._stop()

    def set_paging(self, paging: bool, now: float) -> None:
        """Sets whether a connection is being created."""
        self._paging = paging
        if paging and self._state is NamingState.ASKING:
            self._again = self._wanted
            self._stop()
        self._begin_next(now)

    def receive_complete(self, event: RemoteNameRequestComplete, now: float) -> None:
        if event.address == self._current:
            late = event.status and self._state is NamingState.CANCELLING
            self._end(ErrorCode.PAGE_TIMEOUT if late else event.status, event.name, now)
        else:
            self.counters["names_stray"] += 1

    def handle_timeout(self, now: float) -> None:
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = None
        if self._state is NamingState.ASKING:
            self._stop()
        else:
            self._end(ErrorCode.PAGE_TIMEOUT, b"", now)

    def controller_up(self, controller: ControllerFacts) -> None:
        self._controller = controller

    def abandon(self, status: int) -> None:
        """Answers all requests with this status: the controller is gone."""
        asked = [self._current] if self._current is not None and self._wanted else []
        asked += self._waiting
        self._controller = self.deadline = None
        self._waiting.clear()
        self._paging = False
        self._forget()
        for address in asked:
            self._emit(NameFound(address, status, b""))

    # Inside

    def _step(self, event: NamingInput) -> None:
        """Changes the state as the transitions say. Raises LocalProtocolError if there is no such transition."""
        self._state = next_state("remote names", NAMING, self._state, event)

    def _begin_next(self, now: float) -> None:
        """Asks the next device, if nothing else pages."""
        if self._current is not None:
            return
        self._busy(self._paging or bool(self._waiting))
        if self._paging or not self._waiting:
            return
        self._current = address = next(iter(self._waiting))
        del self._waiting[address]
        self._wanted, self._again = True, False
        self._requests += 1
        self._step(NamingInput.ASK)
        self.deadline = now + NAME_S
        command = commands.RemoteNameRequest(address, _PAGE_SCAN_R2, 0, 0)
        self._send(command, partial(self._answered, self._requests))

    def _answered(self, request: int, status: int, _returned: bytes, now: float) -> None:
        if status and request == self._requests and self._current is not None:
            self._end(status, b"", now)

    def _stop(self) -> None:
        if self._current is not None and self._state is NamingState.ASKING:
            self._step(NamingInput.CANCEL)
            self.deadline = None
            self._send(commands.RemoteNameRequestCancel(self._current), partial(self._cancelled, self._requests))

    def _cancelled(self, request: int, _status: int, _returned: bytes, now: float) -> None:
        if request == self._requests and self._state is NamingState.CANCELLING:
            self.deadline = now + CANCEL_GRACE_S

    def _end(self, status: int, untrusted_name: bytes, now: float) -> None:
        """Tells the name, or why there is none, or asks again later; then begins with the next device."""
        address, wanted, again = self._current, self._wanted, self._again
        assert address is not None
        self._forget()
        if status and again:
            self._waiting = {address: None, **self._waiting}
        elif wanted:
            self._waiting.pop(address, None)
            name = b"" if status else untrusted_name[:_MAX_NAME].partition(b"\0")[0]
            self._emit(NameFound(address, status, name))
        self._begin_next(now)

    def _forget(self) -> None:
        if self._current is not None:
            self._step(NamingInput.END)
        self._current = self.deadline = None
        self._wanted = self._again = False
