"""Asking BR/EDR devices for their names."""

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usbbtd.hci import events
from usbbtd.hci.limits import MAX_NAMES
from usbbtd.hci.wire import events as incoming

PEER, OTHER = b"abcdef", b"uvwxyz"
INQUIRE, STOP_INQUIRING = (0x0401, bytes.fromhex("338b9e 08 00")), (0x0402, b"")


def ask(address: bytes = PEER) -> tuple[int, bytes]:
    return 0x0419, address + b"\2\0\0\0"


def stop(address: bytes = PEER) -> tuple[int, bytes]:
    return 0x041A, address


def hear(controller: Any, status: int = 0, name: bytes = b"", address: bytes = PEER) -> None:
    event = incoming.RemoteNameRequestComplete(status, address, name.ljust(248, b"\0"))
    controller.host.receive_event(event.pack(), controller.now)


@pytest.fixture
def asking(scripted: Any) -> Any:
    controller = scripted().up()
    controller.host.read_name(PEER, 0.0)
    assert controller.take() == [ask()]
    return controller


def test_one_at_a_time(asking: Any) -> None:
    asking.host.read_name(OTHER, 0.0)
    asking.host.read_name(OTHER, 0.0)
    asking.host.read_name(PEER, 0.0)
    assert asking.take() == []
    hear(asking, name="Höhle".encode())
    assert asking.host.take_events() == [events.NameFound(PEER, 0, "Höhle".encode())]
    assert asking.take() == [ask(OTHER)]
    hear(asking, 0x04, b"nothing", address=OTHER)
    assert asking.host.take_events() == [events.NameFound(OTHER, 0x04, b"")]
    assert asking.take() == []


def test_a_name_may_fill_its_field_or_be_cut_short(asking: Any) -> None:
    hear(asking, name=b"x" * 248)
    asking.host.read_name(PEER, 0.0)
    asking.run()
    asking.event(0x07, b"\0" + PEER + b"short")
    names = [event.name for event in asking.host.take_events()]
    assert names == [b"x" * 248, b"short"]


def test_the_request_is_refused(scripted: Any) -> None:
    controller = scripted({0x0419: b"\x0c"}).up()
    controller.host.read_name(PEER, 0.0)
    controller.run()
    assert controller.host.take_events() == [events.NameFound(PEER, 0x0C, b"")]


def test_a_device_that_never_answers(asking: Any) -> None:
    asking.host.read_name(OTHER, 0.0)
    asking.wait(15.0)
    assert asking.take() == [stop()]
    hear(asking, 0x02)
    assert asking.host.take_events() == [events.NameFound(PEER, 0x04, b"")]
    assert asking.take() == [ask(OTHER)]


def test_a_controller_that_does_not_tell_the_end(asking: Any) -> None:
    asking.host.read_name(OTHER, 0.0)
    asking.wait(16.0)
    assert asking.host.take_events() == [events.NameFound(PEER, 0x04, b"")]
    assert asking.take() == [stop(), ask(OTHER)]
    hear(asking, 0x02)
    assert asking.host.take_events() == []
    assert asking.host.statistics()["names_stray"] == 1


def test_cancelled(asking: Any) -> None:
    asking.host.read_name(OTHER, 0.0)
    asking.host.cancel_read_name(PEER)
    asking.host.cancel_read_name(OTHER)
    asking.host.cancel_read_name(b"nobody")
    assert asking.take() == [stop()]
    hear(asking, 0x02)
    assert asking.host.take_events() == []
    assert asking.take() == []


def test_cancelled_and_asked_again(asking: Any) -> None:
    asking.host.cancel_read_name(PEER)
    asking.host.read_name(PEER, 0.0)
    asking.run()
    hear(asking, 0x02)
    assert asking.host.take_events() == []
    assert asking.take() == [stop(), ask()]


@pytest.mark.parametrize("faster", [False, True])
def test_it_makes_way_for_a_connection(asking: Any, faster: bool) -> None:
    asking.host.connect(OTHER, 0, 0.0)
    assert [opcode for opcode, _ in asking.take()] == [0x041A, 0x0405]
    hear(asking, 0 if faster else 0x02, b"name")
    assert asking.host.take_events() == [events.NameFound(PEER, 0, b"name")] * faster
    asking.host.read_name(b"zyxwvu", 0.0)
    assert asking.take() == []
    asking.bredr_link(0x40, OTHER)
    assert asking.take() == [ask(b"zyxwvu") if faster else ask()]


def test_an_inquiry_pauses_until_there_are_no_more(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_inquiry(duplicates=False)
    controller.host.read_name(PEER, 0.0)
    controller.host.read_name(OTHER, 0.0)
    assert controller.take() == [INQUIRE, STOP_INQUIRING, ask()]
    hear(controller)
    assert controller.take() == [ask(OTHER)]
    hear(controller, address=OTHER)
    assert controller.take() == [INQUIRE]


def test_they_are_bounded(asking: Any) -> None:
    for number in range(MAX_NAMES + 1):
        asking.host.read_name(number.to_bytes(6, "little"), 0.0)
    assert asking.host.take_events() == [events.NameFound(MAX_NAMES.to_bytes(6, "little"), 0x0D, b"")]


def test_they_end_with_the_controller(asking: Any) -> None:
    asking.host.read_name(OTHER, 0.0)
    asking.event(0x10, b"\x42")
    ends = [events.NameFound(PEER, 0x03, b""), events.NameFound(OTHER, 0x03, b"")]
    assert asking.host.take_events() == ends
    asking.take()
    asking.host.read_name(PEER, 0.0)
    assert asking.take() == [ask()]


def test_a_controller_that_is_not_up_or_without_bredr(scripted: Any) -> None:
    controller = scripted({0x1003: struct.pack("<BQ", 0, 1 << 37 | 1 << 38)})
    controller.host.read_name(PEER, 0.0)
    assert controller.host.take_events() == [events.NameFound(PEER, 0x03, b"")]
    controller.up()
    controller.host.read_name(PEER, 0.0)
    assert controller.host.take_events() == [events.NameFound(PEER, 0x11, b"")]


steps = st.sampled_from(
    ["read", "read other", "cancel", "told", "told other", "failed", "connect", "linked", "wait", "run"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a class
@given(st.lists(steps, max_size=30), st.sampled_from([b"\0", b"\x0c"]))
def test_every_request_is_answered_once_in_any_order(scripted: Any, script: list[str], answer: bytes) -> None:
    controller = scripted({0x0419: answer}).up()
    asked: set[bytes] = set()
    for step in script:
        match step:
            case "read" | "read other":
                address = PEER if step == "read" else OTHER
                controller.host.read_name(address, controller.now)
                asked.add(address)
            case "cancel":
                controller.host.cancel_read_name(PEER)
                asked.discard(PEER)
            case "told":
                hear(controller, name=b"name")
            case "told other":
                hear(controller, name=b"name", address=OTHER)
            case "failed":
                hear(controller, 0x02)
            case "connect":
                controller.host.connect(OTHER, 0, controller.now)
            case "linked":
                controller.bredr_link(0x40, OTHER, status=0x04)
            case "wait":
                controller.wait(1.0)
            case _:
                controller.run()
        take_names(controller, asked)
    controller.wait(120.0)
    take_names(controller, asked)
    assert asked == set()


def take_names(controller: Any, asked: set[bytes]) -> None:
    for event in controller.host.take_events():
        if isinstance(event, events.NameFound):
            asked.remove(event.address)
