"""Inquiries between simulated controllers, and what one tells of others: Vol 4, Part E, 7.1.1, 7.7.2, .33 and .38."""

import asyncio
from typing import Any

import pytest
from bumble.link import LocalLink

from tests.sim.controller import new_controller

GENERAL, LIMITED = "338b9e", "008b9e"
INQUIRY, CANCEL = "0104", "0204"
WRITE_SCAN_ENABLE, WRITE_CLASS, WRITE_LAPS, WRITE_MODE, WRITE_EIR = "1a0c", "240c", "3a0c", "450c", "520c"
COMPLETE, STATUS, ENDED = 0x0E, 0x0F, 0x01
EIR = bytes.fromhex("05 09 70 65 65 72")  # Complete Local Name


class Station:
    """A controller, and the events that it sends."""

    def __init__(self, link: LocalLink, number: int) -> None:
        self.controller = new_controller(link, f"{number}", f"C0:FF:EE:00:00:0{number}")
        self.controller.inquiry.unit_s = 0.05
        self.controller.set_packet_sink(self)
        self._events: asyncio.Queue[bytes] = asyncio.Queue()

    def on_packet(self, packet: bytes) -> None:
        self._events.put_nowait(packet[1:])

    async def event(self) -> bytes:
        return await self._events.get()

    async def command(self, opcode: str, parameters: str = "") -> bytes:
        """Returns the return parameters, or the status."""
        octets = bytes.fromhex(parameters)
        self.controller.on_packet(b"\x01" + bytes.fromhex(opcode) + bytes((len(octets),)) + octets)
        event = await self.event()
        assert event[0] in (COMPLETE, STATUS)
        return event[5:] if event[0] == COMPLETE else event[2:3]


@pytest.fixture
async def one() -> Station:
    return Station(LocalLink(), 1)


@pytest.fixture
async def other(one: Station) -> Station:
    """Lets itself be found."""
    station = Station(one.controller.link, 2)
    await station.command("030c")
    for command in ((WRITE_SCAN_ENABLE, "01"), (WRITE_CLASS, "0c025a"), (WRITE_EIR, "00" + EIR.hex() + "00" * 234)):
        assert await station.command(*command) == b"\x00"
    return station


async def inquire(one: Station, lap: str = GENERAL, most: int = 0) -> list[bytes]:
    assert await one.command(INQUIRY, f"{lap} 01 {most:02x}") == b"\x00"
    results: list[bytes] = []
    while (event := await one.event())[0] != ENDED:
        results.append(event)
    assert event == bytes.fromhex("010100")
    return results


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("00", "020f 01 020000eeffc0 01 0000 0c025a 0000"),
        ("01", "220f 01 020000eeffc0 01 00 0c025a 0000 ce"),
        ("02", "2fff 01 020000eeffc0 01 00 0c025a 0000 ce" + EIR.hex() + "00" * 234),
    ],
)
async def test_a_device_is_told_of_once_in_the_hosts_mode(
    one: Station, other: Station, mode: str, expected: str
) -> None:
    await one.command("010c", "ff" * 8)  # Set_Event_Mask
    await one.command(WRITE_MODE, mode)
    assert await inquire(one) == [bytes.fromhex(expected)]


@pytest.mark.parametrize("setting", [(WRITE_SCAN_ENABLE, "02"), (WRITE_LAPS, "01" + LIMITED)])
async def test_who_does_not_scan_for_this_is_not_found(one: Station, other: Station, setting: tuple[str, str]) -> None:
    await other.command(*setting)
    assert await inquire(one) == []


async def test_an_inquiry_ends_with_as_many_as_were_asked_for(one: Station, other: Station) -> None:
    third = Station(one.controller.link, 3)
    await third.command(WRITE_SCAN_ENABLE, "01")
    one.controller.inquiry.unit_s = 1e6
    assert len(await inquire(one, most=1)) == 1


async def test_who_begins_to_scan_later_is_found(one: Station, other: Station) -> None:
    await other.command(WRITE_SCAN_ENABLE, "00")
    one.controller.inquiry.unit_s = 1e6
    inquiring: asyncio.Task[Any] = asyncio.create_task(inquire(one, most=1))
    await asyncio.sleep(0)
    await other.command(WRITE_SCAN_ENABLE, "01")
    assert len(await inquiring) == 1


async def test_a_cancelled_inquiry_has_no_end(one: Station) -> None:
    assert await one.command(CANCEL) == b"\x0c"
    assert await one.command(INQUIRY, f"{GENERAL} 30 00") == b"\x00"
    assert await one.command(INQUIRY, f"{GENERAL} 30 00") == b"\x0c"
    assert await one.command(CANCEL) == b"\x00"
    assert await inquire(one) == []


async def test_settings_are_read_as_written_and_reset(one: Station) -> None:
    assert await one.command(WRITE_MODE, "02") == b"\x00"
    assert await one.command("440c") == b"\x00\x02"
    await one.command("030c")
    assert await one.command("440c") == b"\x00\x00"
