"""Carries the transfers of a Bluetooth dongle over libusb."""

import contextlib
from collections import deque
from typing import Any

import usb1
from structlog.typing import FilteringBoundLogger

from usbbtd.dongles.driver_side import DriverSide
from usbbtd.usb.enumeration import Bluetooth, Found
from usbbtd.usb.wire import standard, usbif

#: How many transfers stand on an IN endpoint for what may come.
DEPTH = 4

#: The most control requests that may wait for their turn.
CONTROL_LIMIT = 64

UNPLUGGED = "unplugged"

_STATUSES = {
    usb1.TRANSFER_COMPLETED: usbif.OK,
    usb1.TRANSFER_STALL: usbif.STALL,
    usb1.TRANSFER_NO_DEVICE: usbif.NODEV,
    usb1.TRANSFER_OVERFLOW: usbif.BABBLE,
}


def status_of(transfer: Any) -> int:
    """Returns how a transfer of libusb ended, as a status of usbif."""
    return _STATUSES.get(transfer.getStatus(), usbif.IOERROR)


class LibusbDongle(DriverSide):
    """Carries a dongle's transfers over ``handle``, a USBDeviceHandle whose interfaces are claimed.

    libusb's callbacks, which may not call libusb, only note which transfers have ended; ``settle`` does the rest.
    """

    def __init__(
        self, handle: Any, found: Found, bluetooth: Bluetooth, *, name: str, log: FilteringBoundLogger
    ) -> None:
        super().__init__(found, bluetooth, name=name, log=log)
        self._handle = handle
        self._bulk_in = bluetooth.bulk_in
        self._bulk_out = bluetooth.bulk_out
        self._ended: list[Any] = []  # transfers that settle() has not seen yet
        self._flying: set[Any] = set()  # transfers under way
        self._standing: dict[int, list[Any]] = {bluetooth.interrupt_in: [], bluetooth.bulk_in: []}  # by IN endpoint
        self._halted: set[int] = set()  # IN endpoints that stall, until their halt is cleared
        self._idle_out: list[Any] = []  # bulk OUT transfers for the next data
        self._control = handle.getTransfer()
        self._controls: deque[tuple[bytes, bytes]] = deque()

    @property
    def idle(self) -> bool:
        """Returns whether no transfer is under way, so that the handle can be closed."""
        return not self._flying

    def send_control(self, setup: bytes, data: bytes) -> None:
        if self.closed.is_set():
            return
        if len(self._controls) >= CONTROL_LIMIT:
            self.lose(f"{CONTROL_LIMIT} control requests wait without an answer")
            return
        self._controls.append((setup, data))
        if self._control not in self._flying:
            self._submit_control()

    def settle(self) -> None:  # hot: per wake-up
        """Hands the driver what was received, then submits ended transfers anew, or clears their endpoint's halt."""
        ended = self._ended.copy()
        self._ended.clear()
        for transfer in ended:
            endpoint = transfer.getEndpoint()
            if endpoint in self._standing:
                data = None
                if transfer.getStatus() == usb1.TRANSFER_COMPLETED:
                    data = bytes(memoryview(transfer.getBuffer())[: transfer.getActualLength()])
                (self._bulks if endpoint == self._bulk_in else self._interrupts).append(data)
        self.deliver()
        for transfer in ended:
            self._flying.discard(transfer)
            if not self.closed.is_set():
                self._settle(transfer, transfer.getEndpoint(), status_of(transfer))
        for endpoint in tuple(self._halted):
            if not self.closed.is_set() and self._flying.isdisjoint(self._standing[endpoint]):
                self._clear_halt(endpoint)

    def _settle(self, transfer: Any, endpoint: int, status: int) -> None:  # hot: per packet
        if status == usbif.NODEV:
            self.lose(UNPLUGGED)
        elif endpoint == self._bulk_out:
            self._idle_out.append(transfer)
            self._bulk_sent(status)
        elif endpoint not in self._standing:
            self._control_answered(status)
            if self._controls:
                self._submit_control()
        elif endpoint in self._halted:
            pass  # is submitted again, with the others of its endpoint, when the halt is cleared
        elif status == usbif.OK or (self._forgives(endpoint, status) and status != usbif.STALL):
            self._submit(transfer, endpoint)
        elif not self.closed.is_set():
            self._halted.add(endpoint)
            self._cancel(self._standing[endpoint])

    def _begin(self) -> None:
        for endpoint, standing in self._standing.items():
            bulk = endpoint == self._bulk_in
            for _ in range(DEPTH):
                transfer = self._handle.getTransfer()
                fill = transfer.setBulk if bulk else transfer.setInterrupt
                fill(endpoint, self._in_length(bulk=bulk), callback=self._ended.append)
                standing.append(transfer)
                self._submit(transfer, endpoint)

    def _submit_control(self) -> None:
        setup, data = self._controls.popleft()
        request_type, request, value, index, _ = standard.unpack_setup(setup)
        self._control.setControl(request_type, request, value, index, data, callback=self._ended.append)
        self._submit(self._control, 0)

    def _submit_bulk(self, transfers: list[bytes]) -> None:  # hot: per wake-up
        for data in transfers:
            transfer = self._idle_out.pop() if self._idle_out else self._handle.getTransfer()
            transfer.setBulk(self._bulk_out, data, callback=self._ended.append)
            self._submit(transfer, self._bulk_out)

    def _submit(self, transfer: Any, endpoint: int) -> None:  # hot: per packet
        if self.closed.is_set():
            return
        try:
            transfer.submit()
        except usb1.USBError as error:
            self._fail(endpoint, error)
        else:
            self._flying.add(transfer)

    def _clear_halt(self, endpoint: int) -> None:
        """Clears an endpoint's halt by libusb's call, though it blocks: only that has Linux begin with DATA0 again."""
        self._halted.discard(endpoint)
        try:
            self._handle.clearHalt(endpoint)
        except usb1.USBError as error:
            self._fail(endpoint, error)
            return
        for transfer in self._standing[endpoint]:
            self._submit(transfer, endpoint)

    def _fail(self, endpoint: int, error: Exception) -> None:
        gone = isinstance(error, usb1.USBErrorNoDevice)
        self.lose(UNPLUGGED if gone else f"endpoint 0x{endpoint:02x}: {error}")

    def _end(self) -> None:
        self._cancel(list(self._flying))

    def _cancel(self, transfers: list[Any]) -> None:
        for transfer in transfers:
            with contextlib.suppress(usb1.USBError):  # ended already, or its device is gone: the callback follows
                transfer.cancel()
