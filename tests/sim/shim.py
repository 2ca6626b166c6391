"""Between a dongle and its controller: what a controller and a bus may do to packets, all within the specification.

ACL data comes in small fragments, each endpoint takes its own time, and completed packets are told late and at once.
"""

import asyncio
import random
import struct
from collections import Counter, deque

from tests.sim.dongle import ACL, EVENT, SimulatedDongle
from tests.sim.virtual_air import AirController, Receive

_COMPLETED_PACKETS = 0x13
_header, _entry = struct.Struct("<HH"), struct.Struct("<HH")
_CONTINUING = 0x1000  # Vol 4, Part E, 5.4.2
_HANDLE_MASK = 0x0FFF
_LENGTH_FIELD = 2  # of a PDU, which is never cut: without it nobody knows how much is to come


class Shim:
    """Of one dongle. ``generator``: what the shim does follows from it.

    ``fragment``: the most octets of ACL data in a packet to the host. ``delay_s``: the most that an endpoint is late.
    ``withheld``: of how many packets at the most completion is held back, for up to ``delay_s``.
    """

    def __init__(
        self, generator: random.Random, *, fragment: int = 23, delay_s: float = 0.003, withheld: int = 4
    ) -> None:
        self._random = generator
        self._fragment = fragment
        self._delay_s = delay_s
        self._withheld = withheld
        self._completed: Counter[int] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def put_between(self, dongle: SimulatedDongle, controller: AirController) -> None:
        """Carries packets between them; ``receive`` is to get those of the controller."""
        self._events, self._acl = Lane(dongle.receive_packet), Lane(dongle.receive_packet)
        self._commands, self._data = Lane(controller.send), Lane(controller.send)
        dongle.send_packet = self.send

    def send(self, packet: bytes) -> None:
        """From the host."""
        self._carry(self._data if packet[:1] == ACL else self._commands, packet)

    def receive(self, packet: bytes) -> None:
        """From the controller."""
        if packet[:1] == ACL:
            for fragment in self._fragments(packet[1:]):
                self._carry(self._acl, ACL + fragment)
        elif packet[:2] == EVENT + bytes((_COMPLETED_PACKETS,)):
            self._withhold(packet)
        else:
            self._carry(self._events, packet)

    def _carry(self, lane: "Lane", packet: bytes) -> None:
        lane.carry(packet, self._random.uniform(0, self._delay_s))

    def _fragments(self, packet: bytes) -> list[bytes]:
        flags, _ = _header.unpack_from(packet)
        data = packet[_header.size :]
        fragments = []
        while True:
            size = self._random.randint(_LENGTH_FIELD, self._fragment)
            fragments.append(_header.pack(flags, len(data[:size])) + data[:size])
            if not (data := data[size:]):
                return fragments
            flags = flags & _HANDLE_MASK | _CONTINUING

    def _withhold(self, packet: bytes) -> None:
        for handle, count in _entry.iter_unpack(packet[4:]):
            self._completed[handle] += count
        if self._completed.total() >= self._withheld:
            self._tell_completed()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._tell_completed)

    def _tell_completed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        entries = b"".join(_entry.pack(*entry) for entry in self._completed.items())
        count = len(self._completed)
        self._completed.clear()
        self._carry(self._events, EVENT + bytes((_COMPLETED_PACKETS, 1 + len(entries), count)) + entries)


class Lane:
    """Carries packets one after the other, each late by its own time."""

    def __init__(self, deliver: Receive) -> None:
        self._deliver = deliver
        self._under_way: deque[bytes] = deque()
        self._at = 0.0

    def carry(self, packet: bytes, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._at = max(self._at, loop.time() + delay_s)
        self._under_way.append(packet)
        loop.call_at(self._at, self._arrive)

    def _arrive(self) -> None:
        """Timers of one time may fire in any order: the packets keep theirs."""
        self._deliver(self._under_way.popleft())
