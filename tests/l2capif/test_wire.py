"""wire.py against bytes laid out by hand from l2capif.h."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.l2capif import wire

ADDRESS = bytes.fromhex("010000eeffc0")
U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
HEADER = (U32, U32, U32, U32)
ADDRESSES = st.binary(min_size=6, max_size=6)

MESSAGES = st.one_of(
    st.builds(wire.PlainRequest, *HEADER, st.binary(min_size=48, max_size=48)),
    st.builds(wire.ConnectRequest, *HEADER, U32, U32, ADDRESSES, U8, U8, U16, U16, U32),
    st.builds(wire.ListenRequest, *HEADER, U16, U16, U16, U8, U8),
    st.builds(wire.AcceptRequest, *HEADER, U32, U32, U32),
    st.builds(wire.ScanRequest, *HEADER, U32, U32, U8),
    st.builds(wire.AdvertiseRequest, *HEADER, U16, U8, st.binary(min_size=31, max_size=31)),
    st.builds(wire.EchoRequest, *HEADER, ADDRESSES, U8, U8, U32, st.binary(min_size=36, max_size=36)),
    st.builds(wire.EchoResponse, U32, U32, U32, st.integers(-4095, 0), U16, U8, st.binary(min_size=36, max_size=36)),
    st.builds(
        wire.InfoResponse,
        U32,
        U32,
        U32,
        st.integers(-4095, 0),
        ADDRESSES,
        U8,
        U8,
        U32,
        U32,
        U32,
        U16,
        ADDRESSES,
        U32,
        U8,
    ),
    st.builds(wire.InfoRequest, *HEADER, U32),
    st.builds(wire.AdvertiseExtendedRequest, *HEADER, U32, U16, U16, U16),
    st.builds(wire.AgentRequest, *HEADER, U32, U32, U8),
    st.builds(wire.PairRequest, *HEADER, ADDRESSES, U8, U8, U32, st.binary(min_size=32, max_size=32)),
    st.builds(wire.PairResponse, U32, U32, U32, st.integers(-4095, 0), U8, U8, U8, U8, U8, U8),
    st.builds(
        wire.ChannelResponse, U32, U32, U32, st.integers(-4095, 0), ADDRESSES, U8, U8, U16, U16, U16, U16, U8, U8, U8
    ),
)


def test_sizes() -> None:
    assert (wire.REQUEST_SIZE, wire.RESPONSE_SIZE) == (64, 64)


@pytest.mark.parametrize(
    ("message", "packed"),
    [
        (
            wire.ConnectRequest(1, 1, 2, 0, 8, 9, ADDRESS, 2, 0, 0x81, 512, 5000),
            struct.pack("<4I2I6sBBHHI24x", 1, 1, 2, 0, 8, 9, ADDRESS, 2, 0, 0x81, 512, 5000),
        ),
        (
            wire.ListenRequest(1, 2, 2, 0, 0x1001, 48, 4, 0, 0),
            struct.pack("<4IHHHBB40x", 1, 2, 2, 0, 0x1001, 48, 4, 0, 0),
        ),
        (wire.AcceptRequest(1, 3, 5, 0, 8, 9, 2), struct.pack("<4I3I36x", 1, 3, 5, 0, 8, 9, 2)),
        (wire.InfoRequest(1, 0, 0, 1, 7), struct.pack("<4II44x", 1, 0, 0, 1, 7)),
        (wire.PlainRequest(1, 4, 2), struct.pack("<4I48x", 1, 4, 2, 0)),
        (wire.ScanRequest(1, 5, 2, 3, 8, 9, 1), struct.pack("<4I2IB39x", 1, 5, 2, 3, 8, 9, 1)),
        (wire.AdvertiseRequest(1, 6, 2, 1, 100, 3, b"abc"), struct.pack("<4IHB31s14x", 1, 6, 2, 1, 100, 3, b"abc")),
        (
            wire.EchoRequest(1, 8, 0, 0, ADDRESS, 0, 4, 5000, b"ping"),
            struct.pack("<4I6sBBI36s", 1, 8, 0, 0, ADDRESS, 0, 4, 5000, b"ping"),
        ),
        (
            wire.AdvertiseExtendedRequest(1, 6, 2, 3, 8, 100, 1650, 31),
            struct.pack("<4IIHHH38x", 1, 6, 2, 3, 8, 100, 1650, 31),
        ),
        (wire.AgentRequest(1, 7, 2, 0, 8, 9, 4), struct.pack("<4I2IB39x", 1, 7, 2, 0, 8, 9, 4)),
        (
            wire.PairRequest(1, 9, 2, 1, ADDRESS, 2, 4, 5000, b"oob"),
            struct.pack("<4I6sBBI32s4x", 1, 9, 2, 1, ADDRESS, 2, 4, 5000, b"oob"),
        ),
        (wire.PairResponse(1, 9, 2, 0, 4, 16, 1, 0, 0, 0), struct.pack("<3Ii6B42x", 1, 9, 2, 0, 4, 16, 1, 0, 0, 0)),
        (wire.EchoResponse(1, 8, 0, 0, 40, 8, b"pong"), struct.pack("<3IiHB9x36s", 1, 8, 0, 0, 40, 8, b"pong")),
        (
            wire.InfoResponse(1, 0, 0, 0, ADDRESS, 0, 1, 15, 64, 2, 65532, ADDRESS, 7, 2),
            struct.pack("<3Ii6sBBIIIH6sIB15x", 1, 0, 0, 0, ADDRESS, 0, 1, 15, 64, 2, 65532, ADDRESS, 7, 2),
        ),
        (
            wire.ChannelResponse(1, 1, 2, -111, ADDRESS, 2, 1, 0x81, 0, 0, 4, 0, 7, 3),
            struct.pack("<3Ii6sBBHHHHBBB29x", 1, 1, 2, -111, ADDRESS, 2, 1, 0x81, 0, 0, 4, 0, 7, 3),
        ),
    ],
)
def test_layouts(message: wire.Request | wire.Response, packed: bytes) -> None:
    assert wire.pack(message) == packed


@given(MESSAGES)
def test_what_is_packed_is_unpacked(message: wire.Request | wire.Response) -> None:
    packed = wire.pack(message)
    assert len(packed) == 64
    assert wire.unpack(type(message), packed) == message


@given(st.binary(min_size=64, max_size=64))
def test_any_64_octets_are_unpacked(octets: bytes) -> None:
    for message_type in (
        wire.ConnectRequest,
        wire.ListenRequest,
        wire.EchoRequest,
        wire.PairRequest,
        wire.ChannelResponse,
        wire.EchoResponse,
    ):
        assert len(wire.pack(wire.unpack(message_type, octets))) == 64


def test_padding_shows() -> None:
    packed = bytearray(wire.pack(wire.AcceptRequest(1, 3, 5, 0, 8, 9, 2)))
    packed[-1] = 1
    assert wire.pack(wire.unpack(wire.AcceptRequest, bytes(packed))) != packed


def test_rings() -> None:
    assert [wire.largest_message(order) for order in (1, 5, 6)] == [4092, 65532, 131068]
