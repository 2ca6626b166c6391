"""Serves models of USB devices to a usbif frontend in another domain.

Used by the simulation's dom0, and by tests in which other frontends are the peer.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from structlog.typing import FilteringBoundLogger

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.identifiers import LAST_U32, parse_u32
from usbbtd.usb import nodes
from usbbtd.usb.backend import UsbifBackend
from usbbtd.usb.device import UsbDevice
from usbbtd.usb.wire import usbif
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.error import XenError
from usbbtd.xen.ring import BackRing
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action


async def offer_usbif(xen: Xen, frontend_domid: int, devid: int, device: UsbDevice, log: FilteringBoundLogger) -> None:
    """Shows ``device`` on port 1 of the USB controller that the toolstack made for us: see ``UsbifController.run``."""
    controller = UsbifController(xen, frontend_domid, devid, log)
    controller.plug(1, device)
    await controller.run()


class UsbifController:
    """Serves ``backend/qusb/<frontend_domid>/<devid>`` of our own domain, through any number of connections."""

    def __init__(self, xen: Xen, frontend_domid: int, devid: int, log: FilteringBoundLogger) -> None:
        # Linux's xen-hcd unlinks its requests before it closes, and waits for the answers.
        path = nodes.VUSB.backend_path(frontend_domid, devid)
        self._device = XenbusDevice(xen.store, "backend", path, lingers=True, is_gone=xen.evtchn.is_gone)
        self._xen = xen
        self._log = log
        self._plugged: dict[int, UsbDevice] = {}
        self._connection: _UsbifConnection | None = None

    async def run(self) -> None:
        """Serves the controller until the toolstack takes it away; closes it in order when cancelled.

        Raises XenError if there is no such controller.
        """
        await self._device.run(self._perform)

    def plug(self, port: int, device: UsbDevice) -> None:
        """Plugs a device into a port, at any time; the frontend hears of it when it is connected.

        Raises LocalProtocolError if there is a device on the port.
        """
        if port in self._plugged:
            raise LocalProtocolError(f"there is a device on port {port}")
        self._plugged[port] = device
        if self._connection is not None:
            self._connection.plug(port, device)

    def unplug(self, port: int) -> None:
        """Unplugs the device on a port. Idempotent."""
        self._plugged.pop(port, None)
        if self._connection is not None:
            self._connection.unplug(port)

    async def _perform(self, action: Action) -> Mapping[str, str] | None:
        match action:
            case Action.PUBLISH:
                return {nodes.FEATURE_QUEUED_URBS: "1"}
            case Action.ATTACH:
                try:
                    await self._attach()
                except (RemoteProtocolError, XenError) as error:
                    self._log.error("usb frontend cannot be connected", reason=str(error))
                    raise
            case Action.DETACH if self._connection is not None:
                connection, self._connection = self._connection, None
                statistics = connection.statistics()
                connection.close()
                reason = self._device.reason or "closed by the frontend"
                self._log.info("usb frontend disconnected", reason=reason, **statistics)
        return None

    async def _attach(self) -> None:
        device = self._device
        ports = parse_u32(await device.read_own(nodes.NUM_PORTS)) or 1
        urb_ref = await device.read_other_int(nodes.URB_RING_REF, 0, LAST_U32)
        conn_ref = await device.read_other_int(nodes.CONN_RING_REF, 0, LAST_U32)
        channel = await device.read_other_int(nodes.EVENT_CHANNEL, 0, LAST_U32)
        self._connection = _UsbifConnection(
            self._xen, device.other_domid, (urb_ref, conn_ref), channel, ports=ports, broken=device.fail, log=self._log
        )  # fmt: skip
        for port, plugged in self._plugged.items():
            self._connection.plug(port, plugged)
        self._log.info("usb frontend connected", frontend=device.other_path)


class _UsbifConnection:
    """Serves the rings of one frontend, from ATTACH to DETACH. ``broken`` is called with the reason of a failure."""

    def __init__(
        self, xen: Xen, domid: int, ring_refs: tuple[int, int], remote_port: int, *, ports: int,
        broken: Callable[[str], None], log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self._broken = broken
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._flush_scheduled = False
        self._closed = False
        self._core = UsbifBackend(ports, partial(xen.grants.copy_from, domid), partial(xen.grants.copy_to, domid))
        self._devices: dict[int, UsbDevice] = {}
        self._pages = pages = xen.grants.map(domid, ring_refs)
        self._urb_ring = BackRing(pages.page(0), usbif.URB_REQUEST_SIZE, usbif.URB_RESPONSE_SIZE)
        self._conn_ring = BackRing(pages.page(1), usbif.CONN_REQUEST_SIZE, usbif.CONN_RESPONSE_SIZE)
        try:
            self._channel = xen.evtchn.bind_interdomain(domid, remote_port, self._receive)
        except XenError:
            self._close_memory()
            raise

    def statistics(self) -> dict[str, int]:
        return self._core.statistics()

    def plug(self, port: int, device: UsbDevice) -> None:
        self._core.plug(port, device)
        self._devices[port] = device
        device.wake = self._flush_soon
        self._flush_soon()

    def unplug(self, port: int) -> None:
        self._core.unplug(port)
        if (device := self._devices.pop(port, None)) is not None:
            device.unplugged()
        self._flush_soon()

    def close(self) -> None:
        self._closed = True
        for device in self._devices.values():
            device.unplugged()
        self._channel.close()
        self._close_memory()

    def _receive(self) -> None:  # hot: per wake-up
        if self._closed:
            return
        self._flush_scheduled = True  # what the devices say to this goes out with the flush below
        try:
            self._core.receive_requests(self._urb_ring.take())
            self._core.receive_conn_requests(self._conn_ring.take())
        except RemoteProtocolError as error:
            self._fail(f"the USB frontend broke the protocol: {error}")
            return
        self._flush()

    def _flush_soon(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:  # hot: per wake-up
        self._flush_scheduled = False
        if self._closed:
            return
        try:
            # Port changes first: a frontend that is awake must hear that a device is gone before its URBs fail.
            notify = False
            if conn_responses := self._core.take_conn_responses():
                notify = self._conn_ring.put(conn_responses)
            if responses := self._core.take_responses():
                notify |= self._urb_ring.put(responses)
            if notify:  # once, after both pushes
                self._channel.notify()
        except XenError as error:
            self._fail(str(error))

    def _fail(self, reason: str) -> None:
        self._closed = True
        self._log.error("usb frontend failed", reason=reason)
        self._broken(reason)

    def _close_memory(self) -> None:
        self._urb_ring.close()
        self._conn_ring.close()
        self._pages.close()
