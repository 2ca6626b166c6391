"""Scans on LE."""

from collections.abc import Callable
from typing import NamedTuple

from usbbtd.hci.activity import Activity
from usbbtd.hci.advertisements import Advertisements
from usbbtd.hci.command_queue import Send
from usbbtd.hci.events import Event, ScanStopped
from usbbtd.hci.init import OWN_ADDRESS_TYPE, ControllerFacts
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.commands import HciCommand
from usbbtd.hci.wire.events import LeAdvertisingReport, LeExtendedAdvertisingReport

__all__ = ["Scanning"]

_INTERVAL, _WINDOW = 0x60, 0x30  # 60 and 30 ms: half of the time is left for links


class ScanParameters(NamedTuple):
    active: bool
    duplicates: bool


class Scanning(Activity[ScanParameters]):
    """Scans with one controller, and tells the advertisements that it reports."""

    def __init__(self, send: Send, emit: Callable[[Event], None]) -> None:
        super().__init__(send)
        self._emit = emit
        self._advertisements = Advertisements()
        self.counters = self._advertisements.counters

    def start(self, *, active: bool, duplicates: bool) -> None:
        self._want(ScanParameters(active, duplicates))

    def receive_reports(self, event: LeAdvertisingReport | LeExtendedAdvertisingReport, _now: float) -> None:
        if self._wanted is not None:
            for advertisement in self._advertisements.receive(event):
                self._emit(advertisement)

    def _commands_to_begin(self, controller: ControllerFacts, wanted: ScanParameters) -> list[HciCommand]:
        active, filter_duplicates = int(wanted.active), int(not wanted.duplicates)
        if controller.extended:
            return [
                commands.LeSetExtendedScanParameters(
                    OWN_ADDRESS_TYPE, 0, commands.LE_1M_PHY, active, _INTERVAL, _WINDOW
                ),
                commands.LeSetExtendedScanEnable(1, filter_duplicates, 0, 0),
            ]
        return [
            commands.LeSetScanParameters(active, _INTERVAL, _WINDOW, OWN_ADDRESS_TYPE, 0),
            commands.LeSetScanEnable(1, filter_duplicates),
        ]

    def _commands_to_end(self, controller: ControllerFacts) -> list[HciCommand]:
        return [commands.LeSetExtendedScanEnable(0, 0, 0, 0) if controller.extended else commands.LeSetScanEnable(0, 0)]

    def _given_up(self, status: int) -> None:
        self._emit(ScanStopped(status))

    def _may_go_on_beside(self, controller: ControllerFacts) -> bool:
        return controller.scan_while_initiating

    def _ended(self) -> None:
        self._advertisements.clear()
