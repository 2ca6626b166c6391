"""Configuration options of BR/EDR channels (Vol 3, Part A, 5): judges a peer's, and makes ours.

Only basic mode is supported: MODES are the modes that option 4 may choose.
"""

from struct import Struct
from typing import NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.l2cap.wire import (
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

#: The values that we propose in place of those that we cannot accept.
_ALTERNATIVES = {
    _FLUSH_TIMEOUT: _U16.pack(_FLUSH_NEVER),
    _QUALITY_OF_SERVICE: _QOS_BEST_EFFORT,
    _RETRANSMISSION_AND_FLOW_CONTROL: _RFC_BASIC,
}

#: The octets of options that fit into a response of the smallest signalling MTU (48), behind two headers.
_RESPONSE_ROOM = 48 - 4 - 6


class Verdict(NamedTuple):
    """Our answer to a configuration request."""

    result: int
    options: bytes
    #: The length of the longest SDU that the peer receives; None if the request does not say.
    mtu: int | None


def parse_options(untrusted_data: bytes) -> list[tuple[int, bool, bytes]]:
    """Returns (type, whether it is a hint, value) of each option.

    Raises RemoteProtocolError if an option ends beyond the data, or has a length that its type cannot have.
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
    """Returns our answer to all options of a request, joined if it came in several parts.

    ``minimum_mtu``: the one that is proposed if the peer's MTU is smaller. Raises RemoteProtocolError as
    ``parse_options``.
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
    # Some peers want their options repeated. If there is no room for all, the longest is left out: a quality of
    # service, which needs no answer as its type is "best effort" or "no traffic".
    return Verdict(CONFIGURATION_SUCCESS, _pack(dict(sorted(accepted.items(), key=lambda option: len(option[1])))), mtu)


def mtu_option(mtu: int) -> bytes:
    """Returns the MTU option, the only one in our first request."""
    return _pack({_MTU: _U16.pack(mtu)})


def counter_proposal(untrusted_data: bytes) -> tuple[int | None, bytes]:
    """Reads the peer's proposal out of a response that found our request unacceptable.

    Returns (the MTU or None, the options to repeat in our next request: those that we can promise). Raises
    RemoteProtocolError as ``parse_options``.
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
    """Tells whether we can accept, or promise, an option of ``_ALTERNATIVES``."""
    if kind == _FLUSH_TIMEOUT:
        return _U16.unpack(value) != (0,)  # reserved (5.2)
    if kind == _QUALITY_OF_SERVICE:
        return bool(_QOS.unpack(value)[1] < _SERVICE_GUARANTEED)
    return value[0] in MODES


def _pack(options: dict[int, bytes]) -> bytes:
    """Packs as many options as fit into the smallest signalling MTU; the peer asks again, and is told of the others.

    An option that is too long by itself is packed without its value.
    """
    packed = b""
    for kind, value in options.items():
        shown = value if _HEADER.size + len(value) <= _RESPONSE_ROOM else b""
        option = _HEADER.pack(kind, len(shown)) + shown
        if len(packed) + len(option) <= _RESPONSE_ROOM:
            packed += option
    return packed
