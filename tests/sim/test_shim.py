"""The shim between a dongle and a controller: nothing gets lost on the way, and each endpoint keeps its order."""

import random
from itertools import pairwise

import pytest

from tests.sim.dongle import SimulatedDongle
from tests.sim.shim import Shim
from tests.support.air import turns

SEEDS = range(20)
COMPLETED = 0x13


class Ends:
    """The dongle and the controller at the shim's ends: what each gets."""

    def __init__(self, shim: Shim) -> None:
        self.at_host: list[bytes] = []
        self.at_controller: list[bytes] = []
        self.shim = shim
        self.dongle = SimulatedDongle()
        self.dongle.receive_packet = self.at_host.append  # type: ignore[assignment, method-assign]
        self.shim.put_between(self.dongle, self)

    def send(self, packet: bytes) -> None:
        self.at_controller.append(packet)

    def close(self) -> None:
        """There is nothing to close."""


def acl(handle: int, data: bytes) -> bytes:
    return b"\x02" + (handle | 0x2000).to_bytes(2, "little") + len(data).to_bytes(2, "little") + data


@pytest.mark.parametrize("seed", SEEDS)
async def test_acl_data_comes_in_fragments_that_hold_it_all(seed: int) -> None:
    ends = Ends(Shim(random.Random(seed)))
    packets = [bytes((number,)) * size for number, size in enumerate((2, 3, 23, 24, 192, 1021))]
    for packet in packets:
        ends.shim.receive(acl(5, packet))
    await turns(lambda: sum(len(packet) - 5 for packet in ends.at_host) == sum(map(len, packets)))
    whole: list[bytes] = []
    for fragment in ends.at_host:
        flags, length, data = int.from_bytes(fragment[1:3], "little"), fragment[3], fragment[5:]
        assert len(data) == length <= 23
        assert flags & 0x0FFF == 5
        if flags >> 12 == 1:
            whole[-1] += data
        else:
            assert length >= 2
            whole.append(data)
    assert whole == packets


@pytest.mark.parametrize("seed", SEEDS)
async def test_endpoints_keep_their_order_each_for_itself(seed: int) -> None:
    ends = Ends(Shim(random.Random(seed)))
    for number in range(50):
        ends.dongle.send_packet(b"\x01" + bytes((number,)))
        ends.dongle.send_packet(acl(5, bytes((1, 0, number))))
        ends.shim.receive(b"\x04\x0e\x01" + bytes((number,)))
        ends.shim.receive(acl(5, bytes((number,)) * 2))
    await turns(lambda: len(ends.at_host) == len(ends.at_controller) == 100)
    for packets in (ends.at_host, ends.at_controller):
        for kind in {packet[0] for packet in packets}:
            assert [packet[-1] for packet in packets if packet[0] == kind] == list(range(50))
    assert any(one[0] == other[0] for one, other in pairwise(ends.at_host))


@pytest.mark.parametrize("seed", SEEDS)
async def test_all_completed_packets_are_told_in_the_end(seed: int) -> None:
    ends = Ends(Shim(random.Random(seed)))
    for number in range(30):
        ends.shim.receive(b"\x04" + bytes((COMPLETED, 9, 2, 5, 0, 1, 0, 6, 0, number % 3, 0)))

    def told() -> tuple[int, int]:
        counts = {5: 0, 6: 0}
        for packet in ends.at_host:
            assert packet[1] == COMPLETED
            assert packet[2] == len(packet) - 3 == 1 + 4 * packet[3]
            for at in range(4, len(packet), 4):
                counts[packet[at]] += packet[at + 2]
        return counts[5], counts[6]

    await turns(lambda: told() == (30, 30))
    assert len(ends.at_host) < 30
