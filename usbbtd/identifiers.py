"""Reads numbers in xenstore: those of domains, devices, event channels and grants."""

import re

#: The highest number that a domain can have: the next is DOMID_FIRST_RESERVED of Xen's public/xen.h.
LAST_DOMID = 0x7FEF
LAST_U32 = 0xFFFFFFFF

_DECIMAL = re.compile("0|[1-9][0-9]{0,9}")


def parse_u32(untrusted_text: str | None) -> int | None:
    """Reads 32 bits in decimal, without leading zeros: the number of a device or an event channel, a grant reference.

    Returns None for any other text, and for none.
    """
    if untrusted_text is None or not _DECIMAL.fullmatch(untrusted_text):
        return None
    number = int(untrusted_text)
    return number if number <= LAST_U32 else None


def parse_domid(untrusted_text: str | None) -> int | None:
    """Reads the number of a domain. Returns None for a text that is not such a number, and for none."""
    number = parse_u32(untrusted_text)
    return number if number is not None and number <= LAST_DOMID else None
