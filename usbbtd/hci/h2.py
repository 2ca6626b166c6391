"""The USB transport H2 (Vol 4, Part B): packets out of transfers, and the control transfer of a command.

Events come on the interrupt endpoint and ACL data on the bulk one, both as a stream: a packet may take several
transfers, a transfer may hold several packets, and a zero-length one, which some controllers send after a packet that
ends on a boundary, holds nothing.
"""

import struct

__all__ = ["AclReassembler", "EventReassembler", "Transfer", "begins_anew", "control_setup", "is_reset"]

#: What an IN transfer had; None: it failed, and what it had is lost.
Transfer = bytes | None

#: Reset (7.3.2), whose answer is the first event of a stream that begins anew.
_RESET = b"\x03\x0c"
_COMMAND_COMPLETE, _COMMAND_STATUS = 0x0E, 0x0F

_pack_setup = struct.Struct("<BBHHH").pack


class _Reassembler:
    """Cuts a stream at the lengths that its headers announce."""

    HEADER: struct.Struct  # its last item is the number of octets that follow

    def __init__(self) -> None:
        self._partial = b""
        self._header = self.HEADER.size
        self._unpack = self.HEADER.unpack_from

    def restart(self) -> None:
        """Forgets what was begun."""
        self._partial = b""

    def receive(self, transfer: Transfer) -> list[bytes]:
        """The packets that are whole with this transfer; less than one packet is kept, until a transfer fails."""
        # hot: per transfer
        if transfer is None:
            self.restart()
            return []
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


def begins_anew(transfer: Transfer) -> bool:
    """Says whether an interrupt transfer begins with the answer to Reset.

    What a controller sends before may be the rest of a packet whose beginning is lost.
    """
    if not transfer:
        return False
    at = {_COMMAND_COMPLETE: 3, _COMMAND_STATUS: 4}.get(transfer[0])
    return at is not None and transfer[at : at + 2] == _RESET


def is_reset(command: bytes) -> bool:
    """Says whether a command packet is Reset."""
    return command[:2] == _RESET


def control_setup(command: bytes) -> bytes:
    """The setup packet that goes with a command: a class request to the device (Vol 4, Part B, 2.2.1)."""
    return _pack_setup(0x20, 0, 0, 0, len(command))
