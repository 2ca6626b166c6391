"""Beside a dataclass of the same fields."""

from dataclasses import dataclass
from typing import Any

import pytest

from usbbtd.frozen import Frozen, frozen


@frozen
class Point(Frozen):
    x: int
    y: bytes


@frozen
class Other(Frozen):
    x: int
    y: bytes


@frozen
class Empty(Frozen):
    pass


point: Any = Point


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
    assert Point(1, b"a") != Other(1, b"a")
    assert Empty() == Empty()


def test_fields_of_a_pattern_are_in_order() -> None:
    match point(1, b"a"):
        case Point(x, y):
            assert (x, y) == (1, b"a")
        case _:
            pytest.fail("no match")
