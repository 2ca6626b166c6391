"""Bluetooth addresses as people write them, and as HCI has them."""

import re

#: How people write one.
ADDRESS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def parse_address(text: str) -> bytes:
    """``"C0:FF:EE:00:00:01"`` as the 6 octets of HCI, least significant first. ValueError: not an address."""
    if not isinstance(text, str) or not ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is not a Bluetooth address: write it like C0:FF:EE:00:00:01")
    return bytes.fromhex(text.replace(":", ""))[::-1]


def format_address(address: bytes) -> str:
    """The 6 octets of HCI as ``"C0:FF:EE:00:00:01"``."""
    return address[::-1].hex(":").upper()
