"""Takes a firmware file of Intel's apart: what its bootloader checks, and commands, which it is given in pieces.

A file ``.sfi`` begins with a header (128 octets), a key and a signature for RSA; files for newer controllers have the
same for ECDSA after it. The rest are commands of HCI, in groups of a multiple of four octets.
"""

import struct
from typing import Final, NamedTuple

from usbbtd.hci.vendor.steps import FirmwareError

__all__ = ["ECDSA", "RSA", "SfiImage", "parse_configuration", "parse_sfi"]

#: Kinds of a controller's secure boot.
RSA, ECDSA = 0, 1

_RSA_SIZE, _ECDSA_SIZE = 644, 320
_RSA_VERSION, _ECDSA_VERSION = 0x0001_0000, 0x0002_0000
_VERSION_AT: Final = 8
_HEADER_SIZE: Final = 3  # of a command
_WRITE_BOOT_PARAMETERS: Final = 0xFC0E

_u32 = struct.Struct("<I")
_command = struct.Struct("<HB")


class SfiImage(NamedTuple):
    """What a bootloader is given, in this order, and where the firmware begins then."""

    header: bytes
    key: bytes
    signature: bytes
    groups: list[bytes]  # of commands
    boot_address: int


def parse_sfi(content: bytes, engine: int, *, both: bool) -> SfiImage:
    """Takes a file apart for a kind of secure boot. ``both``: whether it has what both kinds need.

    Raises FirmwareError if it is damaged, or for another controller.
    """
    start = _RSA_SIZE + _ECDSA_SIZE if both else _RSA_SIZE
    if len(content) <= start:
        raise FirmwareError(f"cut short: {len(content)} octets")
    _check_version(content, 0, _RSA_VERSION)
    if both:
        _check_version(content, _RSA_SIZE, _ECDSA_VERSION)
    if engine == ECDSA:
        at = _RSA_SIZE
        header, key, signature = content[at : at + 128], content[at + 128 : at + 224], content[at + 224 : at + 320]
    else:
        header, key, signature = content[:128], content[128:384], content[388:644]
    groups, boot_address = _groups(content, start)
    return SfiImage(header, key, signature, groups, boot_address)


def _check_version(content: bytes, at: int, version: int) -> None:
    (found,) = _u32.unpack_from(content, at + _VERSION_AT)
    if found != version:
        raise FirmwareError(f"not for this controller, or damaged: a header has the version 0x{found:08x}")


def _groups(content: bytes, start: int) -> tuple[list[bytes], int]:
    groups: list[bytes] = []
    boot_address = 0
    at = start
    while at < len(content):
        if at + _HEADER_SIZE > len(content):
            raise FirmwareError(f"cut short: no command at {at}")
        opcode, length = _command.unpack_from(content, at)
        end = at + _HEADER_SIZE + length
        if end > len(content):
            raise FirmwareError(f"cut short: the command at {at} has {length} octets")
        if opcode == _WRITE_BOOT_PARAMETERS:
            if length < _u32.size:
                raise FirmwareError("damaged: it does not say where it begins")
            (boot_address,) = _u32.unpack_from(content, at + _HEADER_SIZE)
        at = end
        if (at - start) % 4 == 0:
            groups.append(content[start:at])
            start = at
    if start != at:
        raise FirmwareError("cut short: it ends within a group of commands")
    return groups, boot_address


def parse_configuration(content: bytes) -> list[bytes]:
    """Returns the records of a file ``.ddc``, without their lengths. Raises FirmwareError if it is damaged."""
    records: list[bytes] = []
    at = 0
    while at < len(content):
        end = at + 1 + content[at]
        if content[at] < 2 or end > len(content):
            raise FirmwareError(f"cut short, or damaged: no record at {at}")
        records.append(content[at + 1 : end])
        at = end
    return records
