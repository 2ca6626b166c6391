"""Commands that a simulated controller of Bumble's carries out by handlers of ours: Vol 4, Part E, 4.4."""

from collections.abc import Callable
from typing import Any

from bumble import hci

#: Takes a command, as Bumble parses it. Returns the return parameters, the status included.
Completing = Callable[[Any], bytes]
#: Takes a command and returns the status. What comes of the command is told by events, later. None: Bumble's controller
#: has it, and answers.
Pending = Callable[[Any], int | None]

_UNKNOWN = bytes((hci.HCI_ErrorCode.UNKNOWN_HCI_COMMAND_ERROR,))


class Commands:
    """The handlers of one controller, by opcode. What has none is Bumble's; what neither knows is refused."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self._bumble = controller.on_hci_command_packet
        self._completing: dict[int, Completing] = {}
        self._pending: dict[int, Pending] = {}
        self._defaults: dict[int, bytes] = {}
        self._resets: list[Callable[[], None]] = [self._reset_settings]
        #: What the host has written, by the writing command's opcode.
        self.settings: dict[int, bytes] = {}
        controller.on_hci_command_packet = self._receive

    def complete(self, handlers: dict[int, Completing]) -> None:
        """Adds handlers of commands that end with Command_Complete."""
        self._completing |= handlers
        self._list(handlers)

    def begin(self, handlers: dict[int, Pending]) -> None:
        """Adds handlers of commands that are answered by Command_Status."""
        self._pending |= handlers
        self._list(handlers)

    def keep(self, writing: int, reading: int, default: bytes) -> None:
        """Adds a setting: a command that writes it and one that reads it, with what it is after a reset."""
        self._defaults[writing] = self.settings[writing] = default

        def write(command: Any) -> bytes:
            self.settings[writing] = command.parameters
            return bytes(1)

        self.complete({writing: write, reading: lambda _: bytes(1) + self.settings[writing]})

    @property
    def opcodes(self) -> set[int]:
        return {*self._pending, *self._completing}

    def at_reset(self, does: Callable[[], None]) -> None:
        """Adds what a reset does besides."""
        self._resets.append(does)

    def _list(self, handlers: dict[int, Any]) -> None:
        """Has the controller tell its host that it has these commands, as far as they have a bit."""
        controller = self._controller
        controller.supported_commands = controller.supported_commands | (
            handlers.keys() & hci.HCI_SUPPORTED_COMMANDS_MASKS.keys()
        )

    def _reset_settings(self) -> None:
        self.settings |= self._defaults

    def _receive(self, command: Any) -> None:
        opcode = command.op_code
        if opcode == hci.HCI_RESET_COMMAND:
            for reset in self._resets:
                reset()
        if (begin := self._pending.get(opcode)) is not None:
            if (status := begin(command)) is not None:
                self._tell_status(opcode, status)
        elif (complete := self._completing.get(opcode)) is not None:
            self._tell_complete(opcode, complete(command))
        elif hasattr(self._controller, f"on_{command.name.lower()}"):
            self._bumble(command)
        elif isinstance(command, hci.HCI_AsyncCommand):
            self._tell_status(opcode, _UNKNOWN[0])
        else:
            self._tell_complete(opcode, _UNKNOWN)

    def _tell_status(self, opcode: int, status: int) -> None:
        self._controller.send_hci_packet(
            hci.HCI_Command_Status_Event(status=status, num_hci_command_packets=1, command_opcode=opcode)
        )

    def _tell_complete(self, opcode: int, parameters: bytes) -> None:
        returned = hci.HCI_GenericReturnParameters(data=parameters)
        self._controller.send_hci_packet(
            hci.HCI_Command_Complete_Event(num_hci_command_packets=1, command_opcode=opcode, return_parameters=returned)
        )
