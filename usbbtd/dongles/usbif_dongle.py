"""Carries the transfers of a Bluetooth dongle over usbif: its four pipes on a ``UsbifFrontend``."""

from collections.abc import Callable
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from usbbtd.dongles.driver_side import GONE, DriverSide
from usbbtd.usb import enumeration
from usbbtd.usb.frontend import QUEUE_LIMIT, Completion, UsbifFrontend
from usbbtd.usb.wire import standard, usbif


class Depths(NamedTuple):
    """How many URBs a dongle has in flight on each endpoint. Those of IN endpoints stand there until data comes."""

    interrupt_in: int
    bulk_in: int
    bulk_out: int

    @property
    def standing(self) -> int:
        """Returns the number of URBs that stand."""
        return self.interrupt_in + self.bulk_in


#: The depths for a backend that fails with several URBs on an endpoint.
ONE_EACH: Final = Depths(1, 1, 1)

#: The depths for other backends. The ring has 16 slots, of which a control request and an unlink always need one each.
#: An SDU of 2048 bytes comes in 10 pieces over LE. With 6 bulk IN URBs it is echoed in 6 wake-ups, with 4 in 8, with 8,
#: which leave fewer for the other endpoints, in 7.
QUEUED: Final = Depths(4, 6, 4)


class UsbifDongle(DriverSide):
    """Carries a dongle's transfers over the pipes of its endpoints. ``flush_soon`` has the ring pushed soon."""

    def __init__(
        self, frontend: UsbifFrontend, port: int, found: enumeration.Found, bluetooth: enumeration.Bluetooth, *,
        name: str, depths: Depths, flush_soon: Callable[[], None], log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        super().__init__(found, bluetooth, name=name, log=log)
        self.port = port
        self.depths = depths
        self._frontend = frontend
        self._flush_soon = flush_soon
        open_pipe = frontend.open_pipe
        self._control = open_pipe(port, found.address, 0, usbif.CONTROL)
        at, interrupt, bulk = found.address, usbif.INTERRUPT, usbif.BULK
        self._interrupt_in = open_pipe(port, at, bluetooth.interrupt_in, interrupt, depth=depths.interrupt_in)
        self._bulk_in = open_pipe(port, at, bluetooth.bulk_in, bulk, depth=depths.bulk_in)
        self._bulk_out = open_pipe(port, at, bluetooth.bulk_out, bulk, depth=depths.bulk_out)
        self._endpoints = {self._interrupt_in: bluetooth.interrupt_in, self._bulk_in: bluetooth.bulk_in}
        self._clearing: dict[int, int] = {}  # stalled IN pipes, by the URB of their CLEAR_FEATURE

    @property
    def pipes(self) -> tuple[int, int, int, int]:
        """Returns the numbers of the dongle's pipes: control, interrupt IN, bulk IN, bulk OUT."""
        return self._control, self._interrupt_in, self._bulk_in, self._bulk_out

    # For its driver to call.

    def send_control(self, setup: bytes, data: bytes) -> None:
        if self.closed.is_set():
            return
        if self._frontend.room(self._control) == 0:
            self.lose(f"{QUEUE_LIMIT} control requests wait without an answer")
            return
        self._frontend.control(self._control, setup, data)
        self._flush_soon()

    # For the pump to call.

    def receive(self, pipe: int, transfer: bytes | None) -> None:  # hot: per packet
        """Keeps a transfer of an IN pipe for ``deliver``; None stands for one that failed."""
        (self._bulks if pipe == self._bulk_in else self._interrupts).append(transfer)

    def complete(self, completion: Completion) -> None:  # hot: per packet
        """Takes the answer to a submitted URB of the control pipe or of bulk OUT."""
        if self.closed.is_set():
            return
        if completion.pipe == self._bulk_out:
            self._bulk_sent(completion.status)
            return
        pipe = self._clearing.pop(completion.urb, None)
        if pipe is None or completion.status in GONE:
            self._control_answered(completion.status)
        else:
            self._fill(pipe)

    def fail_in(self, pipe: int, status: int) -> None:
        """Takes the failure of a URB that stood on an IN pipe: submits new ones, or clears the halt first."""
        endpoint = self._endpoints[pipe]
        if self.closed.is_set() or not self._forgives(endpoint, status):
            return
        if status != usbif.STALL:
            self._fill(pipe)
        elif self._frontend.room(self._control) == 0:
            self.lose(f"endpoint 0x{endpoint:02x} stalls and control requests are not answered")
        elif pipe not in self._clearing.values():
            urb = self._frontend.control(self._control, standard.clear_halt(endpoint))
            self._clearing[urb] = pipe
            self._flush_soon()

    def _begin(self) -> None:
        for pipe in self._endpoints:
            self._fill(pipe)

    def _submit_bulk(self, transfers: list[bytes]) -> None:  # hot: per wake-up
        for transfer in transfers:
            self._frontend.send(self._bulk_out, transfer)
        self._flush_soon()

    def _end(self) -> None:
        for pipe in self.pipes:
            self._frontend.close_pipe(pipe)
        self._flush_soon()

    def _fill(self, pipe: int) -> None:
        self._frontend.receive_on(pipe, self._in_length(bulk=pipe == self._bulk_in))
        self._flush_soon()
