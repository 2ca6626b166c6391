"""The USB transport H2 (Vol 4, Part B): packets out of transfers, and the control transfer of a command.

Events come on the interrupt endpoint and ACL data on the bulk one, both as a stream: a packet may take several
transfers, a transfer may hold several packets, and a zero-length one, which some controllers send after a packet that
ends on a boundary, holds nothing.
"""

import struct
from collections.abc import Sequence

__all__ = ["AclReassembler", "EventReassembler", "ResetAnswer", "Transfer", "control_setup", "is_reset"]

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
        self.partial = b""  # less than a packet
        self.failed = 0  # transfers
        self._header = self.HEADER.size
        self._unpack = self.HEADER.unpack_from

    def restart(self) -> None:
        """Forgets what was begun."""
        self.partial = b""

    def cut(self, transfers: Sequence[Transfer]) -> list[bytes]:  # hot: per wake-up
        """Returns the packets that are whole with these transfers."""
        packets: list[bytes] = []
        for transfer in transfers:
            packets += self.receive(transfer)
        return packets

    def receive(self, transfer: Transfer) -> list[bytes]:
        """The packets that are whole with this transfer; less than one packet is kept, until a transfer fails."""
        # hot: per transfer
        if transfer is None:
            self.failed += 1
            self.restart()
            return []
        if self.partial:
            transfer = self.partial + transfer
        header = self._header
        available = len(transfer)
        if available >= header and header + self._unpack(transfer)[-1] == available:  # as nearly all are
            self.partial = b""
            return [transfer]
        packets = []
        start = 0
        while available - start >= header:
            end = start + header + self._unpack(transfer, start)[-1]
            if end > available:
                break
            packets.append(transfer[start:end])
            start = end
        self.partial = transfer[start:]
        return packets


class EventReassembler(_Reassembler):
    """Interrupt transfers to HCI events."""

    HEADER = struct.Struct("<BB")


class AclReassembler(_Reassembler):
    """Bulk transfers to ACL data packets."""

    HEADER = struct.Struct("<HH")


class ResetAnswer:
    """Finds the answer to Reset, with which the events begin anew.

    What a controller sends before may be the rest of an event whose beginning is lost, and with half an event from
    before the answer would be taken for its end. So each transfer is looked at by itself first, then with those
    before it.
    """

    def __init__(self) -> None:
        self._stream = EventReassembler()

    def receive(self, transfer: Transfer) -> Transfer:
        """Returns what came from the answer on; None if it has not come."""
        for stream in (EventReassembler(), self._stream):
            events = stream.receive(transfer)
            for number, event in enumerate(events):
                if self._is_answer(event):
                    return b"".join(events[number:]) + stream.partial
        return None

    @staticmethod
    def _is_answer(event: bytes) -> bool:
        at = {_COMMAND_COMPLETE: 3, _COMMAND_STATUS: 4}.get(event[0])
        return at is not None and event[at : at + 2] == _RESET


def is_reset(command: bytes) -> bool:
    """Says whether a command packet is Reset."""
    return command[:2] == _RESET


def control_setup(command: bytes) -> bytes:
    """The setup packet that goes with a command: a class request to the device (Vol 4, Part B, 2.2.1)."""
    return _pack_setup(0x20, 0, 0, 0, len(command))
