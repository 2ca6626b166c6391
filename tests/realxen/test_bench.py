"""Our data ring and libxenvchan between two domains: everything gets to the other end. How fast says make xen-bench."""

from tests.bench.rings import PEER, STREAMS
from tests.bench.runner import Effort
from tests.realxen.bench import rows
from tests.realxen.lab import Lab


async def test_both_rings_move_everything(lab: Lab) -> None:
    """An end answers a task when all its messages have been read at the other, so that a row is its result."""
    results = [row async for row in rows(Effort(runs=1, part=0.005), *lab.guests)]
    assert len(results) == 1 + len(STREAMS)
    for row in results:
        assert row.peer == PEER
        assert row.ours > 0
        assert row.peer_value
        assert row.peer_value > 0
