"""Resolving lists of simulated controllers: Vol 4, Part E, 7.8.38 and the following, and 7.7.65.10."""

import pytest
from bumble import crypto
from bumble.link import LocalLink

from tests.sim.test_inquiry import Station

ADD, REMOVE, CLEAR, READ_PEER, ENABLE = "2720", "2820", "2920", "2b20", "2d20"
SET_RANDOM_ADDRESS, ADVERTISE, SCAN, CONNECT = "0520", "0a20", "0c20", "0d20"
IRK, OTHER_IRK, NO_IRK = "11" * 16, "22" * 16, "00" * 16
IDENTITY = "00 030000eeffc0"
LE_META, REPORT, CONNECTION, ENHANCED = 0x3E, 0x02, 0x01, 0x0A


def private_address(irk: str = IRK) -> bytes:
    prand = bytes.fromhex("112243")
    return bytes(crypto.ah(bytes.fromhex(irk), prand)) + prand


async def start(link: LocalLink, number: int) -> Station:
    station = Station(link, number)
    await station.command("030c")
    await station.command("010c", "ff" * 8)  # Set_Event_Mask
    return station


@pytest.fixture
async def one() -> Station:
    return await start(LocalLink(), 1)


@pytest.fixture
async def other(one: Station) -> Station:
    """Advertises with a private address."""
    station = await start(one.controller.link, 2)
    await station.command("0520", private_address().hex())
    await station.command("0620", "1400 1400 00 01 00 000000000000 07 00")
    assert await station.command(ADVERTISE, "01") == b"\x00"
    return station


async def use(station: Station, irk: str = IRK) -> None:
    assert await station.command(ADD, IDENTITY + irk + NO_IRK) == b"\x00"
    assert await station.command(ENABLE, "01") == b"\x00"


async def le_event(station: Station, subevent: int) -> bytes:
    while (event := await station.event())[:1] != bytes((LE_META,)) or event[2] != subevent:
        pass
    return event


@pytest.mark.parametrize(
    ("irk", "known"), [(IRK, bytes.fromhex("02 030000eeffc0")), (OTHER_IRK, b"\x01" + private_address())]
)
async def test_reports_name_the_identity(one: Station, other: Station, irk: str, known: bytes) -> None:
    await use(one, irk)
    assert await one.command(SCAN, "01 00") == b"\x00"
    assert (await le_event(one, REPORT))[5:12] == known


@pytest.mark.parametrize(("mask", "subevent"), [("1f00", CONNECTION), ("1f02", ENHANCED)])
async def test_a_connection_to_an_identity(one: Station, other: Station, mask: str, subevent: int) -> None:
    await one.command("0120", mask + "00" * 6)
    await use(one)
    parameters = "6000 3000 00" + IDENTITY + "01 1800 2800 0000 2a00 0000 0000"
    assert await one.command(CONNECT, parameters) == b"\x00"
    event = await le_event(one, subevent)
    assert event[3] == 0
    assert event[7:14] == bytes.fromhex("02 030000eeffc0")
    if subevent == ENHANCED:
        assert event[14:26] == bytes(6) + private_address()  # ours is none, so it is all zeros
    assert await one.command(READ_PEER, IDENTITY) == b"\x00" + private_address()


async def test_who_connects_is_known(one: Station) -> None:
    other = await start(one.controller.link, 2)
    await use(other)
    await other.command("0620", "1400 1400 00 00 00 000000000000 07 00")
    await other.command(ADVERTISE, "01")
    await one.command(SET_RANDOM_ADDRESS, private_address().hex())
    await one.command(CONNECT, "6000 3000 00 00 020000eeffc0 01 1800 2800 0000 2a00 0000 0000")
    assert (await le_event(other, CONNECTION))[7:14] == bytes.fromhex("02 030000eeffc0")


async def test_the_list(one: Station) -> None:
    assert await one.command(READ_PEER, IDENTITY) == bytes.fromhex("02 000000000000")
    assert await one.command(ADD, IDENTITY + IRK + NO_IRK) == b"\x00"
    assert await one.command(ADD, IDENTITY + IRK + NO_IRK) == b"\x12"
    for number in range(1, 8):
        assert await one.command(ADD, f"01 {number:02x}0000000000" + IRK + NO_IRK) == b"\x00"
    assert await one.command(ADD, "01 990000000000" + IRK + NO_IRK) == b"\x07"
    assert await one.command(REMOVE, IDENTITY) == b"\x00"
    assert await one.command(REMOVE, IDENTITY) == b"\x02"
    assert await one.command(CLEAR) == b"\x00"


async def test_a_list_in_use_is_not_changed(one: Station) -> None:
    await use(one)
    await one.command(SCAN, "01 00")
    for command, parameters in ((ADD, IDENTITY + IRK + NO_IRK), (REMOVE, IDENTITY), (CLEAR, ""), (ENABLE, "00")):
        assert await one.command(command, parameters) == b"\x0c"
