import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.codec import Packet, packet


class Family(Packet):
    __slots__ = ()


class OtherFamily(Packet):
    __slots__ = ()


@packet(0x42, "BH3s")
class Fixed(Family):
    small: int
    large: int
    octets: bytes


@packet(0x43, "B*")
class Tailed(Family):
    small: int
    rest: bytes


@packet(0x42)
class Empty(OtherFamily):
    pass


def test_layout_is_little_endian_and_packed() -> None:
    assert Fixed(1, 0x0302, b"abc").parameters() == b"\x01\x02\x03abc"
    assert Tailed(1, b"xyz").parameters() == b"\x01xyz"
    assert Empty().parameters() == b""


@given(st.integers(0, 255), st.integers(0, 65535), st.binary(min_size=3, max_size=3))
def test_parse_undoes_pack(small: int, large: int, octets: bytes) -> None:
    fixed = Fixed(small, large, octets)
    assert Fixed.parse(fixed.parameters()) == fixed


@given(st.binary(max_size=20))
def test_any_octets_are_parsed_or_refused(octets: bytes) -> None:
    try:
        tailed, fixed = Tailed.parse(octets), Fixed.parse(octets)
    except RemoteProtocolError:
        assert len(octets) < 6
    else:
        assert tailed.parameters() == octets
        assert fixed.parameters() == octets[:6]


def test_each_family_has_its_own_codes() -> None:
    assert Family.registry == {0x42: Fixed, 0x43: Tailed}
    assert OtherFamily.registry == {0x42: Empty}


def test_packets_are_frozen_and_have_slots() -> None:
    fixed = Fixed(1, 2, b"abc")
    with pytest.raises(AttributeError):
        object.__getattribute__(fixed, "__setattr__")("small", 2)
    assert not hasattr(fixed, "__dict__")


def test_a_layout_that_does_not_fit_is_found_on_import() -> None:
    with pytest.raises(TypeError, match="Wrong"):

        @packet(0x44, "BB")
        class Wrong(Family):
            one: int
