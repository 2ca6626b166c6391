"""What goes over which endpoint while a bootloader is spoken to, and after it."""

from collections.abc import Sequence

import pytest

from tests.support.fixtures import Receiver
from usbbtd.dongles.h2_dongle import H2Dongle

RESET, SECURE_SEND, READ_VERSION = (bytes.fromhex(code) for code in ("030c00", "09fc020122", "05fc01ff"))
EVENT, ANSWER = bytes.fromhex("0e0401030c00"), bytes.fromhex("0e040109fc00")


class Endpoints:
    """Implements ``UsbDongle``, and keeps what is sent."""

    name, vendor_id, product_id, serial = "endpoints", 0x8087, 0x0032, ""

    def __init__(self) -> None:
        self.controls: list[bytes] = []
        self.bulks: list[bytes] = []

    def start(self, receiver: object) -> None: ...
    def close(self) -> None: ...

    def send_control(self, setup: bytes, data: bytes) -> None:
        self.controls.append(data)

    def send_bulk(self, transfers: Sequence[bytes]) -> int:
        self.bulks += transfers
        return len(transfers)


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest.fixture
def dongle(endpoints: Endpoints, receiver: Receiver) -> H2Dongle:
    made = H2Dongle(endpoints)
    made.start(receiver)
    return made


def test_a_bootloader_gets_firmware_over_bulk_and_other_commands_not(dongle: H2Dongle, endpoints: Endpoints) -> None:
    dongle.send_command(SECURE_SEND)
    dongle.set_loading(True)
    dongle.send_command(READ_VERSION)
    dongle.send_command(SECURE_SEND)
    dongle.set_loading(False)
    dongle.send_command(SECURE_SEND)
    assert endpoints.bulks == [SECURE_SEND]
    assert endpoints.controls == [SECURE_SEND, READ_VERSION, SECURE_SEND]


def test_a_bootloaders_events_come_over_both_endpoints(dongle: H2Dongle, receiver: Receiver) -> None:
    dongle.set_loading(True)
    dongle.receive([EVENT], [ANSWER[:4]])
    dongle.receive([], [ANSWER[4:] + EVENT])
    assert receiver.received == [([EVENT], []), ([ANSWER, EVENT], [])]
    assert dongle.statistics()["transfers_ignored"] == 0


def test_after_it_bulk_has_data_again(dongle: H2Dongle, receiver: Receiver) -> None:
    dongle.set_loading(True)
    dongle.receive([], [ANSWER[:4]])
    dongle.set_loading(False)
    dongle.receive([], [ANSWER])
    assert receiver.received == []
    assert dongle.statistics()["transfers_ignored"] == 1
    dongle.begin_acl()
    data = bytes.fromhex("0100 0200 aabb")
    dongle.receive([], [data])
    assert receiver.received == [([], [data])]
