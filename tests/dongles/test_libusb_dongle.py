"""The dongle on a handle whose libusb is the test: it sees the transfers and says what becomes of them.

With libusb itself, on Linux and QEMU's USB controller, it is tested on the bed: tests/realxen/test_path_b.py.
"""

from collections.abc import Callable
from typing import Any

import pytest
import structlog
import usb1
from usb1 import USBErrorNoDevice, USBErrorNoMem

from tests.support.fixtures import Receiver
from usbbtd.dongles.driver_side import BULK_OUT_LIMIT, MAX_ERRORS
from usbbtd.dongles.libusb_dongle import CONTROL_LIMIT, DEPTH, LibusbDongle
from usbbtd.usb import enumeration
from usbbtd.usb.wire import standard

BLUETOOTH = enumeration.Bluetooth(0x81, 16, 0x82, 0x02, 64)
FOUND = enumeration.Found(0, 0x1209, 0xB7B7, "0001", 0xE0, BLUETOOTH)
LOG: Any = structlog.stdlib.get_logger()
HCI_COMMAND = standard.pack_setup(0x20, 0, 0, 0, 3)


class Transfer:
    """What a USBTransfer is to the dongle. ``content``: what there is to send, or how much to receive."""

    status: int
    data: bytes

    def __init__(self, handle: "Handle") -> None:
        self._handle = handle

    def setBulk(self, endpoint: int, content: bytes | int, callback: Callable[..., Any]) -> None:
        self.endpoint, self.content, self.callback = endpoint, content, callback

    setInterrupt = setBulk

    def setControl(
        self, request_type: int, request: int, value: int, index: int, content: bytes, callback: Callable[..., Any]
    ) -> None:
        self.setup = standard.pack_setup(request_type, request, value, index, len(content))
        self.setBulk(0, content, callback)

    def submit(self) -> None:
        assert self not in self._handle.flying
        if self._handle.refusal is not None:
            raise self._handle.refusal
        self._handle.flying.append(self)

    def cancel(self) -> None:
        if self not in self._handle.flying:
            raise usb1.USBErrorNotFound
        self._handle.cancelled.append(self)

    def getEndpoint(self) -> int:
        return self.endpoint

    def getStatus(self) -> int:
        return self.status

    def getActualLength(self) -> int:
        return len(self.data)

    def getBuffer(self) -> bytearray:
        return bytearray(self.data) + bytes(8)


class Handle:
    def __init__(self) -> None:
        self.flying: list[Any] = []
        self.cancelled: list[Any] = []
        self.cleared: list[Any] = []
        self.refusal: Exception | None = None

    def getTransfer(self) -> Transfer:
        return Transfer(self)

    def clearHalt(self, endpoint: int) -> None:
        self.cleared.append(endpoint)


class Bench:
    def __init__(self, receiver: Receiver) -> None:
        self.handle = Handle()
        self.receiver = receiver
        self.dongle = LibusbDongle(self.handle, FOUND, BLUETOOTH, name="a dongle", log=LOG)

    def flying(self, endpoint: int) -> list[Transfer]:
        return [transfer for transfer in self.handle.flying if transfer.endpoint == endpoint]

    def end(self, transfer: Transfer, status: int = usb1.TRANSFER_COMPLETED, data: bytes = b"") -> None:
        """libusb's callback."""
        self.handle.flying.remove(transfer)
        transfer.status, transfer.data = status, data
        transfer.callback(transfer)

    def answer(self, endpoint: int, status: int = usb1.TRANSFER_COMPLETED, data: bytes = b"") -> None:
        """The oldest transfer of an endpoint ends, and that is all of this wake-up."""
        self.end(self.flying(endpoint)[0], status, data)
        self.dongle.settle()


@pytest.fixture
def bench(receiver: Receiver) -> Bench:
    return Bench(receiver)


@pytest.fixture
def started(bench: Bench) -> Bench:
    bench.dongle.start(bench.receiver)
    return bench


def test_one_packet_for_events_and_whole_packets_of_a_page_for_data(started: Bench) -> None:
    assert [transfer.content for transfer in started.flying(0x81)] == [16] * DEPTH
    assert [transfer.content for transfer in started.flying(0x82)] == [4096] * DEPTH


def test_what_comes_in_one_wake_up_is_handed_over_once_and_asked_for_again(started: Bench) -> None:
    for endpoint, data in ((0x82, b"1"), (0x81, b"2"), (0x82, b""), (0x82, b"3")):
        started.end(started.flying(endpoint)[0], data=data)
    assert started.receiver.received == []
    started.dongle.settle()
    assert started.receiver.received == [([b"2"], [b"1", b"", b"3"])]
    assert [len(started.flying(endpoint)) for endpoint in (0x81, 0x82)] == [DEPTH] * 2


def test_control_requests_go_one_after_the_other(started: Bench) -> None:
    for number in range(3):
        started.dongle.send_control(HCI_COMMAND, bytes([number] * 3))
    for number in range(3):
        (transfer,) = started.flying(0)
        assert (transfer.setup, transfer.content) == (HCI_COMMAND, bytes([number] * 3))
        started.answer(0)
    assert started.flying(0) == []


def test_a_command_sent_from_within_a_receipt_waits_for_the_one_that_has_just_ended(started: Bench) -> None:
    started.dongle.send_control(HCI_COMMAND, b"one")
    started.receiver.on_receive = lambda: started.dongle.send_control(HCI_COMMAND, b"two")
    started.end(started.flying(0)[0])
    started.end(started.flying(0x81)[0], data=b"event")
    started.dongle.settle()
    assert [transfer.content for transfer in started.flying(0)] == [b"two"]


