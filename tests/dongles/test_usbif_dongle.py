"""The dongle on a frontend core whose backend is the test: it sees the requests and says what becomes of them."""

import asyncio
from typing import Any

import pytest
import structlog

from tests.support.fixtures import Receiver
from usbbtd.dongles.driver_side import BULK_OUT_LIMIT, MAX_ERRORS
from usbbtd.dongles.usbif_dongle import ONE_EACH, QUEUED, UsbifDongle
from usbbtd.usb import enumeration
from usbbtd.usb.frontend import QUEUE_LIMIT, UsbifFrontend
from usbbtd.usb.wire import standard, usbif

BLUETOOTH = enumeration.Bluetooth(0x81, 16, 0x82, 0x02, 64)
FOUND = enumeration.Found(1, 0x1209, 0xB7B7, "0001", 0xE0, BLUETOOTH)
HCI_COMMAND = standard.pack_setup(0x20, 0, 0, 0, 3)

LOG: Any = structlog.stdlib.get_logger()


class Bench:
    """The dongle with everything around it; ``requests`` are those in flight, as (id, endpoint, length, setup)."""

    def __init__(self, receiver: Receiver, depths: Any = ONE_EACH) -> None:
        self.core = UsbifFrontend([(ref, memoryview(bytearray(usbif.PAGE_SIZE))) for ref in range(16)])
        self.flushes = 0
        self.dongle = UsbifDongle(
            self.core, 1, FOUND, BLUETOOTH, name="a dongle", depths=depths, flush_soon=self._flush_soon,
            log=LOG,
        )  # fmt: skip
        self.receiver = receiver

    def _flush_soon(self) -> None:
        self.flushes += 1

    def take(self) -> list[Any]:
        taken = []
        for request in self.core.take_requests():
            head, _ = usbif.unpack_request(request)
            endpoint = "unlink" if head[2] & usbif.UNLINK else usbif.unpack_pipe(head[2])[2]
            taken.append((head[0], endpoint, head[4], head[5]))
        return taken

    def answer(self, urb_id: int, status: int = usbif.OK, length: int = 0) -> None:
        self.core.receive_responses([usbif.pack_response(urb_id, status, length)])
        for pipe, data in self.core.take_received():
            self.dongle.receive(pipe, data)
        self.dongle.deliver()
        for completion in self.core.take_completions():
            self.dongle.complete(completion)
        for pipe, failure in self.core.take_failures():
            self.dongle.fail_in(pipe, failure)


@pytest.fixture
def bench(receiver: Receiver) -> Bench:
    return Bench(receiver)


@pytest.fixture
def started(bench: Bench) -> dict[int, int]:
    bench.dongle.start(bench.receiver)
    return {endpoint: urb_id for urb_id, endpoint, _, _ in bench.take()}


def test_one_packet_for_events_and_whole_packets_of_a_page_for_data(bench: Bench) -> None:
    bench.dongle.start(bench.receiver)
    assert {(endpoint, length) for _, endpoint, length, _ in bench.take()} == {(0x81, 16), (0x82, 4096)}


@pytest.mark.parametrize("depths", [ONE_EACH, QUEUED])
def test_as_many_urbs_as_the_backend_can_have(receiver: Receiver, depths: Any) -> None:
    bench = Bench(receiver, depths)
    bench.dongle.start(bench.receiver)
    bench.dongle.send_bulk([b"x"] * 10)
    endpoints = [endpoint for _, endpoint, _, _ in bench.take()]
    assert [endpoints.count(endpoint) for endpoint in (0x81, 0x82, 0x02)] == list(depths)


def test_what_comes_is_handed_over_once_and_asked_for_again(bench: Bench, started: dict[int, int]) -> None:
    bench.answer(started[0x81], length=6)
    bench.answer(started[0x82], length=0)
    assert bench.receiver.received == [([bytes(6)], []), ([], [b""])]
    assert {endpoint for _, endpoint, _, _ in bench.take()} == {0x81, 0x82}


def test_control_requests_go_one_after_the_other(bench: Bench) -> None:
    for number in range(3):
        bench.dongle.send_control(HCI_COMMAND, bytes([number] * 3))
    for _ in range(3):
        ((urb_id, endpoint, length, setup),) = bench.take()
        assert (endpoint, length, setup) == (0, 3, HCI_COMMAND)
        bench.answer(urb_id, length=3)
    assert bench.take() == []


def test_a_refused_command_is_for_the_hci_core_to_find_out(bench: Bench, started: dict[int, int]) -> None:
    bench.dongle.send_control(HCI_COMMAND, bytes(3))
    ((urb_id, *_),) = bench.take()
    bench.answer(urb_id, usbif.STALL)
    assert not bench.dongle.closed.is_set()


