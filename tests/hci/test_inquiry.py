"""Looking for BR/EDR devices."""

import struct
from typing import Any

import pytest

from usbbtd.hci import events
from usbbtd.hci.limits import INQUIRY_TRIES, MAX_EVENTS, MAX_FOUND
from usbbtd.hci.wire import events as incoming

PEER, OTHER = b"abcdef", b"uvwxyz"
BEGIN, END = (0x0401, bytes.fromhex("338b9e 08 00")), (0x0402, b"")
NAME = b"\5\tname"


def plain(address: bytes = PEER) -> bytes:
    return incoming.InquiryResult(1, address + bytes(3) + b"\x0c\x02\x5a" + bytes(2)).pack()


def extended(data: bytes, address: bytes = PEER) -> bytes:
    response = address + bytes(2) + b"\x0c\x02\x5a" + bytes(2) + struct.pack("b", -40) + data.ljust(240, b"\0")
    return incoming.ExtendedInquiryResult(1, response).pack()


def found(rssi: int = 127, data: bytes = b"", address: bytes = PEER) -> events.DeviceFound:
    return events.DeviceFound(address, 0x5A020C, rssi, data)


@pytest.fixture
def inquiring(scripted: Any) -> Any:
    controller = scripted().up()
    controller.host.start_inquiry(duplicates=False)
    assert controller.take() == [BEGIN]
    return controller


def hear(controller: Any, *packets: bytes) -> list[events.Event]:
    for packet in packets:
        controller.host.receive_event(packet, controller.now)
    told: list[events.Event] = controller.host.take_events()
    return told


def end_round(controller: Any, status: int = 0) -> None:
    controller.event(0x01, bytes((status,)))


def test_a_device_is_told_once_a_round_and_again_with_more_data(inquiring: Any) -> None:
    told = hear(inquiring, plain(), plain(), extended(NAME), plain(), extended(NAME), extended(b""), plain(OTHER))
    assert told == [found(), found(-40, NAME), found(address=OTHER)]
    end_round(inquiring)
    assert inquiring.take() == []
    inquiring.wait(1.0)
    assert inquiring.take() == [BEGIN]
    assert hear(inquiring, plain()) == [found()]


def test_each_response_is_told_where_duplicates_are_wanted(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_inquiry(duplicates=True)
    controller.take()
    assert hear(controller, plain(), plain()) == [found(), found()]


def test_it_is_stopped(inquiring: Any) -> None:
    inquiring.host.stop_inquiry()
    assert inquiring.take() == [END]
    assert hear(inquiring, plain()) == []
    end_round(inquiring)
    inquiring.wait(60.0)
    assert inquiring.take() == []
    assert inquiring.host.statistics()["inquiry_events_stray"] == 1


def test_it_is_stopped_between_rounds(inquiring: Any) -> None:
    end_round(inquiring)
    inquiring.host.stop_inquiry()
    inquiring.wait(60.0)
    assert inquiring.take() == []


def test_the_end_of_a_round_is_not_waited_for_for_ever(inquiring: Any) -> None:
    inquiring.wait(13.0)
    assert inquiring.take() == []
    inquiring.wait(0.3)
    assert inquiring.take() == [END, BEGIN]


@pytest.mark.parametrize("by_event", [False, True])
def test_refused(scripted: Any, by_event: bool) -> None:
    controller = scripted({} if by_event else {0x0401: b"\x11"}).up()
    controller.host.start_inquiry(duplicates=False)
    controller.run()
    if by_event:
        end_round(controller, 0x11)
    assert controller.host.take_events() == [events.InquiryEnded(0x11)]
    controller.wait(60.0)
    assert BEGIN not in controller.take()[1:]


def test_a_controller_that_is_busy_is_asked_again(scripted: Any) -> None:
    controller = scripted({0x0401: b"\x0c"}).up()
    controller.host.start_inquiry(duplicates=False)
    controller.run()
    assert controller.take() == [BEGIN, END]
    controller.answers[0x0401] = b"\0"
    controller.wait(1.0)
    assert controller.take() == [BEGIN]
    end_round(controller)
    controller.answers[0x0401] = b"\x0c"
    controller.wait(60.0)
    assert controller.host.take_events() == [events.InquiryEnded(0x0C)]
    assert controller.take() == [BEGIN, END] * INQUIRY_TRIES


def test_it_pauses_for_a_connection(inquiring: Any) -> None:
    inquiring.host.connect(PEER, 0, 0.0)
    assert [opcode for opcode, _ in inquiring.take()] == [0x0402, 0x0405]
    inquiring.wait(20.0)
    assert inquiring.take() == []
    inquiring.bredr_link(0x40, PEER)
    assert inquiring.take() == [BEGIN]
    inquiring.host.connect(PEER, 2, 0.0)  # on LE
    assert [opcode for opcode, _ in inquiring.take()] == [0x200D]


def test_what_is_wanted_while_a_connection_is_made_begins_after_it(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.connect(PEER, 0, 0.0)
    controller.take()
    controller.host.start_inquiry(duplicates=False)
    assert controller.take() == []
    controller.bredr_link(0, PEER, status=4)
    assert controller.take() == [BEGIN]


def test_it_outlives_a_reset(inquiring: Any) -> None:
    inquiring.event(0x10, b"\x42")
    assert inquiring.take()[-1] == BEGIN


def test_a_controller_without_bredr(scripted: Any) -> None:
    controller = scripted({0x1003: struct.pack("<BQ", 0, 1 << 37 | 1 << 38)})
    controller.host.start_inquiry(duplicates=False)
    controller.start()
    assert events.InquiryEnded(0x11) in controller.host.take_events()


def test_it_ends_with_the_controller(inquiring: Any) -> None:
    for _ in range(2):
        inquiring.event(0x10, b"\x42")
        inquiring.run()
    assert inquiring.host.state == "failed"
    ends = [events.Ready, events.InquiryEnded, events.Failed]
    assert [type(event) for event in inquiring.host.take_events()] == ends


def test_results_that_cannot_be_read(inquiring: Any) -> None:
    assert hear(inquiring, plain()[:-1].replace(b"\x02\x0f", b"\x02\x0e", 1), plain(OTHER)) == [found(address=OTHER)]
    assert inquiring.host.statistics()["inquiry_results_malformed"] == 1


def test_a_flood_of_devices(inquiring: Any) -> None:
    """The oldest is forgotten, and so told again; what nobody takes is dropped."""
    many = [plain(number.to_bytes(6, "little")) for number in range(MAX_FOUND + 1)]
    assert len(hear(inquiring, *many, many[-1], many[0])) == MAX_FOUND + 2
    for number in range(MAX_EVENTS + 10):
        inquiring.host.receive_event(plain(number.to_bytes(6, "big")), inquiring.now)
    assert len(inquiring.host.take_events()) == MAX_EVENTS
