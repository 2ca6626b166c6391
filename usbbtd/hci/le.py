"""Scans and advertises on LE: keeps what is wanted, and sends the commands for it.

A controller gets the legacy commands, or the extended ones if it knows no others; never both.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from usbbtd.bluetooth import ErrorCode
from usbbtd.errors import LocalProtocolError
from usbbtd.hci.advertisements import Advertisements
from usbbtd.hci.command_queue import Send
from usbbtd.hci.events import AdvertisingStopped, Event, ScanStopped
from usbbtd.hci.init import ControllerFacts
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.commands import HciCommand
from usbbtd.hci.wire.events import LeAdvertisingReport, LeExtendedAdvertisingReport

__all__ = ["OWN_ADDRESS_TYPE", "LeAir"]

#: Our address on LE is a random static one, which tells peers nothing about the dongle.
OWN_ADDRESS_TYPE = 1
MAX_DATA = 31

_SCAN_INTERVAL, _SCAN_WINDOW = 0x60, 0x30  # 60 and 30 ms: half of the time is left for links
_ALL_CHANNELS = 0b111
_PHY_1M = 1
_SET = 0  # the one advertising set of the extended commands
_ADV_IND, _ADV_NONCONN_IND = 0, 3
_EXTENDED_ADV_IND, _EXTENDED_ADV_NONCONN_IND = 0x13, 0x10  # legacy PDUs by the extended commands (7.8.53)
_WHOLE_DATA, _NO_FRAGMENTS = 3, 1
_NO_PREFERENCE = 127


class ScanParameters(NamedTuple):
    active: bool
    duplicates: bool


class Advertising(NamedTuple):
    data: bytes
    interval: int  # 0.625 ms
    connectable: bool


class LeAir:
    """Scans and advertises with one controller. Its settings outlive a reset of the controller."""

    def __init__(self, random_address: bytes, send: Send, emit: Callable[[Event], None]) -> None:
        self.random_address = random_address
        self._send = send
        self._emit = emit
        self._advertisements = Advertisements()
        self.counters = self._advertisements.counters
        self._controller: ControllerFacts | None = None  # None if it is not up or has no LE
        self._scan: ScanParameters | None = None  # the scan that is wanted
        self._scanning = False  # whether the controller was told to scan
        self._advertising: Advertising | None = None  # the advertising that is wanted
        self._advertised = False  # whether the controller was told to advertise
        self._initiating = False  # whether a connection is being created
        self._scans_beside = self._advertises_beside = True  # whether the controller can do that while it initiates
        self._links = 0

    # The user's wishes

    def start_scan(self, *, active: bool, duplicates: bool) -> None:
        self._scan = ScanParameters(active, duplicates)
        self._apply_scan()

    def stop_scan(self) -> None:
        self._scan = None
        self._apply_scan()

    def start_advertising(self, data: bytes, *, interval_ms: int, connectable: bool) -> None:
        """Starts to advertise, or changes it. Raises LocalProtocolError if there are more than 31 octets of data."""
        if len(data) > MAX_DATA:
            raise LocalProtocolError(f"{len(data)} octets of advertising data, {MAX_DATA} is the most")
        interval = min(max(interval_ms * 8 // 5, 0x0020), 0x4000)
        self._advertising = Advertising(data, interval, connectable)
        self._apply_advertising()

    def stop_advertising(self) -> None:
        self._advertising = None
        self._apply_advertising()

    # The controller's side

    def controller_up(self, controller: ControllerFacts) -> None:
        """Starts the scan and the advertising that are wanted, on a controller that was just reset."""
        if not controller.supports_le:
            self.abandon(ErrorCode.UNSUPPORTED_FEATURE)
            return
        self.controller_down()
        self._controller = controller
        self._scans_beside, self._advertises_beside = controller.scan_while_initiating, True
        self._apply_scan()
        self._apply_advertising()

    def controller_down(self) -> None:
        self._controller = None
        self._scanning = self._advertised = self._initiating = False
        self._links = 0
        self._advertisements.clear()

    def abandon(self, status: int) -> None:
        """Ends the scan and the advertising with events: the controller is of no use."""
        self.controller_down()
        if self._scan:
            self._scan = None
            self._emit(ScanStopped(status))
        if self._advertising:
            self._advertising = None
            self._emit(AdvertisingStopped(status))

    def set_initiating(self, initiating: bool) -> None:
        """Sets whether a connection is being created. Scan or advertising pause meanwhile if they cannot go on."""
        if initiating != self._initiating:
            self._initiating = initiating
            if not self._scans_beside:
                self._apply_scan()
            if not self._advertises_beside:
                self._apply_advertising()

    def make_way(self) -> None:
        """Pauses scan and advertising, now and whenever a connection is created from now on.

        This controller cannot connect beside them, whatever it says of its states. Linux does not even try both.
        """
        if self._scanning:
            self._scans_beside = False
            self._apply_scan()
        if self._advertised:
            self._advertises_beside = False
            self._apply_advertising()

    def link_up(self, role: int) -> None:
        self._links += 1
        if role and self._advertising and self._advertising.connectable:
            self._advertised = False  # the controller ended it with the connection
            self._apply_advertising()

    def link_down(self) -> None:
        self._links -= 1
        if not self._advertised:  # the controller may be able to do it now
            self._apply_advertising()

    def receive_reports(self, event: LeAdvertisingReport | LeExtendedAdvertisingReport, _now: float) -> None:
        if self._scan:
            for advertisement in self._advertisements.receive(event):
                self._emit(advertisement)

    # The commands. All that are needed are sent at once; if one fails, the effect of the others is undone.

    def _apply_scan(self) -> None:
        if self._controller is None:
            return
        self._disable_scan(self._controller)
        scan = self._scan
        if scan is None or (self._initiating and not self._scans_beside):
            return
        self._scanning = True
        self._scan = scan = scan._replace()  # another object: answers to earlier commands are not about this one
        active, filter_duplicates = int(scan.active), int(not scan.duplicates)
        parameters, enable = (
            (
                commands.LeSetExtendedScanParameters(
                    OWN_ADDRESS_TYPE, 0, _PHY_1M, active, _SCAN_INTERVAL, _SCAN_WINDOW
                ),
                commands.LeSetExtendedScanEnable(1, filter_duplicates, 0, 0),
            )
            if self._controller.extended
            else (
                commands.LeSetScanParameters(active, _SCAN_INTERVAL, _SCAN_WINDOW, OWN_ADDRESS_TYPE, 0),
                commands.LeSetScanEnable(1, filter_duplicates),
            )
        )
        for command in (parameters, enable):
            if self._scanning:  # else the first has failed at once
                self._send(command, partial(self._scan_answered, scan))

    def _disable_scan(self, controller: ControllerFacts) -> None:
        if self._scanning:
            self._scanning = False
            self._advertisements.clear()
            off = (
                commands.LeSetExtendedScanEnable(0, 0, 0, 0) if controller.extended else commands.LeSetScanEnable(0, 0)
            )
            self._send(off)

    def _scan_answered(self, scan: ScanParameters, status: int, _returned: bytes, _now: float) -> None:
        if not status or scan is not self._scan or not self._scanning or self._controller is None:
            return
        self._disable_scan(self._controller)
        if status == ErrorCode.COMMAND_DISALLOWED and self._initiating:
            self._scans_beside = False  # it goes on after the connection
        else:
            self._scan = None
            self._emit(ScanStopped(status))

    def _apply_advertising(self) -> None:
        if self._controller is None:
            return
        self._disable_advertising(self._controller)
        wanted = self._advertising
        if wanted is None or (self._initiating and not self._advertises_beside):
            return
        self._advertised = True
        self._advertising = wanted = wanted._replace()  # as in _apply_scan()
        make = self._extended_advertising if self._controller.extended else self._legacy_advertising
        for command in make(wanted):
            if self._advertised:  # as in _apply_scan()
                self._send(command, partial(self._advertising_answered, wanted))

    def _disable_advertising(self, controller: ControllerFacts) -> None:
        if self._advertised:
            self._advertised = False
            off = (
                commands.LeSetExtendedAdvertisingEnable(0, 1, _SET, 0, 0)
                if controller.extended
                else commands.LeSetAdvertisingEnable(0)
            )
            self._send(off)

    def _advertising_answered(self, wanted: Advertising, status: int, _returned: bytes, _now: float) -> None:
        if not status or wanted is not self._advertising or not self._advertised or self._controller is None:
            return
        self._disable_advertising(self._controller)
        if status == ErrorCode.COMMAND_DISALLOWED and self._initiating:
            self._advertises_beside = False  # it goes on after the connection
        elif not self._links:  # else it is tried again when a link ends: some controllers cannot do both
            self._advertising = None
            self._emit(AdvertisingStopped(status))

    @staticmethod
    def _legacy_advertising(wanted: Advertising) -> list[HciCommand]:
        kind = _ADV_IND if wanted.connectable else _ADV_NONCONN_IND
        return [
            commands.LeSetAdvertisingParameters(
                wanted.interval, wanted.interval, kind, OWN_ADDRESS_TYPE, 0, bytes(6), _ALL_CHANNELS, 0
            ),
            commands.LeSetAdvertisingData(len(wanted.data), wanted.data),
            commands.LeSetAdvertisingEnable(1),
        ]

    def _extended_advertising(self, wanted: Advertising) -> list[HciCommand]:
        kind = _EXTENDED_ADV_IND if wanted.connectable else _EXTENDED_ADV_NONCONN_IND
        interval = wanted.interval.to_bytes(3, "little")
        return [
            commands.LeSetExtendedAdvertisingParameters(
                advertising_handle=_SET,
                event_properties=kind,
                interval_min=interval,
                interval_max=interval,
                channel_map=_ALL_CHANNELS,
                own_address_type=OWN_ADDRESS_TYPE,
                peer_address_type=0,
                peer_address=bytes(6),
                filter_policy=0,
                tx_power=_NO_PREFERENCE,
                primary_phy=_PHY_1M,
                secondary_max_skip=0,
                secondary_phy=_PHY_1M,
                sid=0,
                scan_request_notification=0,
            ),
            commands.LeSetAdvertisingSetRandomAddress(_SET, self.random_address),
            commands.LeSetExtendedAdvertisingData(_SET, _WHOLE_DATA, _NO_FRAGMENTS, len(wanted.data), wanted.data),
            commands.LeSetExtendedAdvertisingEnable(1, 1, _SET, 0, 0),
        ]
