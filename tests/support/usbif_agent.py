"""A process of a simulated domain with one end of usbif: ``usbif_agent.py <role> <other domid> [<lie>]``.

Roles: frontend, backend, plain_backend, linux_frontend, hostile_frontend, hostile_backend.

Lines of JSON both ways: commands in, [method, argument, …] with bytes as hex; out, what happens, [event, …].
"""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from usbbtd import retry
from usbbtd.backends.usbif import UsbifController
from usbbtd.dongles import usbif_frontend
from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.dongles.usbif_dongle import UsbifDongle
from usbbtd.usb.device import UsbDevice
from usbbtd.usb.nodes import CONN_RING_REF, EVENT_CHANNEL, URB_RING_REF, VUSB
from usbbtd.usb.wire import descriptors, standard, usbif
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.error import XenError
from usbbtd.xen.ring import BackRing, FrontRing
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action

NODES = (URB_RING_REF, CONN_RING_REF, EVENT_CHANNEL)
LINE_LIMIT = 1 << 22
ENDPOINTS = (
    descriptors.EndpointDescriptor(0x81, descriptors.INTERRUPT, 16, 1),
    descriptors.EndpointDescriptor(0x02, descriptors.BULK, 64, 0),
    descriptors.EndpointDescriptor(0x82, descriptors.BULK, 64, 0),
)


