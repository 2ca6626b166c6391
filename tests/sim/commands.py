"""Commands that a simulated controller of Bumble's carries out by handlers of ours: Vol 4, Part E, 4.4."""

from collections.abc import Callable
from typing import Any

from bumble import hci

#: Takes a command, as Bumble parses it. Returns the return parameters, the status included.
Completing = Callable[[Any], bytes]
#: Takes a command and returns the status. What comes of the command is told by events, later.
Pending = Callable[[Any], int]

_UNKNOWN = bytes((hci.HCI_ErrorCode.UNKNOWN_HCI_COMMAND_ERROR,))


class Commands:
    """The handlers of one controller, by opcode. What has none is Bumble's; what neither knows is refused."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self._bumble = controller.on_hci_command_packet
        self._completing: dict[int, Completing] = {}
        self._pending: dict[int, Pending] = {}
        controller.on_hci_command_packet = self._receive

    def complete(self, handlers: dict[int, Completing]) -> None:
        """Adds handlers of commands that end with Command_Complete."""
        self._completing |= handlers

    def begin(self, handlers: dict[int, Pending]) -> None:
        """Adds handlers of commands that are answered by Command_Status."""
        self._pending |= handlers

    def _receive(self, command: Any) -> None:
        opcode = command.op_code
        if (begin := self._pending.get(opcode)) is not None:
            self._tell_status(opcode, begin(command))
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
