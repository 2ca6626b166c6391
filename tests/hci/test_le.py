import struct
from typing import Any

import pytest

from usbbtd.errors import LocalProtocolError
from usbbtd.hci import events

PEER = bytes.fromhex("0300000000c3")
EXTENDED_ONLY = {0x1002: bytes(1) + (7 << 36 * 8 + 5 | 3 << 37 * 8 + 6).to_bytes(64, "little")}
NO_STATES = {0x201C: bytes(9)}


def opcodes(commands: Any) -> Any:
    return [opcode for opcode, _ in commands]


def report(event_type: int = 0, address_type: int = 1, data: bytes = b"\2\1\6", rssi: int = -40) -> bytes:
    return struct.pack("<BBB6sB", 1, event_type, address_type, PEER, len(data)) + data + struct.pack("b", rssi)


def test_scan(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_scan(active=True, duplicates=False)
    assert controller.take() == [
        (0x200B, struct.pack("<BHHBB", 1, 0x60, 0x30, 1, 0)),
        (0x200C, b"\1\1"),
    ]
    controller.le_event(0x02, report())
    controller.le_event(0x02, report(4, 0, b"", 127))
    assert controller.host.take_events() == [
        events.Advertisement(PEER, 2, 0, -40, b"\2\1\6"),
        events.Advertisement(PEER, 1, 4, 127, b""),
    ]
    controller.host.start_scan(active=False, duplicates=True)
    assert [(opcode, octets[0]) for opcode, octets in controller.take()] == [(0x200C, 0), (0x200B, 0), (0x200C, 1)]
    controller.host.stop_scan()
    assert controller.take() == [(0x200C, b"\0\0")]
    controller.le_event(0x02, report())
    assert controller.host.take_events() == []


@pytest.mark.parametrize("opcode", [0x200B, 0x200C])
def test_scan_is_refused(scripted: Any, opcode: int) -> None:
    controller = scripted({opcode: b"\x0c"}).up()
    controller.host.start_scan(active=True, duplicates=False)
    controller.run()
    assert controller.host.take_events() == [events.ScanStopped(0x0C)]
    assert controller.take()[-1] == (0x200C, b"\0\0")
    controller.host.stop_scan()
    assert controller.take() == []


def test_an_old_refusal_does_not_stop_a_new_scan(scripted: Any) -> None:
    controller = scripted({0x200C: b"\x0c"}).up()
    controller.host.start_scan(active=True, duplicates=False)
    controller.host.start_scan(active=False, duplicates=False)
    controller.run()
    assert controller.host.take_events() == [events.ScanStopped(0x0C)]


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
        controller.host.start_advertising(b"", interval_ms=100, connectable=True)
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
        controller.host.start_advertising(b"", interval_ms=100, connectable=True)
        began = [0x2006, 0x2008, 0x200A]
    controller.run()
    assert controller.host.take_events() == []
    assert opcodes(controller.take()) == [*began, began[-1]]
    controller.answers[opcode] = b"\0"
    controller.le_link(0, PEER, status=0x3E)
    controller.run()
    assert [type(event) for event in controller.host.take_events()] == [events.ConnectFailed]
    assert opcodes(controller.take()) == began


@pytest.mark.parametrize(
    ("interval_ms", "interval"), [(100, 160), (0, 0x20), (20, 0x20), (10240, 0x4000), (100000, 0x4000)]
)
@pytest.mark.parametrize("connectable", [False, True])
def test_advertising(scripted: Any, interval_ms: int, interval: int, connectable: bool) -> None:
    controller = scripted().up()
    controller.host.start_advertising(b"\2\1\6", interval_ms=interval_ms, connectable=connectable)
    kind = 0 if connectable else 3
    assert controller.take() == [
        (0x2006, struct.pack("<HHBBB6sBB", interval, interval, kind, 1, 0, bytes(6), 7, 0)),
        (0x2008, b"\3\2\1\6".ljust(32, b"\0")),
        (0x200A, b"\1"),
    ]
    controller.host.stop_advertising()
    assert controller.take() == [(0x200A, b"\0")]


def test_advertising_data_has_a_limit(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_advertising(bytes(31), interval_ms=100, connectable=True)
    with pytest.raises(LocalProtocolError):
        controller.host.start_advertising(bytes(32), interval_ms=100, connectable=True)


def test_advertising_goes_on_after_a_peer_connected(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_advertising(b"", interval_ms=100, connectable=True)
    controller.take()
    controller.le_link(1, PEER, role=1)
    assert opcodes(controller.take()) == [0x2006, 0x2008, 0x200A]
    controller.le_link(2, b"abcdef", role=0)
    assert controller.take() == []
    controller.host.stop_advertising()
    controller.take()
    controller.le_link(3, b"bcdefg", role=1)
    assert controller.take() == []


def test_advertising_that_cannot_go_on_with_a_link_goes_on_after_it(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_advertising(b"", interval_ms=100, connectable=True)
    controller.take()
    controller.answers[0x200A] = b"\x0c"
    controller.le_link(1, PEER, role=1)
    controller.run()
    assert controller.host.take_events() == [events.Connected(1, PEER, 1, 1)]
    controller.take()
    controller.answers[0x200A] = b"\0"
    controller.unlink(1)
    assert controller.take()[-1] == (0x200A, b"\1")


@pytest.mark.parametrize("opcode", [0x2006, 0x2008, 0x200A])
def test_advertising_is_refused(scripted: Any, opcode: int) -> None:
    """As a non-connectable one every 20 ms is by controllers before 5.0: it must not go on with other parameters."""
    controller = scripted({opcode: b"\x12"}).up()
    controller.host.start_advertising(b"", interval_ms=20, connectable=False)
    controller.run()
    assert controller.host.take_events() == [events.AdvertisingStopped(0x12)]
    assert controller.take()[-1] == (0x200A, b"\0")


def test_what_is_wanted_before_the_controller_is_up_begins_then(scripted: Any) -> None:
    controller = scripted()
    controller.host.start_scan(active=False, duplicates=False)
    controller.host.start_advertising(b"", interval_ms=100, connectable=True)
    assert controller.host.take_commands() == []
    controller.start()
    assert opcodes(controller.take())[-5:] == [0x200B, 0x200C, 0x2006, 0x2008, 0x200A]


def test_extended_commands(scripted: Any) -> None:
    controller = scripted(EXTENDED_ONLY).up()
    controller.host.start_scan(active=True, duplicates=True)
    controller.host.start_advertising(b"\2\1\6", interval_ms=100, connectable=True)
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
    controller.host.stop_advertising()
    assert opcodes(controller.take()) == [0x2042, 0x2039]


def test_a_report_that_is_cut_short_costs_itself(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_scan(active=True, duplicates=False)
    controller.take()
    controller.le_event(0x02, report()[:-1])
    controller.le_event(0x02, b"")
    assert controller.host.take_events() == []
    controller.le_event(0x02, report())
    assert len(controller.host.take_events()) == 1
    statistics = controller.host.statistics()
    assert (statistics["reports_malformed"], statistics["events_malformed"]) == (1, 1)


def test_what_was_begun_in_one_scan_does_not_go_on_in_the_next(scripted: Any) -> None:
    controller = scripted(EXTENDED_ONLY).up()
    fragment = struct.pack("<BHB6sBBBbbHB6sB", 1, 0x0020, 1, PEER, 1, 1, 5, 127, -40, 0, 0, bytes(6), 1) + b"a"
    for _ in range(2):
        controller.host.start_scan(active=True, duplicates=False)
        controller.take()
        controller.le_event(0x0D, fragment)
        controller.host.stop_scan()
    controller.host.start_scan(active=True, duplicates=False)
    controller.take()
    controller.le_event(0x0D, fragment.replace(b"\x20\0\1", b"\0\0\1"))
    assert [event.data for event in controller.host.take_events()] == [b"a"]
    assert controller.host.statistics()["reports_incomplete"] == 2
