"""The remote Bluetooth devices, with Bumble's stack: ``python -m tests.demo.peers ECHO_SOCKET [CALLER_SOCKET]``.

With one socket there is no device that calls.

Commands, each answered by one report; a first one, ``{"up": true}``, comes unasked:
``{"do": "call", "guests": […], "count": n, "window": n}`` connects to the listeners of these guests and sends streams;
``{"do": "counts"}`` tells what the echoing peer saw.
"""

import asyncio
import sys
from typing import Any

from bumble import hci
from bumble.core import AdvertisingData, PhysicalTransport
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.host import Host
from bumble.l2cap import ClassicChannel, ClassicChannelSpec, LeCreditBasedChannel, LeCreditBasedChannelSpec
from bumble.transport import open_transport

from tests.demo import lines, plan
from tests.demo.traffic import MTU, Counts, Sender, echo
from usbbtd.config import LogSettings
from usbbtd.log.setup import configure as configure_log

ADVERTISING_INTERVAL_MS = 20
LE_MPS = 1021


class PeerChannel:
    """A Bumble channel of either kind with awaitable SDUs."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        le = isinstance(channel, LeCreditBasedChannel)
        self._open = LeCreditBasedChannel.State.CONNECTED if le else ClassicChannel.State.OPEN
        # Bumble puts what waits for credits into one SDU, so each has to be on its way before the next.
        self._drain = channel.drain if le else None
        channel.sink = self._received.put_nowait
        channel.on("close", lambda: self._received.put_nowait(None))

    async def send(self, sdu: bytes) -> None:
        if self._channel.state != self._open:  # Bumble would drop the SDU, or raise what is no ConnectionError
            raise ConnectionResetError("the channel was closed")
        self._channel.write(sdu)
        if self._drain is not None:
            await self._drain()

    async def recv(self) -> bytes:
        if (sdu := await self._received.get()) is None:
            raise ConnectionResetError("the channel was closed")
        return sdu

    async def close(self) -> None:
        await self._channel.disconnect()


async def open_channel(link: Connection, transport: plan.Transport, psm: int) -> PeerChannel:
    """Opens a channel and loses nothing: Bumble drops what comes before there is a sink, perhaps with the opening."""
    channels = link.device.l2cap_channel_manager.channels
    before = set(channels.get(link.handle, {}).values())
    opening = asyncio.ensure_future(link.create_l2cap_channel(spec_of(transport, psm)))
    await asyncio.sleep(0)  # Bumble has made it then, and asks the other side
    made = [PeerChannel(each) for each in channels.get(link.handle, {}).values() if each not in before]
    opened = await opening
    return made[0] if made else PeerChannel(opened)


def spec_of(transport: plan.Transport, psm: int) -> Any:
    if transport == "bredr":
        return ClassicChannelSpec(psm=psm, mtu=MTU)
    return LeCreditBasedChannelSpec(psm=psm, mtu=MTU, mps=LE_MPS)


class EchoPeer:
    """Takes any channel to its PSM and SPSM, and echoes."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.counts: list[Counts] = []
        self._echoing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for transport in plan.TRANSPORTS:
            self._device.create_l2cap_server(spec_of(transport, plan.ECHO_PSM[transport]), self._accept)
        await self._device.set_connectable(True)
        await self._device.start_advertising(auto_restart=True)

    def _accept(self, channel: Any) -> None:
        task = asyncio.create_task(echo(PeerChannel(channel), self.counts))
        self._echoing.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._echoing.discard(task)
        if not task.cancelled():
            task.result()


class CallingPeer:
    """Connects to guests that listen."""

    def __init__(self, device: Device) -> None:
        self._device = device

    async def call(self, guests: list[int], count: int, window: int) -> list[Counts]:
        """Streams to all listeners of these guests at once, over one link a transport."""
        links = {transport: await self.connect(transport) for transport in plan.TRANSPORTS}
        senders: list[Sender] = []
        channels: list[PeerChannel] = []
        for guest in guests:
            for transport in plan.TRANSPORTS:
                psm = plan.listener_psm(guest, transport)
                channels.append(await open_channel(links[transport], transport, psm))
                stream = plan.stream_of(guest, transport, "in")
                senders.append(Sender(channels[-1], stream, clock=asyncio.get_running_loop().time))
        async with asyncio.TaskGroup() as tasks:
            for sender in senders:
                tasks.create_task(sender.run(count, window))
        for channel in channels:
            await channel.close()
        return [sender.counts for sender in senders]

    async def connect(self, transport: plan.Transport) -> Connection:
        """A link to the adapter."""
        if transport == "bredr":
            return await self._device.connect(
                hci.Address(plan.DONGLE_ADDRESS, hci.Address.PUBLIC_DEVICE_ADDRESS), PhysicalTransport.BR_EDR
            )
        return await self._device.connect(hci.Address(plan.ADAPTER_LE_ADDRESS), PhysicalTransport.LE)


async def power_on(socket: str, peer: plan.PlannedPeer) -> Device:
    transport = await open_transport(f"unix-client:{socket}")
    configuration = DeviceConfiguration(
        name=peer.name,
        address=hci.Address(peer.le_address),
        classic_enabled=True,
        classic_sc_enabled=False,  # the virtual controller has none
        advertising_interval_min=ADVERTISING_INTERVAL_MS,
        advertising_interval_max=ADVERTISING_INTERVAL_MS,
        advertising_data=bytes(AdvertisingData([(AdvertisingData.COMPLETE_LOCAL_NAME, peer.name.encode())])),
    )
    device = Device(config=configuration, host=Host(transport.source, transport.sink))
    await device.power_on()
    return device


async def run(echo_socket: str, caller_socket: str | None = None) -> None:
    echo_peer = EchoPeer(await power_on(echo_socket, plan.ECHO))
    caller = CallingPeer(await power_on(caller_socket, plan.CALLER)) if caller_socket is not None else None
    await echo_peer.start()
    reader = await lines.commands()
    lines.report(up=True)
    while (command := await lines.take(reader)) is not None:
        if command["do"] == "call" and caller is not None:
            counts = await caller.call(command["guests"], command["count"], command["window"])
        else:
            counts = echo_peer.counts
        lines.report(counts=[each.as_json() for each in counts])


if __name__ == "__main__":
    configure_log(LogSettings(level="warning", target="stderr"))
    asyncio.run(run(*sys.argv[1:]))
