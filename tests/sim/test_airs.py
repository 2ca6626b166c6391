"""The airs of other programs: a controller for each who connects, and nothing left of them."""

import os
from pathlib import Path

import pytest
from bumble import hci

from tests.sim import btvirt
from tests.sim.airs import MAKES, open_air
from tests.sim.plugged import plug
from tests.sim.virtual_air import VirtualAir, new_host


def children() -> set[str]:
    """Processes of ours."""
    return {pid for thread in Path("/proc/self/task").glob("*/children") for pid in thread.read_text().split()}


async def test_each_has_a_controller_of_its_own(virtual_air: VirtualAir) -> None:
    addresses = set()
    for _ in range(3):
        host = await new_host(virtual_air)
        await host.reset()
        addresses.add((await host.send_sync_command(hci.HCI_Read_BD_ADDR_Command())).bd_addr)
    assert len(addresses) == 3


@pytest.mark.parametrize("make", MAKES)
async def test_nothing_is_left_of_an_air(libraries: Path, make: str) -> None:
    before = children()
    async with open_air(make) as air:
        dongle = await plug(air)
        dongle.close()
        dongle.close()
        assert children() > before or make == "bumble"
    assert children() == before


async def test_two_airs_of_btvirt_at_a_time(libraries: Path) -> None:
    async with btvirt.btvirt_air() as one, btvirt.btvirt_air() as other:
        for air in (one, other):
            await (await new_host(air)).reset()


async def test_what_does_not_start_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "btvirt"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ChildProcessError, match="ended with 3"):
        async with btvirt.btvirt_air():
            pass
