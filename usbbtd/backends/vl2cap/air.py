"""The scans and advertisements of a guest."""

import errno
from collections.abc import Callable
from functools import partial

from usbbtd.abi.layout import constants
from usbbtd.backends.vl2cap.channel import REVOKED
from usbbtd.backends.vl2cap.info import ScanInfo
from usbbtd.backends.vl2cap.session import GuestObject, GuestSession
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.bluetooth import ADDRESS_BREDR, LE
from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.events import Advertisement, DeviceFound, NameFound
from usbbtd.l2capif import messages
from usbbtd.l2capif.calls import AdvertiseCall, AdvertiseExtendedCall, ScanCall
from usbbtd.pump import contained
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import Advertiser, ScanUser
from usbbtd.radio.inquiries import InquiryUser

#: The most reports that wait for a guest that does not read its scan; more are dropped and counted.
MAX_QUEUED_REPORTS = 64

#: The most bytes of data in a report that is not extended. Advertisements with more are dropped and counted.
MAX_REPORT_DATA: int = constants.L2CAPIF_ADVERTISE_DATA_SIZE

_UNKNOWN_RSSI = 127

Found = Advertisement | DeviceFound | NameFound


class GuestScan:
    """Sends reports of devices that are there to the guest. Raises NoDongle or NotSupported if the adapter cannot scan.

    On LE the reports are of advertisements. On BR/EDR they are what inquiries find, and are extended; ``active`` is
    whether devices are asked for their names. ``ended`` is called once, with the reason, when the scan has ended by
    itself; ``failed`` with what a callback of this object raises.
    """

    def __init__(
        self, adapter: SharedAdapter, *, transport: int = LE, active: bool, duplicates: bool, extended: bool,
        ended: Callable[[str], None], failed: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        self.pump_failed = failed
        self._active, self._duplicates = active, duplicates
        self._extended = extended
        self._stream: GuestStream | None = None
        self._ended = ended
        self._over = False
        self.dropped = 0
        self._stop: Callable[[], None]
        if transport == LE:
            scan = ScanUser(active, duplicates, self._report, self._adapter_gone)
            self._stop = partial(adapter.air.stop_scan, scan)
            adapter.air.start_scan(scan)
        else:
            inquiry = InquiryUser(active, duplicates, self._report, self._adapter_gone)
            self._stop = partial(adapter.air.stop_inquiry, inquiry)
            adapter.air.start_inquiry(inquiry)

    def start(self, stream: GuestStream) -> None:
        """Starts to send reports through ``stream``, the guest's data ring, which this object closes."""
        self._stream = stream

    @contained
    def guest_event(self) -> None:
        """Moves queued reports into the ring after an event: the guest has read."""
        if self._stream is not None:
            try:
                self._stream.take_consumed()
            except RemoteProtocolError as error:
                self._end(-errno.EBADMSG, str(error))

    def info(self) -> ScanInfo:
        return ScanInfo(self._active, self._duplicates, self.dropped)

    def close(self) -> None:
        self._stop()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def revoke(self) -> None:
        """Ends the scan because policy does not allow it any more; the guest reads -EACCES."""
        self._end(-errno.EACCES, REVOKED)

    @contained
    def _report(self, found: Found) -> None:
        stream = self._stream
        if stream is None or self._over:
            return
        message = _pack_extended(found) if self._extended else _pack(found)
        if stream.queued >= MAX_QUEUED_REPORTS or message is None:
            self.dropped += 1
            return
        try:
            stream.write([message])
        except RemoteProtocolError as error:
            self._end(-errno.EBADMSG, str(error))

    @contained
    def _adapter_gone(self) -> None:
        self._end(-errno.ENODEV, "the controller scans no more")

    def _end(self, error: int, reason: str) -> None:
        """Stops the scan and reports its end; the guest may read what is in its ring until it releases the scan."""
        if self._over:
            return
        self._over = True
        self._stop()
        if self._stream is not None:
            self._stream.end_or_wake(error)
        self._ended(reason)


class GuestAdvertisement:
    """Advertises for the guest. Raises Exhausted if too many users do, NotSupported if the controller cannot."""

    def __init__(self, adapter: SharedAdapter, advertiser: Advertiser) -> None:
        self._adapter = adapter
        self._advertiser = advertiser
        adapter.air.start_advertising(advertiser)

    def close(self) -> None:
        self._adapter.air.stop_advertising(self._advertiser)


def scan(session: GuestSession, call: ScanCall) -> None:
    """Starts a scan, whose reports go into the ring that the call names, and answers the call."""

    def serve(made: GuestObject) -> None:
        made.server = serving = GuestScan(
            session.adapter, transport=call.transport, active=call.active, duplicates=call.duplicates,
            extended=call.extended, ended=made.ended, failed=session.failed,
        )  # fmt: skip
        serving.start(session.map_ring(call.ref, call.evtchn, serving.guest_event))

    session.make(call, session.access.scan, serve)


def advertise(session: GuestSession, call: AdvertiseCall) -> None:
    """Starts to advertise, and answers the call."""

    def serve(made: GuestObject) -> None:
        made.server = GuestAdvertisement(session.adapter, Advertiser(call.data, call.interval_ms, call.connectable))

    session.make(call, session.access.advertise, serve)


def advertise_extended(session: GuestSession, call: AdvertiseExtendedCall) -> None:
    """Starts to advertise what is in a page of the guest's, and answers the call."""

    def serve(made: GuestObject) -> None:
        page = session.read_page(call.ref)
        end = call.data_length + call.scan_data_length
        data, scan_response = page[: call.data_length], page[call.data_length : end]
        advertiser = Advertiser(data, call.interval_ms, call.connectable, scan_response)
        made.server = GuestAdvertisement(session.adapter, advertiser)

    session.make(call, session.access.advertise, serve)


def _pack(found: Found) -> bytes | None:
    """Returns the message of an advertisement; None for what has no room in a report that is not extended."""
    if not isinstance(found, Advertisement) or len(found.data) > MAX_REPORT_DATA:
        return None
    address, address_type, event_type, rssi, data = found
    return messages.pack_report(messages.ScanReport(address, address_type, rssi, event_type, data))


def _pack_extended(found: Found) -> bytes:
    """Returns the message of what was found."""
    report = messages.ExtendedReport
    match found:
        case Advertisement(address, address_type, event_type, rssi, data):
            made = report(address, address_type, constants.L2CAPIF_REPORT_ADVERTISING, event_type, rssi, 0, data)
        case DeviceFound(address, class_of_device, rssi, data):
            made = report(address, ADDRESS_BREDR, constants.L2CAPIF_REPORT_INQUIRY, 0, rssi, class_of_device, data)
        case NameFound(address, _, name):
            made = report(address, ADDRESS_BREDR, constants.L2CAPIF_REPORT_NAME, 0, _UNKNOWN_RSSI, 0, name)
    return messages.pack_extended_report(made)
