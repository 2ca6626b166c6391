"""The simulated controller, from its dongle's USB side. Commands and events: Core specification, Vol 4, Part E, 7."""

import asyncio

import pytest
from bumble.link import LocalLink

from tests.sim.controller import ACL_COUNT, ACL_SIZE, LE_ACL_SIZE, new_dongle
from tests.sim.dongle import ACL_IN, ACL_OUT, EVENTS_IN

RESET = bytes.fromhex("030c00")
READ_BD_ADDR = bytes.fromhex("091000")
READ_LOCAL_VERSION = bytes.fromhex("011000")
READ_LOCAL_COMMANDS = bytes.fromhex("021000")
READ_BUFFER_SIZE = bytes.fromhex("051000")
LE_READ_BUFFER_SIZE = bytes.fromhex("022000")


class UsbHost:
    """Drives a dongle without a bus."""

    def __init__(self, link: LocalLink, address: str) -> None:
        self.dongle = new_dongle(link, address)
        self._woken = asyncio.Event()
        self.dongle.wake = self._woken.set
        assert self.dongle.control(bytes.fromhex("0009010000000000"), b"") == b""

    def command(self, command: bytes) -> None:
        setup = bytes.fromhex("200000000000") + len(command).to_bytes(2, "little")
        assert self.dongle.control(setup, command) == b""

    async def transfer(self, endpoint: int) -> bytes:
        """One transfer, packet by packet, as hosts of full-speed devices get it."""
        size = 16 if endpoint == EVENTS_IN else 64
        packets: list[bytes] = []
        while not packets or len(packets[-1]) == size:
            while (packet := self.dongle.take_transfer(endpoint, size)) is None:
                self._woken.clear()
                await self._woken.wait()
            packets.append(packet[1])
        return b"".join(packets)

    async def ask(self, command: bytes) -> bytes:
        """The return parameters in Command Complete, Vol 4, Part E, 7.7.14."""
        self.command(command)
        event = await self.transfer(EVENTS_IN)
        assert event[0] == 0x0E
        assert event[1] == len(event) - 2
        assert event[3:5] == command[:2]
        return event[5:]


@pytest.fixture
def link() -> LocalLink:
    return LocalLink()


async def test_commands_and_events(link: LocalLink) -> None:
    host = UsbHost(link, "C0:FF:EE:00:00:01")
    assert await host.ask(RESET) == b"\x00"
    assert await host.ask(READ_BD_ADDR) == bytes.fromhex("00 010000eeffc0")
    assert (await host.ask(READ_BUFFER_SIZE))[1:3] == ACL_SIZE.to_bytes(2, "little")
    assert (await host.ask(LE_READ_BUFFER_SIZE))[1:3] == LE_ACL_SIZE.to_bytes(2, "little")


async def test_events_over_several_packets(link: LocalLink) -> None:
    host = UsbHost(link, "C0:FF:EE:00:00:01")
    assert len(await host.ask(READ_LOCAL_COMMANDS)) == 65
    assert len(await host.ask(READ_LOCAL_VERSION)) == 9


@pytest.mark.parametrize(
    ("command", "parameters"),
    [("050c01 00", ""), ("160c02 a01f", ""), ("250c00", "6000"), ("380c00", "01"), ("390c00", "01 338b9e")],
)
async def test_commands_of_bredr_that_bumble_does_not_know(link: LocalLink, command: str, parameters: str) -> None:
    host = UsbHost(link, "C0:FF:EE:00:00:01")
    assert await host.ask(bytes.fromhex(command)) == b"\x00" + bytes.fromhex(parameters)


async def test_a_page_of_nobody_times_out(link: LocalLink) -> None:
    host = UsbHost(link, "C0:FF:EE:00:00:01")
    host.command(bytes.fromhex("0504 0d 990000eeffc0 18cc 01 00 0000 01"))  # Create_Connection
    assert await host.transfer(EVENTS_IN) == bytes.fromhex("0f04 00 01 0504")
    assert await host.transfer(EVENTS_IN) == bytes.fromhex("030b 04 0000 990000eeffc0 01 00")


async def connected(host: UsbHost, other: UsbHost) -> tuple[int, int]:
    """A BR/EDR link from one dongle to the other: the handles at both ends."""
    await other.ask(bytes.fromhex("1a0c01") + b"\x02")  # Write_Scan_Enable: page scan
    host.command(bytes.fromhex("0504 0d 020000eeffc0 18cc 01 00 0000 01"))  # Create_Connection
    while (event := await other.transfer(EVENTS_IN))[0] != 0x04:  # Connection_Request
        pass
    other.command(bytes.fromhex("0904 07") + event[2:8] + b"\x01")  # Accept_Connection_Request
    handles: list[int] = []
    for each in (host, other):
        while (event := await each.transfer(EVENTS_IN))[0] != 0x03:  # Connection_Complete
            pass
        assert event[2] == 0
        handles.append(int.from_bytes(event[3:5], "little"))
    return handles[0], handles[1]


