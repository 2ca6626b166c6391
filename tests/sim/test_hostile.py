"""The hostile controller: it does all of its deeds, and still speaks in whole packets, so that all of them are read."""

import random

from tests.sim.hostile import Hostile
from tests.sim.test_shim import Ends, acl
from tests.support.air import turns


async def test_deeds() -> None:
    hostile = Hostile(random.Random(1), rate=1)
    ends = Ends(hostile)
    for number in range(100):
        hostile.receive(b"\x04\x0e\x04\x01\x03\x0c" + bytes((number,)))
        hostile.receive(acl(5, bytes((number,)) * 20))
    assert {"_lie", "_cut", "_repeat", "_hold", "_stall", "_flood"} == set(hostile.deeds)
    await turns(lambda: len(ends.at_host) > 200)
    assert all(packet[2] == len(packet) - 3 for packet in ends.at_host if packet[0] == 4)
    assert all(packet[3] == len(packet) - 5 for packet in ends.at_host if packet[0] == 2)


async def test_with_a_rate_of_0_it_is_a_shim() -> None:
    hostile = Hostile(random.Random(1), rate=0)
    ends = Ends(hostile)
    hostile.receive(b"\x04\x0e\x04\x01\x03\x0c\x00")
    ends.dongle.send_packet(b"\x01\x03\x0c\x00")
    await turns(lambda: ends.at_host and ends.at_controller)
    assert ends.at_host == [b"\x04\x0e\x04\x01\x03\x0c\x00"]
    assert ends.at_controller == hostile.heard == [b"\x01\x03\x0c\x00"]
    assert not hostile.deeds
