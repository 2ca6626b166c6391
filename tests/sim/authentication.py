"""The commands by which a host has a simulated controller authenticate and encrypt: Vol 4, Part E, 7.1, 7.3 and 7.5.

Bumble's controller has simple pairing, but no stored link key, no encryption on BR/EDR, and one type of key.
"""

import secrets
from collections.abc import Callable
from typing import Any

from bumble import hci
from bumble.core import PhysicalTransport

from tests.sim.commands import Commands, Completing, Pending
from tests.sim.secured_link import End, IoCapabilities, OobData, SecuredLink

REFRESH_ENCRYPTION_KEY = 0x0453
READ_SECURE_CONNECTIONS_HOST_SUPPORT, SET_MIN_ENCRYPTION_KEY_SIZE = 0x0C79, 0x0C84
WRITE_SIMPLE_PAIRING_DEBUG_MODE = 0x1804

KEY_SIZES = range(1, 17)
MIN_KEY_SIZE = 7
_features = hci.LmpFeatureMask
_SUCCESS, _UNKNOWN_CONNECTION, _DISALLOWED = 0x00, 0x02, 0x0C
_INSUFFICIENT_SECURITY, _INVALID_PARAMETERS = 0x2F, 0x12
_OK = bytes(1)
_HANDLE_MASK = 0x0FFF


