"""Bluetooth addresses as people write them, and as l2capif.h has them."""

from __future__ import annotations

import re
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

_TEXT = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_TYPE_NAMES = {number: name for name, number in ADDRESS_TYPES.items()}


def parse_address(text: str) -> bytes:
    """``"C0:FF:EE:00:00:01"`` as the 6 octets of HCI, least significant first. ValueError: not an address."""
    if not _TEXT.fullmatch(text):
        raise ValueError(f"{text!r} is not a Bluetooth address: write it like C0:FF:EE:00:00:01")
    return bytes.fromhex(text.replace(":", ""))[::-1]


def format_address(address: bytes) -> str:
    """The 6 octets of HCI as ``"C0:FF:EE:00:00:01"``."""
    return address[::-1].hex(":").upper()


def address_type_name(number: int) -> AddressType:
    """The API's name of an L2CAPIF_ADDR_*. ValueError: there is no such type."""
    if (name := _TYPE_NAMES.get(number)) is None:
        raise ValueError(f"{number} is not a type of address")
    return name
