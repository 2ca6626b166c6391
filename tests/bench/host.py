"""The two hosts that are measured, each with an open channel on a stub controller."""

import asyncio
from operator import itemgetter
from typing import Any, Protocol

import structlog
from bumble.core import PhysicalTransport
from bumble.device import Device
from bumble.hci import Address
from bumble.host import Host as BumblesHost
from bumble.l2cap import ClassicChannelSpec, LeCreditBasedChannelSpec

from tests.bench.stub import MPS, MTU, PSM, REMOTE, StubController
from usbbtd.bluetooth import ADDRESS_BREDR, ADDRESS_LE_RANDOM, LE
from usbbtd.dongles.dongle import DongleReceiver
from usbbtd.hci import events as hci_events
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.controller import Controller, LinkOwner
from usbbtd.radio.stack import L2capStack

_H4_ACL, _H4_EVENT = b"\x02", b"\x04"
_sdu_of = itemgetter(2)
OUR_RANDOM_ADDRESS = "C0:B7:B7:00:00:01"


class BenchedHost(Protocol):
    """A host on a stub controller. ``received``: the SDUs of its channel."""

    received: list[bytes]

    async def open(self) -> None:
        """Sets up the controller, the link and the channel, while ``connected`` carries the packets."""

    def send(self, sdus: list[bytes]) -> None:
        """What a program wants to be sent."""

    def receive(self, packets: list[bytes], events: list[bytes]) -> None:
        """What a wake-up brings from the controller."""


class Ours:
    """The service's own pump. This object is the dongle under it, and the user of all above."""

    name, serial = "stub", ""
    vendor_id = product_id = 0
    receiver: DongleReceiver | None = None

    def __init__(self, stub: StubController) -> None:
        self.received: list[bytes] = []
        self._stub = stub
        self._up = asyncio.Event()
        self._linked = asyncio.Event()
        self._opened = asyncio.Event()
        self._handle = self._cid = 0
        self._controller = Controller(
            self, self, random_address=bytes.fromhex("010000b7b7c0"), command_timeout_s=60, log=structlog.get_logger()
        )
        self._stack = L2capStack(self._controller, self, self, limits=L2capLimits(mps=MPS))
        self._mux = self._stack.mux

    async def open(self) -> None:
        self._controller.start()
        await self._up.wait()
        address_type = ADDRESS_LE_RANDOM if self._stub.transport == LE else ADDRESS_BREDR
        self._controller.host.connect(REMOTE, address_type, self._controller.now())
        self._controller.flush_soon()
        await self._linked.wait()
        self._mux.connect(self._handle, PSM[self._stub.transport], MTU, self._controller.now())
        self._controller.flush_soon()
        await self._opened.wait()

    def send(self, sdus: list[bytes]) -> None:
        for sdu in sdus:
            self._mux.send_sdu(self._handle, self._cid, sdu)
        self._controller.receive([], [])  # in the service the loop does this next

    def receive(self, packets: list[bytes], events: list[bytes]) -> None:
        self._controller.receive(events, packets)

    # As the dongle

    def start(self, receiver: object) -> None: ...
    def close(self) -> None: ...
    def begin_acl(self) -> None: ...
    def set_loading(self, loading: bool) -> None: ...
    def statistics(self) -> dict[str, int]:
        return {}

    def send_command(self, command: bytes) -> None:
        self._stub.receive_command(command)

    def send_acl(self, packets: list[bytes]) -> int:
        self._stub.sent += packets
        return len(packets)

    # As the user of the controller, and of its only link and channel

    def owner_of(self, link: hci_events.Connected) -> LinkOwner:
        return self._stack

    def receive_hci_event(self, event: hci_events.Event) -> None:
        if isinstance(event, hci_events.Ready):
            self._up.set()

    def controller_lost(self, reason: str) -> None:
        raise RuntimeError(reason)

    def link_up(self, stack: L2capStack, link: hci_events.Connected) -> None:
        self._handle = link.handle
        self._linked.set()

    def link_ending(self, link: hci_events.Disconnected) -> None: ...
    def link_down(self, link: hci_events.Disconnected) -> None: ...

    def receive_sdus(self, sdus: list[tuple[int, int, bytes]]) -> None:
        self.received += map(_sdu_of, sdus)
        self._mux.release_sdus(self._handle, self._cid, len(sdus))

    def receive_l2cap_event(self, event: l2cap_events.Event) -> None:
        if isinstance(event, l2cap_events.ChannelOpened):
            self._cid = event.cid
            self._opened.set()

    def channels_writable(self, channels: list[tuple[int, int]]) -> None: ...


class Theirs:
    """Bumble's. This object is the sink of its packets."""

    def __init__(self, stub: StubController) -> None:
        self.received: list[bytes] = []
        self._stub = stub
        self._host = BumblesHost(controller_sink=self)
        self._device = Device(name="bench", address=Address(OUR_RANDOM_ADDRESS), host=self._host)
        self._channel: Any = None

    async def open(self) -> None:
        self._device.classic_enabled = True
        self._device.classic_sc_enabled = False
        await self._device.power_on()
        over_le = self._stub.transport == LE
        kind = Address.RANDOM_DEVICE_ADDRESS if over_le else Address.PUBLIC_DEVICE_ADDRESS
        transport = PhysicalTransport.LE if over_le else PhysicalTransport.BR_EDR
        connection = await self._device.connect(Address(REMOTE, kind), transport)
        psm = PSM[self._stub.transport]
        spec = LeCreditBasedChannelSpec(psm, MTU, MPS) if over_le else ClassicChannelSpec(psm, MTU)
        self._channel = await connection.create_l2cap_channel(spec)
        self._channel.sink = self.received.append

    def send(self, sdus: list[bytes]) -> None:
        for sdu in sdus:
            self._channel.write(sdu)

    def receive(self, packets: list[bytes], events: list[bytes]) -> None:
        for packet in packets:
            self._host.on_packet(_H4_ACL + packet)
        for event in events:
            self._host.on_packet(_H4_EVENT + event)

    def on_packet(self, packet: bytes) -> None:
        if packet[:1] == _H4_ACL:
            self._stub.sent.append(packet[1:])
        else:
            self._stub.receive_command(packet[1:])


async def connected(host: BenchedHost, stub: StubController) -> None:
    """Opens the host's channel. TimeoutError: it did not come to that."""
    opening = asyncio.create_task(host.open())
    async with asyncio.timeout(5):
        while not opening.done() or stub.busy:
            events, packets = stub.take()
            if events or packets:
                host.receive(packets, events)
            stub.receive_signalling()
            await asyncio.sleep(0)
    await opening
