"""Advertising, and how it goes on beside links."""

import struct
from typing import Any

import pytest

from usbbtd.errors import LocalProtocolError
from usbbtd.hci import events

PEER = bytes.fromhex("0300000000c3")


def opcodes(commands: Any) -> Any:
    return [opcode for opcode, _ in commands]


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