@pytest.mark.parametrize("size", [5, ACL_SIZE, ACL_SIZE + 1, 3 * ACL_SIZE])
async def test_acl_data_over_the_air_comes_in_fragments(link: LocalLink, size: int) -> None:
    host, other = UsbHost(link, "C0:FF:EE:00:00:01"), UsbHost(link, "C0:FF:EE:00:00:02")
    near, far = await connected(host, other)
    pdu = (size - 4).to_bytes(2, "little") + b"\x40\x00" + bytes(range(256)) * (size // 256 + 1)
    pdu = pdu[:size]
    host.dongle.receive_data(ACL_OUT, near.to_bytes(2, "little") + len(pdu).to_bytes(2, "little") + pdu)
    received = b""
    while len(received) < size:
        packet = await other.transfer(ACL_IN)
        header, length = int.from_bytes(packet[:2], "little"), int.from_bytes(packet[2:4], "little")
        assert header & 0x0FFF == far
        assert header >> 12 & 3 == (1 if received else 2)  # continuing, first flushable: Vol 4, Part E, 5.4.2
        assert length == len(packet) - 4 <= ACL_SIZE
        received += packet[4:]
    assert received == pdu


async def test_a_host_that_does_not_count_buffers_loses_data(link: LocalLink) -> None:
    host, other = UsbHost(link, "C0:FF:EE:00:00:01"), UsbHost(link, "C0:FF:EE:00:00:02")
    near, _ = await connected(host, other)
    for number in range(ACL_COUNT + 1):
        host.dongle.receive_data(ACL_OUT, near.to_bytes(2, "little") + bytes((5, 0, 1, 0, 0x40, 0, number)))
    completed = [await host.transfer(EVENTS_IN) for _ in range(ACL_COUNT)]
    assert {event[0] for event in completed} == {0x13}
    host.dongle.receive_data(ACL_OUT, near.to_bytes(2, "little") + bytes((5, 0, 1, 0, 0x40, 0, 255)))
    received = [(await other.transfer(ACL_IN))[-1] for _ in range(ACL_COUNT + 1)]
    assert received == [*range(ACL_COUNT), 255]


async def connected_le(host: UsbHost, other: UsbHost) -> tuple[int, int]:
    """An LE link from a dongle with a random address to one with its public address: the handles at both ends."""
    for each in (host, other):
        await each.ask(bytes.fromhex("010c08") + b"\xff" * 8)  # Set_Event_Mask
    await other.ask(bytes.fromhex("06200f 1400 1400 00 00 00 000000000000 07 00"))  # LE_Set_Advertising_Parameters
    await other.ask(bytes.fromhex("0a2001 01"))
    await host.ask(bytes.fromhex("052006 010000eeffc0"))  # LE_Set_Random_Address
    host.command(bytes.fromhex("0d2019 6000 3000 00 00 020000eeffc0 01 1800 2800 0000 2a00 0000 0000"))
    handles: list[int] = []
    for each in (host, other):
        while (event := await each.transfer(EVENTS_IN))[:1] != b"\x3e" or event[2] != 1:  # LE_Connection_Complete
            pass
        assert event[3] == 0
        handles.append(int.from_bytes(event[4:6], "little"))
    return handles[0], handles[1]


async def test_le_data_from_and_to_a_public_address(link: LocalLink) -> None:
    host, other = UsbHost(link, "C0:FF:EE:00:00:01"), UsbHost(link, "C0:FF:EE:00:00:02")
    near, far = await connected_le(host, other)
    data = bytes((5, 0, 1, 0, 0x40, 0, 1))
    for sender, handle, receiver in ((host, near, other), (other, far, host)):
        sender.dongle.receive_data(ACL_OUT, handle.to_bytes(2, "little") + data)
        assert (await receiver.transfer(ACL_IN))[2:] == data


async def test_events_that_the_host_left_out_of_its_mask_do_not_come(link: LocalLink) -> None:
    host, other = UsbHost(link, "C0:FF:EE:00:00:01"), UsbHost(link, "C0:FF:EE:00:00:02")
    near, _ = await connected(host, other)
    data = near.to_bytes(2, "little") + bytes((5, 0, 1, 0, 0x40, 0, 1))
    await host.ask(bytes.fromhex("010c08") + (0x1FFF_FFFF_FFFF & ~(1 << 18)).to_bytes(8, "little"))  # Set_Event_Mask
    host.dongle.receive_data(ACL_OUT, data)
    await other.transfer(ACL_IN)
    assert await host.ask(READ_BD_ADDR)  # the next event, Number_Of_Completed_Packets is none
