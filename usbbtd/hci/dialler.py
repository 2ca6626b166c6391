"""Outgoing connections of one transport: a controller makes one at a time, the others wait for their turn."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from usbbtd.bluetooth import ErrorCode
from usbbtd.hci.command_queue import Send
from usbbtd.hci.commands import HciCommand
from usbbtd.hci.events import ConnectFailed

__all__ = ["Dialler", "Target"]


MAX_WAITING = 64
#: After a cancel was answered, how long the event that ends the attempt may take; some controllers never send it.
CANCEL_GRACE_S = 1.0
#: What stands in the way will be over: the peer connects to us at the same moment, or an earlier attempt is ending. In
#: this time the peer's link comes up; without one, the controller is told again.
RETRY_S = 1.0
MAX_TRIES = 3
_PASSING = (ErrorCode.CONNECTION_ALREADY_EXISTS, ErrorCode.COMMAND_DISALLOWED)


class Target(NamedTuple):
    address: bytes
    address_type: int


class Dialler:
    """Every connect() is answered once: by a link (receive_connected), or by ConnectFailed with its number. One that is
    cancelled has no answer.

    ``create`` and ``cancel`` make the commands; ``busy`` is told before the controller begins, and when there is nobody
    left to connect to; ``make_way`` is called when the controller cannot begin beside what else it does; ``is_linked``
    says whether a target still has a link. An attempt that takes longer than ``patience_s`` fails; where the controller
    would try for ever (``takes_turns``), it goes to the end of the queue when others wait.
    """

    def __init__(
        self,
        create: Callable[[Target], HciCommand],
        cancel: Callable[[Target], HciCommand],
        busy: Callable[[bool], None],
        make_way: Callable[[], None],
        is_linked: Callable[[Target], bool],
        send: Send,
        emit: Callable[[ConnectFailed], None],
        *,
        patience_s: float,
        takes_turns: bool,
    ) -> None:
        self.deadline: float | None = None
        self._create = create
        self._cancel = cancel
        self._busy = busy
        self._make_way = make_way
        self._is_linked = is_linked
        self._send = send
        self._emit = emit
        self._patience_s = patience_s
        self._takes_turns = takes_turns
        self._waiting: dict[Target, int] = {}  # the number of the attempt by target, the oldest first
        self._current: Target | None = None
        self._wanted: int | None = None  # the number of the current attempt; None: nobody waits for it any more
        self._tries = 0  # commands to create the current link
        self._last_command = 0  # all commands to create a link are numbered, so that an answer finds its own
        self._stopping = False  # the controller has been told to end it
        self._pausing = False  # the controller does nothing until the next try
        self._unended = False  # the end of an attempt that was cancelled has not been seen

    @property
    def current(self) -> Target | None:
        """Whom the controller is trying to reach."""
        return self._current

    def wants(self, target: Target) -> bool:
        """Says whether somebody waits for a link to the target."""
        return target in self._waiting or (target == self._current and self._wanted is not None)

    def connect(self, target: Target, attempt: int, now: float) -> int:
        """Returns the number that a failure will have: ``attempt``, or that of an attempt that stands already."""
        if target == self._current:
            if self._wanted is None:
                self._wanted = attempt
            return self._wanted
        if target in self._waiting:
            return self._waiting[target]
        if len(self._waiting) >= MAX_WAITING:
            self._emit(ConnectFailed(*target, ErrorCode.LIMITED_RESOURCES, attempt))
        else:
            self._waiting[target] = attempt
            self.dial(now)
        return attempt

    def cancel(self, target: Target) -> None:
        """Gives the attempt up. A link that comes up all the same is nobody's."""
        if self._waiting.pop(target, None) is None and target == self._current:
            self._wanted = None
            self._stop()

    def dial(self, now: float) -> None:
        """Begins the next attempt if there is none; a target that still has its old link is passed over."""
        if self._current is not None:
            return
        target = next((target for target in self._waiting if not self._is_linked(target)), None)
        self._busy(target is not None)
        if target is None:
            return
        self._wanted = self._waiting.pop(target)
        self._current = target
        self._tries = 0
        self._try(target, now)

    def receive_connected(self, target: Target, now: float) -> None:
        """A link to the target is up, whoever began it."""
        self._waiting.pop(target, None)
        if target == self._current:
            self._end(now)

    def receive_failed(self, status: int, now: float) -> None:
        """The controller ended the current attempt, or did not begin it."""
        target = self._current
        if target is None or self._pausing:
            return
        if status == ErrorCode.UNKNOWN_CONNECTION and self._unended and not self._stopping:
            self._unended = False  # only what was cancelled ends like this: it was an attempt before this one
            return
        if self._wanted is not None:
            if self._stopping:  # only its turn was over, or it is wanted again
                self._waiting[target] = self._wanted
            elif status in _PASSING and self._tries < MAX_TRIES:
                self._pausing = True
                self.deadline = now + RETRY_S
                if status == ErrorCode.COMMAND_DISALLOWED:
                    self._make_way()
                return
            else:
                self._emit(ConnectFailed(*target, status, self._wanted))
        self._end(now)

    def handle_timeout(self, now: float) -> None:
        target = self._current
        if self.deadline is None or now < self.deadline or target is None:
            return
        if self._pausing:
            if self._wanted is None:
                self._end(now)
            else:
                self._try(target, now)
        elif self._stopping:
            self.receive_failed(ErrorCode.UNKNOWN_CONNECTION, now)
            self._unended = True
        elif not self._takes_turns:
            if self._wanted is not None:
                self._emit(ConnectFailed(*target, ErrorCode.PAGE_TIMEOUT, self._wanted))
                self._wanted = None
            self._stop()
        elif self._waiting:
            self._stop()
        else:
            self.deadline = now + self._patience_s

    def abandon(self, status: int) -> None:
        """Answers all: the controller is gone."""
        attempts = dict(self._waiting)
        if self._current is not None and self._wanted is not None:
            attempts = {self._current: self._wanted} | attempts
        self._waiting.clear()
        self._current = self.deadline = None
        self._unended = False
        for target, attempt in attempts.items():
            self._emit(ConnectFailed(*target, status, attempt))

    def _try(self, target: Target, now: float) -> None:
        self._tries += 1
        self._stopping = self._pausing = False
        self.deadline = now + self._patience_s
        self._last_command += 1
        self._send(self._create(target), partial(self._created, self._last_command))

    def _created(self, command: int, status: int, _returned: bytes, now: float) -> None:
        if status and command == self._last_command:
            self.receive_failed(status, now)

    def _end(self, now: float) -> None:
        """The controller is free for the next."""
        self._current = self.deadline = None
        self.dial(now)

    def _stop(self) -> None:
        if self._current is None or self._stopping or self._pausing:
            return
        self._stopping = True
        self.deadline = None
        self._send(self._cancel(self._current), self._cancelled)

    def _cancelled(self, _status: int, _returned: bytes, now: float) -> None:
        if self._stopping and self._current is not None:
            self.deadline = now + CANCEL_GRACE_S
