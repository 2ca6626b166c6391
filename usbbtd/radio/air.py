"""Scans and advertises on LE's advertising channels: scans for any number of users, advertises for one."""

from collections.abc import Callable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from usbbtd.hci import events as hci_events
from usbbtd.hci.losses import Cost
from usbbtd.radio.controller import Controller
from usbbtd.radio.errors import InUse, NoDongle, NotSupported

AirEvent = hci_events.Advertisement | hci_events.ScanStopped | hci_events.AdvertisingStopped


class ScanUser(NamedTuple):
    """Takes the reports of a scan.

    ``active``: whether to ask for scan responses. ``duplicates``: whether to report every advertisement, not only every
    advertiser. ``ended`` is called when the scan has ended by itself.
    """

    active: bool
    duplicates: bool
    report: Callable[[hci_events.Advertisement], None]
    ended: Callable[[], None]


class Advertiser(NamedTuple):
    """Describes what a user advertises. ``data``: AD structures, 31 octets at most."""

    data: bytes
    interval_ms: int
    connectable: bool


class Air:
    """Scans and advertises with one adapter. Scans end with the dongle; advertising goes on with the next one.

    ``controller`` returns the controller that is up, or None.
    """

    def __init__(self, controller: Callable[[], Controller | None], log: FilteringBoundLogger) -> None:
        self._controller = controller
        self._log = log
        self._scans: set[ScanUser] = set()
        self._advertiser: Advertiser | None = None

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
        """Returns whether a user has the advertising set, with or without a dongle."""
        return self._advertiser is not None

    def start_scan(self, scan: ScanUser) -> None:
        """Starts a scan: reports go to ``scan.report`` until ``stop_scan``. Raises NoDongle, NotSupported."""
        if self._controller() is None:
            raise NoDongle("there is no Bluetooth adapter")
        if not self.can_scan:
            raise NotSupported("the controller does not scan")
        self._scans.add(scan)
        self._apply_scans()

    def stop_scan(self, scan: ScanUser) -> None:
        """Ends a user's scan. Idempotent."""
        if scan in self._scans:
            self._scans.remove(scan)
            self._apply_scans()

    def start_advertising(self, advertiser: Advertiser) -> None:
        """Advertises until ``stop_advertising``, with this dongle and later ones.

        Raises InUse if another user advertises, and NotSupported if this controller cannot.
        """
        if self._advertiser is not None:
            raise InUse("the adapter has one advertising set, and it is in use")
        if (controller := self._controller()) is not None and not self.can_advertise:
            raise NotSupported("the controller does not advertise")
        self._advertiser = advertiser
        if controller is not None:
            self._advertise(controller, advertiser)

    def stop_advertising(self, advertiser: Advertiser) -> None:
        """Ends a user's advertising. Idempotent."""
        if self._advertiser is advertiser:
            self._advertiser = None
            if (controller := self._controller()) is not None:
                controller.host.stop_advertising()
                controller.flush_soon()

    # The adapter calls these.

    def controller_up(self, controller: Controller) -> None:
        """Advertises with a new controller, if a user wants that."""
        if self._advertiser is not None:
            self._advertise(controller, self._advertiser)

    def end_scans(self) -> None:
        """Tells all users that their scans have ended: the controller is gone, or has refused to scan."""
        scans, self._scans = self._scans, set()
        for scan in scans:
            scan.ended()

    def receive(self, event: AirEvent) -> None:
        """Takes the controller's events about scans and advertising."""
        match event:
            case hci_events.Advertisement():
                for scan in tuple(self._scans):
                    scan.report(event)
            case hci_events.ScanStopped(status):
                self._log.warning("scan refused by the controller", status=status)
                self.end_scans()
            case hci_events.AdvertisingStopped(status):
                self._log.warning("advertising refused by the controller", status=status)

    # Inside.

    def _can(self, function: Cost) -> bool:
        controller = self._controller()
        return controller is not None and controller.host.supports_le and function not in controller.host.lost

    def _apply_scans(self) -> None:
        if (controller := self._controller()) is None:
            return
        if self._scans:
            active, duplicates = any(s.active for s in self._scans), any(s.duplicates for s in self._scans)
            controller.host.start_scan(active=active, duplicates=duplicates)
        else:
            controller.host.stop_scan()
        controller.flush_soon()

    @staticmethod
    def _advertise(controller: Controller, advertiser: Advertiser) -> None:
        data, interval_ms, connectable = advertiser
        controller.host.start_advertising(data, interval_ms=interval_ms, connectable=connectable)
        controller.flush_soon()
