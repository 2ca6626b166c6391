"""Packets of two small families; and a packet beside a dataclass of the same fields."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.packets import Packet, Secret, packet


class Family(Packet):
    __slots__ = ()
    registry: ClassVar[dict[int, type[Any]]] = {}


class ExactFamily(Packet):
    __slots__ = ()
    EXACT = True
    registry: ClassVar[dict[int, type[Any]]] = {}


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
class Empty(ExactFamily):
    pass


@packet(0x43, "B*")
class ExactTailed(ExactFamily):
    small: int
    rest: bytes


@packet(0x44, "B*")
class Point(Family):
    x: int
    y: bytes


point: Any = Point


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


@given(st.binary(min_size=1, max_size=20))
def test_an_exact_family_takes_no_more_than_the_fields(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=f"^Empty is too long: {len(octets)} octets$"):
        Empty.parse(octets)
    assert ExactTailed.parse(octets).parameters() == octets


def test_what_is_missing_is_said() -> None:
    with pytest.raises(RemoteProtocolError, match=r"^Fixed is cut short: 5 octets$"):
        Fixed.parse(bytes(5))


def test_each_family_has_its_own_codes() -> None:
    assert Family.registry == {0x42: Fixed, 0x43: Tailed, 0x44: Point}
    assert ExactFamily.registry == {0x42: Empty, 0x43: ExactTailed}


def test_packets_are_frozen_and_have_slots() -> None:
    fixed = Fixed(1, 2, b"abc")
    with pytest.raises(AttributeError):
        object.__getattribute__(fixed, "__setattr__")("small", 2)
    assert not hasattr(fixed, "__dict__")


def test_a_layout_that_does_not_fit_is_found_on_import() -> None:
    with pytest.raises(TypeError, match="Wrong"):

        @packet(0x45, "BB")
        class Wrong(Family):
            one: int

    assert 0x45 not in Family.registry


def test_as_a_dataclass_of_the_same_name() -> None:
    theirs: Any = dataclass(frozen=True, slots=True)(type("Point", (), {"__annotations__": Point.__annotations__}))
    assert repr(point(1, b"a")) == repr(theirs(1, b"a"))
    assert Point.__match_args__ == theirs.__match_args__
    for made in (point, theirs):
        made_one = made(1, b"a")
        assert made_one == made(1, y=b"a") == made(y=b"a", x=1)
        assert hash(made_one) == hash(made(1, b"a"))
        assert made_one not in (made(2, b"a"), made(1, b"b"), (1, b"a"))
        assert not hasattr(made_one, "__dict__")
        with pytest.raises(AttributeError):
            made_one.x = 2
        with pytest.raises(AttributeError):
            del made_one.x
        for arguments, named in (((), {}), ((1,), {}), ((1, b"a", 2), {}), ((1,), {"z": 2}), ((1, b"a"), {"x": 1})):
            with pytest.raises(TypeError):
                made(*arguments, **named)


def test_classes_with_equal_fields_differ() -> None:
    assert Tailed(1, b"a") != ExactTailed(1, b"a")
    assert Empty() == Empty()


def test_fields_of_a_pattern_are_in_order() -> None:
    match point(1, b"a"):
        case Point(x, y):
            assert (x, y) == (1, b"a")
        case _:
            pytest.fail("no match")


def test_secrets_are_not_shown() -> None:
    @packet(0x43, "B4s")
    class Key(Secret, Family):
        number: int
        key: bytes

    key = Key(1, b"1234")
    assert (repr(key), f"{key}", repr([key])) == ("Key(...)", "Key(...)", "[Key(...)]")
    assert Key.parse(key.parameters()) == key
