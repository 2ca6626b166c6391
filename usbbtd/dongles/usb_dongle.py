"""What carries the transfers of a USB dongle: usbif, or libusb."""

from collections.abc import Sequence
from typing import Protocol


class TransferReceiver(Protocol):
    """Who takes the transfers. None of these may raise or wait; all may call the dongle, ``close`` included."""

    def receive(self, interrupts: Sequence[bytes | None], bulks: Sequence[bytes | None]) -> None:
        """What the two IN endpoints transferred, each in order; one call per wake-up. A transfer may be empty.

        None stands for a transfer that failed: what it had is lost.
        """

    def dongle_ready_to_send(self) -> None:
        """``send_bulk`` took less than it was given, and has room again."""

    def dongle_lost(self, reason: str) -> None:
        """Unplugged, out of order, or its backend is gone. The last call, once, unless ``close`` came first."""


class UsbDongle(Protocol):
    """A dongle as transfers on its endpoints. ``name`` is for people."""

    @property
    def name(self) -> str: ...
    @property
    def vendor_id(self) -> int: ...
    @property
    def product_id(self) -> int: ...
    @property
    def serial(self) -> str: ...

    def start(self, receiver: TransferReceiver) -> None:
        """Begins to receive."""

    def send_control(self, setup: bytes, data: bytes) -> None:
        """Queues a control OUT request; they are made one after the other."""

    def send_bulk(self, transfers: list[bytes]) -> int:
        """Queues transfers, in order; returns how many were taken. For the rest: ``dongle_ready_to_send``.

        A dongle that is lost or closed takes them all, and drops them.
        """

    def close(self) -> None:
        """Gives the dongle up: nothing is received any more. Idempotent."""
