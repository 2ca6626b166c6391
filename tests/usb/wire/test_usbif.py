"""Vectors: laid out by hand from the byte diagrams in xen/include/public/io/usbif.h."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.usb.wire import usbif


def test_a_control_request_as_the_header_draws_it() -> None:
    pipe = usbif.pack_pipe(3, 5, 0x80, usbif.CONTROL)
    request = usbif.pack_request(0x0102, pipe, 18, bytes.fromhex("8006000100001200"), [(0x11223344, 16, 18)])
    assert request[:28].hex(" ", 4) == (
        "02010100"  # id, one segment
        " 83050080"  # port 3, IN, device 5, endpoint 0, control
        " 00001200"  # no flags, 18 bytes
        " 80060001 00001200"  # setup
        " 44332211 10001200"  # segment
    )
    assert request[28:] == bytes(120)


def test_an_unlink_request_as_the_header_draws_it() -> None:
    pipe = usbif.pack_pipe(1, 1, 0x81, usbif.INTERRUPT)
    assert usbif.pack_unlink(7, pipe, 3) == bytes.fromhex("07000000 a1810040 00000000 0300") + bytes(148 - 14)


def test_responses_as_the_header_draws_them() -> None:
    assert usbif.pack_response(7, usbif.STALL, 9).hex(" ", 4) == "07000000 e0ffffff 09000000 00000000"
    assert usbif.pack_conn_response(511, 31, usbif.SPEED_HIGH).hex() == "ff011f03"
    assert usbif.pack_conn_request(0x0201).hex() == "0102"


def test_the_rings_have_the_sizes_of_the_header() -> None:
    assert (usbif.URB_REQUEST_SIZE, usbif.URB_RESPONSE_SIZE, usbif.URB_SLOTS) == (148, 16, 16)
    assert (usbif.CONN_REQUEST_SIZE, usbif.CONN_RESPONSE_SIZE, usbif.CONN_SLOTS) == (2, 4, 512)


ports = st.integers(1, 31)
addresses = st.integers(0, 127)
endpoints = st.builds(lambda number, inward: number | inward, st.integers(0, 15), st.sampled_from([0, usbif.IN]))
kinds = st.sampled_from([usbif.INTERRUPT, usbif.CONTROL, usbif.BULK])
segments = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), max_size=16)


@given(ports, addresses, endpoints, kinds)
def test_a_pipe_comes_back(port: int, address: int, endpoint: int, kind: int) -> None:
    assert usbif.unpack_pipe(usbif.pack_pipe(port, address, endpoint, kind)) == (port, address, endpoint, kind)


@given(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1), st.integers(1, usbif.PAGE_SIZE), st.integers(0, 2**32 - 1))
def test_a_request_for_one_page_is_the_same_in_one_step(urb_id: Any, pipe: Any, length: Any, ref: int) -> None:
    whole = usbif.pack_request(urb_id, pipe, length, usbif.NO_SETUP, [(ref, 0, length)])
    assert usbif.pack_page_request(urb_id, pipe, length, usbif.NO_SETUP, ref) == whole


@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 2**32 - 1),
    st.integers(0, 0xFFFF),
    st.binary(min_size=8, max_size=8),
    segments,
)
def test_a_request_comes_back(
    urb_id: int, pipe: int, length: int, setup: bytes, pieces: list[tuple[int, int, int]]
) -> None:
    head, unpacked = usbif.unpack_request(usbif.pack_request(urb_id, pipe, length, setup, pieces))
    assert head == (urb_id, len(pieces), pipe, 0, length, setup)
    assert unpacked == pieces


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_the_peers_fault(untrusted: bytes) -> None:
    try:
        head, pieces = usbif.unpack_request(untrusted)
    except RemoteProtocolError:
        assert len(untrusted) != usbif.URB_REQUEST_SIZE
    else:
        assert len(pieces) == min(head[1], usbif.MAX_SEGMENTS)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_an_unlink_names_its_target(urb_id: int, target: int) -> None:
    head, _ = usbif.unpack_request(usbif.pack_unlink(urb_id, 1, target))
    assert (head[0], usbif.unlink_id(head[5])) == (urb_id, target)


@pytest.mark.parametrize(("status", "text"), [(0, "ok (0)"), (-32, "stall (-32)"), (-5, "error (-5)")])
def test_a_status_in_words(status: int, text: str) -> None:
    assert usbif.describe_status(status) == text
