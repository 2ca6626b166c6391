"""The names of address types and transports in this API, and their numbers in l2capif.h."""

from __future__ import annotations

from typing import Literal

from usbbtd.abi.layout import constants

AddressType = Literal["bredr", "public", "random"]
Transport = Literal["bredr", "le"]

#: l2capif.h's numbers by the names of this API.
ADDRESS_TYPES: dict[AddressType, int] = {
    "bredr": constants.L2CAPIF_ADDR_BREDR,
    "public": constants.L2CAPIF_ADDR_LE_PUBLIC,
    "random": constants.L2CAPIF_ADDR_LE_RANDOM,
}
TRANSPORTS: dict[Transport, int] = {"bredr": constants.L2CAPIF_TRANSPORT_BREDR, "le": constants.L2CAPIF_TRANSPORT_LE}

_TYPE_NAMES = {number: name for name, number in ADDRESS_TYPES.items()}


def address_type_name(number: int) -> AddressType:
    """Returns the API's name of an L2CAPIF_ADDR_*. Raises ValueError if there is no such type."""
    if (name := _TYPE_NAMES.get(number)) is None:
        raise ValueError(f"{number} is not a type of address")
    return name
