"""Replaces keys by zeros in packets that are shown: link keys, long-term keys, IRKs, PINs, passkeys, data out of band.

Lengths stay, and so do addresses and handles before a key: a capture shows that there was one, and of which link.
"""

from collections.abc import Mapping
from typing import Final

from usbbtd.dongles.tap import ACL_DATA, COMMAND

#: Where secrets are in the parameters of commands, by opcode (Vol 4, Part E, 7.1, 7.3, 7.8): from there to the end.
_COMMANDS: Final = {
    0x040B: 6,  # Link_Key_Request_Reply
    0x040D: 6,  # PIN_Code_Request_Reply
    0x042E: 6,  # User_Passkey_Request_Reply
    0x0430: 6,  # Remote_OOB_Data_Request_Reply
    0x0445: 6,  # Remote_OOB_Extended_Data_Request_Reply
    0x0C11: 1,  # Write_Stored_Link_Key
    0x2017: 0,  # LE_Encrypt
    0x2019: 12,  # LE_Enable_Encryption
    0x201A: 2,  # LE_Long_Term_Key_Request_Reply
    0x2027: 7,  # LE_Add_Device_To_Resolving_List
}
#: The same of events (Vol 4, Part E, 7.7), by code: from there, as far as there; of LE events, by the code of those.
_EVENTS: Final[Mapping[int, tuple[int, int | None]]] = {
    0x15: (1, None),  # Return_Link_Keys
    0x18: (6, 22),  # Link_Key_Notification; the type of the key is behind it
    0x3B: (6, None),  # User_Passkey_Notification
}
_LE_EVENTS: Final = {0x09: 2}  # LE_Generate_DHKey_Complete
#: Commands whose return parameters are secret, all but the status.
_RETURNED: Final = frozenset({0x0C57, 0x0C7D, 0x2017, 0x2018})  # Read_Local_OOB_(Extended_)Data, LE_Encrypt, LE_Rand

_COMMAND_COMPLETE, _LE_META = 0x0E, 0x3E
_COMMAND_HEADER, _EVENT_HEADER, _ACL_HEADER, _L2CAP_HEADER = 3, 2, 4, 4
_STATUS_END: Final = 4  # of Command_Complete: its number of packets, its opcode, the status

#: The fixed channels of the security manager on LE and BR/EDR, and its PDUs with keys: Encryption, Identity and Signing
#: Information (Vol 3, Part H, 3.6).
_SECURITY_CIDS: Final = frozenset({0x0006, 0x0007})
_SECRET_PDUS: Final = frozenset({0x06, 0x08, 0x0A})
_HANDLE, _CONTINUATION = 0x0FFF, 0x1000


class KeyMask:
    """Masks packets of both directions, which it must see all of, in order: a PDU may come in several."""

    def __init__(self) -> None:
        self._hidden: dict[tuple[bool, int], bool] = {}  # by direction and handle: what continues the last PDU

    def mask(self, received: bool, packet_type: int, packet: bytes) -> bytes:
        """Returns a packet with zeros for keys."""
        if packet_type == COMMAND:
            return _mask_command(packet)
        return self._mask_acl(received, packet) if packet_type == ACL_DATA else _mask_event(packet)

    def _mask_acl(self, received: bool, packet: bytes) -> bytes:
        header = int.from_bytes(packet[:2], "little")
        link = received, header & _HANDLE
        if header & _CONTINUATION:  # of one whose beginning was not seen, nobody knows what it is
            return _without(packet, _ACL_HEADER) if self._hidden.get(link, True) else packet
        start = _ACL_HEADER + _L2CAP_HEADER
        hidden = len(packet) < start  # then its channel comes with what follows
        if int.from_bytes(packet[start - 2 : start], "little") in _SECURITY_CIDS:
            hidden = len(packet) <= start or packet[start] in _SECRET_PDUS
        self._hidden[link] = hidden  # at most as many as there are handles
        return _without(packet, start + 1) if hidden else packet


def _mask_command(packet: bytes) -> bytes:
    start = _COMMANDS.get(int.from_bytes(packet[:2], "little"))
    return packet if start is None else _without(packet, _COMMAND_HEADER + start)


def _mask_event(packet: bytes) -> bytes:
    code, subevent = packet[:1], packet[_EVENT_HEADER : _EVENT_HEADER + 1]
    if code == bytes((_LE_META,)):
        start = _LE_EVENTS.get(int.from_bytes(subevent, "little"))
        return packet if start is None else _without(packet, _EVENT_HEADER + start)
    if code == bytes((_COMMAND_COMPLETE,)):
        opcode = int.from_bytes(packet[_EVENT_HEADER + 1 : _EVENT_HEADER + 3], "little")
        return _without(packet, _EVENT_HEADER + _STATUS_END) if opcode in _RETURNED else packet
    if (part := _EVENTS.get(int.from_bytes(code, "little"))) is None:
        return packet
    start, end = part
    return _without(packet, _EVENT_HEADER + start, None if end is None else _EVENT_HEADER + end)


def _without(packet: bytes, start: int, end: int | None = None) -> bytes:
    """Returns a packet with zeros from ``start`` to ``end``, or to its own end."""
    kept = packet[:start]
    return (kept + bytes(len(packet[start:end])) + (b"" if end is None else packet[end:])) if packet[start:] else packet
