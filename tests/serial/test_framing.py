"""Frames on the line, by the standard's own numbers and from any octets."""

from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from usbbtd.serial.framing import Deframer, decode, encode

CONTENTS = st.binary(min_size=6, max_size=246)


def test_the_fcs_is_that_of_iso_hdlc() -> None:
    assert crc32(b"123456789") == 0xCBF43926
    assert encode(b"123456789") == b"\x7e123456789" + bytes.fromhex("26 39 f4 cb") + b"\x7e"


@given(
    contents=st.lists(CONTENTS), cuts=st.lists(st.integers(1, 50)), between=st.sampled_from([b"", b"\x11\x13", b"log"])
)
def test_frames_come_whole_in_any_pieces(contents: list[bytes], cuts: list[int], between: bytes) -> None:
    octets = b"".join(encode(content) + between for content in contents)
    deframer, found = Deframer(), list[bytes]()
    for cut in cuts:
        found += deframer.receive(octets[:cut])
        octets = octets[cut:]
    found += deframer.receive(octets + b"\x7e")
    assert found == contents


@given(content=CONTENTS)
def test_only_flags_are_flags(content: bytes) -> None:
    octets = encode(content)
    assert not {0x7E, 0x11, 0x13} & set(octets[1:-1])
    assert decode(octets[1:-1]) == content


@given(octets=st.binary(max_size=3000), content=CONTENTS)
def test_after_anything_it_is_in_step_again(octets: bytes, content: bytes) -> None:
    deframer = Deframer()
    before = deframer.receive(octets)
    assert all(6 <= len(each) <= 246 for each in before)
    assert deframer.receive(b"\x7e" + encode(content))[-1:] == [content]


def test_what_never_ends_is_not_kept() -> None:
    deframer = Deframer()
    for _ in range(1000):
        assert deframer.receive(b"\x00" * 1000) == []
    assert len(deframer._pending) <= 1000
    assert deframer.receive(b"\x7e" + encode(b"123456")) == [b"123456"]
    assert deframer.dropped == 1


def test_what_is_no_frame_is_dropped_and_counted() -> None:
    deframer = Deframer()
    long = b"x" * 247
    for bad in (
        b"\x7d",
        b"ab\x7d\x7d\x5ecd",
        b"short",
        long + crc32(long).to_bytes(4, "little"),
        encode(b"abcdef")[2:-1],
    ):
        assert deframer.receive(b"\x7e" + bad + b"\x7e") == []
    assert deframer.dropped == 5
