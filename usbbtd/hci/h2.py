"""The USB transport H2 (Vol 4, Part B): packets out of transfers, and the control transfer of a command.

Events come on the interrupt endpoint and ACL data on the bulk one, both as a stream: a packet may take several
transfers, a transfer may hold several packets, and a zero-length one, which some controllers send after a packet that
ends on a boundary, holds nothing.
"""

import struct

__all__ = ["AclReassembler", "EventReassembler", "control_setup"]

_pack_setup = struct.Struct("<BBHHH").pack


class _Reassembler:
    """Cuts a stream at the lengths that its headers announce."""

    HEADER: struct.Struct  # its last item is the number of octets that follow

    def __init__(self) -> None:
        self._partial = b""
        self._header = self.HEADER.size
        self._unpack = self.HEADER.unpack_from

    def receive(self, transfer: bytes) -> list[bytes]:
        """The packets that are whole with this transfer; less than one packet is kept."""
        # hot: per transfer
        if self._partial:
            transfer = self._partial + transfer
        header = self._header
        available = len(transfer)
        if available >= header and header + self._unpack(transfer)[-1] == available:  # as nearly all are
            self._partial = b""
            return [transfer]
        packets = []
        start = 0
        while available - start >= header:
            end = start + header + self._unpack(transfer, start)[-1]
            if end > available:
                break
            packets.append(transfer[start:end])
            start = end
        self._partial = transfer[start:]
        return packets


class EventReassembler(_Reassembler):
    """Interrupt transfers to HCI events."""

    HEADER = struct.Struct("<BB")


class AclReassembler(_Reassembler):
    """Bulk transfers to ACL data packets."""

    HEADER = struct.Struct("<HH")


def control_setup(command: bytes) -> bytes:
    """The setup packet that goes with a command: a class request to the device (Vol 4, Part B, 2.2.1)."""
    return _pack_setup(0x20, 0, 0, 0, len(command))
