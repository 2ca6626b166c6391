"""Regions and handles of libxengnttab."""

import pytest

from tests.sim.conftest import Pair
from tests.sim.world import World


def test_unmapping_takes_the_whole_region_or_nothing(pair: Pair) -> None:
    a, b = pair
    shared = a.share(b.domid, 2)
    mapped = b.map([a.domid] * 2, shared["refs"])["region"]
    with pytest.raises(OSError, match="Invalid"):
        b.unmap(mapped, 1)
    with pytest.raises(OSError, match="Invalid"):
        a.unshare(shared["region"], 1)
    b.unmap(mapped)
    with pytest.raises(OSError, match="Invalid"):
        b.unmap(mapped)


def test_closing_the_handle_releases_what_munmap_left(pair: Pair, world: World) -> None:
    a, b = pair
    shared = a.share(b.domid, 4)
    b.munmap(b.map([a.domid] * 4, shared["refs"])["region"])
    b.close_grants()
    assert world.statistics()[b.domid]["mapped"] == 0
    a.munmap(shared["region"])
    a.close_grants()
    assert world.statistics()[a.domid]["shared"] == 0
