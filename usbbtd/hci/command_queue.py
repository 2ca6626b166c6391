"""Sends commands to the controller, one at a time (Vol 4, Part E, 4.4), and notices if it is silent."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from usbbtd.bluetooth import ErrorCode
from usbbtd.hci.limits import MAX_COMMANDS
from usbbtd.hci.losses import FUNCTIONS, LOSSES, Cost
from usbbtd.hci.wire.commands import HciCommand

__all__ = ["CommandQueue", "Done", "Send"]

#: Called once with (status, return parameters after the status, now).
Done = Callable[[int, bytes, float], None]


class Send(Protocol):
    """The type of ``CommandQueue.send``, which the parts of a host get."""

    def __call__(self, command: HciCommand, done: Done = ..., /) -> None: ...


def _ignore(status: int, returned: bytes, now: float) -> None:
    pass


class CommandQueue:
    """Has one command under way at most, whatever credits the controller gives: some controllers miscount them."""

    def __init__(self, timeout_s: float) -> None:
        self.now = 0.0  # the time, as the owner has set it last
        self.deadline: float | None = None
        self._timeout_s = timeout_s
        self._waiting: deque[tuple[HciCommand, Done]] = deque()
        self._pending: tuple[HciCommand, Done] | None = None
        self._may_send = True
        self._counted_exactly = False
        self.given_up: dict[
            int, type[HciCommand]
        ] = {}  # by opcode: commands that met silence are not sent again, but answered here as unknown
        self._silent: set[int] = set()  # opcodes that met silence, and had no answer since
        self._were_silent: set[int] = set()  # opcodes that ever met silence
        self.counters = {"commands_sent": 0, "commands_dropped": 0, "answers_stray": 0}

    def send(self, command: HciCommand, done: Done = _ignore) -> None:
        """Queues a command. If it cannot be sent, ``done`` gets the status at once."""
        if command.CODE in self.given_up:
            done(ErrorCode.UNKNOWN_COMMAND, b"", self.now)
        elif len(self._waiting) >= MAX_COMMANDS:
            self.counters["commands_dropped"] += 1
            done(ErrorCode.MEMORY_CAPACITY_EXCEEDED, b"", self.now)
        else:
            self._waiting.append((command, done))

    def take(self) -> list[bytes]:
        """Hands over the command that may go to the controller now, if there is one."""
        packets = []
        if self._waiting and self._may_send and not self._pending:
            self._may_send = False
            self._pending = self._waiting.popleft()
            self.counters["commands_sent"] += 1
            packets.append(self._pending[0].pack())
        if self.deadline is None and (self._pending or self._waiting):
            # take() does not know the time, and ``now`` may be long past: so such a deadline is followed by another.
            self.deadline = self.now + self._timeout_s
            self._counted_exactly = False
        return packets

    def receive_answer(self, opcode: int, command_credits: int, status: int, returned: bytes) -> None:
        """Takes a Command_Complete or Command_Status. One with opcode 0 answers no command and only has credits."""
        pending = self._pending
        if pending and opcode == pending[0].CODE:
            self._pending = None
            self._may_send = command_credits > 0
            self.deadline = None
            self._silent.discard(opcode)
            pending[1](status, returned, self.now)
            return
        if opcode:
            self.counters["answers_stray"] += 1
        if command_credits and not pending:
            self._may_send = True
            self.deadline = None

    def is_pending(self, opcode: int) -> bool:
        return self._pending is not None and opcode == self._pending[0].CODE

    def send_again(self) -> None:
        """Has the pending command, which the controller has lost, sent again. Its deadline stays the same."""
        if self._pending is not None:
            self._waiting.appendleft(self._pending)
            self._pending = None
        self._may_send = True

    def expired(self) -> tuple[str, bool] | None:
        """Returns (complaint about a controller that was silent for too long, whether it is bounded), or None.

        It is bounded if the same silence cannot come again and again: the command is not sent again, or has met silence
        for the first time.
        """
        if self.deadline is None or self.now < self.deadline:
            return None
        if not self._counted_exactly:
            self.deadline = self.now + self._timeout_s
            self._counted_exactly = True
            return None
        if self._pending is None:
            return "takes no more commands", False
        command = type(self._pending[0])
        code, cost = command.CODE, LOSSES[command].cost
        bounded = cost is not Cost.ADAPTER and code not in self._were_silent
        if cost is Cost.NOTHING or (cost is not Cost.ADAPTER and code in self._silent):
            also = [made.CODE for made, loss in LOSSES.items() if loss.cost is cost and cost in FUNCTIONS]
            self.given_up |= dict.fromkeys([code, *also], command)
            bounded = True
        self._silent.add(code)
        self._were_silent.add(code)
        return f"did not answer {command.__name__} (0x{code:04X})", bounded

    def clear(self, *, forgive: bool) -> None:
        """Forgets all commands, without calling their ``done``. ``forgive``: also which of them ever met silence."""
        self._waiting.clear()
        self._pending = None
        self._may_send = True
        self.deadline = None
        if forgive:
            self.given_up.clear()
            self._silent.clear()
            self._were_silent.clear()
