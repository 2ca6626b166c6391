"""Runs the set-up of a controller before its host is started. No I/O: files are asked for, and given.

receive_event, give_file  ->  VendorSetup  ->  take_commands, wanted, result
"""

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.vendor.steps import (
    SILENCE,
    Ask,
    AwaitEvent,
    FirmwareFile,
    Reply,
    SetupResult,
    SetupScript,
    Step,
    Tell,
)
from usbbtd.hci.wire.events import CommandComplete, CommandStatus, parse_event

__all__ = ["VendorSetup"]

#: How long a set-up may take in all. The longest known firmware is a megabyte, in pieces of 252 octets that take a
#: millisecond or two each.
SETUP_S = 60.0

_VENDOR_EVENT = 0xFF


class VendorSetup:
    """Runs one script, with one command under way at most, to its ``result``: a SetupResult, None until then.

    ``timeout_s``: how long the controller may take to answer one command. What it says unasked is ignored; of events of
    its maker the last one of each kind is kept.
    """

    def __init__(self, script: SetupScript[SetupResult], *, timeout_s: float, bulk: bool = False) -> None:
        """Makes a set-up. ``bulk``: whether the controller may use the endpoints of data for it: see Dongle."""
        self.bulk = bulk
        self.result: SetupResult | None = None
        self.wanted: FirmwareFile | None = None  # the file that is waited for
        self.is_leaving = False  # whether the controller was told to start anew, so that it may leave the bus
        self._script = script
        self._timeout_s = timeout_s
        self._ends = 0.0
        self._due: float | None = None
        self._step: Step | None = None
        self._commands: list[bytes] = []
        self._heard: dict[int, bytes] = {}  # the last event of each kind, without the kind

    def start(self, now: float) -> None:
        """Begins. Commands, a wanted file or the result follow."""
        self._ends = now + SETUP_S
        self._advance(None, now)

    def take_commands(self) -> list[bytes]:
        """Hands over the command packets that may go to the controller now."""
        commands, self._commands = self._commands, []
        return commands

    def give_file(self, content: bytes | None, why: str, now: float) -> None:
        """Takes the content of the file that is wanted, or why there is none."""
        self.wanted = None
        self._advance(Reply(SILENCE, why=why) if content is None else Reply(0, content), now)

    def receive_event(self, event: bytes, now: float) -> None:
        """Takes a whole event packet. Raises RemoteProtocolError if it is malformed."""
        if len(event) > 2 and event[0] == _VENDOR_EVENT and event[1] == len(event) - 2:
            self._receive_vendor_event(event[2], event[3:], now)
            return
        match parse_event(event):
            case CommandComplete(_, opcode, returned) if self._is_awaited(opcode):
                # An answer without a status is one of a controller that knows the command by another form.
                self._advance(Reply(returned[0], returned[1:]) if returned else Reply(SILENCE), now)
            case CommandStatus(status, _, opcode) if status and self._is_awaited(opcode):
                self._advance(Reply(status), now)

    def next_timeout(self) -> float | None:
        """Returns when handle_timeout() is to be called; None if nothing is waited for."""
        return self._due if self.result is None else None

    def handle_timeout(self, now: float) -> None:
        """Goes on without what has not come in time."""
        if self._due is None or now < self._due or self.result is not None:
            return
        if now >= self._ends:
            self._end(SetupResult(failure=f"its set-up has taken {SETUP_S:.0f} s"))
        else:
            self._advance(Reply(SILENCE), now)

    # Inside

    def _is_awaited(self, opcode: int) -> bool:
        return isinstance(self._step, Ask) and opcode == self._step.command.CODE

    def _receive_vendor_event(self, kind: int, untrusted_data: bytes, now: float) -> None:
        if isinstance(self._step, AwaitEvent) and self._step.kind == kind:
            self._advance(Reply(0, untrusted_data), now)
        else:
            self._heard[kind] = untrusted_data

    def _advance(self, reply: Reply | None, now: float) -> None:
        """Gives the script a reply, None at its beginning, and does its steps as far as they wait for nothing."""
        self._due = None
        while True:
            try:
                step = next(self._script) if reply is None else self._script.send(reply)
            except StopIteration as end:
                self._end(end.value)
                return
            except RemoteProtocolError as error:
                self._end(SetupResult(failure=str(error)))
                return
            self._step = step
            match step:
                case Ask(command, patience):
                    self._commands.append(command.pack())
                    self._due = min(now + patience * self._timeout_s, self._ends)
                    return
                case Tell(command):
                    self._heard.clear()
                    self._commands.append(command.pack())
                    self.is_leaving = True
                    reply = Reply(0)
                case AwaitEvent(kind, limit_s):
                    if (data := self._heard.pop(kind, None)) is None:
                        self._due = min(now + limit_s, self._ends)
                        return
                    reply = Reply(0, data)
                case FirmwareFile():
                    self.wanted = step
                    return

    def _end(self, result: SetupResult) -> None:
        self.result, self._step, self._due = result, None, None
        self._heard.clear()
