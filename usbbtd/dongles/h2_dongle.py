"""Carries HCI packets over the endpoints of a USB dongle: the transport H2 (Vol 4, Part B)."""

from collections.abc import Mapping, Sequence

from usbbtd.dongles.dongle import DongleReceiver
from usbbtd.dongles.layer import DongleLayer
from usbbtd.dongles.usb_dongle import UsbDongle
from usbbtd.hci.h2 import (
    AclReassembler,
    EventReassembler,
    ResetAnswer,
    Transfer,
    control_setup,
    is_firmware,
    is_reset,
)


class H2Dongle(DongleLayer):
    """Implements ``Dongle`` on a ``UsbDongle``."""

    def __init__(self, usb: UsbDongle) -> None:
        super().__init__(usb)
        self.usb = usb
        self._events = EventReassembler()
        self._acl = AclReassembler()
        self._has_acl = False
        self._bulk_events: EventReassembler | None = None  # there while a bootloader is spoken to
        self._reset_answer: ResetAnswer | None = None  # there while Reset is not answered yet
        self._ignored = 0  # transfers that came before the controller was up, and were no part of its answers

    def start(self, receiver: DongleReceiver) -> None:
        self.receiver = receiver
        self.usb.start(self)

    def begin_acl(self) -> None:
        self._has_acl = True

    def set_loading(self, loading: bool) -> None:
        self._bulk_events = EventReassembler() if loading else None

    def send_command(self, command: bytes) -> None:
        if self._bulk_events is not None and is_firmware(command):
            self.usb.send_bulk([command])  # there is room: one is under way at a time
            return
        if is_reset(command):
            self._reset_answer = ResetAnswer()
            self._has_acl = False
            self._events.restart()
            self._acl.restart()
        self.usb.send_control(control_setup(command), command)

    def send_acl(self, packets: list[bytes]) -> int:  # hot: per wake-up
        return self.usb.send_bulk(packets)

    def close(self) -> None:
        self.usb.close()

    def statistics(self) -> Mapping[str, int]:
        return {"transfers_failed": self._events.failed + self._acl.failed, "transfers_ignored": self._ignored}

    # For the carrier of the transfers to call.

    def receive(self, interrupts: Sequence[Transfer], bulks: Sequence[Transfer]) -> None:  # hot: per wake-up
        if self._reset_answer is not None:
            interrupts = self._begin_events(self._reset_answer, interrupts)
        if bulks and self._bulk_events is not None:
            if (said := self._bulk_events.cut(bulks)) and self.receiver is not None:
                self.receiver.receive(said, [])
            bulks = ()
        if bulks and not self._has_acl:
            self._ignored += len(bulks)
            bulks = ()  # there is no link yet: it may be the rest of a packet from before Reset
        events, acl = self._events.cut(interrupts), self._acl.cut(bulks)
        if (events or acl) and self.receiver is not None:
            self.receiver.receive(events, acl)

    def _begin_events(self, answer: ResetAnswer, interrupts: Sequence[Transfer]) -> Sequence[Transfer]:
        """Drops and counts transfers that came before the answer to Reset, and returns the others."""
        for number, transfer in enumerate(interrupts, 1):
            if (begun := answer.receive(transfer)) is not None:
                self._reset_answer = None
                self._ignored += number - 1
                return [begun, *interrupts[number:]]
        self._ignored += len(interrupts)
        return ()
