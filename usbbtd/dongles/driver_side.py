"""The part of a USB dongle that is the same whatever carries its transfers, usbif or libusb."""

import asyncio
from abc import ABC, abstractmethod

from structlog.typing import FilteringBoundLogger

from usbbtd.dongles.usb_dongle import TransferReceiver
from usbbtd.usb.enumeration import Bluetooth, Found
from usbbtd.usb.wire import usbif

#: The most bulk OUT transfers under way; more than the HCI core needs to keep a radio busy.
BULK_OUT_LIMIT = 16

#: The most IN transfers that may fail, with nothing received between them, before a dongle is given up.
MAX_ERRORS = 32

#: The statuses of a device that is gone: nothing comes after them.
GONE = (usbif.NODEV, usbif.SHUTDOWN)


class DriverSide(ABC):
    """Implements ``UsbDongle``; a subclass carries the transfers. Statuses are those of usbif: Linux's error numbers.

    ``closed`` is set when the dongle is closed or lost, and ``reason`` says why. ``found`` and ``bluetooth``: what
    enumeration has found out about the device and its Bluetooth function.
    """

    def __init__(self, found: Found, bluetooth: Bluetooth, *, name: str, log: FilteringBoundLogger) -> None:
        self.name = name
        self.vendor_id = found.vendor_id
        self.product_id = found.product_id
        self.serial = found.serial
        self.interrupt_packet_size = bluetooth.interrupt_packet_size
        self.bulk_packet_size = bluetooth.bulk_packet_size
        self.closed = asyncio.Event()
        self.reason = ""
        self._log = log
        self._receiver: TransferReceiver | None = None
        self._telling: asyncio.Handle | None = None
        self._bulk_out_count = 0  # transfers under way
        self._refused = False  # whether send_bulk() took less than it was given: dongle_ready_to_send() is due then
        self._errors = 0  # failed IN transfers since the last one that succeeded
        self._interrupts: list[bytes | None] = []  # received, for deliver(); None for a transfer that failed
        self._bulks: list[bytes | None] = []

    @property
    def started(self) -> bool:
        """Returns whether a driver has started the dongle."""
        return self._receiver is not None

    # For its driver to call; the subclass has ``send_control``.

    def start(self, receiver: TransferReceiver) -> None:
        self._receiver = receiver
        if self.closed.is_set():  # lost before; not told within this call, in which its caller does not expect it
            self._telling = asyncio.get_running_loop().call_soon(receiver.dongle_lost, self.reason)
        else:
            self._begin()

    @abstractmethod
    def send_control(self, setup: bytes, data: bytes) -> None: ...

    def send_bulk(self, transfers: list[bytes]) -> int:  # hot: per wake-up
        if self.closed.is_set():
            return len(transfers)
        count = min(len(transfers), BULK_OUT_LIMIT - self._bulk_out_count)
        self._bulk_out_count += count
        self._refused = count < len(transfers)
        if count:
            self._submit_bulk(transfers[:count])
        return count

    def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        self.end("given up by its driver")

    # For the carrier of the transfers to call.

    def end(self, reason: str) -> None:
        """Closes the dongle without a word to its driver. Does nothing if it is closed already."""
        if not self.closed.is_set():
            self.reason = reason
            self.closed.set()
            self._end()

    def deliver(self) -> None:  # hot: per wake-up
        """Hands the driver what was received since the last call, if anything was."""
        interrupts, bulks = self._interrupts, self._bulks
        if (interrupts or bulks) and self._receiver is not None and not self.closed.is_set():
            if self._errors and any(transfer is not None for transfer in (*interrupts, *bulks)):
                self._errors = 0
            self._interrupts, self._bulks = [], []
            self._receiver.receive(interrupts, bulks)

    def lose(self, reason: str) -> None:
        """Closes a dongle that is gone or does not work, and tells its driver, unless it is closed already."""
        if self.closed.is_set():
            return
        self.end(reason)
        if self._receiver is not None:
            self._receiver.dongle_lost(reason)

    # For the subclass to define, and to use.

    @abstractmethod
    def _begin(self) -> None:
        """Submits transfers of ``_in_length`` on both IN endpoints, which stand there until data comes."""

    @abstractmethod
    def _submit_bulk(self, transfers: list[bytes]) -> None:
        """Submits bulk OUT transfers, and calls ``_bulk_sent`` when each has ended."""

    @abstractmethod
    def _end(self) -> None:
        """Cancels all transfers that are under way."""

    def _in_length(self, *, bulk: bool) -> int:
        """Returns the length in bytes of a transfer that stands on an IN endpoint.

        Interrupt: exactly one packet. A transfer ends with a short packet or when it is full, and not every dongle
        sends the empty packet that would end an event of a multiple of the packet size: such an event would lie in a
        longer transfer until the next one comes. One packet always ends one, in QEMU, in Linux and in hardware.
        Bulk: as many whole packets as a page holds, so that no packet is ever cut (babble), and that every ACL packet
        that a controller may send fits.
        """
        if bulk:
            return usbif.PAGE_SIZE // self.bulk_packet_size * self.bulk_packet_size
        return self.interrupt_packet_size

    def _bulk_sent(self, status: int) -> None:  # hot: per packet
        self._bulk_out_count -= 1
        if status != usbif.OK:
            # A fragment is missing now in the middle of a PDU, and the controller's buffers are miscounted.
            self.lose(f"bulk OUT: {usbif.describe_status(status)}")
        elif self._refused and self._bulk_out_count <= BULK_OUT_LIMIT // 2 and self._receiver is not None:
            self._refused = False
            self._receiver.dongle_ready_to_send()

    def _control_answered(self, status: int) -> None:
        if status in GONE:
            self.lose(f"control request: {usbif.describe_status(status)}")
        elif status != usbif.OK:
            # The HCI core's timer gives the command up if it is not answered.
            self._log.warning("control request failed", dongle=self.name, status=usbif.describe_status(status))

    def _forgives(self, endpoint: int, status: int) -> bool:
        """Counts a failed transfer of an IN endpoint. Returns False if the dongle is lost, with one too many."""
        self._errors += 1
        if status in GONE or self._errors > MAX_ERRORS:
            self.lose(f"endpoint 0x{endpoint:02x}: {usbif.describe_status(status)}")
            return False
        return True