def test_a_refused_command_is_for_the_hci_core_to_find_out(started: Bench) -> None:
    started.dongle.send_control(HCI_COMMAND, bytes(3))
    started.dongle.send_control(HCI_COMMAND, b"two")
    started.answer(0, usb1.TRANSFER_STALL)
    assert [transfer.content for transfer in started.flying(0)] == [b"two"]
    assert not started.dongle.closed.is_set()


def test_commands_that_are_never_answered_end_the_dongle(started: Bench) -> None:
    for _ in range(CONTROL_LIMIT + 1):
        started.dongle.send_control(HCI_COMMAND, bytes(3))
    assert started.receiver.lost == []
    started.dongle.send_control(HCI_COMMAND, bytes(3))
    assert len(started.receiver.lost) == 1


def test_bulk_out_is_bounded_and_says_when_there_is_room(started: Bench) -> None:
    transfers = [bytes([number]) for number in range(BULK_OUT_LIMIT + 5)]
    assert started.dongle.send_bulk(transfers) == BULK_OUT_LIMIT
    assert started.dongle.send_bulk(transfers) == 0
    assert [transfer.content for transfer in started.flying(0x02)] == transfers[:BULK_OUT_LIMIT]
    for _ in range(BULK_OUT_LIMIT // 2 - 1):
        started.answer(0x02)
    assert started.receiver.ready == 0
    started.answer(0x02)
    assert started.receiver.ready == 1
    assert started.dongle.send_bulk([b"x"]) == 1  # in a transfer that has ended
    assert started.flying(0x02)[-1].content == b"x"


def test_an_endpoint_that_stalls_is_cleared_when_all_its_transfers_are_back(started: Bench) -> None:
    others = started.flying(0x82)[1:]
    started.answer(0x82, usb1.TRANSFER_STALL)
    assert (started.handle.cancelled, started.handle.cleared) == (others, [])
    started.end(others[0], data=b"in time")
    for transfer in others[1:]:
        started.end(transfer, usb1.TRANSFER_CANCELLED)
    started.dongle.settle()
    assert started.receiver.received == [([], [None]), ([], [b"in time", None, None])]
    assert (started.handle.cleared, len(started.flying(0x82)), len(started.flying(0x81))) == ([0x82], DEPTH, DEPTH)


def test_passing_errors_are_forgiven_until_there_are_too_many(started: Bench) -> None:
    for _ in range(MAX_ERRORS):
        started.answer(0x82, usb1.TRANSFER_ERROR)
    started.answer(0x81, data=b"1")
    for _ in range(MAX_ERRORS):
        started.answer(0x82, usb1.TRANSFER_ERROR)
    assert started.receiver.lost == []
    started.answer(0x82, usb1.TRANSFER_ERROR)
    assert started.receiver.lost == ["endpoint 0x82: transfer error (-71)"]


def test_stalls_without_end_are_too_many_as_well(started: Bench) -> None:
    while not started.dongle.closed.is_set():
        started.answer(0x81, usb1.TRANSFER_STALL)
        for transfer in started.flying(0x81):
            started.end(transfer, usb1.TRANSFER_CANCELLED)
        started.dongle.settle()
    assert len(started.handle.cleared) == MAX_ERRORS


@pytest.mark.parametrize("endpoint", [0x81, 0x82, 0x02, 0])
def test_a_device_that_is_gone_is_lost_once(started: Bench, endpoint: int) -> None:
    started.dongle.send_control(HCI_COMMAND, bytes(3))
    started.dongle.send_bulk([b"x"])
    started.answer(endpoint, usb1.TRANSFER_NO_DEVICE)
    for transfer in started.handle.flying.copy():
        started.end(transfer, usb1.TRANSFER_NO_DEVICE)
    started.dongle.settle()
    assert (started.receiver.lost, started.dongle.idle) == (["unplugged"], True)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [(usb1.USBErrorNoDevice(), "unplugged"), (usb1.USBErrorNoMem(), "endpoint 0x02: LIBUSB_ERROR_NO_MEM [-11]")],
)
def test_a_transfer_that_libusb_refuses_ends_the_dongle(
    started: Bench, refusal: USBErrorNoDevice | USBErrorNoMem, reason: str
) -> None:
    started.handle.refusal = refusal
    assert started.dongle.send_bulk([b"x", b"y"]) == 2
    assert started.receiver.lost == [reason]


@pytest.mark.parametrize("status", [usb1.TRANSFER_STALL, usb1.TRANSFER_ERROR, usb1.TRANSFER_OVERFLOW])
def test_a_fragment_that_did_not_arrive_ends_the_dongle(started: Bench, status: int) -> None:
    started.dongle.send_bulk([b"x"])
    started.answer(0x02, status)
    assert len(started.receiver.lost) == 1


def test_closing_cancels_and_is_not_a_loss(started: Bench) -> None:
    started.receiver.on_receive = started.dongle.close  # from within: as a driver does that saw a broken event
    started.answer(0x81, data=b"1")
    started.dongle.close()
    assert set(started.handle.cancelled) == set(started.handle.flying)
    assert not started.dongle.idle
    started.dongle.send_control(HCI_COMMAND, bytes(3))
    assert started.dongle.send_bulk([b"x"]) == 1
    for transfer in started.handle.flying.copy():
        started.end(transfer, usb1.TRANSFER_CANCELLED)
    started.dongle.settle()
    assert (started.handle.flying, started.dongle.idle, started.receiver.lost) == ([], True, [])
    assert len(started.receiver.received) == 1
