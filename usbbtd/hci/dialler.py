"""Outgoing connections of one transport: a controller makes one at a time, the others wait for their turn."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from usbbtd.hci.command_queue import Send
from usbbtd.hci.commands import Command
from usbbtd.hci.events import ConnectFailed

__all__ = ["Dialler", "Target"]

UNKNOWN_CONNECTION = 0x02
PAGE_TIMEOUT = 0x04
LIMITED_RESOURCES = 0x0D

MAX_WAITING = 64
#: After a cancel was answered, how long the event that ends the attempt may take; some controllers never send it.
CANCEL_GRACE_S = 1.0


class Target(NamedTuple):
    address: bytes
    address_type: int


class Dialler:
    """Every connect() is answered once: by the link (receive_connected) or by ConnectFailed.

    ``create`` and ``cancel`` make the commands; ``busy`` is told before the controller begins, and when there is nobody
    left to connect to; ``is_linked`` says whether a target still has a link. An attempt that takes longer than
    ``patience_s`` fails; where the controller would try for ever (``takes_turns``), it goes to the end of the queue
    when others wait.
    """

    def __init__(
        self,
        create: Callable[[Target], Command],
        cancel: Callable[[Target], Command],
        busy: Callable[[bool], None],
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
        self._is_linked = is_linked
        self._send = send
        self._emit = emit
        self._patience_s = patience_s
        self._takes_turns = takes_turns
        self._waiting: deque[Target] = deque()
        self._current: Target | None = None
        self._wanted = False  # somebody waits for the current attempt
        self._stopping = False  # the controller has been told to end it

    @property
    def current(self) -> Target | None:
        """Whom the controller is trying to reach."""
        return self._current

    def connect(self, target: Target, now: float) -> None:
        """Does nothing for a target that is already being connected."""
        if target == self._current:
            self._wanted = True
        elif target in self._waiting:
            pass
        elif len(self._waiting) >= MAX_WAITING:
            self._emit(ConnectFailed(*target, LIMITED_RESOURCES))
        else:
            self._waiting.append(target)
            self.dial(now)

    def cancel(self, target: Target) -> None:
        """Answers with ConnectFailed at once; a link that comes up all the same is nobody's."""
        if target in self._waiting:
            self._waiting.remove(target)
        elif target == self._current and self._wanted:
            self._wanted = False
            self._stop()
        else:
            return
        self._emit(ConnectFailed(*target, UNKNOWN_CONNECTION))

    def dial(self, now: float) -> None:
        """Begins the next attempt if there is none; a target that still has its old link is passed over."""
        if self._current is not None:
            return
        target = next((target for target in self._waiting if not self._is_linked(target)), None)
        self._busy(target is not None)
        if target is None:
            return
        self._waiting.remove(target)
        self._current = target
        self._wanted, self._stopping = True, False
        self.deadline = now + self._patience_s
        self._send(self._create(target), partial(self._created, target))

    def receive_connected(self, target: Target, now: float) -> None:
        """A link to the target is up, whoever began it."""
        if target in self._waiting:
            self._waiting.remove(target)
        if target == self._current:
            self._current = self.deadline = None
            self.dial(now)

    def receive_failed(self, status: int, now: float) -> None:
        """The controller ended the current attempt."""
        target = self._current
        if target is None:
            return
        self._current = self.deadline = None
        if self._wanted and self._stopping:  # only its turn was over, or it is wanted again
            self._waiting.append(target)
        elif self._wanted:
            self._emit(ConnectFailed(*target, status))
        self.dial(now)

    def handle_timeout(self, now: float) -> None:
        if self.deadline is None or now < self.deadline or self._current is None:
            return
        if self._stopping:
            self.receive_failed(UNKNOWN_CONNECTION, now)
        elif not self._takes_turns:
            self._wanted = False
            self._emit(ConnectFailed(*self._current, PAGE_TIMEOUT))
            self._stop()
        elif self._waiting:
            self._stop()
        else:
            self.deadline = now + self._patience_s

    def abandon(self, status: int) -> None:
        """Answers all: the controller is gone."""
        targets = [self._current] if self._current and self._wanted else []
        targets += self._waiting
        self._waiting.clear()
        self._current = self.deadline = None
        for target in targets:
            self._emit(ConnectFailed(*target, status))

    def _created(self, target: Target, status: int, _returned: bytes, now: float) -> None:
        if status and target == self._current:
            self.receive_failed(status, now)

    def _stop(self) -> None:
        if self._current is None or self._stopping:
            return
        self._stopping = True
        self.deadline = None
        self._send(self._cancel(self._current), self._cancelled)

    def _cancelled(self, _status: int, _returned: bytes, now: float) -> None:
        if self._stopping and self._current is not None:
            self.deadline = now + CANCEL_GRACE_S
