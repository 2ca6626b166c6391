import struct

import pytest

from usbbtd.abi._layout import ffi
from usbbtd.abi.layout import constants, record, size_of

RECORDS = [
    ("struct l2capif_request", "connect"),
    ("struct l2capif_request", "listen"),
    ("struct l2capif_request", "accept"),
    ("struct l2capif_request", "scan"),
    ("struct l2capif_request", "advertise"),
    ("struct l2capif_response", "info"),
    ("struct l2capif_response", "channel"),
    ("struct l2capif_scan_report", ""),
    ("struct usbif_urb_request", "intr"),
    ("struct usbif_urb_response", ""),
    ("struct usbif_conn_request", ""),
    ("struct usbif_conn_response", ""),
]


@pytest.mark.parametrize(("name", "union"), RECORDS)
def test_a_record_is_as_large_as_the_structure(name: str, union: str) -> None:
    assert record(name, union).size == size_of(name) == ffi.sizeof(name)


def test_the_fields_are_where_the_compiler_put_them() -> None:
    packed = record("struct l2capif_request", "connect").pack(
        1, 2, 3, 4, 5, 6, bytes.fromhex("010000eeffc0"), 1, 0, 0x1001, 2048, 10_000
    )
    compiled = ffi.new("struct l2capif_request *")
    ffi.memmove(compiled, packed, len(packed))
    connect = compiled.u.connect
    assert (compiled.req_id, compiled.cmd, compiled.id, compiled.flags) == (1, 2, 3, 4)
    assert (connect.ref, connect.evtchn, bytes(connect.addr)) == (5, 6, bytes.fromhex("010000eeffc0"))
    assert (connect.addr_type, connect.psm, connect.mtu, connect.timeout_ms) == (1, 0x1001, 2048, 10_000)


def test_padding_is_packed_as_zeros_and_skipped() -> None:
    report = record("struct l2capif_response", "channel")
    packed = report.pack(1, 2, 3, -111, b"abcdef", 0, 0, 0x80, 23, 48, 2, 0, 0, 0)
    assert packed[32:] == bytes(32)
    assert report.unpack(packed[:35] + b"\xff" * 29) == report.unpack(packed)


def test_arrays_of_structures_are_flattened() -> None:
    urb = record("struct usbif_urb_request", "intr")
    segments = size_of("struct usbif_request_segment")
    assert segments == 8
    assert len(urb.unpack(bytes(urb.size))) > 3 * 16  # gref, offset, length for each of the 16 pages


def test_a_member_that_the_union_does_not_have() -> None:
    with pytest.raises(KeyError):
        record("struct l2capif_request", "nothing")


def test_the_constants_come_from_the_headers() -> None:
    assert (constants.L2CAPIF_CMD_INFO, constants.L2CAPIF_CMD_AGENT) == (0, 7)
    assert constants.USBIF_STATUS_STALL == -32
    assert (constants.USB_URB_RING_SIZE, constants.USB_CONN_RING_SIZE) == (16, 512)


def test_integers_keep_their_signs() -> None:
    assert record("struct l2capif_scan_report").unpack(bytes(7) + b"\x80" + bytes(33))[2] == -128
    with pytest.raises(struct.error):
        record("struct usbif_conn_response").pack(1 << 16, 0, 0)
