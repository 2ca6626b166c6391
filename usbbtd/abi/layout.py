"""Makes ``struct.Struct`` objects of wire layouts, from the offsets that the C compiler found in the headers.

A record's fields are its C members in order, flattened: integers one each, arrays of octets as ``bytes``, arrays of
structures member by member. Members called ``pad`` and the holes between members are skipped and packed as zeros.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any

from usbbtd.abi._layout import ffi, lib

__all__ = ["constants", "record", "size_of"]

#: The constants of usbif.h and l2capif.h: ``constants.USBIF_STATUS_OK``.
constants = lib

_INTEGERS = {"uint8_t": "B", "int8_t": "b", "uint16_t": "H", "int16_t": "h", "uint32_t": "I", "int32_t": "i"}
_INTEGERS |= {"unsigned char": "B", "signed char": "b"}


def size_of(c_type: str) -> int:
    """Returns the size of a C type in bytes: ``size_of("struct l2capif_request")``."""
    size: int = ffi.sizeof(c_type)
    return size


def record(c_type: str, union: str = "") -> Struct:
    """Returns the packer of a C structure, little-endian, of the structure's full size.

    If the structure has a union, ``union`` names the member to use: ``record("struct l2capif_request", "connect")``.
    Raises KeyError if there is no such member.
    """
    pieces: list[str] = []
    end = 0
    for offset, code, size in _flatten(ffi.typeof(c_type), 0, union):
        if offset > end:
            pieces.append(f"{offset - end}x")
        pieces.append(code)
        end = offset + size
    if (hole := ffi.sizeof(c_type) - end) > 0:
        pieces.append(f"{hole}x")
    return Struct("<" + "".join(pieces))


def _flatten(ctype: Any, base: int, union: str) -> Iterator[tuple[int, str, int]]:
    """Yields (offset, format code, size) of each scalar and octet array."""
    if ctype.kind == "primitive":
        yield base, _primitive(ctype), ffi.sizeof(ctype)
    elif ctype.kind == "array" and ctype.item.kind == "primitive" and ffi.sizeof(ctype.item) == 1:
        yield base, f"{ctype.length}s", ctype.length
    elif ctype.kind == "array":
        for index in range(ctype.length):
            yield from _flatten(ctype.item, base + index * ffi.sizeof(ctype.item), union)
    elif ctype.kind == "union":
        member = dict(ctype.fields)[union]
        yield from _flatten(member.type, base + member.offset, union)
    else:
        for name, member in ctype.fields:
            if name != "pad":
                yield from _flatten(member.type, base + member.offset, union)


def _primitive(ctype: Any) -> str:
    code = _INTEGERS.get(ctype.cname)
    return code or {2: "H", 4: "I", 8: "Q"}[ffi.sizeof(ctype)]
