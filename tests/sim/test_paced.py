"""A radio that takes its time."""

import asyncio
from collections.abc import Callable

import pytest

from tests.sim.paced import Direction, air_time_s


@pytest.mark.parametrize(
    ("size", "over_le", "us"),
    [
        (0, False, 1250),
        (83, False, 1250),
        (84, False, 2500),
        (552, False, 2500),
        (553, False, 3750),
        (1021, False, 3750),
        (0, True, 388),
        (251, True, 1392),
    ],
)
def test_the_time_of_a_packet_is_that_of_the_specification(size: int, over_le: bool, us: float) -> None:
    assert air_time_s(size, over_le=over_le) * 1e6 == pytest.approx(us)


async def test_packets_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered: list[bytes] = []
    due: list[float] = []
    loop = asyncio.get_running_loop()

    def call_at(when: float, deliver: Callable[[bytes], None], packet: bytes) -> None:
        due.append(when)
        deliver(packet)

    monkeypatch.setattr(loop, "time", lambda: 100.0)
    monkeypatch.setattr(loop, "call_at", call_at)
    direction = Direction(delivered.append)
    direction.carry(b"first", 0.5)
    direction.carry(b"second", 0.25)
    monkeypatch.setattr(loop, "time", lambda: 200.0)
    direction.carry(b"third", 0.25)
    assert delivered == [b"first", b"second", b"third"]
    assert due == [100.5, 100.75, 200.25]
