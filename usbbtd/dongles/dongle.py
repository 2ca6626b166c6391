"""The interface of a Bluetooth dongle, wherever it is plugged in: it carries HCI packets both ways."""

from collections.abc import Mapping
from typing import Protocol


class DongleError(Exception):
    """A dongle cannot be used. The message says what stands in the way, and what to do about it."""


class DongleReceiver(Protocol):
    """The driver of a dongle. None of these methods may raise or wait; all may call the dongle, ``close`` included."""

    def receive(self, events: list[bytes], acl: list[bytes]) -> None:
        """Takes whole HCI events and ACL data packets, each in the order in which they came; called once a wake-up."""

    def dongle_ready_to_send(self) -> None:
        """Is called when ``send_acl`` has room again, after it took fewer packets than it was given."""

    def dongle_lost(self, reason: str) -> None:
        """Is called when the dongle is unplugged, out of order, or its backend is gone.

        It is called once and nothing after it; not at all after ``Dongle.close``.
        """


class Identified(Protocol):
    """Which dongle it is. ``name`` is for people: ``vusb 0 port 1: 1209:b7b7 0001``."""

    @property
    def name(self) -> str: ...
    @property
    def vendor_id(self) -> int: ...
    @property
    def product_id(self) -> int: ...
    @property
    def serial(self) -> str: ...


class Dongle(Identified, Protocol):
    """A configured Bluetooth dongle.

    ``receiver`` drives it; a wrapper that wants to see the packets puts itself in its place: see tap.py.
    """

    receiver: DongleReceiver | None

    def start(self, receiver: DongleReceiver) -> None:
        """Begins to receive events."""

    def begin_acl(self) -> None:
        """Begins to pass on ACL data: the controller is up after a reset, so data is no rest from before it."""

    def set_loading(self, loading: bool) -> None:
        """Sets whether a bootloader is spoken to, before the controller is up.

        Bootloaders of Intel's take firmware on the endpoint for data, and send events there, too.
        """

    def send_command(self, command: bytes) -> None:
        """Queues an HCI command. After Reset, drops what comes until the controller has answered it."""

    def send_acl(self, packets: list[bytes]) -> int:
        """Queues ACL data packets in order, and returns how many were taken.

        Send the others after ``dongle_ready_to_send``. A dongle that is lost or closed takes all and drops them.
        """

    def close(self) -> None:
        """Gives the dongle up: nothing is received any more. Idempotent."""

    def statistics(self) -> Mapping[str, int]:
        """Returns counters of what was dropped on the way from the controller."""
