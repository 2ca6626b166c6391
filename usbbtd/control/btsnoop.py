"""Packs captures in the form that btmon and Wireshark read: btsnoop version 1, with packets of HCI's UART (H4)."""

import struct

_DATALINK_H4 = 1002
_RECEIVED, _COMMAND_OR_EVENT = 1, 2
_ACL_DATA = 2
#: Microseconds from the beginning of the year 0, where btsnoop's time starts, to that of 1970.
_EPOCH_US = 0x00DCDDB30F2F8000

FILE_HEADER = struct.pack(">8sII", b"btsnoop\0", 1, _DATALINK_H4)

_record = struct.Struct(">IIIIqB")

#: Octets of a record besides the packet.
OVERHEAD = _record.size


def pack_record(packet: bytes, *, received: bool, packet_type: int, drops: int, unix_time_us: int) -> bytes:
    """Packs a whole packet, with its H4 type in front. ``drops``: how many packets this capture has lost so far."""
    size = len(packet) + 1
    flags = _RECEIVED * received | _COMMAND_OR_EVENT * (packet_type != _ACL_DATA)
    return _record.pack(size, size, flags, drops, unix_time_us + _EPOCH_US, packet_type) + packet
