"""Finds Bluetooth dongles on this domain's own USB controller, and gives them to the adapter one at a time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import usb1
from structlog.typing import FilteringBoundLogger

from usbbtd.dongles.dongle import Dongle, DongleError
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.dongles.libusb_context import LibusbContext
from usbbtd.dongles.libusb_device import LibusbDevice, OpenDevice, look_at, node_of
from usbbtd.dongles.libusb_dongle import UNPLUGGED, LibusbDongle
from usbbtd.pump import contained, explain
from usbbtd.retry import Retry

#: How long libusb may take to report cancelled transfers; in Linux they have ended when the call to cancel returns.
REAP_S = 1.0

#: Returns whether a dongle is one to drive: (vendor, product, serial number, or None while that is not known).
Selects = Callable[[int, int, str | None], bool]


async def serve_libusb(
    libusb: LibusbContext, selects: Selects, on_dongle: Callable[[Dongle], Awaitable[None]], log: FilteringBoundLogger
) -> None:
    """Gives ``on_dongle`` one dongle after the other, each until it is closed or unplugged; runs until cancelled.

    Of several dongles that are selected, the others stay with the kernel until the first is unplugged or fails. A
    dongle that ``selects`` refuses keeps its kernel driver; it is not even opened if its vendor and product decide.
    Raises DongleError if libusb itself fails.
    """
    source = _LibusbSource(libusb, selects, on_dongle, log)
    try:
        await source.run()
    finally:
        source.close()


@dataclass(eq=False)
class _DongleCandidate:
    """A dongle that may be driven. ``due``: from when on it may be tried, by the loop's time."""

    device: LibusbDevice
    due: float = 0.0
    retry: Retry = field(default_factory=Retry)


class _LibusbSource:
    def __init__(
        self, libusb: LibusbContext, selects: Selects, on_dongle: Callable[[Dongle], Awaitable[None]],
        log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self._libusb = libusb
        self._selects = selects
        self._on_dongle = on_dongle
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._changes: list[tuple[Any, int]] = []  # (USBDevice, hotplug event) that libusb has announced
        self._changed = asyncio.Event()
        self._candidates: dict[str, _DongleCandidate] = {}  # by the path of its node
        self._serving: tuple[_DongleCandidate, LibusbDongle] | None = None  # the one that is driven now
        libusb.on_events = self._receive_events
        # The devices that are there already are announced within this call.
        self._hotplug = libusb.usb.hotplugRegisterCallback(self._take_note)
        self._receive_events()

    async def run(self) -> None:
        while True:
            candidate = await self._next()
            began = self._loop.time()
            try:
                await self._serve(candidate)
            except DongleError as error:
                self._log.error("dongle cannot be had", dongle=candidate.device.name, reason=str(error))
            now = self._loop.time()
            candidate.due = now + candidate.retry.next_pause_s(now - began)

    def close(self) -> None:
        self._libusb.on_events = None
        self._libusb.usb.hotplugDeregisterCallback(self._hotplug)

    # For libusb to call.

    def _take_note(self, _: Any, usb: Any, event: int) -> bool:
        self._changes.append((usb, event))
        return False

    def pump_failed(self, error: Exception) -> None:
        """Gives up the dongle that is driven, after a bug; it is opened again after a pause."""
        facts = explain(error)
        self._log.error("radio failed", dongle=self._serving and self._serving[1].name, **facts)
        if self._serving is not None:
            self._serving[1].lose(facts["reason"])

    @contained
    def _receive_events(self) -> None:  # hot: per wake-up
        if self._serving is not None:
            self._serving[1].settle()
        if self._libusb.error:
            self._changed.set()
            if self._serving is not None:
                self._serving[1].lose(self._libusb.error)
        changes, self._changes = self._changes, []
        for usb, event in changes:
            if event == usb1.HOTPLUG_EVENT_DEVICE_LEFT:
                self._left(usb)
            else:
                self._arrived(usb)

    def _arrived(self, usb: Any) -> None:
        device = look_at(usb)
        if device is None:
            return
        if self._selects(device.vendor_id, device.product_id, None):
            self._log.info("dongle attached", dongle=device.name)
            self._candidates[device.node] = _DongleCandidate(device)
            self._changed.set()
        else:
            self._leave_alone(device.name)

    def _left(self, usb: Any) -> None:
        candidate = self._candidates.pop(node_of(usb), None)
        if candidate is None:
            return
        self._log.info("dongle detached", dongle=candidate.device.name)
        if self._serving is not None and self._serving[0] is candidate:
            self._serving[1].lose(UNPLUGGED)

    def _leave_alone(self, name: str) -> None:
        self._log.info("dongle left alone", dongle=name, reason="adapter.select names another")

    # Serving.

    async def _next(self) -> _DongleCandidate:
        """Waits until a candidate is due, and returns it. Raises DongleError if libusb has failed."""
        while not self._libusb.error:
            self._changed.clear()
            first = min(self._candidates.values(), key=lambda each: each.due, default=None)
            if first is not None and first.due <= self._loop.time():
                return first
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(first.due if first else None):
                    await self._changed.wait()
        raise DongleError(self._libusb.error)

    async def _serve(self, candidate: _DongleCandidate) -> None:
        device = candidate.device.open()
        try:
            found = await device.examine()
            if self._libusb.error:  # it has failed since the answer: nothing would come from the dongle any more
                raise DongleError(self._libusb.error)
            name = f"{candidate.device.name} {found.serial}".rstrip()
            if self._selects(found.vendor_id, found.product_id, found.serial):
                dongle = LibusbDongle(device.handle, found, candidate.device.bluetooth, name=name, log=self._log)
                await self._drive(candidate, device, dongle)
            else:
                self._leave_alone(name)
                self._candidates.pop(candidate.device.node, None)  # it may have left meanwhile
        finally:
            device.close()

    async def _drive(self, candidate: _DongleCandidate, device: OpenDevice, dongle: LibusbDongle) -> None:
        """Has a dongle driven until it is closed, then gives it back: without an await, so nothing can cancel that."""
        try:
            device.take(self._log)
            self._serving = candidate, dongle
            await self._on_dongle(H2Dongle(dongle))
            await dongle.closed.wait()
            self._log.info("dongle closed", dongle=dongle.name, reason=dongle.reason)
        finally:
            dongle.end("its controller is not served any more")
            end = self._loop.time() + REAP_S
            while not dongle.idle and self._loop.time() < end:
                self._libusb.handle_events()
            self._serving = None
            device.give_back(self._log)
