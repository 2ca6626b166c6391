"""Scans and advertises on LE's advertising channels, for any number of users at a time.

Each scanner gets what it asked for, whatever the controller does for the others. Advertisements have advertising sets
of their own, or take turns: see hci/advertising.py.
"""

from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from usbbtd.hci import events as hci_events
from usbbtd.hci.advertising_set import AdvertisingParameters, why_not_advertised
from usbbtd.hci.limits import MAX_ADVERTISEMENT
from usbbtd.hci.losses import Cost
from usbbtd.radio.controller import Controller
from usbbtd.radio.errors import Exhausted, NoDongle, NotSupported
from usbbtd.radio.heard import HeardAdvertisements
from usbbtd.radio.identities import HeardIdentities, Resolve

AirEvent = hci_events.Advertisement | hci_events.ScanStopped | hci_events.AdvertisingStopped

#: The most advertisements of all users together: with more, a turn would be too rare to be of use.
MAX_ADVERTISERS = 64

_SCAN_RESPONSE = 4  # the event type of a report (Vol 4, Part E, 7.7.65.2)


class ScanUser(NamedTuple):
    """Takes the reports of a scan.

    ``active``: whether to ask for scan responses. ``duplicates``: whether to report every advertisement, not only every
    content of each advertiser. ``ended`` is called when the scan has ended by itself.
    """

    active: bool
    duplicates: bool
    report: Callable[[hci_events.Advertisement], None]
    ended: Callable[[], None]


class Advertiser(NamedTuple):
    """Describes what a user advertises. ``data``, ``scan_response``: AD structures.

    With more than 31 octets in one of them, only scanners that know extended advertising hear it; it then has data or
    a scan response, and not the latter if it is connectable.
    """

    data: bytes
    interval_ms: int
    connectable: bool
    scan_response: bytes = b""


class Air:
    """Scans and advertises with one adapter. Scans end with the dongle; advertising goes on with the next one.

    ``controller`` returns the controller that is up, or None. ``resolve``: see ``Resolve``; reports name the identity
    of peers whose address it resolves.
    """

    def __init__(
        self, controller: Callable[[], Controller | None], log: FilteringBoundLogger, *,
        resolve: Resolve = lambda _: None,
    ) -> None:  # fmt: skip
        self._controller = controller
        self._log = log
        self.identities = HeardIdentities(resolve)
        self._scans: dict[ScanUser, HeardAdvertisements] = {}
        self._advertisers: dict[int, Advertiser] = {}  # by the number that the host has for it
        self._numbers = count(1)
        self._forgotten = 0  # by users that scan no more

    @property
    def can_scan(self) -> bool:
        """Returns whether the controller has LE, and scanning is none of its losses (hci/losses.py)."""
        return self._can(Cost.SCANNING)

    @property
    def can_advertise(self) -> bool:
        """Returns whether the controller has LE, and advertising is none of its losses (hci/losses.py)."""
        return self._can(Cost.ADVERTISING)

    @property
    def scans(self) -> int:
        """Returns how many users scan."""
        return len(self._scans)

    @property
    def advertising(self) -> bool:
        """Returns whether a user advertises, with or without a dongle."""
        return bool(self._advertisers)

    def statistics(self) -> dict[str, int]:
        forgotten = self._forgotten + sum(heard.forgotten for heard in self._scans.values())
        return {"advertisements": len(self._advertisers), "scan_contents_forgotten": forgotten}

    def start_scan(self, scan: ScanUser) -> None:
        """Starts a scan: reports go to ``scan.report`` until ``stop_scan``. Raises NoDongle, NotSupported."""
        if self._controller() is None:
            raise NoDongle("there is no Bluetooth adapter")
        if not self.can_scan:
            raise NotSupported("the controller does not scan")
        self._scans[scan] = HeardAdvertisements()
        self._apply_scans()

    def stop_scan(self, scan: ScanUser) -> None:
        """Ends a user's scan. Idempotent."""
        if (heard := self._scans.pop(scan, None)) is not None:
            self._forgotten += heard.forgotten
            self._apply_scans()

    def start_advertising(self, advertiser: Advertiser) -> None:
        """Advertises until ``stop_advertising``, with this dongle and later ones, beside other users or in turns.

        Raises Exhausted if too many users advertise, and NotSupported if this controller cannot advertise that.
        """
        if len(self._advertisers) >= MAX_ADVERTISERS:
            raise Exhausted(f"there are {MAX_ADVERTISERS} advertisements already")
        controller = self._controller()
        most = MAX_ADVERTISEMENT
        if controller is not None:
            if not self.can_advertise:
                raise NotSupported("the controller does not advertise")
            assert controller.host.controller is not None  # it is up
            most = controller.host.controller.advertising_data
        if why := why_not_advertised(AdvertisingParameters(*advertiser), most):
            raise NotSupported(why)
        number = next(self._numbers)
        self._advertisers[number] = advertiser
        if controller is not None:
            self._advertise(controller, number)

    def stop_advertising(self, advertiser: Advertiser) -> None:
        """Ends the advertisement that was started with this very object. Idempotent."""
        for number, other in self._advertisers.items():
            if other is advertiser:
                del self._advertisers[number]
                if (controller := self._controller()) is not None:
                    controller.host.stop_advertising(number)
                    controller.flush_soon()
                return

    # The adapter calls these.

    def controller_up(self, controller: Controller) -> None:
        """Advertises with a new controller what users want."""
        for number in self._advertisers:
            self._advertise(controller, number)

    def end_scans(self) -> None:
        """Tells all users that their scans have ended: the controller is gone, or has refused to scan."""
        scans, self._scans = self._scans, {}
        self._forgotten += sum(heard.forgotten for heard in scans.values())
        for scan in scans:
            scan.ended()

    def receive(self, event: AirEvent) -> None:
        """Takes the controller's events about scans and advertising."""
        match event:
            case hci_events.Advertisement():
                self._report(event)
            case hci_events.ScanStopped(status):
                self._log.warning("scan refused by the controller", status=status)
                self.end_scans()
            case hci_events.AdvertisingStopped(_, status):
                self._log.warning("advertising refused by the controller", status=status)

    # Inside.

    def _can(self, function: Cost) -> bool:
        controller = self._controller()
        return controller is not None and controller.host.supports_le and function not in controller.host.lost

    def _report(self, advertisement: hci_events.Advertisement) -> None:
        address, address_type = self.identities.identify(advertisement.address, advertisement.address_type)
        if address is not advertisement.address:
            advertisement = advertisement._replace(address=address, address_type=address_type)
        for scan, heard in tuple(self._scans.items()):
            if advertisement.event_type == _SCAN_RESPONSE and not scan.active:
                continue
            if scan.duplicates or heard.is_new(advertisement):
                scan.report(advertisement)

    def _apply_scans(self) -> None:
        if (controller := self._controller()) is None:
            return
        if self._scans:
            # A change begins the scan anew, and the controller's filter: so a new user hears everyone.
            active, duplicates = any(s.active for s in self._scans), any(s.duplicates for s in self._scans)
            controller.host.start_scan(active=active, duplicates=duplicates)
        else:
            controller.host.stop_scan()
        controller.flush_soon()

    def _advertise(self, controller: Controller, number: int) -> None:
        parameters = AdvertisingParameters(*self._advertisers[number])
        controller.host.start_advertising(number, parameters, controller.now())
        controller.flush_soon()
