"""Two peers for a Host: a controller of bytes that does what a test scripts, and Bumble's."""

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bumble import hci
from bumble.controller import Controller as BumbleController
from bumble.device import Device
from bumble.hci import Address, LeFeatureMask, LmpFeatureMask
from bumble.host import Host as BumbleHost
from bumble.link import LocalLink

from tests.sim.controller import make_strict
from usbbtd.hci.advertising_set import AdvertisingParameters
from usbbtd.hci.events import Event
from usbbtd.hci.host import Host

RANDOM_ADDRESS = bytes.fromhex("0100000000c0")

#: Return parameters of a dual-mode controller by opcode, status first. What is not listed is answered by status 0.
ANSWERS = {
    0x1001: struct.pack("<BBHBHH", 0, 9, 0, 9, 0x000A, 0),
    0x1002: bytes(1) + b"\xff" * 64,
    0x1003: struct.pack("<BQ", 0, 1 << 38 | 1 << 51 | 1 << 54),
    0x1005: struct.pack("<BHBHH", 0, 100, 64, 4, 8),
    0x1009: bytes(1) + bytes.fromhex("112233445566"),
    0x2002: struct.pack("<BHB", 0, 27, 3),
    0x2003: struct.pack("<BQ", 0, 1 << 1 | 1 << 5 | 1 << 8),
    0x201C: struct.pack("<BQ", 0, 0xFFFFFFFFFFFFFFFF),
    0x202F: struct.pack("<BHHHH", 0, 251, 2120, 251, 2120),
    0x203A: struct.pack("<BH", 0, 31),
    0x203B: bytes((0, 1)),
}
#: Commands that are answered by Command_Status.
STATUS = {0x0401, 0x0405, 0x0406, 0x0409, 0x040A, 0x0411, 0x0413, 0x0419, 0x042A, 0x200D, 0x2013, 0x2019, 0x2043}


