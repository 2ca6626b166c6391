"""Pages, names and roles between simulated controllers: Vol 4, Part E, 7.1.5, 7.1.7, 7.1.19 and 7.2.8."""

import pytest
from bumble.link import LocalLink

from tests.sim.test_inquiry import WRITE_SCAN_ENABLE, Station

CREATE, CANCEL, NAME, CANCEL_NAME, SWITCH_ROLE = "0504", "0804", "1904", "1a04", "0b08"
TWO, NOBODY = "020000eeffc0", "990000eeffc0"
CONNECTED, REQUESTED, NAMED, ROLE_CHANGED = 0x03, 0x04, 0x07, 0x12
PACKETS = "18cc 01 00 0000 01"


@pytest.fixture
async def one() -> Station:
    return Station(LocalLink(), 1)


@pytest.fixture
async def other(one: Station) -> Station:
    return Station(one.controller.link, 2)


async def connect(one: Station, other: Station) -> None:
    await other.command(WRITE_SCAN_ENABLE, "02")
    assert await one.command(CREATE, TWO + PACKETS) == b"\x00"
    request = await other.event()
    assert request[0] == REQUESTED
    assert await other.command("0904", request[2:8].hex() + "01") == b"\x00"  # Accept_Connection_Request
    for station in (one, other):
        assert (await station.event())[:3] == bytes((CONNECTED, 11, 0))


@pytest.mark.parametrize(("address", "scans"), [(NOBODY, ""), (TWO, "00"), (TWO, "01")])
async def test_who_does_not_answer_a_page(one: Station, other: Station, address: str, scans: str) -> None:
    one.controller.paging.page_timeout_s = 0
    await other.command(WRITE_SCAN_ENABLE, scans or "00")
    assert await one.command(CREATE, address + PACKETS) == b"\x00"
    assert await one.event() == bytes.fromhex(f"030b 04 0000 {address} 01 00")
    assert await one.command(NAME, address + "01 00 0000") == b"\x00"
    assert await one.event() == bytes.fromhex(f"07ff 04 {address}") + bytes(248)


async def test_a_page_waits_for_its_peer(one: Station, other: Station) -> None:
    one.controller.paging.page_timeout_s = 1e6
    assert await one.command(CREATE, TWO + PACKETS) == b"\x00"
    await other.command(WRITE_SCAN_ENABLE, "02")
    assert (await other.event())[0] == REQUESTED


async def test_a_page_is_cancelled(one: Station) -> None:
    one.controller.paging.is_patient = True
    assert await one.command(CANCEL, NOBODY) == bytes.fromhex("02" + NOBODY)
    assert await one.command(CREATE, NOBODY + PACKETS) == b"\x00"
    assert await one.command(CANCEL, NOBODY) == bytes.fromhex("00" + NOBODY)
    assert await one.event() == bytes.fromhex(f"030b 02 0000 {NOBODY} 01 00")
    assert await one.command(NAME, NOBODY + "01 00 0000") == b"\x00"
    assert await one.command(CANCEL_NAME, NOBODY) == bytes.fromhex("00" + NOBODY)
    assert (await one.event())[:3] == bytes((NAMED, 255, 2))


async def test_a_name_without_a_link_and_over_one(one: Station, other: Station) -> None:
    await other.command("130c", b"cup".ljust(248, b"\x00").hex())
    await other.command(WRITE_SCAN_ENABLE, "02")
    expected = bytes.fromhex(f"07ff 00 {TWO}") + b"cup".ljust(248, b"\x00")
    assert await one.command(NAME, TWO + "01 00 0000") == b"\x00"
    assert await one.event() == expected
    await connect(one, other)
    await other.command(WRITE_SCAN_ENABLE, "00")
    assert await one.command(NAME, TWO + "01 00 0000") == b"\x00"
    assert await one.event() == expected


async def test_roles_change_at_both_ends(one: Station, other: Station) -> None:
    await connect(one, other)
    assert await one.command(SWITCH_ROLE, TWO + "01") == b"\x00"
    assert await one.event() == bytes.fromhex(f"1208 00 {TWO} 01")
    assert await other.event() == bytes.fromhex("1208 00 010000eeffc0 00")
    assert await one.command(SWITCH_ROLE, TWO + "01") == b"\x00"  # it is that already
    assert (await one.event())[0] == ROLE_CHANGED


async def test_a_role_switch_may_be_refused(one: Station, other: Station) -> None:
    await connect(one, other)
    connection = next(iter(other.controller.classic_connections.values()))
    connection.classic_allow_role_switch = False
    assert await one.command(SWITCH_ROLE, TWO + "01") == b"\x00"
    assert await one.event() == bytes.fromhex(f"1208 21 {TWO} 00")
