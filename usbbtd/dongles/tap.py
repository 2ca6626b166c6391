"""A dongle that shows its packets: what a capture needs, put around another one while somebody looks."""

from collections.abc import Callable, Mapping

from usbbtd.dongles.dongle import Dongle, DongleReceiver

#: H4's packet types: Vol 4, Part A, 2.
COMMAND, ACL_DATA, EVENT = 1, 2, 4

#: Is shown packets: whether they were received, their type, and one or more whole packets.
Tap = Callable[[bool, int, list[bytes]], None]


class TappedDongle:
    """Stands between a dongle and whoever drives it, until ``remove``."""

    def __init__(self, dongle: Dongle, tap: Tap) -> None:
        self._dongle = dongle
        self._tap = tap
        self.receiver: DongleReceiver | None = dongle.receiver
        if self.receiver is not None:
            dongle.receiver = self

    def remove(self) -> Dongle:
        """Returns the dongle, which has its receiver back."""
        self._dongle.receiver = self.receiver
        return self._dongle

    @property
    def name(self) -> str:
        return self._dongle.name

    @property
    def vendor_id(self) -> int:
        return self._dongle.vendor_id

    @property
    def product_id(self) -> int:
        return self._dongle.product_id

    @property
    def serial(self) -> str:
        return self._dongle.serial

    def start(self, receiver: DongleReceiver) -> None:
        self.receiver = receiver
        self._dongle.start(self)

    def begin_acl(self) -> None:
        self._dongle.begin_acl()

    def send_command(self, command: bytes) -> None:
        self._tap(False, COMMAND, [command])
        self._dongle.send_command(command)

    def send_acl(self, packets: list[bytes]) -> int:
        taken = self._dongle.send_acl(packets)
        if taken:
            self._tap(False, ACL_DATA, packets[:taken])
        return taken

    def close(self) -> None:
        self._dongle.close()

    def statistics(self) -> Mapping[str, int]:
        return self._dongle.statistics()

    # The dongle calls these.

    def receive(self, events: list[bytes], acl: list[bytes]) -> None:
        for packet_type, packets in ((ACL_DATA, acl), (EVENT, events)):  # in the order in which they are dealt with
            if packets:
                self._tap(True, packet_type, packets)
        if self.receiver is not None:
            self.receiver.receive(events, acl)

    def dongle_ready_to_send(self) -> None:
        if self.receiver is not None:
            self.receiver.dongle_ready_to_send()

    def dongle_lost(self, reason: str) -> None:
        if self.receiver is not None:
            self.receiver.dongle_lost(reason)
