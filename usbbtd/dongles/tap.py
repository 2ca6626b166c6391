"""Wraps a dongle to show its packets to a capture, while there is one."""

from collections.abc import Callable, Mapping

from usbbtd.dongles.dongle import Dongle, DongleReceiver
from usbbtd.dongles.layer import DongleLayer

#: The packet types of H4 (Vol 4, Part A, 2).
COMMAND, ACL_DATA, EVENT = 1, 2, 4

#: Is called with packets: whether they were received, their type, and one or more whole packets.
Tap = Callable[[bool, int, list[bytes]], None]


class TappedDongle(DongleLayer):
    """Stands between a dongle and its receiver until ``remove``, and shows ``tap`` the packets of both ways."""

    def __init__(self, dongle: Dongle, tap: Tap) -> None:
        super().__init__(dongle)
        self._dongle = dongle
        self._tap = tap
        self.receiver = dongle.receiver
        if self.receiver is not None:
            dongle.receiver = self

    def remove(self) -> Dongle:
        """Removes this wrapper: gives the dongle its receiver back and returns it."""
        self._dongle.receiver = self.receiver
        return self._dongle

    def start(self, receiver: DongleReceiver) -> None:
        self.receiver = receiver
        self._dongle.start(self)

    def begin_acl(self) -> None:
        self._dongle.begin_acl()

    def set_loading(self, loading: bool) -> None:
        self._dongle.set_loading(loading)

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
        for packet_type, packets in ((ACL_DATA, acl), (EVENT, events)):  # the order in which Controller takes them
            if packets:
                self._tap(True, packet_type, packets)
        if self.receiver is not None:
            self.receiver.receive(events, acl)
