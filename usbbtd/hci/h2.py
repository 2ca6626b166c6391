"""The USB transport H2 (Vol 4, Part B): cuts transfers into packets, and makes the control transfer of a command.

Events come on the interrupt endpoint and ACL data on the bulk one, both as a stream: a packet may take several
transfers, and a transfer may hold several packets. An empty transfer, which some controllers send after a packet that
ends on a boundary, holds nothing.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

__all__ = ["AclReassembler", "EventReassembler", "ResetAnswer", "Transfer", "control_setup", "is_firmware", "is_reset"]

#: The data of an IN transfer; None if it failed and its data is lost.
Transfer = bytes | None

#: The opcode of Reset (7.3.2), whose answer is the first event of a stream that begins anew.
_RESET = b"\x03\x0c"
#: The opcode with which a bootloader of Intel's is sent firmware.
_INTEL_SECURE_SEND = b"\x09\xfc"
_EVENT_HEADER_SIZE: Final = 2  # code, length
_ACL_HEADER_SIZE: Final = 4  # handle with flags, length
_COMMAND_COMPLETE, _COMMAND_STATUS = 0x0E, 0x0F

_pack_setup = struct.Struct("<BBHHH").pack


class _Reassembler(ABC):
    """Cuts a stream at the lengths that its headers announce."""

    def __init__(self, header_size: int) -> None:
        self.partial = b""  # the beginning of a packet whose rest is still to come
        self.failed = 0  # how many transfers failed
        self._header_size = header_size

    @abstractmethod
    def packet_size(self, stream: bytes, start: int) -> int:
        """Returns the size of the packet that begins at ``start``, with its header, which is all there."""

    def restart(self) -> None:
        """Forgets a packet whose rest is still to come."""
        self.partial = b""

    def cut(self, transfers: Sequence[Transfer]) -> list[bytes]:  # hot: per wake-up
        """Returns the packets that are whole with these transfers."""
        packets: list[bytes] = []
        for transfer in transfers:
            # Most transfers are one packet.
            if transfer and not self.partial and self._is_packet(transfer):
                packets.append(transfer)
            else:
                packets += self.receive(transfer)
        return packets

    def receive(self, transfer: Transfer) -> list[bytes]:
        """Returns the packets that are whole with this transfer. A part of one is kept, until a transfer fails."""
        if transfer is None:
            self.failed += 1
            self.restart()
            return []
        if self.partial:
            transfer = self.partial + transfer
        header_size = self._header_size
        available = len(transfer)
        if self._is_packet(transfer):
            self.partial = b""
            return [transfer]
        packets = []
        start = 0
        while available - start >= header_size:
            end = start + self.packet_size(transfer, start)
            if end > available:
                break
            packets.append(transfer[start:end])
            start = end
        self.partial = transfer[start:]
        return packets

    def _is_packet(self, transfer: bytes) -> bool:  # hot: per packet
        return len(transfer) >= self._header_size and self.packet_size(transfer, 0) == len(transfer)


class EventReassembler(_Reassembler):
    """Cuts interrupt transfers into HCI events."""

    def __init__(self) -> None:
        super().__init__(_EVENT_HEADER_SIZE)

    def packet_size(self, stream: bytes, start: int) -> int:
        return _EVENT_HEADER_SIZE + stream[start + 1]


class AclReassembler(_Reassembler):
    """Cuts bulk transfers into ACL data packets."""

    def __init__(self) -> None:
        super().__init__(_ACL_HEADER_SIZE)

    def packet_size(self, stream: bytes, start: int) -> int:
        return _ACL_HEADER_SIZE + (stream[start + 2] | stream[start + 3] << 8)


class ResetAnswer:
    """Finds the answer to Reset, with which the events begin anew.

    Transfers before it may have a part of an event, with which the answer could be taken for its rest. So each transfer
    is looked at by itself first, and then together with those before it.
    """

    def __init__(self) -> None:
        self._stream = EventReassembler()

    def receive(self, transfer: Transfer) -> Transfer:
        """Returns the octets from the answer on; None if it has not come yet."""
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
    """Tells whether a command packet is Reset."""
    return command[:2] == _RESET


def is_firmware(command: bytes) -> bool:
    """Tells whether a command packet has a piece of firmware for a bootloader of Intel's."""
    return command[:2] == _INTEL_SECURE_SEND


def control_setup(command: bytes) -> bytes:
    """Returns the setup packet of a command: a class request to the device (Vol 4, Part B, 2.2.1)."""
    return _pack_setup(0x20, 0, 0, 0, len(command))
