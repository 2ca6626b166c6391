"""No key leaves by a capture; everything else does."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.control.capture import Captures
from usbbtd.control.masking import KeyMask
from usbbtd.dongles.tap import ACL_DATA, COMMAND, EVENT, Tap
from usbbtd.hci.wire import commands, events
from usbbtd.packets import Packet, Secret

KEY = bytes(range(0xA0, 0xB0))
ADDRESS = bytes.fromhex("110000eeffc0")
HANDLE = 0x0EAB


def acl(payload: bytes, cid: int = 6, flags: int = 2) -> bytes:
    pdu = len(payload).to_bytes(2, "little") + cid.to_bytes(2, "little") + payload
    return fragment(pdu, flags)


def fragment(octets: bytes, flags: int = 1) -> bytes:
    return (HANDLE | flags << 12).to_bytes(2, "little") + len(octets).to_bytes(2, "little") + octets


def masked(packet_type: int, *packets: bytes) -> list[bytes]:
    mask = KeyMask()
    return [mask.mask(True, packet_type, packet) for packet in packets]


def secrets(family: type[Packet]) -> list[type[Packet]]:
    kinds: list[type[Packet]] = list(family.registry.values())
    return [kind for kind in kinds if Secret in kind.__mro__]


def filled(kind: type[Packet]) -> bytes:
    """The parameters, with 0xA5 in each octet."""
    return b"\xa5" * kind.LAYOUT.size


@pytest.mark.parametrize("kind", secrets(commands.HciCommand), ids=lambda kind: kind.__name__)
def test_every_command_that_the_host_calls_secret_is_masked(kind: type[Packet]) -> None:
    packet = kind.CODE.to_bytes(2, "little") + bytes([kind.LAYOUT.size]) + filled(kind)
    (shown,) = masked(COMMAND, packet)
    named = packet[:5]  # and the handle, or the beginning of the address
    assert (shown[:5], len(shown)) == (named, len(packet))
    assert shown.endswith(bytes(4))


@pytest.mark.parametrize("kind", secrets(events.HciEvent), ids=lambda kind: kind.__name__)
def test_every_event_that_the_host_calls_secret_is_masked(kind: type[Packet]) -> None:
    packet = bytes([kind.CODE, kind.LAYOUT.size]) + filled(kind)
    (shown,) = masked(EVENT, packet)
    assert shown[:8] == packet[:8]
    assert shown[8:12] == bytes(4)
    assert len(shown) == len(packet)


@pytest.mark.parametrize(
    ("packet_type", "packet", "kept"),
    [
        (COMMAND, bytes.fromhex("0b0416") + ADDRESS + KEY, 9),
        (COMMAND, bytes.fromhex("0d0417") + ADDRESS + b"\x04" + KEY, 9),
        (COMMAND, bytes.fromhex("19201c") + bytes.fromhex("ab0e0102030405060708aabb") + KEY, 15),
        (COMMAND, bytes.fromhex("1a2012ab0e") + KEY, 5),
        (COMMAND, bytes.fromhex("272027") + b"\1" + ADDRESS + KEY + KEY, 10),
        (COMMAND, bytes.fromhex("110c17") + b"\1" + ADDRESS + KEY, 4),
        (COMMAND, bytes.fromhex("172020") + KEY + KEY, 3),
        (EVENT, bytes.fromhex("1517") + b"\1" + ADDRESS + KEY, 3),
        (EVENT, bytes.fromhex("3b0a") + ADDRESS + KEY[:4], 8),
        (EVENT, bytes.fromhex("0e2401570c00") + KEY + KEY, 6),
        (EVENT, bytes.fromhex("3e220900") + KEY + KEY, 4),
        (ACL_DATA, acl(b"\6" + KEY), 9),
        (ACL_DATA, acl(b"\x08" + KEY), 9),
        (ACL_DATA, acl(b"\x0a" + KEY, flags=0), 9),
        (ACL_DATA, acl(b"\6" + KEY, cid=7), 9),
    ],
)
def test_what_is_before_a_key_stays(packet_type: int, packet: bytes, kept: int) -> None:
    (shown,) = masked(packet_type, packet)
    assert shown == packet[:kept] + bytes(len(packet) - kept)


def test_the_type_of_a_link_key_stays() -> None:
    packet = bytes.fromhex("1817") + ADDRESS + KEY + b"\5"
    assert masked(EVENT, packet) == [packet[:8] + bytes(16) + b"\5"]


@pytest.mark.parametrize(
    ("packet_type", "packet"),
    [
        (COMMAND, bytes.fromhex("030c00")),
        (COMMAND, bytes.fromhex("0c0406") + ADDRESS),
        (EVENT, bytes.fromhex("330a") + ADDRESS + bytes.fromhex("eb840600")),  # a number that both sides show
        (EVENT, bytes.fromhex("0e0401030c00")),
        (EVENT, bytes.fromhex("3e0d05ab0e") + bytes(10)),
        (ACL_DATA, acl(b"\x0c" + KEY * 4)),  # a public key
        (ACL_DATA, acl(b"\x07" + KEY[:10])),
        (ACL_DATA, acl(b"\6" + KEY, cid=0x40)),
    ],
)
def test_all_else_is_shown(packet_type: int, packet: bytes) -> None:
    assert masked(packet_type, packet) == [packet]


@given(st.lists(st.integers(0, 21), max_size=4), st.sampled_from([6, 8, 10]))
def test_a_key_in_several_packets_is_masked(cuts: list[int], code: int) -> None:
    pdu = acl(bytes([code]) + KEY)[4:]
    ends = [0, *sorted(cuts), len(pdu)]
    pieces = [pdu[start:end] for start, end in itertools.pairwise(ends)]
    packets = [fragment(piece, 1 if number else 2) for number, piece in enumerate(pieces)]
    shown = b"".join(packet[4:] for packet in masked(ACL_DATA, *packets))
    assert len(shown) == len(pdu)
    assert not set(shown) & set(KEY)


def test_other_directions_and_links_are_their_own() -> None:
    mask = KeyMask()
    public_key = acl(b"\x0c" + KEY)
    assert mask.mask(True, ACL_DATA, public_key) == public_key
    assert mask.mask(True, ACL_DATA, fragment(KEY)) == fragment(KEY)
    assert mask.mask(False, ACL_DATA, fragment(KEY)) == fragment(bytes(16))  # its beginning was not seen


@given(st.sampled_from([COMMAND, EVENT, ACL_DATA]), st.binary(max_size=300))
def test_lengths_stay(packet_type: int, packet: bytes) -> None:
    (shown,) = masked(packet_type, packet)
    assert len(shown) == len(packet)


async def test_captures_have_no_keys_whenever_they_begin() -> None:
    taps: list[Tap | None] = []
    captures = Captures(taps.append)
    with captures.open(None, payload=True) as first:
        assert taps[-1] is not None
        taps[-1](True, ACL_DATA, [acl(b"\6")])
        with captures.open(None, payload=True) as second:
            taps[-1](True, ACL_DATA, [fragment(KEY)])
            for capture in (first, second):
                assert KEY not in (await capture.take())[0]
    with captures.open(None, payload=True) as third:
        assert taps[-1] is not None
        taps[-1](True, ACL_DATA, [fragment(KEY)])
        assert KEY not in (await third.take())[0]
