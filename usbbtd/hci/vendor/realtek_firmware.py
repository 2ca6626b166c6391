"""Finds in a firmware file of Realtek's what one chip is to be given: files "epatch" of both forms.

At the end of a file are instructions, which are read backwards: code, length, data. One of them names the project,
which is the kind of chip that the file is for.
"""

import struct
from typing import Final, NamedTuple

from usbbtd.hci.vendor.steps import FirmwareError

__all__ = ["is_signed_form", "patch_for"]

_SIGNATURE, _SIGNATURE_2 = b"Realtech", b"RTBTCore"
_EXTENSION = bytes.fromhex("5104fd77")
_PROJECT, _END = 0x00, 0xFF

#: The LMP subversion of a chip's ROM, by project.
_ROMS: Final = {
    0: 0x1200, 1: 0x8723, 2: 0x8821, 3: 0x8761, 7: 0x8703, 8: 0x8822, 9: 0x8723, 10: 0x8821, 13: 0x8822, 14: 0x8761,
    18: 0x8852, 20: 0x8852, 25: 0x8852, 36: 0x8851, 44: 0x8922, 47: 0x8852, 51: 0x8761,
}  # fmt: skip

_u32 = struct.Struct("<I")
_header = struct.Struct("<8sIH")  # signature, version, number of patches
_header_2 = struct.Struct("<8s8sI")  # signature, version, number of sections
_section = struct.Struct("<II")  # kind, length
_section_header = struct.Struct("<HH")  # number of parts, reserved
_part = struct.Struct("<BBBBI")  # ROM version + 1, priority, key, reserved, length
_PATCHES, _DUMMIES, _SIGNED = 1, 2, 3
#: What the second form has after its sections: the instruction of the project, and the mark of the end.
_TAIL_2 = 3 + len(_EXTENSION)


class _Part(NamedTuple):
    priority: int
    data: bytes


def is_signed_form(content: bytes) -> bool:
    """Tells whether a file may have parts for chips that have a key, which is to be asked for."""
    return content.startswith(_SIGNATURE_2)


def patch_for(content: bytes, rom: int, rom_version: int, key: int = 0) -> bytes:
    """Returns what a chip is to be given. ``rom``: its LMP subversion. Raises FirmwareError if there is nothing."""
    if content.startswith(_SIGNATURE):
        header = _header
    elif content.startswith(_SIGNATURE_2):
        header = _header_2
    else:
        raise FirmwareError("no firmware of Realtek's: it begins otherwise")
    if len(content) < header.size + 3 + len(_EXTENSION) or not content.endswith(_EXTENSION):
        raise FirmwareError("cut short: it does not end as it should")
    project = _project(content, header.size)
    if _ROMS.get(project) != rom:
        made = f"0x{_ROMS[project]:04x}" if project in _ROMS else f"project {project}"
        raise FirmwareError(f"for another chip: {made}, not 0x{rom:04x}")
    if header is _header:
        return _first_form(content, rom_version + 1)
    return _second_form(content, rom_version + 1, key)


def _project(content: bytes, start: int) -> int:
    at = len(content) - len(_EXTENSION)
    while at >= start + 3:
        code, length = content[at - 1], content[at - 2]
        if code == _END:
            break
        if length == 0:
            raise FirmwareError("damaged: it has an instruction without a length")
        if code == _PROJECT and length == 1:
            return content[at - 3]
        at -= 2 + length
    raise FirmwareError("damaged: it does not say for which chip it is")


def _first_form(content: bytes, chip: int) -> bytes:
    """Returns the patch, whose last four octets are the version of the file instead of their own."""
    _, version, count = _header.unpack_from(content)
    tables = struct.Struct(f"<{count}H{count}H{count}I")
    if len(content) < _header.size + tables.size:
        raise FirmwareError(f"cut short: it has no room for {count} patches")
    numbers: tuple[int, ...] = tables.unpack_from(content, _header.size)
    if chip not in numbers[:count]:
        raise FirmwareError(f"without a patch for ROM version {chip - 1}")
    place = numbers.index(chip)
    length, offset = numbers[count + place], numbers[2 * count + place]
    if length < 4 or offset + length > len(content):
        raise FirmwareError(f"cut short: a patch of {length} octets at {offset} is not in it")
    return content[offset : offset + length - 4] + _u32.pack(version)


def _second_form(content: bytes, chip: int, key: int) -> bytes:
    """Returns the parts for the chip, in the order of their priorities; of equal ones the last is the first."""
    _, _, count = _header_2.unpack_from(content)
    body = content[: len(content) - _TAIL_2]
    parts: list[_Part] = []
    at = _header_2.size
    for _ in range(count):
        if at + _section.size > len(body):
            break
        kind, length = _section.unpack_from(body, at)
        at += _section.size
        if at + length > len(body):
            raise FirmwareError(f"cut short: a section of {length} octets at {at} is not in it")
        if kind in (_PATCHES, _DUMMIES) or (kind == _SIGNED and key):
            parts += _parts(body[at : at + length], chip, key if kind == _SIGNED else None)
        at += length
    if not parts:
        raise FirmwareError(f"without a patch for ROM version {chip - 1}")
    places = sorted(range(len(parts)), key=lambda place: (parts[place].priority, -place))
    return b"".join(parts[place].data for place in places)


def _parts(section: bytes, chip: int, key: int | None) -> list[_Part]:
    if len(section) < _section_header.size:
        raise FirmwareError("cut short: it has a section without a header")
    count, _ = _section_header.unpack_from(section)
    found: list[_Part] = []
    at = _section_header.size
    for _ in range(count):
        if at + _part.size > len(section):
            break
        number, priority, part_key, _, length = _part.unpack_from(section, at)
        at += _part.size
        if at + length > len(section):
            raise FirmwareError(f"cut short: a part of {length} octets is not in its section")
        if number == chip and key in (None, part_key):
            found.append(_Part(priority, section[at : at + length]))
        at += length
    return found
