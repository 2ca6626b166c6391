"""What is no number of a domain or device is None, whatever wrote it; what is one goes through C unchanged."""

import pytest

from usbbtd.identifiers import LAST_DOMID, LAST_U32, parse_domid, parse_u32

NONE = (None, "", "x", "-1", "+1", " 1", "1\n", "1\0", "01", "00", "0x1", "1_0", "٣", str(2**32), "9" * 10, "9" * 5000)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number(text: str | None) -> None:
    assert parse_u32(text) is None
    assert parse_domid(text) is None


@pytest.mark.parametrize("number", [0, 1, 10, LAST_DOMID])
def test_domains(number: int) -> None:
    assert parse_domid(str(number)) == parse_u32(str(number)) == number


@pytest.mark.parametrize("number", [0x7FF0, 0xFFFF, 0x10000, LAST_U32])  # DOMID_SELF; what 16 bits make 0 of
def test_devices_may_have_higher_numbers_than_domains(number: int) -> None:
    assert parse_domid(str(number)) is None
    assert parse_u32(str(number)) == number
