from __future__ import annotations

import itertools

import pytest

from usbbtd.toolstack.errors import BadSpec
from usbbtd.toolstack.spec import MAX_DEVICES, Spec, number_specs, parse_devid, parse_spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("", Spec("0", None)),
        ("backend=sys-bt", Spec("sys-bt", None)),
        ("devid=3,backend=7", Spec("7", 3)),
        ("backend=sys-bt,for=minix", Spec("sys-bt", None, stands_for="minix")),
        (" backend = sys bt , devid=0,", Spec("sys bt", 0)),
        ("tags= input  headset input", Spec("0", None, "headset input")),
    ],
)
def test_specs(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "character", "said"),
    [
        ("sys-bt", 1, "'sys-bt' is not of the form KEY=VALUE"),
        ("backend=sys-bt, psm=1", 17, "there is no key 'psm', only backend, devid, for and tags"),
        ("=3", 1, "there is no key '', only backend, devid, for and tags"),
        ("devid=1,backend=", 9, "backend has no value"),
        ("devid=1,devid=1", 9, "devid is given twice"),
        ("tags=a,tags=b", 8, "tags is given twice"),
        ("tags=a/b", 1, "'a/b' is no tag: up to 64 letters, digits, and . _ -"),
        ("tags=" + "a " * 33, 1, "33 tags, and 32 are the most"),
        ("devid=-1", 1, "devid is a number from 0 to 9999, not '-1'"),
        ("devid=10000", 1, "devid is a number from 0 to 9999, not '10000'"),
        ("devid=٣", 1, "devid is a number from 0 to 9999, not '٣'"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, character: int, said: str) -> None:
    with pytest.raises(BadSpec) as error:
        parse_spec(text)
    assert str(error.value) == f"{text!r}, character {character}: {said}"


def test_devids() -> None:
    assert parse_devid("0") == 0
    with pytest.raises(BadSpec, match="'x' is no number from 0 to 9999"):
        parse_devid("x")


def test_numbers_that_are_left_open_are_the_lowest_that_nobody_names() -> None:
    a, b, c, d = Spec("a"), Spec("b", 0), Spec("c", 2), Spec("d")
    assert number_specs([a, b, c, d]) == {0: b, 1: a, 2: c, 3: d}
    with pytest.raises(BadSpec, match="two devices have devid=2"):
        number_specs([c, c])


def test_a_domain_has_so_many_devices_and_no_more() -> None:
    assert len(number_specs([Spec()] * MAX_DEVICES)) == MAX_DEVICES
    with pytest.raises(BadSpec, match="a domain has 64 devices at most"):
        number_specs(itertools.repeat(Spec()))
