"""Advertisements between simulated controllers, and their reports: Vol 4, Part E, 7.7.65.2."""

import pytest
from bumble.link import LocalLink

from tests.sim.test_inquiry import Station
from tests.sim.test_privacy import REPORT, le_event, start

SET_PARAMETERS, SET_DATA, SET_RESPONSE, ADVERTISE = "0620", "0820", "0920", "0a20"
SCAN_PARAMETERS, SCAN, CONNECT, CANCEL = "0b20", "0c20", "0d20", "0e20"
DATA, RESPONSE = "020106", "0409 637570"
TWO = "00 020000eeffc0"


@pytest.fixture
async def one() -> Station:
    return await start(LocalLink(), 1)


@pytest.fixture
async def other(one: Station) -> Station:
    return await start(one.controller.link, 2)


async def advertise(station: Station, kind: int) -> None:
    await station.command(SET_PARAMETERS, f"1400 1400 {kind:02x} 00 00 000000000000 07 00")
    await station.command(SET_DATA, "03" + DATA + "00" * 28)
    await station.command(SET_RESPONSE, "05" + RESPONSE + "00" * 26)
    assert await station.command(ADVERTISE, "01") == b"\x00"


async def reports(station: Station, count: int, *, active: bool) -> set[bytes]:
    await station.command(SCAN_PARAMETERS, f"{active:02x} 1000 1000 00 00")
    assert await station.command(SCAN, "01 00") == b"\x00"
    return {(await le_event(station, REPORT))[4:] for _ in range(count)}


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("kind", [0, 2, 3])
async def test_reports(one: Station, other: Station, kind: int, active: bool) -> None:
    """A scan response only comes to who asks for it, of who has one."""
    await advertise(other, kind)
    expected = {bytes.fromhex(f"{kind:02x} {TWO} 03 {DATA} ce")}
    if active and kind != 3:
        expected.add(bytes.fromhex(f"04 {TWO} 05 {RESPONSE} ce"))
    assert await reports(one, 4, active=active) == expected


@pytest.mark.parametrize("kind", [2, 3])
async def test_what_is_not_connectable_is_not_connected_to(one: Station, other: Station, kind: int) -> None:
    await advertise(other, kind)
    await one.command(CONNECT, f"6000 3000 00 {TWO} 01 1800 2800 0000 2a00 0000 0000")
    assert await reports(one, 3, active=False)
    assert not one.controller.le_connections
    assert await one.command(CANCEL) == b"\x00"
    assert (await le_event(one, 0x01))[3] == 0x02  # LE Connection Complete: Unknown Connection Identifier
    assert await one.command(CANCEL) == b"\x0c"
