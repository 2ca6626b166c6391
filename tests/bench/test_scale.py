"""The rows about many guests and channels, of figures that were not measured."""

from typing import cast

from tests.bench.path_end import PEERS
from tests.bench.runner import Effort
from tests.bench.scale import RUNS, ScaleLab, flat_rows
from tests.bench.scale_end import CHANNELS_A_PEER


class FixedLab:
    """Costs what it is told."""

    def __init__(self, us: float) -> None:
        self.us = us

    async def cost(self, count: int) -> tuple[float]:
        return (self.us,)


async def test_each_size_is_beside_the_smallest() -> None:
    labs = cast(list[ScaleLab], [FixedLab(40), FixedLab(44), FixedLab(60)])
    one, some, many = await flat_rows(labs, "guest", (1, 4, 64), Effort())
    assert (one.name, one.ours, one.target) == ("one SDU with 1 guest", 40, None)
    assert (some.name, some.peer, some.judged.median) == ("one SDU with 4 guests", "1 guest", 1.1)
    assert (many.name, many.judged.median, len(many.our_runs)) == ("one SDU with 64 guests", 1.5, RUNS)


def test_there_are_peers_for_all_channels() -> None:
    assert len(PEERS) * CHANNELS_A_PEER >= 512
    assert len({address for peer in PEERS for address in (peer.address, peer.le_address)}) == 2 * len(PEERS)
