"""Every make of controllers, with each peer, over each carrier of data, at each level of security: see cells.py."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.matrix.cells import CANNOT, CELLS, LEVELS, Cannot, Cell, table
from tests.matrix.ends import IO, STARTS, TIME_LIMIT_S, connect, start_adapter
from tests.sim import airs
from tests.sim.shim import Shim
from tests.support import air
from tests.support.pairing import AirAgent, Notes
from usbbtd.bluetooth import LEVEL_ENCRYPTED, SECURITY_LEVELS
from usbbtd.radio.errors import Insecure


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
async def test_cell(libraries: Path, cell: Cell) -> None:
    await check(cell)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.level == "SC" and cell.peer == "Bumble"], ids="-".join)
async def test_cell_behind_a_shim(libraries: Path, cell: Cell, seed: int) -> None:
    """The dongle's packets come in pieces, late, and each endpoint's at its own time."""
    await check(cell, Shim(random.Random(seed)))


async def check(cell: Cell, shim: Shim | None = None) -> None:
    level, notes = LEVELS[cell.level], Notes()
    async with asyncio.timeout(TIME_LIMIT_S), airs.open_air(cell.make) as on:
        adapter = await start_adapter(on, air.OUR_LE_ADDRESS, shim)
        peer = await STARTS[cell.peer](on, level, notes, adapter)
        agent = AirAgent(IO[level].ours, max(level, LEVEL_ENCRYPTED), notes=notes)
        try:
            with refused(CANNOT.get(cell), level):
                channel = await connect(adapter, peer, cell.carrier, level, agent)
                assert channel.link.security.level >= level
                await peer.prove(channel)
        finally:
            peer.close()
            adapter.close()


@contextmanager
def refused(cannot: Cannot | None, level: int) -> Iterator[None]:
    """Checks that what cannot be is refused, and says what was missing."""
    if cannot is None:
        yield
        return
    with pytest.raises(Insecure, match=SECURITY_LEVELS[level]) as caught:
        yield
    assert caught.value.why is cannot.why


def test_the_table_has_a_row_for_each_carrier_and_a_note_for_each_reason() -> None:
    assert {cell.make for cell in CELLS} == set(airs.MAKES)
    assert table().count("| pass") + table().count("cannot be") == len(CELLS)
    assert all(cannot.text in table() for cannot in CANNOT.values())
