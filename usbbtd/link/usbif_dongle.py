"""A Bluetooth dongle behind usbif: its four pipes on a ``UsbifFrontend``."""

import asyncio
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from usbbtd.link.dongle import DongleReceiver
from usbbtd.usb import enumeration, standard, usbif
from usbbtd.usb.frontend import QUEUE_LIMIT, Completion, UsbifFrontend

#: Bulk OUT transfers that may be under way; the HCI core has more than enough with that to keep a radio busy.
BULK_OUT_LIMIT = 16

#: Failed IN URBs, with nothing received between them, after which a dongle is given up.
MAX_ERRORS = 32

_GONE = (usbif.NODEV, usbif.SHUTDOWN)


class UsbifDongle:
    """Implements ``Dongle``.

    ``flush_soon`` has the ring pushed after this turn of the loop. For the pump: ``closed`` is set once the dongle is
    of no use, ``reason`` says why, ``started`` whether anybody wanted it.
    """

    def __init__(
        self, frontend: UsbifFrontend, port: int, found: enumeration.Found, bluetooth: enumeration.Bluetooth, *,
        name: str, depth: int, flush_soon: Callable[[], None], log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self.name = name
        self.vendor_id = found.vendor_id
        self.product_id = found.product_id
        self.serial = found.serial
        self.interrupt_packet_size = bluetooth.interrupt_packet_size
        self.bulk_packet_size = bluetooth.bulk_packet_size
        self.port = port
        self.depth = depth
        self.closed = asyncio.Event()
        self.reason = ""
        self._frontend = frontend
        self._flush_soon = flush_soon
        self._log = log
        self._receiver: DongleReceiver | None = None
        open_pipe = frontend.open_pipe
        self._control = open_pipe(port, found.address, 0, usbif.CONTROL)
        self._interrupt_in = open_pipe(port, found.address, bluetooth.interrupt_in, usbif.INTERRUPT, depth=depth)
        self._bulk_in = open_pipe(port, found.address, bluetooth.bulk_in, usbif.BULK, depth=depth)
        self._bulk_out = open_pipe(port, found.address, bluetooth.bulk_out, usbif.BULK, depth=depth)
        self._endpoints = {self._interrupt_in: bluetooth.interrupt_in, self._bulk_in: bluetooth.bulk_in}
        self._clearing: dict[int, int] = {}  # the IN pipe that a CLEAR_FEATURE is for, by the number of its URB
        self._bulk_out_count = 0
        self._refused = False
        self._errors = 0
        self._interrupts: list[bytes] = []
        self._bulks: list[bytes] = []

    @property
    def started(self) -> bool:
        return self._receiver is not None

    @property
    def pipes(self) -> tuple[int, int, int, int]:
        """The numbers of all its pipes."""
        return self._control, self._interrupt_in, self._bulk_in, self._bulk_out

    # What its driver calls.

    def start(self, receiver: DongleReceiver) -> None:
        self._receiver = receiver
        if self.closed.is_set():  # lost before anybody cared; not from within this call, which nobody expects
            asyncio.get_running_loop().call_soon(receiver.dongle_lost, self.reason)
            return
        for pipe in self._endpoints:
            self._fill(pipe)

    def send_control(self, setup: bytes, data: bytes) -> None:
        if self.closed.is_set():
            return
        if self._frontend.room(self._control) == 0:
            self.lose(f"{QUEUE_LIMIT} control requests wait without an answer")
            return
        self._frontend.control(self._control, setup, data)
        self._flush_soon()

    def send_bulk(self, transfers: list[bytes]) -> int:  # hot: per wake-up
        if self.closed.is_set():
            return len(transfers)
        count = min(len(transfers), BULK_OUT_LIMIT - self._bulk_out_count)
        for transfer in transfers[:count]:
            self._frontend.send(self._bulk_out, transfer)
        self._bulk_out_count += count
        self._refused = count < len(transfers)
        if count:
            self._flush_soon()
        return count

    def close(self) -> None:
        if not self.closed.is_set():
            self.reason = self.reason or "given up by its driver"
            self.closed.set()
            for pipe in self.pipes:
                self._frontend.close_pipe(pipe)
            self._flush_soon()

    # What the pump calls.

    def receive(self, pipe: int, transfer: bytes) -> None:  # hot: per packet
        """Collects what came for ``deliver``."""
        (self._bulks if pipe == self._bulk_in else self._interrupts).append(transfer)

    def deliver(self) -> None:  # hot: per wake-up
        """Hands over what was collected, if anything was."""
        interrupts, bulks = self._interrupts, self._bulks
        if (interrupts or bulks) and self._receiver is not None and not self.closed.is_set():
            self._errors = 0
            self._interrupts, self._bulks = [], []
            self._receiver.receive(interrupts, bulks)

    def complete(self, completion: Completion) -> None:  # hot: per packet
        """One of the submitted URBs was answered."""
        if self.closed.is_set():
            return
        status = completion.status
        if completion.pipe == self._bulk_out:
            self._bulk_out_count -= 1
            if status != usbif.OK:
                # A fragment is missing now in the middle of a PDU, and the controller's buffers are miscounted.
                self.lose(f"bulk OUT: {usbif.describe_status(status)}")
            elif self._refused and self._bulk_out_count <= BULK_OUT_LIMIT // 2 and self._receiver is not None:
                self._refused = False
                self._receiver.dongle_ready_to_send()
        elif status in _GONE:
            self.lose(f"control request: {usbif.describe_status(status)}")
        elif (pipe := self._clearing.pop(completion.urb, None)) is not None:
            self._fill(pipe)
        elif status != usbif.OK:
            # What becomes of the command is for the HCI core's timer to find out.
            self._log.warning("control request failed", dongle=self.name, status=usbif.describe_status(status))

    def fail_in(self, pipe: int, status: int) -> None:
        """A standing URB of an IN pipe failed."""
        if self.closed.is_set():
            return
        self._errors += 1
        if status in _GONE or self._errors > MAX_ERRORS:
            self.lose(f"endpoint 0x{self._endpoints[pipe]:02x}: {usbif.describe_status(status)}")
        elif status != usbif.STALL:
            self._fill(pipe)
        elif self._frontend.room(self._control) == 0:
            self.lose(f"endpoint 0x{self._endpoints[pipe]:02x} stalls and control requests are not answered")
        elif pipe not in self._clearing.values():
            urb = self._frontend.control(self._control, standard.clear_halt(self._endpoints[pipe]))
            self._clearing[urb] = pipe
            self._flush_soon()

    def lose(self, reason: str) -> None:
        """The dongle is gone or good for nothing: closes it and tells its driver, unless it is closed already."""
        if self.closed.is_set():
            return
        self.reason = reason
        self.close()
        if self._receiver is not None:
            self._receiver.dongle_lost(reason)

    def _fill(self, pipe: int) -> None:
        """Standing URBs for an IN pipe.

        Interrupt: exactly one packet each. A transfer ends with a short packet or when it is full, and not every dongle
        sends the empty packet that would end an event of a multiple of the packet size: such an event would lie in a
        longer URB until the next one comes. One packet always ends one URB, in QEMU, in Linux and in hardware.
        Bulk: as many whole packets as a page holds, so that no packet is ever cut (babble), and that every ACL packet
        that a controller may send fits.
        """
        if pipe == self._bulk_in:
            length = usbif.PAGE_SIZE // self.bulk_packet_size * self.bulk_packet_size
        else:
            length = self.interrupt_packet_size
        self._frontend.receive_on(pipe, length)
        self._flush_soon()
