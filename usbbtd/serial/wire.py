"""Packs and unpacks what is in frames: docs/serial.md. Its numbers are those of ``vl2cap_serial.h``, too."""

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

VERSION: Final = 1
WINDOW: Final = 4
HEADER_SIZE: Final = 6
MAX_PAYLOAD: Final = 240
MAX_CREDITS: Final = 255
LAST_SESSION: Final = 0xFFFF
#: Is set in the kinds of frames from the bridge.
FROM_BRIDGE: Final = 0x80
FIRST_NUMBERED: Final = 0x10
MAX_AD_SIZE: Final = 31
MAX_ECHO_SIZE: Final = 36

CONNECT_FIXED: Final = 0x01
SCAN_ACTIVE: Final = 0x01
SCAN_DUPLICATES: Final = 0x02
ADVERTISE_CONNECTABLE: Final = 0x01
FEATURE_BREDR: Final = 0x01
FEATURE_LE: Final = 0x02
FEATURE_SCAN: Final = 0x04
FEATURE_ADVERTISE: Final = 0x08
FEATURE_AGENT: Final = 0x10
FEATURE_ECHO: Final = 0x20


class FrameKind(IntEnum):
    """The kinds of frames, without FROM_BRIDGE."""

    OPEN = 0x01
    OPENED = 0x02
    CLOSED = 0x03
    ACK = 0x04
    REPEAT = 0x05
    NOTHING = 0x10
    REQUEST = 0x11
    RESPONSE = 0x12
    MORE = 0x13
    LAST = 0x14
    CREDIT = 0x15
    END = 0x16


class SerialCommand(IntEnum):
    """The commands of requests, as in l2capif.h."""

    INFO = 0
    CONNECT = 1
    LISTEN = 2
    ACCEPT = 3
    RELEASE = 4
    SCAN = 5
    ADVERTISE = 6
    ECHO = 8


class SerialFrame(NamedTuple):
    """A frame's content. ``kind``: without FROM_BRIDGE."""

    kind: int
    session: int
    seq: int = 0
    ack: int = 0
    id: int = 0
    payload: bytes = b""


class SerialInfo(NamedTuple):
    """The body of the response to INFO."""

    address: bytes
    address_type: int
    powered: int
    features: int
    max_channels: int
    channels: int
    max_mtu: int
    le_address: bytes
    le_address_type: int


class SerialChannelFacts(NamedTuple):
    """The body of the responses to CONNECT and ACCEPT; after an error, ``result`` to ``needed`` may say more."""

    address: bytes = bytes(6)
    address_type: int = 0
    security: int = 0
    psm: int = 0
    tx_mtu: int = 0
    rx_mtu: int = 0
    result: int = 0
    status: int = 0
    why: int = 0
    needed: int = 0
    credits: int = 0


_HEADER: Final = Struct("<BHBBB")
_INFO: Final = Struct("<6sBBIHHH6sB")
_CHANNEL: Final = Struct("<6sBBHHHHBBBB")
_ECHO_RESPONSE: Final = Struct("<HBx")
_RESPONSE: Final = Struct("<BxH")  # the error is signed, and packed modulo 2^16
_OPEN: Final = Struct("<IB")

#: The bodies of requests, or what they begin with.
CONNECT: Final = Struct("<6sBBHHIB")
LISTEN: Final = Struct("<HHBBB")
ACCEPT: Final = Struct("<BB")
SCAN: Final = Struct("<BBH")
ADVERTISE: Final = Struct("<HBB")
ECHO: Final = Struct("<6sBBI")


def pack_frame(frame: SerialFrame, direction: int = FROM_BRIDGE) -> bytes:
    """Returns the content of a frame. ``direction``: FROM_BRIDGE, or 0 from the client."""
    kind, session, seq, ack, number, payload = frame
    return _HEADER.pack(kind | direction, session, seq, ack, number) + payload


def unpack_frame(untrusted: bytes, direction: int = 0) -> SerialFrame | None:
    """Returns the frame in a content that has at least a header; None if it does not come from that direction."""
    kind, session, seq, ack, number = _HEADER.unpack_from(untrusted)
    if kind & FROM_BRIDGE != direction:
        return None
    return SerialFrame(kind & ~FROM_BRIDGE, session, seq, ack, number, untrusted[HEADER_SIZE:])


def pack_open(cookie: int, version: int) -> bytes:
    """Returns the payload of OPEN or OPENED."""
    return _OPEN.pack(cookie, version)


def unpack_open(untrusted: bytes) -> tuple[int, int] | None:
    """Returns (cookie, version) of OPEN or OPENED; None if it is malformed."""
    if len(untrusted) != _OPEN.size:
        return None
    cookie, version = _OPEN.unpack(untrusted)
    return cookie, version


def pack_response(command: int, ret: int, body: bytes = b"") -> bytes:
    """Returns the payload of a RESPONSE. ``ret``: 0 or a negative error number."""
    return _RESPONSE.pack(command, ret & 0xFFFF) + body


def pack_info(info: SerialInfo) -> bytes:
    """Returns the body of the response to INFO."""
    return _INFO.pack(*info)


def pack_channel(facts: SerialChannelFacts) -> bytes:
    """Returns the body of the response to CONNECT or ACCEPT."""
    return _CHANNEL.pack(*facts)


def pack_echo(length: int, status: int, data: bytes) -> bytes:
    """Returns the body of the response to ECHO. ``data``: its first 36 octets are sent."""
    return _ECHO_RESPONSE.pack(length, status) + data[:MAX_ECHO_SIZE]


def pack_end(error: int) -> bytes:
    """Returns the payload of END. ``error``: a negative error number."""
    return (error & 0xFFFF).to_bytes(2, "little")
