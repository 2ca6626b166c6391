"""Numbers in xenstore: of domains, devices, event channels and grants. Whatever is read there becomes one here."""

import re

#: The highest number that a domain can have: the next is DOMID_FIRST_RESERVED of Xen's public/xen.h.
LAST_DOMID = 0x7FEF
LAST_U32 = 0xFFFFFFFF

_DECIMAL = re.compile("0|[1-9][0-9]{0,9}")


def parse_u32(untrusted_text: str | None) -> int | None:
    """Reads a device's number, an event channel's, a grant's reference: 32 bits, in decimal, written in the one way.

    Returns None for anything else, and where there is no text.
    """
    if untrusted_text is None or not _DECIMAL.fullmatch(untrusted_text):
        return None
    number = int(untrusted_text)
    return number if number <= LAST_U32 else None


def parse_domid(untrusted_text: str | None) -> int | None:
    """Reads the number of a domain. Returns None for what no domain can be called, and where there is no text."""
    number = parse_u32(untrusted_text)
    return number if number is not None and number <= LAST_DOMID else None
