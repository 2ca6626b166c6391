"""The host-only rows, in small, and that a host which does not do its work is found out."""

from pathlib import Path

import pytest

from tests.bench import hosts
from tests.bench.host import Ours
from tests.bench.runner import Effort


async def test_a_row_for_each_case_and_direction(tmp_path: Path) -> None:
    rows = [row async for row in hosts.rows(Effort(runs=1, part=0.02), tmp_path, tmp_path)]
    assert len({row.name for row in rows}) == len(rows) == 16
    assert all(row.unit == "µs/SDU" and row.peer == "Bumble" and row.ratios for row in rows)


class Lossy(Ours):
    """Loses the last SDU both ways."""

    def send(self, sdus: list[bytes]) -> None:
        super().send(sdus[:-1])

    def receive_sdus(self, sdus: list[tuple[int, int, bytes]]) -> None:
        super().receive_sdus(sdus)
        self.received.pop()


async def test_lost_sdus_are_noticed() -> None:
    bench = hosts.Bench(hosts.CASES[0], Lossy, 4)
    await bench.open()
    with pytest.raises(ValueError, match="did not send"):
        await bench.transmit()
    with pytest.raises(ValueError, match="did not deliver"):
        await bench.receive()
