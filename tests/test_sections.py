"""Tables as classes: what is kept, what is refused, and that every mistake has its place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from usbbtd.sections import (
    Check,
    ManyTables,
    Mistakes,
    OneTable,
    Section,
    absolute_path,
    choice,
    integer,
    key,
    number,
    text,
)


def _not_over(_: str, value: int, before: Mapping[str, Any]) -> None:
    if value > before.get("most", 0):
        raise ValueError("over the most")


class _Inner(Section):
    most: int = key(integer(0, 9), default=3)
    count: int = key(integer(0, 9), _not_over)


class _Longer(_Inner):
    name: str = key(text(str.upper), default="")


class _Whole(Section):
    inner: _Inner = key(OneTable(_Inner), default=_Inner(count=1))
    many: list[_Longer] = key(ManyTables(_Longer), default=())


def mistakes_of(content: object) -> list[tuple[str, str]]:
    with pytest.raises(Mistakes) as caught:
        _Whole.read(content)
    return [(".".join(map(str, place)), what) for place, what in caught.value.mistakes]


def test_what_is_read_is_kept() -> None:
    whole = _Whole.read({"many": [{"count": 2, "name": "x"}, {"most": 9, "count": 9}]})
    assert whole.inner == _Inner(most=3, count=1)
    assert whole.many == [_Longer(count=2, name="X"), _Longer(most=9, count=9)]
    assert whole.dump()["inner"] == {"most": 3, "count": 1}
    assert whole.many[0] != _Inner(count=2)
    assert len({whole.inner, _Inner(count=1), _Inner(count=2)}) == 2
    assert repr(whole.inner) == "_Inner(most=3, count=1)"


def test_every_mistake_has_its_place() -> None:
    assert mistakes_of({"inner": {"count": 4}, "many": [{"count": 1}, {"nam": "x"}, 7], "mny": []}) == [
        ("inner.count", "over the most"),
        ("many.1.count", "is missing"),
        ("many.1.nam", "no such key"),
        ("many.2", "should be a table"),
        ("mny", "no such key"),
    ]
    assert mistakes_of({"inner": 1, "many": {}}) == [("inner", "should be a table"), ("many", "should be a valid list")]
    with pytest.raises(ValueError, match="should be a table"):
        _Whole.read([])


def test_a_rule_does_not_see_what_is_wrong() -> None:
    assert mistakes_of({"inner": {"most": 10, "count": 1}}) == [
        ("inner.most", "should be less than or equal to 9"), ("inner.count", "over the most"),
    ]  # fmt: skip


def test_the_keys_beside_a_place() -> None:
    assert list(_Whole.keys_beside(("many", 1, "nam"))) == ["most", "count", "name"]
    assert list(_Whole.keys_beside(("mny",))) == ["inner", "many"]


def test_a_section_is_frozen_and_has_all_its_keys() -> None:
    inner = _Inner(count=1)
    with pytest.raises(AttributeError, match="frozen"):
        inner.count = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="needs count"):
        _Inner()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no cont, x"):
        _Inner(count=1, cont=2, x=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("check", "value", "what"),
    [
        (integer(1, 3), True, "should be a valid integer"),
        (integer(1, 3), 1.0, "should be a valid integer"),
        (integer(1, 3), 0, "should be greater than or equal to 1"),
        (number(0.1, 60), "1", "should be a valid number"),
        (number(0.1, 60), True, "should be a valid number"),
        (number(0.1, 60), float("nan"), "should be greater than or equal to 0.1"),
        (number(0.1, 60), 10**400, "should be less than or equal to 60"),
        (choice("a", "b", "c"), "d", "should be 'a', 'b' or 'c'"),
        (choice("a", "b"), ["a"], "should be 'a' or 'b'"),
        (text(str), 1, "should be a valid string"),
        (absolute_path, "x", "not an absolute path"),
        (absolute_path, 1, "not an absolute path"),
    ],
)
def test_checks_refuse(check: Check[object], value: object, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        check(value)


def test_checks_convert_no_more_than_they_must() -> None:
    seconds = number(0.1, 60)(1)
    assert (seconds, type(seconds)) == (1.0, float)
    assert (integer(1, 3)(3), choice("a", "b")("b"), text(str)("x")) == (3, "b", "x")
    assert absolute_path("/x") == Path("/x")
