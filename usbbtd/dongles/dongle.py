"""What a Bluetooth dongle is to the rest of usbbtd, wherever it is plugged in."""

from collections.abc import Sequence
from typing import Protocol


class DongleError(Exception):
    """A dongle cannot be had: what stands in the way, and what to do about it."""


class DongleReceiver(Protocol):
    """Who drives a dongle. None of these may raise or wait; all may call the dongle, ``close`` included."""

    def receive(self, interrupts: Sequence[bytes | None], bulks: Sequence[bytes | None]) -> None:
        """What the two IN endpoints transferred, each in order; one call per wake-up. A transfer may be empty.

        None stands for a transfer that failed: what it had is lost.
        """

    def dongle_ready_to_send(self) -> None:
        """``send_bulk`` took less than it was given, and has room again."""

    def dongle_lost(self, reason: str) -> None:
        """Unplugged, out of order, or its backend is gone. The last call, once, unless ``Dongle.close`` came first."""


class Dongle(Protocol):
    """A configured Bluetooth dongle. Packet sizes are in bytes.

    ``name`` is for people: ``vusb 0 port 1: 1209:b7b7 0001``.
    """

    @property
    def name(self) -> str: ...
    @property
    def vendor_id(self) -> int: ...
    @property
    def product_id(self) -> int: ...
    @property
    def serial(self) -> str: ...
    @property
    def interrupt_packet_size(self) -> int: ...
    @property
    def bulk_packet_size(self) -> int: ...

    def start(self, receiver: DongleReceiver) -> None:
        """Begins to receive."""

    def send_control(self, setup: bytes, data: bytes) -> None:
        """Queues a control OUT request; they are made one after the other."""

    def send_bulk(self, transfers: list[bytes]) -> int:
        """Queues transfers, in order; returns how many were taken. For the rest: ``dongle_ready_to_send``.

        A dongle that is lost or closed takes them all, and drops them.
        """

    def close(self) -> None:
        """Gives the dongle up: nothing is received any more. Idempotent."""
