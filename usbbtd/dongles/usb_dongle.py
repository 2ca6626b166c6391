"""The interface to a USB dongle, whose transfers are carried by usbif or libusb."""

from collections.abc import Sequence
from typing import Protocol

from usbbtd.dongles.dongle import Identified


class TransferReceiver(Protocol):
    """Takes a dongle's transfers. No method may raise or wait; each may call the dongle, ``close`` included."""

    def receive(self, interrupts: Sequence[bytes | None], bulks: Sequence[bytes | None]) -> None:
        """Takes the transfers of the two IN endpoints, each in order; called once a wake-up. A transfer may be empty.

        None stands for a transfer that failed, whose data is lost.
        """

    def dongle_ready_to_send(self) -> None:
        """Is called when ``send_bulk`` has room again, after it took fewer transfers than it was given."""

    def dongle_lost(self, reason: str) -> None:
        """Is called when the dongle is unplugged, out of order, or its backend is gone.

        It is called once and nothing after it; not at all after ``UsbDongle.close``.
        """


class UsbDongle(Identified, Protocol):
    """A dongle that carries transfers on its endpoints."""

    def start(self, receiver: TransferReceiver) -> None:
        """Begins to receive."""

    def send_control(self, setup: bytes, data: bytes) -> None:
        """Queues a control OUT request; requests are made one after the other. ``setup``: the 8 bytes of SETUP."""

    def send_bulk(self, transfers: list[bytes]) -> int:
        """Queues transfers in order, and returns how many were taken.

        Send the others after ``dongle_ready_to_send``. A dongle that is lost or closed takes all and drops them.
        """

    def close(self) -> None:
        """Gives the dongle up: nothing is received any more. Idempotent."""