def tell(*event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class Log:
    """A structlog logger that tells what it is told."""

    def info(self, event: str, **values: object) -> None:
        tell("info", event, values)

    def warning(self, event: str, **values: object) -> None:
        tell("warning", event, values)

    def error(self, event: str, **values: object) -> None:
        tell("error", event, values)


LOG: Any = Log()


class EchoingDevice(UsbDevice):
    """Echoes bulk transfers, and answers a class request with an event that repeats it."""

    def __init__(self, class_code: int) -> None:
        super().__init__(
            descriptors.DeviceDescriptor(descriptors.USB_2_0, class_code, 1, 1, 64, 0x1209, 0xB7B7, 0x0100, 0, 0, 1, 1),
            descriptors.ConfigurationDescriptor(
                1, (descriptors.InterfaceDescriptor(0, 0, class_code, 1, 1, ENDPOINTS),)
            ),
            {1: "0001"},
        )

    def receive_control(self, setup: bytes, data: bytes) -> bytes | None:
        if setup[0] != 0x20:
            return None
        self.send(0x81, data)
        return b""

    def receive_data(self, endpoint: int, data: bytes) -> None:
        self.send(0x82, data)


class Backend:
    controller = UsbifController

    def __init__(self, xen: Xen, domid: int) -> None:
        self._controller = self.controller(xen, domid, 0, LOG)
        self._devices: dict[int, EchoingDevice] = {}

    async def run(self) -> None:
        await self._controller.run()

    def plug(self, port: int, class_code: int = 0xE0) -> None:
        self._devices[port] = EchoingDevice(class_code)
        self._controller.plug(port, self._devices[port])

    def unplug(self, port: int) -> None:
        self._controller.unplug(port)

    def send(self, port: int, endpoint: int, transfer: str) -> None:
        self._devices[port].send(endpoint, bytes.fromhex(transfer))

    def halt(self, port: int, endpoint: int) -> None:
        self._devices[port].halt(endpoint)


class PlainController(UsbifController):
    """As QEMU: with no node that we have invented."""

    async def _perform(self, action: Action) -> Mapping[str, str] | None:
        return None if action is Action.PUBLISH else await super()._perform(action)


class PlainBackend(Backend):
    controller = PlainController


class Frontend:
    def __init__(self, xen: Xen, _domid: int) -> None:
        self._xen = xen
        self._dongles: dict[str, UsbifDongle] = {}
        self._waiting: dict[str, list[bytes]] = {}

    async def run(self) -> None:
        await usbif_frontend.serve_usbif(self._xen, 0, self._take, LOG)

    async def _take(self, packets: Dongle) -> None:
        assert isinstance(packets, H2Dongle)
        assert isinstance(packets.usb, UsbifDongle)
        dongle = self._dongles[packets.name] = packets.usb
        tell("dongle", dongle.name, dongle.interrupt_packet_size, dongle.bulk_packet_size, dongle.serial)

    def start(self, name: str) -> None:
        self._waiting[name] = []
        self._dongles[name].start(Receiver(self, name))

    def control(self, name: str, setup: str, data: str) -> None:
        self._dongles[name].send_control(bytes.fromhex(setup), bytes.fromhex(data))

    def bulk(self, name: str, *transfers: str) -> None:
        self._waiting[name] += map(bytes.fromhex, transfers)
        self.go_on(name)

    def close(self, name: str) -> None:
        self._dongles[name].close()

    def depths(self, name: str) -> None:
        tell("depths", *self._dongles[name].depths)

    def go_on(self, name: str) -> None:
        waiting = self._waiting[name]
        del waiting[: self._dongles[name].send_bulk(waiting)]


async def once(end: "HostileBackend | HostileFrontend") -> None:
    """A second connection never comes about: the honest end would wait longer after each failure."""
    end.connections += 1
    if end.connections > 1:
        await asyncio.Event().wait()


class HostileBackend:
    """Connects as a backend does, and tells one lie."""

    def __init__(self, xen: Xen, domid: int, lie: str) -> None:
        self._device = XenbusDevice(xen.store, "backend", VUSB.backend_path(domid, 0))
        self._xen, self._domid, self._lie = xen, domid, lie
        self.connections = 0

    async def run(self) -> None:
        await self._device.run(self._perform)

    async def _perform(self, action: Action) -> None:
        if action is Action.ATTACH:
            await once(self)
            number = [await self._device.read_other_int(node, 0, 1 << 31) for node in NODES]
            self._pages = self._xen.grants.map(self._domid, number[:2])
            self._urbs = BackRing(self._pages.page(0), usbif.URB_REQUEST_SIZE, usbif.URB_RESPONSE_SIZE)
            self._conns = BackRing(self._pages.page(1), usbif.CONN_REQUEST_SIZE, usbif.CONN_RESPONSE_SIZE)
            self._channel = self._xen.evtchn.bind_interdomain(self._domid, number[2], self._receive)
            self._conns.take()
            self._conns.put([usbif.pack_conn_response(0, 31 if self._lie == "port" else 1, usbif.SPEED_FULL)])
            self._channel.notify()

    def _receive(self) -> None:
        for request in self._urbs.take():
            head, _ = usbif.unpack_request(request)
            if head[2] & usbif.UNLINK:
                tell("unlink")
            match self._lie:
                case "urb index":
                    self._pages.page(0)[8:12] = b"\xff" * 4
                case "conn index":
                    self._pages.page(1)[8:12] = b"\xff" * 4
                case "unknown id":
                    self._urbs.put([usbif.pack_response(head[0] ^ 1, 0, 0)])
                case "length":
                    self._urbs.put([usbif.pack_response(head[0], 0, head[4] + 1)])
            self._channel.notify()


class LinuxFrontend:
    """As xen-hcd: with the backend Closing, it unlinks what still waits, and closes only when that is answered."""

    def __init__(self, xen: Xen, _domid: int) -> None:
        self._device = XenbusDevice(xen.store, "frontend", VUSB.frontend_path(0))
        self._xen = xen
        self._answered: dict[int, asyncio.Future[int]] = {}
        self._waiting: asyncio.Future[int] | None = None

    async def run(self) -> None:
        await self._device.run(self._perform)

    async def _perform(self, action: Action) -> Mapping[str, str] | None:
        match action:
            case Action.OFFER:
                domid = self._device.other_domid
                self._pages = self._xen.grants.share(domid, 3)
                self._urbs = FrontRing(self._pages.page(0), usbif.URB_REQUEST_SIZE, usbif.URB_RESPONSE_SIZE)
                self._channel = self._xen.evtchn.bind_unbound(domid, self._receive)
                return dict(zip(NODES, map(str, (*self._pages.refs[:2], self._channel.port)), strict=True))
            case Action.ATTACH:
                configure = standard.pack_setup(standard.DEVICE_OUT, standard.SET_CONFIGURATION, 1, 0, 0)
                address = standard.pack_setup(standard.DEVICE_OUT, standard.SET_ADDRESS, 1, 0, 0)
                default, control = (usbif.pack_pipe(1, at, 0, usbif.CONTROL) for at in (0, 1))
                assert await self._ask(1, usbif.pack_request(1, default, 0, address, [])) == usbif.OK
                assert await self._ask(2, usbif.pack_request(2, control, 0, configure, [])) == usbif.OK
                segment = (self._pages.refs[2], 0, 16)
                self._events = usbif.pack_pipe(1, 1, 0x81, usbif.INTERRUPT)
                self._waiting = self._ask(3, usbif.pack_request(3, self._events, 16, usbif.NO_SETUP, [segment]))
                tell("waiting")
            case Action.DETACH if self._waiting is not None:
                unlinked = await self._ask(4, usbif.pack_unlink(4, self._events, 3))
                tell("unlinked", unlinked, await self._waiting)
                self._waiting = None
                self._channel.close()
                self._urbs.close()
                self._pages.close()
        return None

    def _ask(self, urb_id: int, request: bytes) -> asyncio.Future[int]:
        """The status of the answer."""
        answered = self._answered[urb_id] = asyncio.get_running_loop().create_future()
        if self._urbs.put([request]):
            self._channel.notify()
        return answered

    def _receive(self) -> None:
        for response in self._urbs.take():
            urb_id, _, status, *_ = usbif.unpack_response(response)
            self._answered[urb_id].set_result(status)


class HostileFrontend:
    """Connects as a frontend does, and tells one lie."""

    def __init__(self, xen: Xen, domid: int, lie: str) -> None:
        self._device = XenbusDevice(xen.store, "frontend", VUSB.frontend_path(0))
        self._xen, self._domid, self._lie = xen, domid, lie
        self.connections = 0

    async def run(self) -> None:
        await self._device.run(self._perform)

    async def _perform(self, action: Action) -> Mapping[str, str] | None:
        if action is Action.OFFER:
            await once(self)
            self._pages = self._xen.grants.share(self._domid, 2)
            self._channel = self._xen.evtchn.bind_unbound(self._domid, lambda: None)
            values: list[int | str] = [*self._pages.refs, self._channel.port]
            if self._lie == "reference":
                values[1] = 999_999
            if self._lie == "text":
                values[0] = "../../0"
            if self._lie == "event channel":
                values[2] = 999_999
            if self._lie in ("urb index", "conn index"):
                self._pages.page(("urb index", "conn index").index(self._lie))[:4] = b"\xff" * 4
            return dict(zip(NODES, map(str, values), strict=True))
        return None


class Receiver:
    def __init__(self, owner: Frontend, name: str) -> None:
        self._owner = owner
        self._name = name

    def receive(self, interrupts: Sequence[bytes | None], bulks: Sequence[bytes | None]) -> None:
        """Of transfers that failed nothing is told."""
        came = [[transfer.hex() for transfer in each if transfer is not None] for each in (interrupts, bulks)]
        if any(came):
            tell("receive", *came)

    def dongle_ready_to_send(self) -> None:
        self._owner.go_on(self._name)

    def dongle_lost(self, reason: str) -> None:
        tell("lost", self._name, reason)


async def main(role: str, domid: str, *lie: str) -> None:
    async with Xen.open() as xen:
        end = ROLES[role](xen, int(domid), *lie)
        loop = asyncio.get_running_loop()
        running = asyncio.create_task(end.run())
        loop.add_signal_handler(signal.SIGTERM, running.cancel)
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        commands = asyncio.create_task(_obey(reader, end))
        try:
            await running
            tell("over")
        except asyncio.CancelledError:
            tell("cancelled")
        except XenError as error:
            tell("failed", str(error))
        finally:
            commands.cancel()


ROLES = {
    "frontend": Frontend,
    "backend": Backend,
    "plain_backend": PlainBackend,
    "linux_frontend": LinuxFrontend,
    "hostile_frontend": HostileFrontend,
    "hostile_backend": HostileBackend,
}


async def _obey(reader: asyncio.StreamReader, end: Any) -> None:
    while line := await reader.readline():
        method, *arguments = json.loads(line)
        getattr(end, method)(*arguments)


if __name__ == "__main__":
    usbif_frontend.REQUEST_TIMEOUT_S = 1.0
    retry.RETRY_S = 0.1
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(*sys.argv[1:]))
