"""Reads AD structures: what advertisements, scan responses and Extended Inquiry Responses consist of.

Vol 3, Part C, 11; the types are those of Assigned Numbers, 2.3. What comes is a stranger's: a malformed structure, and
all that follows it, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_NAMES: Final = (0x09, 0x08)  # complete, shortened
_SERVICE_LISTS: Final = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}  # octets of each UUID, by type
_SERVICE_DATA: Final = {0x16: 2, 0x20: 4, 0x21: 16}  # octets of the UUID that the data begin with
_APPEARANCE: Final = 0x19
_MANUFACTURER: Final = 0xFF
_BASE: Final = "-0000-1000-8000-00805f9b34fb"  # Vol 3, Part B, 2.5.1
_UUID: Final = re.compile(r"(?:[0-9a-f]{4}|[0-9a-f]{8}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


def each_structure(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (type, value) of each structure, in order."""
    while len(data) >= 2 and 0 < data[0] < len(data):
        yield data[1], data[2 : 1 + data[0]]
        data = data[1 + data[0] :]


def structures(data: bytes) -> dict[int, bytes]:
    """Returns the values by type: the first of each."""
    found: dict[int, bytes] = {}
    for kind, value in each_structure(data):
        found.setdefault(kind, value)
    return found


def local_name(data: bytes) -> str | None:
    """Returns the local name, the complete one if there is; None if there is none."""
    found = structures(data)
    return next((found[kind].decode(errors="replace") for kind in _NAMES if kind in found), None)


def services(data: bytes) -> list[str]:
    """Returns the UUIDs of the services that are listed, or have data: see ``uuid_text``."""
    found: dict[str, None] = {}
    for kind, value in each_structure(data):
        if size := _SERVICE_LISTS.get(kind):
            for start in range(0, len(value) - size + 1, size):
                found[uuid_text(value[start : start + size])] = None
        elif (size := _SERVICE_DATA.get(kind)) and len(value) >= size:
            found[uuid_text(value[:size])] = None
    return list(found)


def appearance(data: bytes) -> int | None:
    """Returns the appearance (Assigned Numbers, 2.6), None if there is none."""
    value = structures(data).get(_APPEARANCE, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def manufacturer(data: bytes) -> int | None:
    """Returns the identifier of the company whose data there are (Assigned Numbers, 7.1), None if there are none."""
    value = structures(data).get(_MANUFACTURER, b"")
    return int.from_bytes(value[:2], "little") if len(value) >= 2 else None


def uuid_text(octets: bytes) -> str:
    """Returns a UUID as text, of 2, 4 or 16 octets, least significant first: ``"180f"`` where that says it all."""
    text = octets[::-1].hex()
    if len(octets) == 16:
        text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return _shortest(text)


def check_uuid(uuid: str | int) -> str:
    """Returns a UUID that a program gave in the form of ``uuid_text``: ``0x180F`` or ``"0000180F"`` is ``"180f"``.

    Raises TypeError or ValueError if it is none.
    """
    if isinstance(uuid, int) and not isinstance(uuid, bool) and 0 <= uuid <= 0xFFFF_FFFF:
        return _shortest(f"{uuid:08x}")
    if not isinstance(uuid, int | str) or isinstance(uuid, bool):
        raise TypeError(f"{uuid!r:.40} is no UUID: write it like 0x180F, or as text")
    if not _UUID.fullmatch(text := str(uuid).lower().removeprefix("0x")):
        raise ValueError(f"{uuid!r:.60} is no UUID: write it like 180f, or with all its 32 digits and 4 dashes")
    return _shortest(text)


def _shortest(text: str) -> str:
    text = text.removesuffix(_BASE)
    return text[4:] if len(text) == 8 and text.startswith("0000") else text
