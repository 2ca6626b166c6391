"""Scans, and what becomes of the reports."""

import struct
from typing import Any

import pytest

from usbbtd.hci import events

PEER = bytes.fromhex("0300000000c3")
EXTENDED_ONLY = {0x1002: bytes(1) + (7 << 36 * 8 + 5 | 3 << 37 * 8 + 6).to_bytes(64, "little")}


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
