"""A virtual air in one process: dongles for an adapter of ours, and remote devices with Bumble's stack."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Callable, Coroutine, Sequence, Set
from typing import Any

import structlog
from bumble import hci
from bumble.core import PhysicalTransport
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.host import Host
from bumble.l2cap import ClassicChannelSpec, LeCreditBasedChannelSpec
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

from tests.demo.peers import PeerChannel
from tests.sim.controller import new_controller
from usbbtd.backends.access import Access
from usbbtd.dongles.usb_dongle import TransferReceiver
from usbbtd.policy.files import compile_policy
from usbbtd.policy.rules import GuestPolicy, Identity, Peer, RuleLimits
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import Offer, RadioChannel
from usbbtd.radio.controller import Controller
from usbbtd.tomlfile import parse_document

BREDR, LE = 0, 1
TIME_LIMIT_S = 10

OUR_ADDRESS, OUR_LE_ADDRESS = "C0:FF:EE:00:00:01", "C0:FF:EE:00:00:02"
PEER_ADDRESS, PEER_LE_ADDRESS = "C0:FF:EE:00:00:11", "C0:FF:EE:00:00:12"
NOBODY = "C0:FF:EE:00:00:99"

#: An adapter's arguments for a peer, by transport: address and address_type.
PEER = {BREDR: (PEER_ADDRESS, 0), LE: (PEER_LE_ADDRESS, 2)}
PSM = {BREDR: 0x1001, LE: 0x80}
MTU = 2048
TRANSPORTS = [BREDR, LE]
SIZES = (1, 2, 20, 48, 63, 64, 65, 251, 672, 1000, 1021, 1024, 2047, 2048)

EVENT_PACKET_SIZE = 16


ALLOW_ALL = '[[rule]]\nguest = "any"\naction = "any"\nverdict = "allow"\n'


def guest_policy(text: str = ALLOW_ALL) -> GuestPolicy:
    """Of the guest 7, "work"."""
    return compile_policy([parse_document(text, "policy.toml")]).for_guest(Identity(7, "work"))


def access(
    text: str = ALLOW_ALL, channels: int = 64, is_bonded: Callable[[Peer], bool | None] = lambda _: None
) -> Access:
    return Access(guest_policy(text), RuleLimits(channels, 1 << 18, 600), structlog.get_logger(), is_bonded)


def octets(address: str) -> bytes:
    """An address as HCI has it."""
    return bytes.fromhex(address.replace(":", ""))[::-1]


class DirectDongle:
    """HCI straight to Bumble's controller, in the packets of a USB dongle: see ``usbbtd.dongles.dongle.Dongle``.

    ``held``: what comes from the controller waits for ``release``; ``late``: codes of events that do, while all else
    overtakes them. ``deaf``: opcodes of commands that get lost; ``loses``: of those that get lost once.
    ``bulk_room``: how many transfers ``send_bulk`` takes until ``make_room``; None: any number.
    """

    vendor_id, product_id, serial = 0x1209, 0xB7B7, "0001"
    interrupt_packet_size, bulk_packet_size = EVENT_PACKET_SIZE, 64

    def __init__(self, link: LocalLink, address: str = OUR_ADDRESS) -> None:
        self.name = f"direct {address}"
        self.closed = self.held = False
        self.late: Set[int] = frozenset()
        self.deaf: Set[bytes] = frozenset()
        self.loses: set[bytes] = set()
        self.bulk_room: int | None = None
        self.commands: list[bytes] = []
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._receiver: TransferReceiver | None = None
        self.late_events: list[bytes] = []
        self._interrupts: list[bytes] = []  # what was not delivered yet, as what waits
        self.waiting: list[bytes] = []
        self._scheduled = False
        self._controller = new_controller(link, self.name, address)
        self._controller.paging.is_patient = True
        self._controller.set_packet_sink(self)

    # The adapter calls these.

    def start(self, receiver: TransferReceiver) -> None:
        self._receiver = receiver

    def send_control(self, setup: bytes, data: bytes) -> None:
        assert setup == bytes((0x20, 0, 0, 0, 0, 0, len(data), 0))  # Vol 4, Part B, 2.2.2
        self.commands.append(data)
        opcode = data[:2]
        if opcode in self.loses:
            self.loses.remove(opcode)
            return
        if opcode in self.deaf or self.closed:
            return
        self._loop.call_soon(self._controller.on_packet, b"\x01" + data)

    def send_bulk(self, transfers: list[bytes]) -> int:
        taken = len(transfers) if self.bulk_room is None else min(self.bulk_room, len(transfers))
        if self.bulk_room is not None:
            self.bulk_room -= taken
        for transfer in transfers[:taken]:
            self._loop.call_soon(self._controller.on_packet, b"\x02" + transfer)
        return taken

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._link.remove_controller(self._controller)

    # A test calls these.

    def make_room(self, transfers: int | None) -> None:
        self.bulk_room = transfers
        assert self._receiver
        self._receiver.dongle_ready_to_send()

    def unplug(self, reason: str = "unplugged") -> None:
        if not self.closed:
            self.close()
            assert self._receiver
            self._receiver.dongle_lost(reason)

    def inject(self, interrupts: Sequence[bytes | None] = (), bulks: Sequence[bytes | None] = ()) -> None:
        assert self._receiver
        self._receiver.receive(list(interrupts), list(bulks))

    def release(self) -> None:
        self.held = False
        self._interrupts += self.late_events
        self.late_events.clear()
        self._deliver()

    # The controller calls this.

    def on_packet(self, packet: bytes) -> None:
        if packet[:1] == b"\x04":
            event = packet[1:]
            endpoint = self.late_events if event[0] in self.late else self._interrupts
            endpoint += [event[at : at + EVENT_PACKET_SIZE] for at in range(0, len(event), EVENT_PACKET_SIZE)]
        else:
            self.waiting.append(packet[1:])
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        if self.held or self.closed or not (self._interrupts or self.waiting):
            return
        interrupts, self._interrupts = self._interrupts, []
        bulks, self.waiting = self.waiting, []
        assert self._receiver
        self._receiver.receive(interrupts, bulks)


def spec(transport: int, psm: int, mtu: int = 2048, **options: int) -> Any:
    if transport == BREDR:
        return ClassicChannelSpec(psm=psm, mtu=mtu)
    return LeCreditBasedChannelSpec(psm=psm, mtu=mtu, **{"mps": 1021, "max_credits": 64} | options)


class Remote:
    """A remote device. ``accepted``: PeerChannels that our side opened to one of its servers."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.accepted: asyncio.Queue[PeerChannel] = asyncio.Queue()
        self._running: set[asyncio.Task[Any]] = set()

    @classmethod
    async def start(
        cls, link: LocalLink, address: str = PEER_ADDRESS, le_address: str = PEER_LE_ADDRESS, **configuration: Any
    ) -> "Remote":
        controller = new_controller(link, address, address)
        settings = DeviceConfiguration(
            name=address, address=hci.Address(le_address), classic_enabled=True, classic_sc_enabled=False,
            advertising_interval_min=20, advertising_interval_max=20, **configuration,
        )  # fmt: skip
        device = Device(config=settings, host=Host(controller, AsyncPipeSink(controller)))
        await device.power_on()
        await device.set_connectable(True)
        await device.start_advertising(auto_restart=True)
        return cls(device)

    @property
    def links(self) -> dict[int, Connection]:
        """Its link by transport."""
        return {
            LE if connection.transport == PhysicalTransport.LE else BREDR: connection
            for connection in self.device.connections.values()
        }

    def serve(self, transport: int, psm: int | None = None, **options: int) -> None:
        psm = PSM[transport] if psm is None else psm
        self.device.create_l2cap_server(
            spec(transport, psm, **options), lambda channel: self.accepted.put_nowait(PeerChannel(channel))
        )

    def serve_echo(self, transport: int, psm: int | None = None, **options: int) -> None:
        psm = PSM[transport] if psm is None else psm

        def accept(channel: Any) -> None:
            self.run(self._echo(PeerChannel(channel)))

        self.device.create_l2cap_server(spec(transport, psm, **options), accept)

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """What the device does by itself."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def connect(self, transport: int) -> Connection:
        """A link to our adapter."""
        address, over = hci.Address(OUR_LE_ADDRESS), PhysicalTransport.LE
        if transport == BREDR:
            address = hci.Address(OUR_ADDRESS, hci.Address.PUBLIC_DEVICE_ADDRESS)
            over = PhysicalTransport.BR_EDR
        return await self.device.connect(address, over)

    async def open(self, connection: Connection, transport: int, psm: int | None = None, **options: int) -> PeerChannel:
        psm = PSM[transport] if psm is None else psm
        return PeerChannel(await connection.create_l2cap_channel(spec(transport, psm, **options)))

    @staticmethod
    async def _echo(channel: PeerChannel) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await channel.send(await channel.recv())


class User:
    """The user of a channel: releases what it reads, unless ``reads`` is False."""

    channel: RadioChannel

    def __init__(self, channel: RadioChannel | None = None, *, reads: bool = True) -> None:
        self.reads = reads
        self.sdus: list[bytes] = []
        self.reason: str | None = None
        self.writable = asyncio.Event()
        self._changed = asyncio.Event()
        if channel is not None:
            self.channel = channel
            channel.set_user(self)

    def receive_sdus(self, sdus: list[bytes]) -> None:
        assert self.reason is None
        self.sdus += sdus
        if self.reads:
            self.channel.release_sdus(len(sdus))
        self._changed.set()

    def channel_writable(self) -> None:
        self.writable.set()

    def channel_closed(self, reason: str) -> None:
        assert self.reason is None
        self.reason = reason
        self._changed.set()

    async def receive(self, count: int) -> list[bytes]:
        """Waits until so many SDUs have come in all."""
        await self._until(lambda: len(self.sdus) >= count)
        return self.sdus

    async def closed(self) -> str:
        await self._until(lambda: self.reason is not None)
        assert self.reason is not None
        return self.reason

    async def send(self, sdus: list[bytes]) -> None:
        """As many as there are, as room comes."""
        while sdus:
            self.writable.clear()
            if not (sdus := sdus[self.channel.send_sdus(sdus) :]):
                return
            await self.writable.wait()

    async def _until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIME_LIMIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def turns(condition: Callable[[], object]) -> None:
    """Lets everything else run until the condition holds. For states that nothing announces."""
    for pause_s in itertools.chain(itertools.repeat(0, 5_000), itertools.repeat(0.01, 500)):
        if condition():
            return
        await asyncio.sleep(pause_s)
    raise TimeoutError("it did not come to that")


async def connect(adapter: SharedAdapter, transport: int, psm: int | None = None) -> RadioChannel:
    """A channel of an adapter to the peer."""
    address, address_type = PEER[transport]
    async with asyncio.timeout(TIME_LIMIT_S):
        return await adapter.channels.connect(octets(address), address_type, psm or PSM[transport], MTU)


def unreachable(adapter: SharedAdapter, transport: int = BREDR) -> asyncio.Task[RadioChannel]:
    """An adapter's task that connects to a device that is not there."""
    return asyncio.create_task(adapter.channels.connect(octets(NOBODY), 2 * transport, PSM[transport], MTU))


def controller_of(adapter: SharedAdapter) -> Controller:
    assert adapter._controller
    return adapter._controller


class Taker:
    """A listener that keeps its offers. ``adapter`` and a PSM: where it listens; ``security``: as ``listen`` has it."""

    def __init__(self, adapter: SharedAdapter, transport: int, psm: int | None = None, **security: Any) -> None:
        self.offers: asyncio.Queue[Offer] = asyncio.Queue()
        self.withdrawn: list[Offer] = []
        adapter.channels.listen(transport, psm or PSM[transport], self._take, **security)

    def _take(self, offer: Offer) -> None:
        offer.withdrawn = functools.partial(self.withdrawn.append, offer)
        self.offers.put_nowait(offer)
