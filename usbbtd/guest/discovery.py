"""Discovers who is there on both transports: inquiry and LE scan, and what is known of each device by then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from errno import ENODEV
from types import TracebackType
from typing import Final, NamedTuple, Self

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import format_address
from usbbtd.guest.ad import appearance, local_name, manufacturer, services
from usbbtd.guest.address import TRANSPORTS, AddressType, Transport, address_type_name
from usbbtd.guest.connection import Connection
from usbbtd.guest.errors import AdapterError, NoController
from usbbtd.guest.kinds import kind_of
from usbbtd.guest.remote import knows, require
from usbbtd.guest.scan import ReportRing, is_connectable, rssi_of
from usbbtd.l2capif.features import KNOWS_SCAN_EXTENDED
from usbbtd.l2capif.messages import ExtendedReport

#: Devices and services of each that are remembered: what is on the air is a stranger's, and may be without end.
_MOST_DEVICES: Final = 1024
_MOST_SERVICES: Final = 64
_QUEUED: Final = 64  # reports; more wait in the rings


class Discovered(NamedTuple):
    """A device, with all that it has said so far.

    ``rssi``: of the last report, in dBm; None if not known. ``connectable``: whether it said so on LE; True on BR/EDR.
    ``class_of_device``: on BR/EDR; ``appearance``: on LE; None where it has said none. ``services``: UUIDs as text,
    such as "180f". ``manufacturer``: the company whose data it sends (Assigned Numbers, 7.1), None if none.
    """

    address: str
    address_type: AddressType
    rssi: int | None = None
    name: str | None = None
    connectable: bool = False
    class_of_device: int | None = None
    appearance: int | None = None
    services: tuple[str, ...] = ()
    manufacturer: int | None = None

    @property
    def kind(self) -> str | None:
        """Returns what it is in a few words, such as "keyboard"; None if it does not say."""
        return kind_of(self.class_of_device, self.appearance)


class Filter(NamedTuple):
    """Which devices are wanted: those that fit all that is not None. ``name``: a part of it, in small letters."""

    service: str | None = None
    manufacturer: int | None = None
    name: str | None = None

    def matches(self, device: Discovered) -> bool:
        return (
            (self.service is None or self.service in device.services)
            and (self.manufacturer is None or self.manufacturer == device.manufacturer)
            and (self.name is None or self.name in (device.name or "").lower())
        )


class Discovery:
    """Discovers while it is open: ``async with adapter.discover() as devices: async for device in devices: ...``

    Gives a Discovered when one is heard first, and again when it says something new, or with ``every`` report. Raises
    ChannelClosed if the backend ends it, AdapterGone if the service went away.
    """

    def __init__(
        self, connection: Connection, transports: Sequence[Transport], wanted: Filter, *, active: bool, every: bool
    ) -> None:
        """Is for ``Adapter.discover`` only."""
        require(knows(connection, KNOWS_SCAN_EXTENDED), "discover", or_else=", or scan, for LE alone")
        if not transports:
            raise NoController(ENODEV, "discover: the driver domain has no Bluetooth controller now")
        self._connection = connection
        self._transports = transports
        self._wanted = wanted
        self._active, self._every = active, every
        self._open = AsyncExitStack()
        self._queue: asyncio.Queue[ExtendedReport | AdapterError] = asyncio.Queue(_QUEUED)
        self._failure: AdapterError | None = None
        self._known: dict[tuple[bytes, int], Discovered] = {}  # in the order in which they were heard last

    async def close(self) -> None:
        """Stops discovering. Idempotent."""
        await self._open.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Discovered:
        while self._failure is None:
            item = await self._queue.get()
            if isinstance(item, AdapterError):
                self._failure = item
            elif (device := self._merge(item)) is not None:
                return device
        raise self._failure

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as undo:
            for transport in self._transports:
                ring = ReportRing(self._connection, TRANSPORTS[transport])
                undo.push_async_callback(ring.close)
                await ring.start(active=self._active, duplicates=self._every)
                reading = asyncio.create_task(self._read(ring))
                undo.push_async_callback(_stop_reading, reading)
            self._open = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(self, ring: ReportRing) -> None:
        try:
            while True:
                for report in await ring.receive_many():
                    await self._queue.put(report)
        except AdapterError as error:
            await self._queue.put(error)

    def _merge(self, report: ExtendedReport) -> Discovered | None:
        """Adds a report to what is known of its device. Returns the device if the program is to hear of it."""
        key = report.address, report.address_type
        before = self._known.pop(key, None)
        address = format_address(report.address), address_type_name(report.address_type)
        device = _merged(before or Discovered(*address), report)
        self._known[key] = device
        if len(self._known) > _MOST_DEVICES:
            del self._known[next(iter(self._known))]
        if before is not None and not self._every and device._replace(rssi=before.rssi) == before:
            return None
        return device if self._wanted.matches(device) else None


def _merged(device: Discovered, report: ExtendedReport) -> Discovered:
    if report.source == constants.L2CAPIF_REPORT_NAME:
        return device._replace(name=report.data.rstrip(b"\0").decode(errors="replace") or device.name)
    data = report.data
    known = dict.fromkeys(device.services) | dict.fromkeys(services(data))
    company, looks = manufacturer(data), appearance(data)
    bredr = report.source == constants.L2CAPIF_REPORT_INQUIRY
    return device._replace(
        rssi=rssi_of(report),
        name=local_name(data) or device.name,
        connectable=device.connectable or bredr or is_connectable(report),
        class_of_device=report.class_of_device if bredr else device.class_of_device,
        appearance=device.appearance if looks is None else looks,
        services=tuple(sorted(list(known)[:_MOST_SERVICES], key=lambda uuid: (len(uuid), uuid))),
        manufacturer=device.manufacturer if company is None else company,
    )


async def _stop_reading(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
