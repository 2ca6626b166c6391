"""What a Bluetooth dongle is to the rest of usbbtd, wherever it is plugged in: what speaks HCI packets."""

from collections.abc import Mapping
from typing import Protocol


class DongleError(Exception):
    """A dongle cannot be had: what stands in the way, and what to do about it."""


class DongleReceiver(Protocol):
    """Who drives a dongle. None of these may raise or wait; all may call the dongle, ``close`` included."""

    def receive(self, events: list[bytes], acl: list[bytes]) -> None:
        """Whole HCI events and ACL data packets, each in the order in which they came; one call per wake-up."""

    def dongle_ready_to_send(self) -> None:
        """``send_acl`` took less than it was given, and has room again."""

    def dongle_lost(self, reason: str) -> None:
        """Unplugged, out of order, or its backend is gone. The last call, once, unless ``Dongle.close`` came first."""


class Dongle(Protocol):
    """A configured Bluetooth dongle. ``name`` is for people: ``vusb 0 port 1: 1209:b7b7 0001``.

    ``receiver`` is whoever drives it; a wrapper that wants to see the packets puts itself there: see tap.py.
    """

    receiver: DongleReceiver | None

    @property
    def name(self) -> str: ...
    @property
    def vendor_id(self) -> int: ...
    @property
    def product_id(self) -> int: ...
    @property
    def serial(self) -> str: ...

    def start(self, receiver: DongleReceiver) -> None:
        """Begins to receive events."""

    def begin_acl(self) -> None:
        """The controller has been reset and is up: from now on data is no rest of what was before."""

    def send_command(self, command: bytes) -> None:
        """Queues an HCI command. After Reset nothing is received until it is answered."""

    def send_acl(self, packets: list[bytes]) -> int:
        """Queues ACL data packets, in order; returns how many were taken. For the rest: ``dongle_ready_to_send``.

        A dongle that is lost or closed takes them all, and drops them.
        """

    def close(self) -> None:
        """Gives the dongle up: nothing is received any more. Idempotent."""

    def statistics(self) -> Mapping[str, int]:
        """Counters of what was dropped on the way from the controller."""