def test_bulk_out_is_bounded_and_says_when_there_is_room(bench: Bench, started: dict[int, int]) -> None:
    transfers = [bytes([number]) for number in range(BULK_OUT_LIMIT + 5)]
    assert bench.dongle.send_bulk(transfers) == BULK_OUT_LIMIT
    assert bench.dongle.send_bulk(transfers) == 0
    for _ in range(BULK_OUT_LIMIT // 2 - 1):
        bench.answer(bench.take()[0][0], length=1)
    assert bench.receiver.ready == 0
    bench.answer(bench.take()[0][0], length=1)
    assert bench.receiver.ready == 1
    bench.answer(bench.take()[0][0], length=1)
    assert bench.receiver.ready == 1


def test_an_endpoint_that_stalls_is_cleared_and_filled_again(bench: Bench, started: dict[int, int]) -> None:
    bench.answer(started[0x82], usbif.STALL)
    ((clear, endpoint, _, setup),) = bench.take()
    assert (endpoint, setup) == (0, standard.clear_halt(0x82))
    bench.answer(clear)
    assert [endpoint for _, endpoint, _, _ in bench.take()] == [0x82]


def test_passing_errors_are_forgiven_until_there_are_too_many(bench: Bench, started: dict[int, int]) -> None:
    urb_id = started[0x82]
    for _ in range(MAX_ERRORS):
        bench.answer(urb_id, usbif.IOERROR)
        ((urb_id, *_),) = bench.take()
    bench.answer(started[0x81], length=3)
    bench.take()
    for _ in range(MAX_ERRORS):
        bench.answer(urb_id, usbif.IOERROR)
        ((urb_id, *_),) = bench.take()
    assert bench.receiver.lost == []
    bench.answer(urb_id, usbif.IOERROR)
    assert bench.receiver.lost == ["endpoint 0x82: transfer error (-71)"]


@pytest.mark.parametrize("status", [usbif.NODEV, usbif.SHUTDOWN])
@pytest.mark.parametrize("endpoint", [0x81, 0x82, 0x02, 0])
def test_a_device_that_is_gone_is_lost_once(bench: Bench, started: dict[int, int], endpoint: int, status: int) -> None:
    bench.dongle.send_control(HCI_COMMAND, bytes(3))
    bench.dongle.send_bulk([b"x"])
    flying = started | {out: urb_id for urb_id, out, _, _ in bench.take()}
    for each in (endpoint, *(flying.keys() - {endpoint})):
        bench.answer(flying[each], status)
    assert len(bench.receiver.lost) == 1
    assert usbif.describe_status(status) in bench.receiver.lost[0]
    assert bench.core.statistics()["urbs_in_flight"] == 0


@pytest.mark.parametrize("status", [usbif.STALL, usbif.IOERROR, usbif.BABBLE])
def test_a_fragment_that_did_not_arrive_ends_the_dongle(bench: Bench, started: dict[int, int], status: int) -> None:
    bench.dongle.send_bulk([b"x"])
    bench.answer(bench.take()[0][0], status)
    assert len(bench.receiver.lost) == 1


def test_closing_cancels_and_is_not_a_loss(bench: Bench, started: dict[int, int]) -> None:
    bench.receiver.on_receive = bench.dongle.close  # from within: as a driver does that saw a broken event
    bench.answer(started[0x81], length=3)
    bench.dongle.close()
    assert [endpoint for _, endpoint, _, _ in bench.take()] == ["unlink"]
    bench.answer(started[0x82], usbif.IOERROR)
    bench.dongle.lose("late")
    bench.dongle.send_control(HCI_COMMAND, bytes(3))
    assert bench.dongle.send_bulk([b"x"]) == 1
    assert (len(bench.receiver.received), bench.receiver.lost) == (1, [])
    assert bench.dongle.closed.is_set()


async def test_a_dongle_that_is_lost_before_it_is_started_says_so_then(bench: Bench) -> None:
    bench.dongle.lose("unplugged")
    bench.dongle.start(bench.receiver)
    assert bench.receiver.lost == []
    await asyncio.sleep(0)
    assert bench.receiver.lost == ["unplugged"]


async def test_what_carries_a_lost_dongle_does_not_keep_it_from_saying_so(bench: Bench) -> None:
    """Its driver starts it between its loss and the end of what drove it."""
    bench.dongle.lose("unplugged")
    bench.dongle.start(bench.receiver)
    bench.dongle.end("its controller is not served any more")
    await asyncio.sleep(0)
    assert bench.receiver.lost == ["unplugged"]


async def test_a_lost_dongle_says_nothing_to_a_driver_that_has_given_it_up(bench: Bench) -> None:
    bench.dongle.lose("unplugged")
    bench.dongle.start(bench.receiver)
    bench.dongle.close()
    await asyncio.sleep(0)
    assert bench.receiver.lost == []


def test_commands_that_are_never_answered_end_the_dongle(bench: Bench) -> None:
    bench.dongle.start(bench.receiver)
    for _ in range(QUEUE_LIMIT + 2):
        bench.dongle.send_control(HCI_COMMAND, bytes(3))
        bench.take()
    assert len(bench.receiver.lost) == 1


def test_an_endpoint_that_stalls_behind_such_commands_ends_it_too(bench: Bench, started: dict[int, int]) -> None:
    for _ in range(QUEUE_LIMIT):
        bench.dongle.send_control(HCI_COMMAND, bytes(3))
    bench.answer(started[0x81], usbif.STALL)
    assert len(bench.receiver.lost) == 1