class Authentication:
    """Of one controller, which is Bumble's; the others on its air need theirs.

    ``max_key_size``: in octets; a peer that has 1 plays the KNOB attack on Vol 2, Part C, 4.2.5.2.
    """

    def __init__(self, controller: Any, commands: Commands) -> None:
        self.min_key_size, self.max_key_size = MIN_KEY_SIZE, KEY_SIZES[-1]
        self.has_debug_keys = False
        self.oob_data: OobData | None = None
        self._controller = controller
        self._links: dict[Any, SecuredLink] = {}
        self._le_encrypted: set[int] = set()
        self._tell_le_encryption = controller.on_le_encryption_change
        controller.authentication = self
        controller.on_le_encryption_change = self._le_encryption_changed
        self._see_ends()
        commands.begin({
            hci.HCI_AUTHENTICATION_REQUESTED_COMMAND: self._on_link(lambda link, ours, _: link.authenticate(ours)),
            hci.HCI_SET_CONNECTION_ENCRYPTION_COMMAND: self._on_link(
                lambda link, ours, command: link.encrypt(ours, on=bool(command.encryption_enable))
            ),
            REFRESH_ENCRYPTION_KEY: self._on_link(lambda link, ours, _: link.refresh_key(ours)),
        })  # fmt: skip
        commands.at_reset(self._reset)
        commands.complete(self._answers() | {
            hci.HCI_READ_ENCRYPTION_KEY_SIZE_COMMAND: self._read_key_size,
            SET_MIN_ENCRYPTION_KEY_SIZE: self._set_min_key_size,
            hci.HCI_WRITE_SECURE_CONNECTIONS_HOST_SUPPORT_COMMAND: self._write_secure_connections,
            READ_SECURE_CONNECTIONS_HOST_SUPPORT: self._read_secure_connections,
            WRITE_SIMPLE_PAIRING_DEBUG_MODE: self._write_debug_mode,
            hci.HCI_READ_LOCAL_OOB_DATA_COMMAND: self._read_oob_data,
            hci.HCI_READ_LOCAL_OOB_EXTENDED_DATA_COMMAND: self._read_oob_extended_data,
        })  # fmt: skip

    # What a link asks.

    @property
    def address(self) -> Any:
        return self._controller.public_address

    @property
    def has_simple_pairing(self) -> bool:
        """Both the controller and its host."""
        host, controller = "SECURE_SIMPLE_PAIRING_HOST_SUPPORT", "SECURE_SIMPLE_PAIRING_CONTROLLER_SUPPORT"
        return self._has(_features[host], _features[controller])

    @property
    def has_secure_connections(self) -> bool:
        """Both the controller and its host, so that keys are of P-256 and encryption is AES-CCM."""
        return self._has(_features.SECURE_CONNECTIONS_HOST_SUPPORT, _features.SECURE_CONNECTIONS_CONTROLLER_SUPPORT)

    def tell(self, event: Any) -> None:
        self._controller.send_hci_packet(event)

    def link_to(self, address: Any) -> SecuredLink | None:
        """Returns the BR/EDR link to a peer."""
        if address not in self._controller.classic_connections:
            return None
        if (link := self._links.get(address)) is None:
            peer = self._controller.link.find_classic_controller(address).authentication
            link = SecuredLink(self._end(address), peer._end(self.address))
            self._links[address] = peer._links[self.address] = link
        return link

    def resume_encryption(self, peer_address: Any) -> None:
        """After a pause: with a fresh key, if the link is encrypted."""
        link = self._links.get(peer_address)
        if link is not None and link.encryption:
            link.refresh_key(link.end_of(self))

    def _has(self, *features: int) -> bool:
        return all(self._controller.lmp_features & feature for feature in features)

    def _end(self, peer_address: Any) -> End:
        return End(self, peer_address, lambda: self._controller.classic_connections[peer_address].handle)

    def _see_ends(self) -> None:
        """Forgets what links had when they end."""
        end_bredr, end_le = self._controller.on_classic_disconnected, self._controller.on_le_disconnected

        def see_bredr(address: Any, reason: int) -> None:
            if (link := self._links.pop(address, None)) is not None:
                link.end()
            end_bredr(address, reason)

        def see_le(connection: Any, reason: int) -> None:
            self._le_encrypted.discard(connection.handle)
            end_le(connection, reason)

        self._controller.on_classic_disconnected, self._controller.on_le_disconnected = see_bredr, see_le

    def _link_of(self, handle: int) -> SecuredLink | None:
        connection = self._controller.find_classic_connection_by_handle(handle & _HANDLE_MASK)
        return None if connection is None else self.link_to(connection.peer_address)

    def _on_link(self, wish: Callable[[SecuredLink, End, Any], None]) -> Pending:
        """Returns a handler of commands whose first parameter is a link's handle."""

        def begin(command: Any) -> int:
            if (link := self._link_of(int.from_bytes(command.parameters[:2], "little"))) is None:
                return _UNKNOWN_CONNECTION
            wish(link, link.end_of(self), command)
            return _SUCCESS

        return begin

    # The host's answers.

    def _answers(self) -> dict[int, Completing]:
        """Handlers of all replies, by opcode. An answer of None refuses."""
        key, pin = hci.HCI_Link_Key_Request_Event, hci.HCI_PIN_Code_Request_Event
        io, oob = hci.HCI_IO_Capability_Request_Event, hci.HCI_Remote_OOB_Data_Request_Event
        number, passkey = hci.HCI_User_Confirmation_Request_Event, hci.HCI_User_Passkey_Request_Event

        def reply(question: type[Any], answer: Any) -> Completing:
            return lambda command: self._answer(command.bd_addr, question, answer(command))

        def refusal(question: type[Any]) -> Completing:
            return lambda command: self._answer(command.bd_addr, question, None)

        return {
            hci.HCI_LINK_KEY_REQUEST_REPLY_COMMAND: reply(key, lambda command: bytes(command.link_key)),
            hci.HCI_LINK_KEY_REQUEST_NEGATIVE_REPLY_COMMAND: refusal(key),
            hci.HCI_PIN_CODE_REQUEST_REPLY_COMMAND: reply(pin, _pin),
            hci.HCI_PIN_CODE_REQUEST_NEGATIVE_REPLY_COMMAND: refusal(pin),
            hci.HCI_IO_CAPABILITY_REQUEST_REPLY_COMMAND: reply(io, _io_capabilities),
            hci.HCI_IO_CAPABILITY_REQUEST_NEGATIVE_REPLY_COMMAND: reply(io, lambda command: int(command.reason)),
            hci.HCI_USER_CONFIRMATION_REQUEST_REPLY_COMMAND: reply(number, lambda _: True),
            hci.HCI_USER_CONFIRMATION_REQUEST_NEGATIVE_REPLY_COMMAND: refusal(number),
            hci.HCI_USER_PASSKEY_REQUEST_REPLY_COMMAND: reply(passkey, lambda command: int(command.numeric_value)),
            hci.HCI_USER_PASSKEY_REQUEST_NEGATIVE_REPLY_COMMAND: refusal(passkey),
            hci.HCI_REMOTE_OOB_DATA_REQUEST_REPLY_COMMAND: reply(
                oob, lambda command: OobData(command.c + command.r, None)
            ),
            hci.HCI_REMOTE_OOB_EXTENDED_DATA_REQUEST_REPLY_COMMAND: reply(
                oob, lambda command: OobData(command.c_192 + command.r_192, command.c_256 + command.r_256)
            ),
            hci.HCI_REMOTE_OOB_DATA_REQUEST_NEGATIVE_REPLY_COMMAND: refusal(oob),
        }

    def _answer(self, address: Any, question: type[Any], answer: object) -> bytes:
        link = self.link_to(address)
        status = _UNKNOWN_CONNECTION
        if link is not None:
            is_asked = link.end_of(self).answer(question, answer)
            status = _SUCCESS if is_asked else _DISALLOWED
        return bytes((status,)) + bytes(address)

    # Settings.

    def _reset(self) -> None:
        for link in self._links.values():
            link.end()
        self._links.clear()
        self._le_encrypted.clear()
        self.min_key_size, self.has_debug_keys, self.oob_data = MIN_KEY_SIZE, False, None
        host = _features.SECURE_SIMPLE_PAIRING_HOST_SUPPORT | _features.SECURE_CONNECTIONS_HOST_SUPPORT
        self._controller.lmp_features &= ~host

    def _read_key_size(self, command: Any) -> bytes:
        link = self._link_of(command.connection_handle)
        status = _SUCCESS
        if link is None:
            status = _UNKNOWN_CONNECTION
        elif not link.encryption:
            status = _INSUFFICIENT_SECURITY
        handle = int(command.connection_handle).to_bytes(2, "little")
        return bytes((status,)) + handle + bytes((link.key_size if link else 0,))

    def _set_min_key_size(self, command: Any) -> bytes:
        if (size := command.parameters[0]) not in KEY_SIZES:
            return bytes((_INVALID_PARAMETERS,))
        self.min_key_size = size
        return _OK

    def _write_secure_connections(self, command: Any) -> bytes:
        if command.secure_connections_host_support:
            self._controller.lmp_features |= _features.SECURE_CONNECTIONS_HOST_SUPPORT
        else:
            self._controller.lmp_features &= ~_features.SECURE_CONNECTIONS_HOST_SUPPORT
        return _OK

    def _read_secure_connections(self, _: Any) -> bytes:
        return _OK + bytes((self._has(_features.SECURE_CONNECTIONS_HOST_SUPPORT),))

    def _write_debug_mode(self, command: Any) -> bytes:
        self.has_debug_keys = bool(command.parameters[0])
        return _OK

    def _read_oob_data(self, _: Any) -> bytes:
        self.oob_data = OobData(secrets.token_bytes(32), None)
        return _OK + (self.oob_data.p192 or b"")

    def _read_oob_extended_data(self, _: Any) -> bytes:
        p192, p256 = secrets.token_bytes(32), secrets.token_bytes(32)
        self.oob_data = OobData(p192, p256)
        return _OK + p192 + p256

    def _le_encryption_changed(self, connection: Any, status: int) -> None:
        """What is encrypted already gets a fresh key, and its host another event: Vol 4, Part E, 7.8.24."""
        assert connection.transport == PhysicalTransport.LE
        if connection.handle not in self._le_encrypted:
            self._tell_le_encryption(connection, status)
        else:
            self.tell(hci.HCI_Encryption_Key_Refresh_Complete_Event(status=status, connection_handle=connection.handle))
        if status == _SUCCESS:
            self._le_encrypted.add(connection.handle)


def _pin(command: Any) -> bytes:
    return bytes(command.pin_code[: command.pin_code_length])


def _io_capabilities(command: Any) -> IoCapabilities:
    return IoCapabilities(command.io_capability, command.oob_data_present, command.authentication_requirements)
