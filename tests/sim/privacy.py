"""How a simulated controller knows peers by their resolvable private addresses: Vol 6, Part B, 6.

Bumble's controller takes a resolving list and does nothing with it.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from bumble import crypto, hci

from tests.sim.commands import Commands

REMOVE_FROM_RESOLVING_LIST, READ_PEER_RESOLVABLE_ADDRESS = 0x2028, 0x202B
_ADD, _CLEAR = hci.HCI_LE_ADD_DEVICE_TO_RESOLVING_LIST_COMMAND, hci.HCI_LE_CLEAR_RESOLVING_LIST_COMMAND
_ENABLE = hci.HCI_LE_SET_ADDRESS_RESOLUTION_ENABLE_COMMAND
_SUCCESS, _UNKNOWN, _FULL, _DISALLOWED, _INVALID_PARAMETERS = 0x00, 0x02, 0x07, 0x0C, 0x12
_IDENTITY = 2  # is added to the address type of who was resolved: Vol 4, Part E, 7.7.65.2
_ENHANCED_CONNECTION_COMPLETE = 1 << 9  # in the LE event mask
_PRAND = slice(3, 6)  # of a private address, little-endian; before it the hash: Vol 6, Part B, 1.3.2.2


class Peer(NamedTuple):
    """An entry of the resolving list."""

    irk: bytes
    address: Any  # what it was last heard under


class Privacy:
    """Of one controller."""

    def __init__(self, controller: Any, commands: Commands) -> None:
        self._controller = controller
        self._peers: dict[bytes, Peer] = {}  # by identity: its type and address
        self._send, self._see = controller.send_hci_packet, controller.on_advertising_pdu
        controller.send_hci_packet, controller.on_advertising_pdu = self._tell, self._hear
        commands.at_reset(self._reset)
        commands.complete({
            _ADD: self._add,
            REMOVE_FROM_RESOLVING_LIST: self._remove,
            _CLEAR: self._clear,
            _ENABLE: self._enable,
            READ_PEER_RESOLVABLE_ADDRESS: self._read_peer,
        })  # fmt: skip

    @property
    def _may_change(self) -> bool:
        """The list is not written while it is in use: Vol 4, Part E, 7.8.38."""
        controller = self._controller
        in_use = controller.le_scan_enable or controller.is_advertising or controller.pending_le_connection
        return not (controller.le_address_resolution and in_use)

    def _add(self, command: Any) -> bytes:
        identity = command.parameters[:7]
        if not self._may_change:
            return bytes((_DISALLOWED,))
        if identity in self._peers:
            return bytes((_INVALID_PARAMETERS,))
        if len(self._peers) >= self._controller.resolving_list_size:
            return bytes((_FULL,))
        self._peers[identity] = Peer(command.parameters[7:23], None)
        return bytes((_SUCCESS,))

    def _remove(self, command: Any) -> bytes:
        if not self._may_change:
            return bytes((_DISALLOWED,))
        return bytes((_SUCCESS if self._peers.pop(command.parameters[:7], None) else _UNKNOWN,))

    def _clear(self, _: Any) -> bytes:
        if not self._may_change:
            return bytes((_DISALLOWED,))
        self._peers.clear()
        return bytes((_SUCCESS,))

    def _enable(self, command: Any) -> bytes:
        controller = self._controller
        if controller.le_scan_enable or controller.is_advertising or controller.pending_le_connection:
            return bytes((_DISALLOWED,))
        return bytes((controller.on_hci_le_set_address_resolution_enable_command(command).status,))

    def _read_peer(self, command: Any) -> bytes:
        peer = self._peers.get(command.parameters[:7])
        if peer is None or peer.address is None:
            return bytes((_UNKNOWN,)) + bytes(6)
        return bytes((_SUCCESS,)) + bytes(peer.address)

    def _reset(self) -> None:
        self._peers.clear()
        self._controller.le_address_resolution = False

    def _resolve(self, address: Any) -> bytes | None:
        """Returns the identity, its type first, of whose private address this is."""
        if not self._controller.le_address_resolution or not address.is_resolvable:
            return None
        octets = bytes(address)
        for identity, peer in self._peers.items():
            if any(peer.irk) and crypto.ah(peer.irk, octets[_PRAND]) == octets[:3]:
                self._peers[identity] = peer._replace(address=address)
                return identity
        return None

    def _known(self, address: Any) -> tuple[int, Any]:
        """Returns the address and its type as the host is told them."""
        if (identity := self._resolve(address)) is None:
            return address.address_type, address
        kind = identity[0] + _IDENTITY
        return kind, hci.Address(identity[1:], kind)

    def _hear(self, advertisement: Any) -> None:
        """An attempt to connect to an identity is one to its private address."""
        pending = self._controller.pending_le_connection
        identity = self._resolve(advertisement.advertiser_address)
        if pending is not None and identity is not None and bytes(pending.peer_address) == identity[1:]:
            pending.peer_address = advertisement.advertiser_address
        self._see(advertisement)

    def _tell(self, packet: Any) -> None:
        match packet:
            case hci.HCI_LE_Advertising_Report_Event() | hci.HCI_LE_Extended_Advertising_Report_Event():
                packet = type(packet)([self._report(report) for report in packet.reports])
            case hci.HCI_LE_Connection_Complete_Event():
                packet = self._connection(packet)
        self._send(packet)

    def _report(self, report: Any) -> Any:
        kind, address = self._known(report.address)
        return replace(report, address_type=kind, address=address)

    def _connection(self, event: Any) -> Any:
        kind, address = self._known(event.peer_address)
        if not self._controller.le_event_mask & _ENHANCED_CONNECTION_COMPLETE:
            return replace(event, peer_address_type=kind, peer_address=address)
        private = event.peer_address if kind >= _IDENTITY else hci.Address.ANY
        return hci.HCI_LE_Enhanced_Connection_Complete_Event(
            status=event.status, connection_handle=event.connection_handle, role=event.role, peer_address_type=kind,
            peer_address=address, local_resolvable_private_address=hci.Address.ANY,
            peer_resolvable_private_address=private, connection_interval=event.connection_interval,
            peripheral_latency=event.peripheral_latency, supervision_timeout=event.supervision_timeout,
            central_clock_accuracy=event.central_clock_accuracy,
        )  # fmt: skip
