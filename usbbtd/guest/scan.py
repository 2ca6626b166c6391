"""Scans, and the LE advertising reports that they give."""

from __future__ import annotations

from collections import deque
from errno import EBADMSG
from types import TracebackType
from typing import NamedTuple, Self

from usbbtd.bluetooth import format_address
from usbbtd.errors import RemoteProtocolError
from usbbtd.guest.address import AddressType, address_type_name
from usbbtd.guest.connection import Connection
from usbbtd.guest.errors import AdapterError
from usbbtd.guest.remote import RemoteObject
from usbbtd.l2capif.messages import unpack_report
from usbbtd.l2capif.wire import PlainResponse

_RING_ORDER = 2
_RSSI_UNKNOWN = 127
_CONNECTABLE = (0x00, 0x01)  # ADV_IND, ADV_DIRECT_IND: Vol 4, Part E, 7.7.65.2
_NAMES = (0x09, 0x08)  # complete, shortened local name: Assigned Numbers, 2.3


class Report(NamedTuple):
    """One advertising report.

    ``rssi``: in dBm; None if it is not known. ``event_type``: as in HCI (Vol 4, Part E, 7.7.65.2). ``data``: AD
    structures (Vol 3, Part C, 11).
    """

    address: str
    address_type: AddressType
    rssi: int | None
    event_type: int
    data: bytes

    @property
    def connectable(self) -> bool:
        return self.event_type in _CONNECTABLE

    @property
    def name(self) -> str | None:
        """Returns the local name in the data, the complete one if there is; None if there is none."""
        found = structures(self.data)
        return next((found[kind].decode(errors="replace") for kind in _NAMES if kind in found), None)


class Scan:
    """A scan, which is an asynchronous iterator of Reports. ``adapter.scan`` makes it.

    It starts when the first report is asked for, and ends when it is closed, left (``async with``) or forgotten. Raises
    ChannelClosed if the backend ends it, AdapterGone if the service went away.
    """

    def __init__(self, connection: Connection, *, active: bool, duplicates: bool) -> None:
        self._active, self._duplicates = active, duplicates
        self._remote = RemoteObject(connection, _RING_ORDER)
        self._started = False
        self._reports: deque[Report] = deque()

    async def close(self) -> None:
        """Stops scanning. Idempotent."""
        await self._remote.release()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Report:
        if not self._started:
            await self._start()
        while not self._reports:
            for message in await self._remote.stream.receive_many():
                self._reports.append(_report(message))
        return self._reports.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _start(self) -> None:
        self._started = True
        shared = self._remote.stream.shared
        await self._remote.create(
            lambda core: core.scan(
                ref=shared.ref, evtchn=shared.port, active=self._active, duplicates=self._duplicates
            ),
            PlainResponse,
            "scan",
        )


def structures(data: bytes) -> dict[int, bytes]:
    """Returns the AD structures of advertising data (Vol 3, Part C, 11) by type: the first of each.

    A malformed structure and all that follows it is left out.
    """
    found: dict[int, bytes] = {}
    while len(data) >= 2 and 0 < data[0] < len(data):
        found.setdefault(data[1], data[2 : 1 + data[0]])
        data = data[1 + data[0] :]
    return found


def _report(untrusted_message: bytes) -> Report:
    try:
        report = unpack_report(untrusted_message)
    except RemoteProtocolError as exc:
        raise AdapterError(EBADMSG, f"the driver domain broke the protocol: {exc}") from exc
    rssi = None if report.rssi == _RSSI_UNKNOWN else report.rssi
    address_type = address_type_name(report.address_type)
    return Report(format_address(report.address), address_type, rssi, report.event_type, report.data)
