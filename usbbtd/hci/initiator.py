"""Outgoing connections of one transport: a controller creates one at a time, and the others wait for their turn."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from usbbtd.bluetooth import ADDRESS_LE_RANDOM, ErrorCode
from usbbtd.hci.command_queue import Send
from usbbtd.hci.events import ConnectFailed
from usbbtd.hci.limits import CANCEL_GRACE_S, CREATE_RETRY_S, CREATE_TRIES, MAX_ATTEMPTS
from usbbtd.hci.states import INITIATOR, InitiatorInput, InitiatorState
from usbbtd.hci.wire.commands import HciCommand
from usbbtd.transitions import next_state

__all__ = ["Initiator", "Target"]


_PASSING = (ErrorCode.CONNECTION_ALREADY_EXISTS, ErrorCode.COMMAND_DISALLOWED)


class Target(NamedTuple):
    """The peer to connect to."""

    address: bytes
    address_type: int


class Initiator:
    """Answers every connect() once, unless it is cancelled: by a link (receive_connected), or by ConnectFailed.

    ``create`` and ``cancel`` make the commands. ``busy`` is called with True before the controller begins, and with
    False when no target waits. ``make_way`` is called if the controller cannot connect beside its other activities.
    ``is_linked`` tells whether a target still has a link. ``takes_turns``: whether the controller itself would try for
    ever. Then an attempt that takes longer than ``patience_s`` goes to the end of the queue if others wait; otherwise
    it fails.
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
        self._state = InitiatorState.IDLE
        self._current: Target | None = None  # None if it is idle
        self._wanted: int | None = None  # the number of the current attempt; None if it was cancelled
        self._tries = 0  # how many commands were sent to create the current link
        self._last_command = 0  # numbers all commands to create a link, so that an answer finds its own
        self._unended = False  # whether the end of an attempt that was cancelled is still to come

    @property
    def current(self) -> Target | None:
        """Returns the target to which the controller tries to connect."""
        return self._current

    def wants(self, target: Target) -> bool:
        """Tells whether a link to the target is waited for."""
        return target in self._waiting or (target == self._current and self._wanted is not None)

    def connect(self, target: Target, attempt: int, now: float) -> int:
        """Begins or queues an attempt. Returns its number: ``attempt``, or that of an attempt that waits already."""
        if target == self._current:
            if self._wanted is None:
                self._wanted = attempt
            return self._wanted
        if target in self._waiting:
            return self._waiting[target]
        if len(self._waiting) >= MAX_ATTEMPTS:
            self._emit(ConnectFailed(*target, ErrorCode.LIMITED_RESOURCES, attempt))
        else:
            self._waiting[target] = attempt
            self.begin_next(now)
        return attempt

    def cancel(self, target: Target) -> None:
        """Gives an attempt up, or the peer was faster. No ConnectFailed follows, and perhaps a link all the same."""
        if self._waiting.pop(target, None) is None and target == self._current:
            self._wanted = None
            self._stop()

    def begin_next(self, now: float) -> None:
        """Begins the next attempt if none is under way. A target that still has its old link has to wait."""
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

    def receive_connected(self, target: Target, now: float, *, on_air: bytes | None = None) -> None:
        """Ends the attempt for a target to which the controller has made a link.

        ``on_air``: the private address by which it was reached, if the controller told the identity of the peer. A link
        that the peer itself has made does not end what the controller does: that is for ``cancel``.
        """
        reached = (target,) if on_air is None else (target, Target(on_air, ADDRESS_LE_RANDOM))
        for one in reached:
            self._waiting.pop(one, None)
        if self._current in reached:
            self._end(now)

    def receive_failed(self, status: int, now: float) -> None:
        """Ends the current attempt, or tries again, after the controller ended it or did not begin it."""
        target = self._current
        if target is None or self._state is InitiatorState.PAUSING:
            return
        if status == ErrorCode.UNKNOWN_CONNECTION and self._unended and self._state is InitiatorState.CREATING:
            self._unended = False  # only a cancelled attempt ends like this: the one before the current
            return
        if self._wanted is not None:
            if self._state is InitiatorState.CANCELLING:  # its turn was over, or it was cancelled and is wanted again
                self._waiting[target] = self._wanted
            elif status in _PASSING and self._tries < CREATE_TRIES:
                self._step(InitiatorInput.OBSTACLE)
                self.deadline = now + CREATE_RETRY_S
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
        if self._state is InitiatorState.PAUSING:
            if self._wanted is None:
                self._end(now)
            else:
                self._try(target, now)
        elif self._state is InitiatorState.CANCELLING:
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
        """Answers all attempts with this status: the controller is gone."""
        attempts = dict(self._waiting)
        if self._current is not None and self._wanted is not None:
            attempts = {self._current: self._wanted} | attempts
        self._waiting.clear()
        self._forget()
        self._unended = False
        for target, attempt in attempts.items():
            self._emit(ConnectFailed(*target, status, attempt))

    def _step(self, event: InitiatorInput) -> None:
        """Changes the state as the transitions say. Raises LocalProtocolError if there is no such transition."""
        self._state = next_state("initiator", INITIATOR, self._state, event)

    def _try(self, target: Target, now: float) -> None:
        self._step(InitiatorInput.CREATE)
        self._tries += 1
        self.deadline = now + self._patience_s
        self._last_command += 1
        self._send(self._create(target), partial(self._created, self._last_command))

    def _created(self, command: int, status: int, _returned: bytes, now: float) -> None:
        if status and command == self._last_command:
            self.receive_failed(status, now)

    def _end(self, now: float) -> None:
        """Forgets the current attempt and begins the next."""
        self._forget()
        self.begin_next(now)

    def _forget(self) -> None:
        if self._current is not None:
            self._step(InitiatorInput.END)
        self._current = self.deadline = None

    def _stop(self) -> None:
        if self._current is None or self._state is not InitiatorState.CREATING:
            return
        self._step(InitiatorInput.CANCEL)
        self.deadline = None
        self._send(self._cancel(self._current), self._cancelled)

    def _cancelled(self, _status: int, _returned: bytes, now: float) -> None:
        if self._state is InitiatorState.CANCELLING:
            self.deadline = now + CANCEL_GRACE_S
