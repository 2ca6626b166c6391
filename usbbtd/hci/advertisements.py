"""Makes advertisements of the advertising reports of a controller.

Reports may be lost anyway: a wrong one is dropped and counted.
"""

from typing import NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.events import Advertisement
from usbbtd.hci.limits import MAX_ADVERTISEMENT, MAX_PARTIAL
from usbbtd.hci.wire.events import (
    COMPLETE,
    MORE_TO_COME,
    AdvertisingReport,
    LeAdvertisingReport,
    LeExtendedAdvertisingReport,
    advertising_reports,
)

__all__ = ["Advertisements"]


# Public and random, then identities that the controller resolved (Vol 4, Part E, 7.7.65.13)
_ADDRESS_TYPES = range(4)
_ANONYMOUS = 0xFF


class Source(NamedTuple):
    """Identifies fragments that belong together. Those of a scan response are apart from the advertisement's."""

    address: bytes
    address_type: int
    sid: int
    event_type: int


class Advertisements:
    """Puts advertisements together that a controller reports in fragments."""

    def __init__(self) -> None:
        self._partial: dict[Source, bytes] = {}
        self.counters = {
            "reports_malformed": 0,  # cut short, or with an unknown type of address
            "reports_anonymous": 0,  # without an address, to which nobody can connect
            "reports_incomplete": 0,  # the rest was lost, is too long, or did not come before those of many others
        }

    def receive(self, event: LeAdvertisingReport | LeExtendedAdvertisingReport) -> list[Advertisement]:
        """Returns the advertisements that are whole with this event."""
        try:
            reports = advertising_reports(event)
        except RemoteProtocolError:
            self.counters["reports_malformed"] += 1
            return []
        found = []
        for report in reports:
            if report.address_type == _ANONYMOUS:
                self.counters["reports_anonymous"] += 1
            elif report.address_type not in _ADDRESS_TYPES:
                self.counters["reports_malformed"] += 1
            elif (data := self._whole(report)) is not None:
                address_type = 1 + (report.address_type & 1)
                found.append(Advertisement(report.address, address_type, report.event_type, report.rssi, data))
        return found

    def clear(self) -> None:
        """Forgets advertisements whose other fragments will not come."""
        self.counters["reports_incomplete"] += len(self._partial)
        self._partial.clear()

    def _whole(self, report: AdvertisingReport) -> bytes | None:
        """Returns the data of a whole advertisement; None while fragments are missing, or if one is lost."""
        source = Source(report.address, report.address_type, report.sid, report.event_type)
        data = self._partial.pop(source, b"") + report.data
        if report.status == COMPLETE:
            return data
        if report.status == MORE_TO_COME and len(data) <= MAX_ADVERTISEMENT:
            if len(self._partial) >= MAX_PARTIAL:
                del self._partial[next(iter(self._partial))]
                self.counters["reports_incomplete"] += 1
            self._partial[source] = data
        else:
            self.counters["reports_incomplete"] += 1
        return None
