"""How a simulated controller pages others, asks for their names, and switches roles: Vol 4, Part E, 7.1 and 7.2.8.

Bumble's controller raises an exception when it pages somebody who is not there, and whom it pages need not scan.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from bumble import hci

from tests.sim.commands import Commands

REMOTE_NAME_REQUEST_CANCEL = 0x041A
_PAGE_SCAN = 2  # in Scan_Enable: Vol 4, Part E, 7.3.18
_SUCCESS, _UNKNOWN_CONNECTION, _PAGE_TIMEOUT, _DISALLOWED, _ROLE_CHANGE_NOT_ALLOWED = 0x00, 0x02, 0x04, 0x0C, 0x21
_NAME_SIZE = 248
_PERIOD_S = 0.01  # of paging
_ACL = 1


class Paging:
    """Of one controller.

    ``page_timeout_s``: how long it pages who is there and does not scan; who is not there is given up at once.
    ``is_patient``: gives up nobody, until the host cancels it.
    """

    def __init__(self, controller: Any, commands: Commands) -> None:
        self.page_timeout_s = 1.0
        self.is_patient = False
        self._controller = controller
        #: What has to wait, by address.
        self._pages: dict[Any, asyncio.Task[None]] = {}
        self._names: dict[Any, asyncio.Task[None]] = {}
        controller.paging = self
        commands.at_reset(self._reset)
        commands.begin({
            hci.HCI_CREATE_CONNECTION_COMMAND: self._connect,
            hci.HCI_REMOTE_NAME_REQUEST_COMMAND: self._ask_name,
            hci.HCI_SWITCH_ROLE_COMMAND: self._switch_role,
        })  # fmt: skip
        commands.complete({
            hci.HCI_CREATE_CONNECTION_CANCEL_COMMAND: self._cancel_page,
            REMOTE_NAME_REQUEST_CANCEL: self._cancel_name,
            hci.HCI_LE_CREATE_CONNECTION_CANCEL_COMMAND: self._cancel_le,
        })  # fmt: skip

    def _scans(self, address: Any) -> bool:
        peer = self._controller.link.find_classic_controller(address)
        return peer is not None and bool(peer.classic_scan_enable & _PAGE_SCAN)

    async def _page(self, address: Any) -> bool:
        """Returns whether the peer answers in time."""
        end = asyncio.get_running_loop().time() + self.page_timeout_s
        while not self._scans(address):
            is_there = self._controller.link.find_classic_controller(address) is not None
            if not self.is_patient and (not is_there or asyncio.get_running_loop().time() >= end):
                return False
            await asyncio.sleep(_PERIOD_S)
        return True

    def _connect(self, command: Any) -> int | None:
        if self._scans(command.bd_addr):
            self._controller.on_hci_create_connection_command(command)
            return None
        self._pages[command.bd_addr] = asyncio.get_running_loop().create_task(self._connect_later(command))
        return _SUCCESS

    async def _connect_later(self, command: Any) -> None:
        answers = await self._page(command.bd_addr)
        del self._pages[command.bd_addr]
        if not answers:
            self._tell_connection(command.bd_addr, _PAGE_TIMEOUT)
            return
        tell = self._controller._send_hci_command_status
        self._controller._send_hci_command_status = lambda *_: None  # which has been told
        self._controller.on_hci_create_connection_command(command)
        self._controller._send_hci_command_status = tell

    def _tell_connection(self, address: Any, status: int) -> None:
        self._controller.send_hci_packet(
            hci.HCI_Connection_Complete_Event(
                status=status, connection_handle=0, bd_addr=address, link_type=_ACL, encryption_enabled=0
            )
        )

    def _cancel_page(self, command: Any) -> bytes:
        return self._cancel(self._pages, command.bd_addr, self._tell_connection)

    def _cancel(self, waiting: dict[Any, asyncio.Task[None]], address: Any, tell: Callable[[Any, int], None]) -> bytes:
        status = _UNKNOWN_CONNECTION
        if (task := waiting.pop(address, None)) is not None:
            task.cancel()
            asyncio.get_running_loop().call_soon(tell, address, _UNKNOWN_CONNECTION)
            status = _SUCCESS
        return bytes((status,)) + bytes(address)

    def _ask_name(self, command: Any) -> int:
        self._names[command.bd_addr] = asyncio.get_running_loop().create_task(self._find_name(command.bd_addr))
        return _SUCCESS

    async def _find_name(self, address: Any) -> None:
        answers = address in self._controller.classic_connections or await self._page(address)
        del self._names[address]
        name = self._controller.link.find_classic_controller(address).local_name if answers else ""
        self._tell_name(address, _SUCCESS if answers else _PAGE_TIMEOUT, name.encode())

    def _tell_name(self, address: Any, status: int, name: bytes = b"") -> None:
        name = name[:_NAME_SIZE].ljust(_NAME_SIZE, b"\x00")
        self._controller.send_hci_packet(
            hci.HCI_Remote_Name_Request_Complete_Event(status=status, bd_addr=address, remote_name=name)
        )

    def _cancel_name(self, command: Any) -> bytes:
        address = hci.Address(command.parameters[:6], hci.Address.PUBLIC_DEVICE_ADDRESS)
        return self._cancel(self._names, address, self._tell_name)

    def _cancel_le(self, _: Any) -> bytes:
        if self._controller.pending_le_connection is None:
            return bytes((_DISALLOWED,))
        self._controller.pending_le_connection = None
        asyncio.get_running_loop().call_soon(self._tell_le_cancelled)
        return bytes((_SUCCESS,))

    def _tell_le_cancelled(self) -> None:
        self._controller.send_hci_packet(
            hci.HCI_LE_Connection_Complete_Event(
                status=_UNKNOWN_CONNECTION, connection_handle=0, role=0, peer_address_type=0,
                peer_address=hci.Address.NIL, connection_interval=0, peripheral_latency=0, supervision_timeout=0,
                central_clock_accuracy=0,
            )
        )  # fmt: skip

    def _reset(self) -> None:
        for waiting in (self._pages, self._names):
            for task in waiting.values():
                task.cancel()
            waiting.clear()

    def _switch_role(self, command: Any) -> int:
        connection = self._controller.classic_connections.get(command.bd_addr)
        if connection is None:
            return _UNKNOWN_CONNECTION
        peer = self._controller.link.find_classic_controller(command.bd_addr)
        other = peer.classic_connections[self._controller.public_address]
        asyncio.get_running_loop().call_soon(self._switch, connection, other, command.role)
        return _SUCCESS

    def _switch(self, connection: Any, other: Any, role: int) -> None:
        """Encryption pauses while the roles change: Vol 2, Part C, 4.2.5.6."""
        if connection.role == role:
            _tell_role(connection, _SUCCESS)
            return
        if not other.classic_allow_role_switch:
            _tell_role(connection, _ROLE_CHANGE_NOT_ALLOWED)
            return
        connection.role, other.role = hci.Role(role), hci.Role(1 - role)
        for end in (connection, other):
            _tell_role(end, _SUCCESS)
        self._controller.authentication.resume_encryption(connection.peer_address)


def _tell_role(connection: Any, status: int) -> None:
    connection.controller.send_hci_packet(
        hci.HCI_Role_Change_Event(status=status, bd_addr=connection.peer_address, new_role=connection.role)
    )
