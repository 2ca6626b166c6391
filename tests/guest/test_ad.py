from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.guest import ad
from usbbtd.guest.ad import check_uuid, structures, uuid_text

LONG = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
# Core specification, Vol 3, Part C, 11: flags, complete list of 16-bit UUIDs, complete local name.
EXAMPLE = bytes.fromhex("020106 03030f18 06095468696e67".replace(" ", ""))


def test_structures() -> None:
    assert structures(EXAMPLE) == {0x01: b"\x06", 0x03: b"\x0f\x18", 0x09: b"Thing"}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("", {}),
        ("00", {}),
        ("0000", {}),  # the padding of early termination
        ("0109", {9: b""}),
        ("0309ab", {}),
        ("020106 0509ab".replace(" ", ""), {1: b"\x06"}),
        ("020106020105", {1: b"\x06"}),
    ],
)
def test_malformed_structures(data: str, found: dict[int, bytes]) -> None:
    assert structures(bytes.fromhex(data)) == found


@given(st.dictionaries(st.integers(0, 255), st.binary(max_size=254)))
def test_structures_there_and_back(wanted: dict[int, bytes]) -> None:
    data = b"".join(bytes((len(value) + 1, kind)) + value for kind, value in wanted.items())
    assert structures(data) == wanted


@given(st.binary(max_size=31))
def test_any_data_have_structures(data: bytes) -> None:
    assert sum(len(value) + 2 for value in structures(data).values()) <= len(data)


@given(st.binary(max_size=300))
def test_any_data_say_something_or_nothing(data: bytes) -> None:
    ad.local_name(data), ad.appearance(data), ad.manufacturer(data)
    assert all(check_uuid(uuid) == uuid for uuid in ad.services(data))


def test_what_data_say() -> None:
    long = bytes.fromhex(LONG.replace("-", ""))[::-1]
    data = b"".join(
        bytes((len(value) + 1, kind)) + value
        for kind, value in [
            (0x01, b"\x06"), (0x03, b"\x0f\x18\x0a\x18"), (0x02, b"\x0f\x18\x0d\x18\xff"), (0x07, long),
            (0x05, b"\x01\x00\x00\x90"), (0x16, b"\xd2\xfc\x40"), (0x21, b"short"), (0x08, b"Th"), (0x09, b"Thing"),
            (0x19, b"\xc1\x03"), (0xFF, b"\x4c\x00\x02\x15"),
        ]
    )  # fmt: skip
    assert ad.services(data) == ["180f", "180a", "180d", LONG, "90000001", "fcd2"]
    assert (ad.local_name(data), ad.appearance(data), ad.manufacturer(data)) == ("Thing", 0x03C1, 0x004C)
    empty = b"\x02\x19\xc1\x02\xff\x4c"
    assert (ad.local_name(empty), ad.appearance(empty), ad.manufacturer(empty), ad.services(empty)) == (
        *(None, None, None),
        [],
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (0x180F, "180f"),
        (0x9000_0001, "90000001"),
        ("180F", "180f"),
        ("0x180f", "180f"),
        ("0000180f", "180f"),
        ("0000180F-0000-1000-8000-00805F9B34FB", "180f"),
        (LONG.upper(), LONG),
    ],
)
def test_uuids_of_a_program(given: str | int, text: str) -> None:
    assert check_uuid(given) == text


@pytest.mark.parametrize(
    "wrong", ["", "battery", "18f", LONG + "0", LONG.replace("-", ""), -1, 1 << 32, 1.0, None, True]
)
def test_what_is_no_uuid(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="is no UUID"):
        check_uuid(wrong)


def test_uuids_on_the_air_are_as_short_as_they_can_be() -> None:
    assert uuid_text(b"\x0f\x18") == "180f"
    assert uuid_text(b"\x0f\x18\x00\x00") == "180f"
    assert uuid_text(bytes.fromhex("fb349b5f80000080001000000f180000")) == "180f"
