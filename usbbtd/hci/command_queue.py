"""Commands to the controller, one at a time (Vol 4, Part E, 4.4): credits, answers, and a controller that is silent."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from usbbtd.bluetooth import ErrorCode
from usbbtd.hci import commands
from usbbtd.hci.commands import ESSENTIAL, Command

__all__ = ["CommandQueue", "Done", "Send"]

#: Called once with (status, return parameters after the status, now).
Done = Callable[[int, bytes, float], None]

MAX_WAITING = 256

#: What is asked for again after silence: it is what users want, or nothing works without it. Of all else a controller
#: that has been silent is not asked again: some never answer what they do not know, and would be reset each time.
_INDISPENSABLE = (
    *ESSENTIAL,
    commands.AcceptConnectionRequest,
    commands.CreateConnection,
    commands.Disconnect,
    commands.LeConnectionUpdate,
    commands.LeCreateConnection,
    commands.LeExtendedCreateConnection,
    commands.LeSetAdvertisingData,
    commands.LeSetAdvertisingEnable,
    commands.LeSetAdvertisingParameters,
    commands.LeSetAdvertisingSetRandomAddress,
    commands.LeSetExtendedAdvertisingData,
    commands.LeSetExtendedAdvertisingEnable,
    commands.LeSetExtendedAdvertisingParameters,
    commands.LeSetExtendedScanEnable,
    commands.LeSetExtendedScanParameters,
    commands.LeSetScanEnable,
    commands.LeSetScanParameters,
    commands.WriteScanEnable,
)


class Send(Protocol):
    """CommandQueue.send, as the parts of a host get it."""

    def __call__(self, command: Command, done: Done = ..., /) -> None: ...


def _ignore(status: int, returned: bytes, now: float) -> None:
    pass


class CommandQueue:
    """One command is under way at any time, whatever the controller's credits allow: not all count them well."""

    def __init__(self, timeout_s: float) -> None:
        self.now = 0.0  # the last time that the owner was told
        self.deadline: float | None = None
        self._timeout_s = timeout_s
        self._waiting: deque[tuple[Command, Done]] = deque()
        self._pending: tuple[Command, Done] | None = None
        self._may_send = True
        self._counted_exactly = False
        self.unanswered: set[int] = set()  # opcodes that met silence and are not asked again: answered here as unknown
        self.counters = {"commands_sent": 0, "commands_dropped": 0, "answers_stray": 0}

    def send(self, command: Command, done: Done = _ignore) -> None:
        """Queues a command. Where it cannot be sent ``done`` gets the status at once."""
        if command.CODE in self.unanswered:
            done(ErrorCode.UNKNOWN_COMMAND, b"", self.now)
        elif len(self._waiting) >= MAX_WAITING:
            self.counters["commands_dropped"] += 1
            done(ErrorCode.MEMORY_CAPACITY_EXCEEDED, b"", self.now)
        else:
            self._waiting.append((command, done))

    def take(self) -> list[bytes]:
        """The command that may go to the controller now, if any."""
        packets = []
        if self._waiting and self._may_send and not self._pending:
            self._may_send = False
            self._pending = self._waiting.popleft()
            self.counters["commands_sent"] += 1
            packets.append(self._pending[0].pack())
        if self.deadline is None and (self._pending or self._waiting):
            # take() is not told the time, and `now` may be long past: such a deadline is only the first of two.
            self.deadline = self.now + self._timeout_s
            self._counted_exactly = False
        return packets

    def receive_answer(self, opcode: int, command_credits: int, status: int, returned: bytes) -> None:
        """Command_Complete or Command_Status. Opcode 0 answers nothing and only carries credits."""
        pending = self._pending
        if pending and opcode == pending[0].CODE:
            self._pending = None
            self._may_send = command_credits > 0
            self.deadline = None
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
        """Has the pending command sent once more: the controller has lost it. It gets no more time for that."""
        if self._pending is not None:
            self._waiting.appendleft(self._pending)
            self._pending = None
        self._may_send = True

    def expired(self) -> str | None:
        """What the controller has been silent about for too long at ``now``; None: it still has time."""
        if self.deadline is None or self.now < self.deadline:
            return None
        if not self._counted_exactly:
            self.deadline = self.now + self._timeout_s
            self._counted_exactly = True
            return None
        if self._pending is None:
            return "takes no more commands"
        command = self._pending[0]
        if not isinstance(command, _INDISPENSABLE):
            self.unanswered.add(command.CODE)
        return f"did not answer {type(command).__name__} (0x{command.CODE:04X})"

    def clear(self, *, forgive: bool) -> None:
        """Forgets all commands, without calling anybody. ``forgive``: also which of them once met silence."""
        self._waiting.clear()
        self._pending = None
        self._may_send = True
        self.deadline = None
        if forgive:
            self.unanswered.clear()
