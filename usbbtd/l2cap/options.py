"""Configuration options of BR/EDR channels (Vol 3, Part A, 5): what a peer may ask for and what we answer.

Only basic mode is spoken. The modes of option 4 that a channel may be configured to are in ``MODES``.
"""

from struct import Struct
from typing import NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.l2cap.pdu import (
    CONFIGURATION_SUCCESS,
    CONFIGURATION_UNACCEPTABLE,
    CONFIGURATION_UNKNOWN_OPTIONS,
)

MODE_BASIC = 0x00
MODES = frozenset({MODE_BASIC})

_HINT = 0x80
_MTU = 0x01
_FLUSH_TIMEOUT = 0x02
_QUALITY_OF_SERVICE = 0x03
_RETRANSMISSION_AND_FLOW_CONTROL = 0x04
_FRAME_CHECK_SEQUENCE = 0x05

_HEADER = Struct("<BB")
_U16 = Struct("<H")
_FLUSH_NEVER = 0xFFFF
# 5.3: flags, service type, token rate, token bucket, peak bandwidth, latency, delay variation
_QOS = Struct("<BBIIIII")
_SERVICE_BEST_EFFORT = 1
_SERVICE_GUARANTEED = 2
_QOS_BEST_EFFORT = _QOS.pack(0, _SERVICE_BEST_EFFORT, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF)  # "don't care" everywhere
# 5.4: mode, transmit window, max transmit, two timeouts, MPS: without meaning in basic mode
_RFC_BASIC = Struct("<BBBHHH").pack(MODE_BASIC, 0, 0, 0, 0, 0)

_LENGTHS = {
    _MTU: _U16.size,
    _FLUSH_TIMEOUT: _U16.size,
    _QUALITY_OF_SERVICE: _QOS.size,
    _RETRANSMISSION_AND_FLOW_CONTROL: len(_RFC_BASIC),
    _FRAME_CHECK_SEQUENCE: 1,
}

#: What we propose in place of a value that we cannot accept.
_ALTERNATIVES = {
    _FLUSH_TIMEOUT: _U16.pack(_FLUSH_NEVER),
    _QUALITY_OF_SERVICE: _QOS_BEST_EFFORT,
    _RETRANSMISSION_AND_FLOW_CONTROL: _RFC_BASIC,
}

#: What a response has room for in the smallest signalling MTU (48): less the headers of command and response.
_RESPONSE_ROOM = 48 - 4 - 6


class Verdict(NamedTuple):
    """Our answer to a configuration request."""

    result: int
    options: bytes
    #: The largest SDU that the peer receives; None: it said nothing.
    mtu: int | None


def parse_options(untrusted_data: bytes) -> list[tuple[int, bool, bytes]]:
    """(type, is a hint, value) of each option.

    RemoteProtocolError: an option ends beyond the data, or has a known type and a length that this type cannot have.
    """
    options = []
    offset = 0
    while offset < len(untrusted_data):
        if len(untrusted_data) - offset < _HEADER.size:
            raise RemoteProtocolError("a configuration option is cut off")
        kind, length = _HEADER.unpack_from(untrusted_data, offset)
        value = untrusted_data[offset + _HEADER.size : offset + _HEADER.size + length]
        if len(value) != length:
            raise RemoteProtocolError("a configuration option is cut off")
        hint, kind = bool(kind & _HINT), kind & ~_HINT
        if _LENGTHS.get(kind, length) != length:
            raise RemoteProtocolError(f"configuration option {kind} of {length} octets")
        options.append((kind, hint, value))
        offset += _HEADER.size + length
    return options


def judge(untrusted_data: bytes, minimum_mtu: int) -> Verdict:
    """Answer all options of a request (joined, if it came in several parts). RemoteProtocolError as ``parse_options``.

    ``minimum_mtu``: a smaller MTU is unacceptable and this one is proposed.
    """
    mtu = None
    accepted: dict[int, bytes] = {}
    unacceptable: dict[int, bytes] = {}
    unknown: dict[int, bytes] = {}
    for kind, hint, value in parse_options(untrusted_data):
        if kind == _MTU:
            (mtu,) = _U16.unpack(value)
            accepted[kind] = value
            if mtu < minimum_mtu:
                unacceptable[kind] = _U16.pack(minimum_mtu)
        elif kind in _ALTERNATIVES:
            if _is_acceptable(kind, value):
                accepted[kind] = value
            else:
                unacceptable[kind] = _ALTERNATIVES[kind]
        elif kind != _FRAME_CHECK_SEQUENCE and not hint:
            # a hint may be skipped (5), and a frame check sequence is for modes that we do not have (5.5)
            unknown[kind] = value
    if unknown:
        return Verdict(CONFIGURATION_UNKNOWN_OPTIONS, _pack(unknown), None)
    if unacceptable:
        return Verdict(CONFIGURATION_UNACCEPTABLE, _pack(unacceptable), None)
    # Some peers want back what they have asked for. Should there be no room for all of it, the longest is left out: a
    # quality of service that needs no answer, because its type is "best effort" or "no traffic".
    return Verdict(CONFIGURATION_SUCCESS, _pack(dict(sorted(accepted.items(), key=lambda option: len(option[1])))), mtu)


def mtu_option(mtu: int) -> bytes:
    """Makes the only option that our first request has."""
    return _pack({_MTU: _U16.pack(mtu)})


def counter_proposal(untrusted_data: bytes) -> tuple[int | None, bytes]:
    """Takes from a response that found our request unacceptable what the peer would accept.

    Returns the MTU, None where it says nothing of it, and the options that our next request repeats: those that we can
    promise. Raises RemoteProtocolError as ``parse_options``.
    """
    mtu = None
    repeated: dict[int, bytes] = {}
    for kind, _, value in parse_options(untrusted_data):
        if kind == _MTU:
            (mtu,) = _U16.unpack(value)
        elif kind in _ALTERNATIVES and _is_acceptable(kind, value):
            repeated[kind] = value
    return mtu, _pack(repeated)


def _is_acceptable(kind: int, value: bytes) -> bool:
    """Whether we can live with an option of ``_ALTERNATIVES``, whoever it is about."""
    if kind == _FLUSH_TIMEOUT:
        return _U16.unpack(value) != (0,)  # reserved (5.2)
    if kind == _QUALITY_OF_SERVICE:
        return bool(_QOS.unpack(value)[1] < _SERVICE_GUARANTEED)
    return value[0] in MODES


def _pack(options: dict[int, bytes]) -> bytes:
    """As many as fit into the smallest signalling MTU: the peer asks again and is told of the others then.

    An option that alone is too large is named without its value.
    """
    packed = b""
    for kind, value in options.items():
        shown = value if _HEADER.size + len(value) <= _RESPONSE_ROOM else b""
        option = _HEADER.pack(kind, len(shown)) + shown
        if len(packed) + len(option) <= _RESPONSE_ROOM:
            packed += option
    return packed
