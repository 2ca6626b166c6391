"""What one advertising set is told, by the layouts of Vol 4, Part E, 7.8."""

import struct
from typing import Any

import pytest

from usbbtd.hci.advertising_set import AdvertisingParameters, why_not_advertised

EXTENDED = {0x2003: struct.pack("<BQ", 0, 1 << 12), 0x203A: struct.pack("<BH", 0, 1650), 0x203B: bytes((0, 2))}


def sent(controller: Any, parameters: AdvertisingParameters) -> Any:
    controller.host.start_advertising(1, parameters, 0.0)
    return controller.take()


@pytest.mark.parametrize(
    ("interval_ms", "interval"), [(100, 160), (0, 0x20), (20, 0x20), (10240, 0x4000), (100000, 0x4000)]
)
@pytest.mark.parametrize(
    ("connectable", "response", "kind"),
    [(True, b"", 0), (True, b"\2\x0a\0", 0), (False, b"", 3), (False, b"\2\x0a\0", 2)],
)
def test_legacy_commands(
    scripted: Any, interval_ms: int, interval: int, connectable: bool, response: bytes, kind: int
) -> None:
    controller = scripted().up()
    assert sent(controller, AdvertisingParameters(b"\2\1\6", interval_ms, connectable, response)) == [
        (0x2006, struct.pack("<HHBBB6sBB", interval, interval, kind, 1, 0, bytes(6), 7, 0)),
        (0x2008, b"\3\2\1\6".ljust(32, b"\0")),
        (0x2009, bytes((len(response),)) + response.ljust(31, b"\0")),
        (0x200A, b"\1"),
    ]
    controller.host.stop_advertising(1)
    assert controller.take() == [(0x200A, b"\0")]


@pytest.mark.parametrize(
    ("parameters", "properties"),
    [
        (AdvertisingParameters(b"a", 100, True), 0x13),
        (AdvertisingParameters(b"a", 100, True, b"r"), 0x13),
        (AdvertisingParameters(b"a", 100, False), 0x10),
        (AdvertisingParameters(b"a", 100, False, b"r"), 0x12),
        (AdvertisingParameters(bytes(32), 100, True), 0x01),
        (AdvertisingParameters(bytes(32), 100, False), 0x00),
        (AdvertisingParameters(b"", 100, False, bytes(32)), 0x02),
    ],
)
def test_extended_commands_use_the_pdus_that_every_scanner_hears_if_they_can(
    scripted: Any, parameters: AdvertisingParameters, properties: int
) -> None:
    controller = scripted(EXTENDED).up()
    commands = sent(controller, parameters)
    assert struct.unpack_from("<BH", commands[0][1]) == (0, properties)
    assert commands[1] == (0x2035, b"\0" + bytes.fromhex("0100000000c0"))
    assert commands[-1] == (0x2039, b"\1\1\0\0\0\0")
    data, response = ([octets for opcode, octets in commands if opcode == wanted] for wanted in (0x2037, 0x2038))
    assert response == [bytes((0, 3, 1, len(parameters.scan_response))) + parameters.scan_response] * bool(
        parameters.scan_response
    )
    whole = bytes((0, 3, 1, len(parameters.data))) + parameters.data
    assert data == ([] if not parameters.data and parameters.scan_response else [whole])


@pytest.mark.parametrize("length", [251, 252, 502, 503, 1650])
def test_data_goes_in_pieces(scripted: Any, length: int) -> None:
    controller = scripted(EXTENDED).up()
    data = bytes(range(256)) * 7
    pieces = [
        octets
        for opcode, octets in sent(controller, AdvertisingParameters(data[:length], 100, False))
        if opcode == 0x2037
    ]
    assert b"".join(piece[4:] for piece in pieces) == data[:length]
    assert [piece[3] for piece in pieces] == [len(piece) - 4 for piece in pieces]
    operations = [piece[1] for piece in pieces]
    assert operations == ([3] if length == 251 else [1, *[0] * (len(pieces) - 2), 2])


@pytest.mark.parametrize(
    ("parameters", "most", "why"),
    [
        (AdvertisingParameters(bytes(31), 100, True, bytes(31)), 31, None),
        (AdvertisingParameters(bytes(32), 100, True), 31, "32 octets of advertising data, the controller takes 31"),
        (AdvertisingParameters(b"", 100, True, bytes(32)), 31, "32 octets"),
        (AdvertisingParameters(bytes(1650), 100, False), 1650, None),
        (AdvertisingParameters(bytes(1651), 100, False), 1650, "1651 octets"),
        (AdvertisingParameters(b"", 100, False, bytes(32)), 1650, None),
        (AdvertisingParameters(b"a", 100, False, bytes(32)), 1650, "scan response"),
        (AdvertisingParameters(b"", 100, True, bytes(32)), 1650, "scan response"),
        (AdvertisingParameters(bytes(32), 100, True, b"a"), 1650, "scan response"),
    ],
)
def test_why_not(parameters: AdvertisingParameters, most: int, why: str | None) -> None:
    found = why_not_advertised(parameters, most)
    assert found == why or (found and why and why in found)
