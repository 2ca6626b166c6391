"""Commands of makers that a controller's set-up needs, and what they return. The makers publish none of them.

The facts are those of Linux's drivers btrtl, btintel and btusb, and of Bumble's drivers.
"""

import struct
from typing import ClassVar

from usbbtd.packets import Packet, packet

_pack_header = struct.Struct("<HB").pack

#: The most octets of a piece of firmware in one command: its parameters have another octet before it.
PIECE = 252


class VendorCommand(Packet):
    """A command that only the controllers of one maker know; the code is the opcode."""

    __slots__ = ()
    registry: ClassVar[dict[int, type["VendorCommand"]]] = {}

    def pack(self) -> bytes:
        parameters = self.parameters()
        return _pack_header(self.CODE, len(parameters)) + parameters


class VendorReturned(Packet):
    """The return parameters of such a command that has succeeded, after the status; the code is the command's."""

    __slots__ = ()
    registry: ClassVar[dict[int, type["VendorReturned"]]] = {}


# Realtek


@packet(0xFC20, "B*")
class RtkDownload(VendorCommand):
    index: int  # of the piece; with the bit 0x80 for the last one
    piece: bytes


@packet(0xFC61, "5s")
class RtkReadRegister(VendorCommand):
    register: bytes


@packet(0xFC61, "H")
class RtkRegister(VendorReturned):
    value: int


@packet(0xFC6D)
class RtkReadRomVersion(VendorCommand):
    pass


@packet(0xFC6D, "B")
class RtkRomVersion(VendorReturned):
    version: int


# Intel


@packet(0xFC01, "BBBBI")
class IntelReset(VendorCommand):
    """Starts the controller anew. It is never answered: the controller tells by an event when it is back."""

    hard: int
    patched: int
    reload: int
    boot_address_given: int
    boot_address: int


@packet(0xFC05, "B")
class IntelReadVersion(VendorCommand):
    form: int  # 0xFF: a list of types, lengths and values, from controllers that know it


@packet(0xFC05, "BBBBBBBBB")
class IntelVersion(VendorReturned):
    """The answer of older controllers, whatever form was asked for."""

    platform: int
    variant: int
    revision: int
    firmware_variant: int
    firmware_revision: int
    build: int
    week: int
    year: int
    patch: int


@packet(0xFC09, "B*")
class IntelSecureSend(VendorCommand):
    section: int
    piece: bytes


@packet(0xFC0D)
class IntelReadBootParameters(VendorCommand):
    pass


@packet(0xFC0D, "BBBHBBBBBB6sBBBBB")
class IntelBootParameters(VendorReturned):
    otp_format: int
    otp_content: int
    otp_patch: int
    device_revision: int
    secure_boot: int
    key_from_header: int
    key_type: int
    otp_lock: int
    api_lock: int
    debug_lock: int
    address: bytes
    oldest_build: int
    oldest_week: int
    oldest_year: int
    pieces_unanswered: int
    unlocked: int


@packet(0xFC8B, "B*")
class IntelWriteConfiguration(VendorCommand):
    length: int
    record: bytes
