"""Scans, and the LE advertising reports that they give."""

from __future__ import annotations

from collections import deque
from errno import EBADMSG
from types import TracebackType
from typing import NamedTuple, Self

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import LE, format_address
from usbbtd.errors import RemoteProtocolError
from usbbtd.guest.ad import local_name
from usbbtd.guest.address import AddressType, address_type_name
from usbbtd.guest.connection import Connection
from usbbtd.guest.errors import AdapterError
from usbbtd.guest.remote import RemoteObject, knows
from usbbtd.l2capif.features import KNOWS_SCAN_EXTENDED
from usbbtd.l2capif.messages import ExtendedReport, unpack_extended_report, unpack_report
from usbbtd.l2capif.wire import PlainResponse

_RING_ORDER = 2
_RSSI_UNKNOWN = 127
_CONNECTABLE = (0x00, 0x01)  # ADV_IND, ADV_DIRECT_IND: Vol 4, Part E, 7.7.65.2


class Report(NamedTuple):
    """One advertising report.

    ``rssi``: in dBm; None if it is not known. ``event_type``: as in HCI (Vol 4, Part E, 7.7.65.2). ``data``: AD
    structures (Vol 3, Part C, 11), up to 31 bytes, or 1650 if both sides have the extended form.
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
        return local_name(self.data)


class ReportRing:
    """A scan in the backend, of one transport, and the ring with its reports.

    They are ExtendedReports, whatever form they come in. The scan ends when it is closed or forgotten.
    """

    def __init__(self, connection: Connection, transport: int = LE) -> None:
        self._transport = transport
        self._extended = knows(connection, KNOWS_SCAN_EXTENDED)
        self._remote = RemoteObject(connection, _RING_ORDER)

    async def start(self, *, active: bool, duplicates: bool) -> None:
        shared = self._remote.stream.shared
        await self._remote.create(
            lambda core: core.scan(
                ref=shared.ref, evtchn=shared.port, active=active, duplicates=duplicates, extended=self._extended,
                transport=self._transport,
            ),
            PlainResponse,
            "scan",
        )  # fmt: skip

    async def receive_many(self) -> list[ExtendedReport]:
        """Waits for a report and returns all there are. Raises as ``Stream.receive_many``, and for a malformed one."""
        untrusted_messages = await self._remote.stream.receive_many()
        try:
            return [self._unpack(untrusted) for untrusted in untrusted_messages]
        except RemoteProtocolError as exc:
            raise AdapterError(EBADMSG, f"the driver domain broke the protocol: {exc}") from exc

    async def close(self) -> None:
        """Stops scanning. Idempotent."""
        await self._remote.release()

    def _unpack(self, untrusted: bytes) -> ExtendedReport:
        if self._extended:
            return unpack_extended_report(untrusted)
        address, address_type, rssi, event_type, data = unpack_report(untrusted)
        source = constants.L2CAPIF_REPORT_ADVERTISING
        return ExtendedReport(address, address_type, source, event_type, rssi, 0, data)


class Scan:
    """A scan, which is an asynchronous iterator of Reports. ``adapter.scan`` makes it.

    It starts with ``async with``, or when the first report is asked for, and ends when it is closed, left or forgotten.
    Raises ChannelClosed if the backend ends it, AdapterGone if the service went away.
    """

    def __init__(self, connection: Connection, *, active: bool, duplicates: bool) -> None:
        self._active, self._duplicates = active, duplicates
        self._ring = ReportRing(connection)
        self._started = False
        self._reports: deque[Report] = deque()

    async def close(self) -> None:
        """Stops scanning. Idempotent."""
        await self._ring.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Report:
        await self._start()
        while not self._reports:
            self._reports.extend(map(_report, await self._ring.receive_many()))
        return self._reports.popleft()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            await self._ring.start(active=self._active, duplicates=self._duplicates)


def rssi_of(report: ExtendedReport) -> int | None:
    """Returns the strength of the signal in dBm, None if it is not known."""
    return None if report.rssi == _RSSI_UNKNOWN else report.rssi


def is_connectable(report: ExtendedReport) -> bool:
    return report.event_type in _CONNECTABLE


def _report(report: ExtendedReport) -> Report:
    address_type = address_type_name(report.address_type)
    return Report(format_address(report.address), address_type, rssi_of(report), report.event_type, report.data)
