"""A radio that takes its time: between a simulated dongle and its controller, whose air carries all at once.

Each ACL packet is on the air as long as a real one would be, so that a host hears of its fragments one by one. Both
directions are as if they had the air for themselves.
"""

import asyncio
import struct
from collections.abc import Callable

from bumble.link import LocalLink

from tests.sim.controller import SimulatedController
from tests.sim.dongle import ACL, SimulatedDongle

#: Octets that fit into 3-DH1, 3-DH3 and 3-DH5 packets, and their slots with one for the answer: Vol 2, Part B, 6.7.
_SLOTS = ((83, 2), (552, 4), (1021, 6))
_SLOT_S = 625e-6
#: LE 2M: the octets around a payload, the time of each, an empty packet and two pauses: Vol 6, Part B, 2.1 and 4.1.
_LE_OVERHEAD, _LE_OCTET_S, _LE_ANSWER_S = 11, 4e-6, 44e-6 + 2 * 150e-6

_header = struct.Struct("<BHH")


def air_time_s(size: int, *, over_le: bool) -> float:
    """Returns how long a fragment of so many octets, with its answer, keeps the air busy."""
    if over_le:
        return (_LE_OVERHEAD + size) * _LE_OCTET_S + _LE_ANSWER_S
    return next(slots for most, slots in _SLOTS if size <= most) * _SLOT_S


class PacedRadio:
    """A controller on the air, as SimulatedController, with a radio's pace."""

    def __init__(self, link: LocalLink, name: str, address: str, receive: Callable[[bytes], None]) -> None:
        self._controller = SimulatedController(link, name, address, self._receive_packet)
        self._to_air = Direction(self._controller.send)
        self._to_host = Direction(receive)
        self._receive = receive

    def send(self, packet: bytes) -> None:
        """Takes a packet of the host. Its buffer is free when it has been on the air."""
        if packet[:1] == ACL:
            self._to_air.carry(packet, self._air_time_s(packet))
        else:
            self._controller.send(packet)

    def _receive_packet(self, packet: bytes) -> None:
        if packet[:1] == ACL:
            self._to_host.carry(packet, self._air_time_s(packet))
        else:
            self._receive(packet)

    def _air_time_s(self, packet: bytes) -> float:
        _, handle, size = _header.unpack_from(packet)
        return air_time_s(size, over_le=self._controller.is_over_le(handle))


class Direction:
    """Carries packets one after the other."""

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._free_at = 0.0

    def carry(self, packet: bytes, seconds: float) -> None:
        self._free_at = max(self._free_at, self._loop.time()) + seconds
        self._loop.call_at(self._free_at, self._deliver, packet)


def new_paced_dongle(link: LocalLink, address: str, *, serial: str = "0001") -> SimulatedDongle:
    """Returns a dongle with a controller of its own on the virtual air, whose radio takes its time."""
    dongle = SimulatedDongle(serial=serial)
    dongle.send_packet = PacedRadio(link, f"dongle {serial}", address, dongle.receive_packet).send
    return dongle
