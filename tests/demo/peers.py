"""The remote Bluetooth devices, with Bumble's stack: ``python -m tests.demo.peers ECHO_SOCKET [CALLER_SOCKET]``.

Each socket leads to a controller. Without its socket there is no device that calls, no ``--lock``, no ``--sensor``.

Unasked come a first report, ``{"up": true}``, and ``{"shows": "427 193"}`` when the lock shows a number. Commands, each
answered by one report:
``{"do": "call", "guests": […], "count": n, "window": n}`` connects to the listeners of these guests and sends streams;
``{"do": "confirm", "accept": true}`` is what the lock's user says to its number;
``{"do": "counts"}`` tells what the echoing devices saw.
"""

import argparse
import asyncio
from typing import Any

from bumble import hci
from bumble.core import AdvertisingData, PhysicalTransport
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.host import Host
from bumble.l2cap import ClassicChannel, ClassicChannelSpec, LeCreditBasedChannel, LeCreditBasedChannelSpec
from bumble.transport import open_transport

from tests.demo import lines, plan
from tests.demo.things import Lock, Sensor
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


class Echoes:
    """Echoes on channels, and counts."""

    def __init__(self) -> None:
        self.counts: list[Counts] = []
        self._echoing: set[asyncio.Task[None]] = set()

    def accept(self, channel: Any) -> None:
        task = asyncio.create_task(echo(PeerChannel(channel), self.counts))
        self._echoing.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._echoing.discard(task)
        if not task.cancelled():
            task.result()


async def start_echoing(device: Device, echoes: Echoes) -> None:
    """Has a device take any channel to its PSM and SPSM."""
    for transport in plan.TRANSPORTS:
        device.create_l2cap_server(spec_of(transport, plan.ECHO_PSM[transport]), echoes.accept)
    await device.set_connectable(True)
    await device.start_advertising(auto_restart=True)


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


async def power_on(socket: str, peer: plan.PlannedPeer, *, secure_connections: bool = False) -> Device:
    """Returns a device that is up. ``secure_connections``: whether it has them on BR/EDR."""
    transport = await open_transport(f"unix-client:{socket}")
    configuration = DeviceConfiguration(
        name=peer.name,
        address=hci.Address(peer.le_address),
        classic_enabled=True,
        classic_sc_enabled=secure_connections,
        advertising_interval_min=ADVERTISING_INTERVAL_MS,
        advertising_interval_max=ADVERTISING_INTERVAL_MS,
        advertising_data=bytes(AdvertisingData([(AdvertisingData.COMPLETE_LOCAL_NAME, peer.name.encode())])),
    )
    device = Device(config=configuration, host=Host(transport.source, transport.sink))
    await device.power_on()
    return device


class Peers:
    """The devices that there are, and what they do on commands."""

    def __init__(self) -> None:
        self._echoes = Echoes()
        self._caller: CallingPeer | None = None
        self._lock: Lock | None = None

    async def start(self, sockets: argparse.Namespace) -> None:
        await start_echoing(await power_on(sockets.echo, plan.ECHO), self._echoes)
        if sockets.caller is not None:
            self._caller = CallingPeer(await power_on(sockets.caller, plan.CALLER))
        if sockets.lock is not None:
            spec = ClassicChannelSpec(psm=plan.LOCK_PSM, mtu=MTU)
            device = await power_on(sockets.lock, plan.LOCK, secure_connections=True)
            self._lock = Lock(device, spec, self._echoes.accept, lambda digits: lines.report(shows=digits))
            await self._lock.start()
        if sockets.sensor is not None:
            await Sensor(await power_on(sockets.sensor, plan.SENSOR)).start()

    async def do(self, command: lines.Message) -> lines.Message:
        match command.pop("do"):
            case "call" if self._caller is not None:
                return {"counts": [each.as_json() for each in await self._caller.call(**command)]}
            case "confirm" if self._lock is not None:
                self._lock.user.says.put_nowait(command["accept"])
                return {}
        return {"counts": [each.as_json() for each in self._echoes.counts]}


async def run(sockets: argparse.Namespace) -> None:
    peers = Peers()
    await peers.start(sockets)
    reader = await lines.commands()
    lines.report(up=True)
    while (command := await lines.take(reader)) is not None:
        lines.report(**await peers.do(command))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.demo.peers", description=__doc__)
    parser.add_argument("echo")
    parser.add_argument("caller", nargs="?")
    parser.add_argument("--lock")
    parser.add_argument("--sensor")
    arguments = parser.parse_args()
    configure_log(LogSettings(level="warning", target="stderr"))
    asyncio.run(run(arguments))


if __name__ == "__main__":
    main()
