"""Scans and advertising beside each other, and beside a connection that is created."""

import struct
from typing import Any

import pytest

from usbbtd.hci import events
from usbbtd.hci.advertising_set import AdvertisingParameters

PEER = bytes.fromhex("0300000000c3")
EXTENDED_ONLY = {0x1002: bytes(1) + (7 << 36 * 8 + 5 | 3 << 37 * 8 + 6).to_bytes(64, "little")}
NO_STATES = {0x201C: bytes(9)}


def opcodes(commands: Any) -> Any:
    return [opcode for opcode, _ in commands]


def test_scan_pauses_for_a_connection_where_the_controller_cannot_do_both(scripted: Any) -> None:
    controller = scripted(NO_STATES).up()
    controller.host.start_scan(active=True, duplicates=False)
    controller.take()
    controller.host.connect(PEER, 2, 0.0)
    assert opcodes(controller.take()) == [0x200C, 0x200D]
    controller.le_link(1, PEER, address_type=1)
    assert opcodes(controller.take()) == [0x200B, 0x200C]


@pytest.mark.parametrize("status", [0x02, 0x3E])
def test_scan_goes_on_after_a_connection_that_failed(scripted: Any, status: int) -> None:
    controller = scripted(NO_STATES).up()
    controller.host.start_scan(active=True, duplicates=False)
    controller.host.connect(PEER, 2, 0.0)
    controller.take()
    controller.le_link(0, PEER, status=status)
    assert opcodes(controller.take()) == [0x200B, 0x200C]


def test_scan_does_not_pause_where_it_need_not(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_scan(active=True, duplicates=False)
    controller.take()
    controller.host.connect(PEER, 2, 0.0)
    assert opcodes(controller.take()) == [0x200D]


@pytest.mark.parametrize("wanted", ["scan", "advertising", "both"])
def test_a_connection_that_is_refused_beside_what_the_controller_does(scripted: Any, wanted: str) -> None:
    """It says that it can do both, but cannot."""
    controller = scripted().up()
    if wanted != "advertising":
        controller.host.start_scan(active=True, duplicates=False)
    if wanted != "scan":
        controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
    began = opcodes(controller.take())
    controller.answers[0x200D] = b"\x0c"
    controller.host.connect(PEER, 2, controller.now)
    ends = [opcode for opcode in (0x200C, 0x200A) if opcode in began]
    assert opcodes(controller.take()) == [0x200D, *ends]
    controller.answers[0x200D] = b"\0"
    controller.wait(1.0)
    assert opcodes(controller.take()) == [0x200D]
    controller.le_link(1, PEER, address_type=1)
    assert opcodes(controller.take()) == began
    controller.host.connect(b"abcdef", 2, controller.now)  # from now on it is not asked for both
    assert opcodes(controller.take()) == [*ends, 0x200D]
    controller.host.cancel_connect(b"abcdef", 2)
    controller.run()
    controller.le_link(0, bytes(6), status=0x02)
    controller.run()
    assert controller.host.take_events() == []
    assert opcodes(controller.take()) == [0x200E, *began]


@pytest.mark.parametrize("opcode", [0x200B, 0x200C, 0x2006, 0x200A])
def test_what_is_refused_beside_a_connection_begins_after_it(scripted: Any, opcode: int) -> None:
    controller = scripted().up()
    controller.host.connect(PEER, 2, 0.0)
    controller.take()
    controller.answers[opcode] = b"\x0c"
    if opcode in (0x200B, 0x200C):
        controller.host.start_scan(active=True, duplicates=False)
        began = [0x200B, 0x200C]
    else:
        controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
        began = [0x2006, 0x2008, 0x2009, 0x200A]
    controller.run()
    assert controller.host.take_events() == []
    assert opcodes(controller.take()) == [*began, began[-1]]
    controller.answers[opcode] = b"\0"
    controller.le_link(0, PEER, status=0x3E)
    controller.run()
    assert [type(event) for event in controller.host.take_events()] == [events.ConnectFailed]
    assert opcodes(controller.take()) == began


def test_what_is_wanted_before_the_controller_is_up_begins_then(scripted: Any) -> None:
    controller = scripted()
    controller.host.start_scan(active=False, duplicates=False)
    controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
    assert controller.host.take_commands() == []
    controller.start()
    assert opcodes(controller.take())[-6:] == [0x200B, 0x200C, 0x2006, 0x2008, 0x2009, 0x200A]


def test_extended_commands(scripted: Any) -> None:
    controller = scripted(EXTENDED_ONLY).up()
    controller.host.start_scan(active=True, duplicates=True)
    controller.host.start_advertising(1, AdvertisingParameters(b"\2\1\6", 100, True), 0.0)
    controller.host.connect(PEER, 2, 0.0)
    assert controller.take() == [
        (0x2041, struct.pack("<BBBBHH", 1, 0, 1, 1, 0x60, 0x30)),
        (0x2042, struct.pack("<BBHH", 1, 0, 0, 0)),
        (0x2036, bytes.fromhex("00 1300 a00000 a00000 07 01 00 000000000000 00 7f 01 00 01 00 00")),
        (0x2035, b"\0" + bytes.fromhex("0100000000c0")),
        (0x2037, b"\0\3\1\3\2\1\6"),
        (0x2039, b"\1\1\0\0\0\0"),
        (0x2043, struct.pack("<BBB6sBHHHHHHHH", 0, 1, 1, PEER, 1, 0x60, 0x30, 12, 24, 0, 500, 0, 0)),
    ]
    controller.host.stop_scan()
    controller.host.stop_advertising(1)
    assert opcodes(controller.take()) == [0x2042, 0x2039, 0x203C]
