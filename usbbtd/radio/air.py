"""Scans and advertises on LE's advertising channels, and finds BR/EDR devices, for any number of users at a time.

Each scanner gets what it asked for, whatever the controller does for the others. Advertisements have advertising sets
of their own, or take turns: see hci/advertising.py.
"""

import asyncio
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
from usbbtd.radio.heard import HeardContents
from usbbtd.radio.identities import HeardIdentities, Resolve
from usbbtd.radio.inquiries import Inquiries, InquiryEvent, InquiryUser

AirEvent = hci_events.Advertisement | hci_events.ScanStopped | hci_events.AdvertisingStopped | InquiryEvent

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
    """Scans, inquires and advertises with one adapter. Advertising outlives the dongle; the others end with it.

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
        self._inquiries = Inquiries(controller, log)
        self._scans: dict[ScanUser, HeardContents] = {}
        self._advertisers: dict[int, Advertiser] = {}  # by the number that the host has for it
        self._numbers = count(1)
        self._forgotten = 0  # by users that scan no more

    @property
    def can_scan(self) -> bool:
        """Returns whether the controller has LE, and scanning is none of its losses (hci/losses.py)."""
        return self._can(Cost.SCANNING)

    @property
    def can_inquire(self) -> bool:
        """Returns whether the controller has BR/EDR, and inquiring is none of its losses (hci/losses.py)."""
        return self._inquiries.can_inquire

    @property
    def can_advertise(self) -> bool:
        """Returns whether the controller has LE, and advertising is none of its losses (hci/losses.py)."""
        return self._can(Cost.ADVERTISING)

    @property
    def scans(self) -> int:
        """Returns how many scans users have, with inquiries."""
        return len(self._scans) + len(self._inquiries)

    @property
    def advertising(self) -> bool:
        """Returns whether a user advertises, with or without a dongle."""
        return bool(self._advertisers)

    def statistics(self) -> dict[str, int]:
        forgotten = self._forgotten + sum(heard.forgotten for heard in self._scans.values()) + self._inquiries.forgotten
        return {"advertisements": len(self._advertisers), "scan_contents_forgotten": forgotten}

    def start_scan(self, scan: ScanUser) -> None:
        """Starts a scan: reports go to ``scan.report`` until ``stop_scan``. Raises NoDongle, NotSupported."""
        if self._controller() is None:
            raise NoDongle("there is no Bluetooth adapter")
        if not self.can_scan:
            raise NotSupported("the controller does not scan")
        self._scans[scan] = HeardContents()
        self._apply_scans()

    def stop_scan(self, scan: ScanUser) -> None:
        """Ends a user's scan. Idempotent."""
        if (heard := self._scans.pop(scan, None)) is not None:
            self._forgotten += heard.forgotten
            self._apply_scans()

    async def hear(self, address: bytes, address_type: int) -> tuple[bytes, int]:
        """Scans until a bonded peer is heard, and returns the (address, address type) that it has now.

        Gives up when cancelled. Raises NoDongle, NotSupported.
        """
        heard: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()

        def report(advertisement: hci_events.Advertisement) -> None:
            if (advertisement.address, advertisement.address_type) == (address, address_type) and not heard.done():
                heard.set_result(self.identities.locate(address, address_type))

        def ended() -> None:
            if not heard.done():
                heard.set_exception(NoDongle("the scan for the peer has ended"))

        scan = ScanUser(active=False, duplicates=True, report=report, ended=ended)
        self.start_scan(scan)
        try:
            return await heard
        finally:
            self.stop_scan(scan)

    def start_inquiry(self, user: InquiryUser) -> None:
        """Starts to look for BR/EDR devices, until ``stop_inquiry``. Raises NoDongle, NotSupported."""
        self._inquiries.start(user)

    def stop_inquiry(self, user: InquiryUser) -> None:
        """Ends a user's inquiry. Idempotent."""
        self._inquiries.stop(user)

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

    def controller_lost(self) -> None:
        """Ends all scans and inquiries: the controller is gone."""
        self._end_scans()
        self._inquiries.end()

    def receive(self, event: AirEvent) -> None:
        """Takes the controller's events about scans, inquiries and advertising."""
        match event:
            case hci_events.Advertisement():
                self._report(event)
            case hci_events.ScanStopped(status):
                self._log.warning("scan refused by the controller", status=status)
                self._end_scans()
            case hci_events.AdvertisingStopped(_, status):
                self._log.warning("advertising refused by the controller", status=status)
            case _:
                self._inquiries.receive(event)

    # Inside.

    def _end_scans(self) -> None:
        """Tells all users that their scans have ended: the controller is gone, or has refused to scan."""
        scans, self._scans = self._scans, {}
        self._forgotten += sum(heard.forgotten for heard in scans.values())
        for scan in scans:
            scan.ended()

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
            content = address, address_type, advertisement.event_type, advertisement.data
            if scan.duplicates or heard.is_new(*content):
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
