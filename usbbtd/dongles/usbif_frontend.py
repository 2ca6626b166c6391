"""Drives a virtual USB controller as its usbif frontend: finds the Bluetooth dongles on it and carries their URBs."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Mapping

from structlog.typing import FilteringBoundLogger

from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.dongles.usbif_dongle import ONE_EACH, QUEUED, Depths, UsbifDongle
from usbbtd.dongles.usbif_ports import detach_ports
from usbbtd.errors import RemoteProtocolError
from usbbtd.pump import contained, explain
from usbbtd.retry import Retry
from usbbtd.usb import nodes
from usbbtd.usb.enumeration import Found, enumerate_device
from usbbtd.usb.frontend import Completion, UsbifFrontend
from usbbtd.usb.wire import usbif
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.error import XenError
from usbbtd.xen.ring import FrontRing
from usbbtd.xen.xen import SharedMemory, Xen
from usbbtd.xenbus import Action

#: How long a device may take for one request while it is being enumerated.
REQUEST_TIMEOUT_S = 5.0

#: How long a backend has, before it is disconnected, to answer the URBs that it still has.
EMPTY_S = 1.0

#: The most URBs of all dongles that stand on the ring for what may come; its other slots are for what goes out.
MAX_STANDING = 12

#: The number of pages for URBs' data: one for each slot of the ring.
POOL_PAGES = usbif.URB_SLOTS

OnDongle = Callable[[Dongle], Awaitable[None]]


async def serve_usbif(xen: Xen, devid: int, on_dongle: OnDongle, log: FilteringBoundLogger) -> None:
    """Serves ``device/vusb/<devid>`` of our own domain as its frontend, through any number of connections.

    Each Bluetooth dongle is given to ``on_dongle`` when it is configured. One that failed is offered again after a
    while, as is one that its driver closed; but one that was closed before it was started is left alone until it is
    plugged in again. Returns when the device is gone; closes it in order when cancelled. Raises XenError if there is no
    such device, or another driver has it.
    """
    path = nodes.VUSB.frontend_path(devid)
    _check_not_taken(devid, path)
    device = XenbusDevice(xen.store, "frontend", path)
    await detach_ports(xen.store, path, log)
    controller = _UsbController(xen, device, devid, on_dongle, log)
    await device.run(controller.perform)


def _check_not_taken(devid: int, path: str) -> None:
    try:
        driver = os.path.basename(os.readlink(f"/sys/bus/xen/devices/vusb-{devid}/driver"))
    except OSError:
        return
    raise XenError(errno.EBUSY, f"{path} is taken by this kernel's driver {driver}: blacklist it (xen-hcd)")


class _UsbController:
    """Makes and ends connections to the backend as the handshake asks."""

    def __init__(
        self, xen: Xen, device: XenbusDevice, devid: int, on_dongle: OnDongle, log: FilteringBoundLogger
    ) -> None:
        self._device = device
        self._devid = devid
        self._xen = xen
        self._on_dongle = on_dongle
        self._log = log
        self._connection: _Connection | None = None

    async def perform(self, action: Action) -> Mapping[str, str] | None:
        match action:
            case Action.OFFER:
                try:
                    return await self._offer()
                except (RemoteProtocolError, XenError) as error:
                    self._log.error("usb controller cannot be offered", reason=str(error))
                    raise
            case Action.ATTACH if self._connection is not None:
                self._log.info("usb controller connected", backend=self._device.other_path)
                self._connection.receive()  # what came before the backend was connected
            case Action.DETACH if self._connection is not None:
                connection, self._connection = self._connection, None
                statistics = connection.statistics()
                await connection.close(self._device.reason or "the USB controller was disconnected")
                self._log.info("usb controller disconnected", reason=self._device.reason, **statistics)
        return None

    async def _offer(self) -> dict[str, str]:
        device = self._device
        ports = await device.read_other_int(nodes.NUM_PORTS, 1, usbif.MAX_PORT, default=usbif.MAX_PORT)
        queued = await device.read_other_int(nodes.FEATURE_QUEUED_URBS, 0, 1, default=0)
        self._connection = _Connection(
            self._xen, device.other_domid, self._on_dongle, name=f"vusb {self._devid}", ports=ports,
            depths=QUEUED if queued else ONE_EACH, broken=device.fail, log=self._log,
        )  # fmt: skip
        return {nodes.DETACH_PORTS: "0", **self._connection.nodes}


class _Connection:
    """Serves the rings from OFFER to DETACH. Calls ``broken`` with a reason if the backend breaks a rule or we fail."""

    def __init__(
        self, xen: SharedMemory, domid: int, on_dongle: OnDongle, *, name: str, ports: int, depths: Depths,
        broken: Callable[[str], None], log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self._name = name
        self._depths = depths
        self._on_dongle = on_dongle
        self._broken = broken
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._call_soon = xen.evtchn.call_soon
        self._flush_scheduled = False
        self._closed = False
        self._emptied: asyncio.Event | None = None  # there while we close; set when the backend has answered all
        self._futures: dict[int, asyncio.Future[Completion]] = {}  # what enumerations wait for, by URB
        self._dongles: dict[int, UsbifDongle] = {}  # by pipe
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by port
        self._pages = pages = xen.grants.share(domid, 2 + POOL_PAGES)
        self._urb_ring = FrontRing(pages.page(0), usbif.URB_REQUEST_SIZE, usbif.URB_RESPONSE_SIZE)
        self._conn_ring = FrontRing(pages.page(1), usbif.CONN_REQUEST_SIZE, usbif.CONN_RESPONSE_SIZE)
        self._core = UsbifFrontend([(pages.refs[i], pages.page(i)) for i in range(2, 2 + POOL_PAGES)], ports=ports)
        # Now, for QEMU takes requests from the conn ring without a look at whether there are any.
        self._conn_ring.put(self._core.take_conn_requests())
        try:
            self._channel = xen.evtchn.bind_unbound(domid, self.receive)
        except XenError:
            self._close_memory()
            raise
        self.nodes = {
            nodes.URB_RING_REF: str(pages.refs[0]),
            nodes.CONN_RING_REF: str(pages.refs[1]),
            nodes.EVENT_CHANNEL: str(self._channel.port),
        }

    def pump_failed(self, error: Exception) -> None:
        """Gives the USB controller up, with its dongles, after a bug; it is connected again."""
        self._fail(**explain(error))

    @contained
    def receive(self) -> None:  # hot: per wake-up
        """Takes what is in both rings, hands it to the dongles, and pushes what they submit in turn."""
        if self._closed:
            return
        core, dongles = self._core, self._dongles
        try:
            core.receive_responses(self._urb_ring.take())
            if conn_responses := self._conn_ring.take():
                core.receive_conn_responses(conn_responses)
        except RemoteProtocolError as error:
            self._fail(f"the USB backend broke the protocol: {error}")
            return
        self._flush_scheduled = True  # what anybody sends from here on goes out with the flush below
        if received := core.take_received():
            for pipe, transfer in received:
                dongles[pipe].receive(pipe, transfer)
            for dongle in {*dongles.values()}:
                dongle.deliver()
        # Before the answers: dongles that are gone are lost as "unplugged", not for what their URBs failed with.
        for port, speed in core.take_port_changes():
            self._change_port(port, speed)
        for completion in core.take_completions():
            if (owner := dongles.get(completion.pipe)) is not None:
                owner.complete(completion)
            elif (future := self._futures.get(completion.urb)) is not None and not future.done():
                future.set_result(completion)
        for pipe, status in core.take_failures():
            dongles[pipe].fail_in(pipe, status)
        self._flush()
        if self._emptied is not None and not core.is_busy():
            self._emptied.set()

    def statistics(self) -> dict[str, int]:
        return self._core.statistics()

    async def close(self, reason: str) -> None:
        """Closes all dongles, whose drivers hear ``reason``, and takes the shared pages back.

        First waits EMPTY_S at most for the backend to answer all URBs: QEMU ends if it is disconnected with some.
        """
        self._emptied = asyncio.Event()
        for dongle in {*self._dongles.values()}:
            dongle.lose(reason)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EMPTY_S):
                self.receive()  # which cancels what is under way
                if not self._closed and self._core.is_busy():
                    await self._emptied.wait()
        self._closed = True
        self._channel.close()
        self._close_memory()

    # Sending.

    def _flush_soon(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._call_soon(self._flush)

    @contained
    def _flush(self) -> None:  # hot: per wake-up
        self._flush_scheduled = False
        if self._closed:
            return
        notify = False
        if requests := self._core.take_requests():
            notify = self._urb_ring.put(requests)
        if conn_requests := self._core.take_conn_requests():
            notify |= self._conn_ring.put(conn_requests)
        # Once, after both pushes: a backend that wakes up in between would find half of it.
        if notify:
            self._channel.notify()

    def _fail(self, reason: str, exc_info: Exception | None = None) -> None:
        self._closed = True
        self._log.error("usb controller failed", reason=reason, exc_info=exc_info)
        self._broken(reason)

    def _close_memory(self) -> None:
        for ring in (self._urb_ring, self._conn_ring):
            ring.close()
        self._pages.close()

    # Devices.

    def _change_port(self, port: int, speed: int) -> None:
        if self._emptied is not None:
            return
        previous = self._tasks.get(port)
        if previous is not None:
            # At once: QEMU's backend does not survive a control request to a device that was detached.
            for dongle in {dongle for dongle in self._dongles.values() if dongle.port == port}:
                dongle.lose("unplugged")
            previous.cancel()
        if speed == usbif.SPEED_NONE:
            self._log.info("usb device detached", port=port)
            return
        self._log.info("usb device attached", port=port, speed=speed)
        self._tasks[port] = task = asyncio.create_task(self._serve_port(port, previous))
        task.add_done_callback(self._check_task)

    def _check_task(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.pump_failed(error)

    async def _serve_port(self, port: int, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        retry = Retry()
        while True:
            began = self._loop.time()
            try:
                found = await self._enumerate(port)
            except (RemoteProtocolError, TimeoutError) as error:
                self._log.error("usb device does not work", port=port, reason=str(error) or "no answer")
            else:
                if not await self._serve_device(port, found):
                    return
            await asyncio.sleep(retry.next_pause_s(self._loop.time() - began))

    async def _enumerate(self, port: int) -> Found:
        address = port  # one device a port, so no two have the same
        pipes = {at: self._core.open_pipe(port, at, 0, usbif.CONTROL) for at in (0, address)}
        steps = enumerate_device(address)
        control = next(steps)
        try:
            while True:
                urb = self._core.control(pipes[control.address], control.setup)
                self._flush_soon()
                control = steps.send(await self._answer(urb))
        except StopIteration as end:
            found: Found = end.value
            return found
        finally:
            for pipe in pipes.values():
                self._core.close_pipe(pipe)
            self._flush_soon()

    async def _answer(self, urb: int) -> tuple[int, bytes]:
        future = self._futures[urb] = self._loop.create_future()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                completion = await future
        finally:
            del self._futures[urb]
        return completion.status, completion.data

    async def _serve_device(self, port: int, found: Found) -> bool:
        """Gives a dongle to its driver until it is closed. Returns whether to try the device again."""
        name = f"{self._name} port {port}: {found.vendor_id:04x}:{found.product_id:04x} {found.serial}".rstrip()
        if found.bluetooth is None:
            self._log.info("usb device ignored", device=name, reason="no Bluetooth dongle", usb_class=found.class_code)
            return False
        standing = sum(dongle.depths.standing for dongle in {*self._dongles.values()})
        depths = ONE_EACH if standing else self._depths
        if standing + depths.standing > MAX_STANDING:
            self._log.error("dongle has no room", device=name, reason="this controller's ring is full of dongles")
            return False
        dongle = UsbifDongle(
            self._core, port, found, found.bluetooth, name=name, depths=depths, flush_soon=self._flush_soon,
            log=self._log,
        )  # fmt: skip
        self._dongles |= dict.fromkeys(dongle.pipes, dongle)
        try:
            await self._on_dongle(H2Dongle(dongle))
            await dongle.closed.wait()
        finally:
            dongle.end("its controller is not served any more")
            for pipe in dongle.pipes:
                del self._dongles[pipe]
        self._log.info("dongle closed", dongle=name, reason=dongle.reason)
        return dongle.started