class Scripted:
    """A controller of bytes. ``answers`` by opcode: return parameters with the status; None: silence."""

    def __init__(self, answers: dict[int, bytes | None] | None = None, *, secure: bool = False) -> None:
        self.host = Host(random_address=RANDOM_ADDRESS, secure=secure)
        self.answers: dict[int, bytes | None] = {**ANSWERS, **(answers or {})}
        self.credits = 1
        self.now = 0.0
        self.commands: list[tuple[int, bytes]] = []  # received since they were last taken

    def run(self) -> None:
        """Answers commands until there are no more."""
        while packets := self.host.take_commands():
            for packet in packets:
                opcode, length = struct.unpack_from("<HB", packet)
                assert length == len(packet) - 3
                self.commands.append((opcode, packet[3:]))
                answer = self.answers.get(opcode, b"\0")
                if answer is None:
                    continue
                if opcode in STATUS:
                    self.event(0x0F, answer[:1] + struct.pack("<BH", self.credits, opcode))
                else:
                    self.event(0x0E, struct.pack("<BH", self.credits, opcode) + answer)

    def event(self, code: int, parameters: bytes = b"") -> None:
        self.host.receive_event(bytes((code, len(parameters))) + parameters, self.now)

    def le_event(self, subevent: int, parameters: bytes) -> None:
        self.event(0x3E, bytes((subevent,)) + parameters)

    def start(self) -> "Scripted":
        self.host.start(self.now)
        self.run()
        return self

    def up(self) -> "Scripted":
        self.start()
        assert self.host.state == "up"
        self.take()
        return self

    def take(self) -> list[tuple[int, bytes]]:
        """Commands received since the last call; answers what waits, and forgets the events."""
        self.run()
        self.host.take_events()
        taken, self.commands = self.commands, []
        return taken

    def wait(self, seconds: float) -> None:
        """Lets time pass, with all timeouts where they fall, and answers commands."""
        end = self.now + seconds
        self.run()
        while (deadline := self.host.next_timeout()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.host.handle_timeout(self.now)
            self.run()
        self.now = end

    def connect(self, address: bytes, address_type: int) -> None:
        """Has the host want a link, or it would not let that in. The commands for that are not taken note of."""
        before = self.commands.copy()
        self.host.connect(address, address_type, self.now)
        self.run()
        self.commands[:] = before

    def advertise(self) -> None:
        """Has the host want links of any peers of LE, as ``connect`` does."""
        before = self.commands.copy()
        self.host.start_advertising(99, AdvertisingParameters(b"", 100, True), self.now)
        self.run()
        self.commands[:] = before

    def le_link(
        self, handle: int, address: bytes, role: int = 0, status: int = 0, address_type: int = 0, *, asked: bool = True
    ) -> None:
        """Tells of a link, which is asked for before, unless it is the peer's."""
        if asked and not status and not role:
            self.connect(address, 1 + (address_type & 1))
        self.le_event(0x01, struct.pack("<BHBB6sHHHB", status, handle, role, address_type, address, 24, 0, 500, 0))

    def bredr_link(self, handle: int, address: bytes, status: int = 0, *, asked: bool = True) -> None:
        """Tells of a link, which is asked for before."""
        if asked and not status:
            self.connect(address, 0)
        self.event(0x03, struct.pack("<BH6sBB", status, handle, address, 1, 0))

    def unlink(self, handle: int, reason: int = 0x13) -> None:
        self.event(0x05, struct.pack("<BHB", 0, handle, reason))

    def completed(self, *entries: tuple[int, int]) -> None:
        self.event(0x13, bytes((len(entries),)) + b"".join(struct.pack("<HH", *entry) for entry in entries))


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


DUAL_MODE = (
    LmpFeatureMask.LE_SUPPORTED_CONTROLLER
    | LmpFeatureMask.EXTENDED_FEATURES
    | LmpFeatureMask.SECURE_SIMPLE_PAIRING_CONTROLLER_SUPPORT
)
LEGACY_LE = {
    hci.HCI_LE_SET_ADVERTISING_ENABLE_COMMAND,
    hci.HCI_LE_SET_SCAN_ENABLE_COMMAND,
    hci.HCI_LE_CREATE_CONNECTION_COMMAND,
}
EXTENDED_LE = {
    hci.HCI_LE_SET_EXTENDED_ADVERTISING_ENABLE_COMMAND,
    hci.HCI_LE_SET_EXTENDED_SCAN_ENABLE_COMMAND,
    hci.HCI_LE_EXTENDED_CREATE_CONNECTION_COMMAND,
}


class OnAir(ABC):
    """A Host on a controller of a virtual air. ``events``: those that nobody has taken yet."""

    events: list[Event]

    @abstractmethod
    def pump(self) -> None:
        """Moves what there is between the host and its controller."""

    async def until(self, condition: Callable[[], Any]) -> Any:
        """What the condition gives once it is true."""
        async with asyncio.timeout(5):
            while not (result := condition()):
                await asyncio.sleep(0)  # a turn of the loop, on which the air lives
                self.pump()
        return result

    async def event(self, kind: type[Any]) -> Any:
        """Takes the first event of a kind."""
        found = await self.until(lambda: [event for event in self.events if isinstance(event, kind)])
        self.events.remove(found[0])
        return found[0]


class OnBumble(OnAir):
    """A Host on one of Bumble's controllers, and a Bumble device on the same air."""

    def __init__(self, *, extended: bool) -> None:
        """``extended``: our controller has the extended LE commands only."""
        link = LocalLink()
        self.host = Host(random_address=RANDOM_ADDRESS)
        self.controller = BumbleController("ours", link=link, public_address="C1:00:00:00:00:01")
        self.peer_controller = BumbleController("peer", link=link, public_address="C2:00:00:00:00:02")
        for controller in (self.controller, self.peer_controller):
            make_strict(controller)
            controller.lmp_features = DUAL_MODE
            if not extended:
                controller.le_features &= ~LeFeatureMask.LE_EXTENDED_ADVERTISING
            controller.acl_data_packet_length = 251
            controller.le_acl_data_packet_length = 60
            controller.total_num_le_acl_data_packets = 4
        if extended:
            self.controller.supported_commands = (self.controller.supported_commands - LEGACY_LE) | EXTENDED_LE
        self.controller.set_packet_sink(self)
        self.peer = Device(
            name="peer",
            address=Address("C3:00:00:00:00:03", Address.RANDOM_DEVICE_ADDRESS),
            host=BumbleHost(self.peer_controller, self.peer_controller),
        )
        self.peer.classic_enabled = True
        self.peer.advertising_interval_min = self.peer.advertising_interval_max = 20
        self.events: list[Event] = []
        self.pdus: list[tuple[int, bytes]] = []

    def on_packet(self, packet: bytes) -> None:
        """From our controller, in H4 framing."""
        now = asyncio.get_running_loop().time()
        if packet[0] == 4:
            self.host.receive_event(packet[1:], now)
        else:
            self.host.receive_acl([packet[1:]], 0.0)
        self.pump()

    def pump(self) -> None:
        while packets := [b"\1" + p for p in self.host.take_commands()] + [b"\2" + p for p in self.host.take_acl(0.0)]:
            for packet in packets:
                self.controller.on_packet(packet)
        self.events += self.host.take_events()
        self.pdus += [(handle, pdu) for handle, pdus in self.host.take_pdus() for pdu in pdus]

    async def power_on(self) -> None:
        self.host.start(asyncio.get_running_loop().time())
        await self.peer.power_on()
        await self.until(lambda: self.host.state == "up")


@pytest.fixture
def on_bumble() -> Callable[..., Awaitable[OnBumble]]:
    async def make(*, extended: bool = False) -> OnBumble:
        made = OnBumble(extended=extended)
        await made.power_on()
        return made

    return make
