import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import format_address, parse_address
from usbbtd.guest.address import ADDRESS_TYPES, TRANSPORTS, address_type_name

# The example of l2capif.h.
TEXT, OCTETS = "C0:FF:EE:00:00:01", bytes.fromhex("010000eeffc0")


def test_the_headers_example() -> None:
    assert parse_address(TEXT) == parse_address(TEXT.lower()) == OCTETS
    assert format_address(OCTETS) == TEXT


@given(st.binary(min_size=6, max_size=6))
def test_there_and_back(address: bytes) -> None:
    assert parse_address(format_address(address)) == address


@given(st.text() | st.sampled_from(["C0:FF:EE:00:00", "C0FFEE000001", TEXT + "\n", TEXT + ":", "G" + TEXT[1:]]))
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not a Bluetooth address: write it like"):
        parse_address(text)


def test_the_numbers_are_the_headers() -> None:
    assert ADDRESS_TYPES == {
        "bredr": constants.L2CAPIF_ADDR_BREDR,
        "public": constants.L2CAPIF_ADDR_LE_PUBLIC,
        "random": constants.L2CAPIF_ADDR_LE_RANDOM,
    }
    assert TRANSPORTS == {"bredr": constants.L2CAPIF_TRANSPORT_BREDR, "le": constants.L2CAPIF_TRANSPORT_LE}


@pytest.mark.parametrize(("name", "number"), ADDRESS_TYPES.items())
def test_names_of_types(name: str, number: int) -> None:
    assert address_type_name(number) == name


def test_an_unknown_type() -> None:
    with pytest.raises(ValueError, match="3 is not a type of address"):
        address_type_name(3)
