"""Gives a controller of Realtek's its firmware, which is lost when it has no power.

A controller with firmware has another LMP subversion than its ROM: so one that has firmware already is left as it is,
until it is plugged in anew. Without firmware it works from its ROM, with the bugs and without the features of that.
"""

from typing import Final, NamedTuple

from usbbtd.hci.vendor.realtek_firmware import is_signed_form, patch_for
from usbbtd.hci.vendor.steps import (
    Ask,
    FirmwareError,
    FirmwareFile,
    FirmwareProblem,
    Reply,
    SetupResult,
    SetupScript,
    ask,
    load,
)
from usbbtd.hci.vendor.wire import (
    PIECE,
    RtkDownload,
    RtkReadRegister,
    RtkReadRomVersion,
    RtkRegister,
    RtkRomVersion,
)
from usbbtd.hci.wire.commands import LocalVersionInformation, ReadLocalVersionInformation, Reset

__all__ = ["REALTEK", "realtek_script"]

#: Realtek's company identifier.
REALTEK = 0x005D

PACKAGE = "firmware-realtek"

#: What the index of the last piece has besides.
_LAST = 0x80
#: After this index comes 1: 0 is the first piece's only.
_MAX_INDEX = 0x7F
#: The register of the key that a chip wants its firmware signed with; 0: none.
_KEY_REGISTER: Final = bytes.fromhex("10a4ad00b0")


class RtkChip(NamedTuple):
    """A chip, which is known by its versions. ``files``: the names of firmware and configuration, without ending."""

    rom: int  # LMP subversion
    hci_subversion: int
    hci_version: int  # 0: any
    name: str
    files: str
    config_needed: bool = False
    has_rom_version: bool = True


#: Those on USB.
CHIPS: Final = (
    RtkChip(0x1200, 0x0B, 0x06, "RTL8723AU", "rtl8723a", has_rom_version=False),
    RtkChip(0x8723, 0x0B, 0x06, "RTL8723BU", "rtl8723b"),
    RtkChip(0x8723, 0x0D, 0x08, "RTL8723DU", "rtl8723d", config_needed=True),
    RtkChip(0x8821, 0x0A, 0x06, "RTL8821AU", "rtl8821a"),
    RtkChip(0x8821, 0x0C, 0x08, "RTL8821CU", "rtl8821c"),
    RtkChip(0x8761, 0x0A, 0x06, "RTL8761AU", "rtl8761a"),
    RtkChip(0x8761, 0x0B, 0x0A, "RTL8761BU", "rtl8761bu"),
    RtkChip(0x8761, 0x0E, 0x00, "RTL8761CU", "rtl8761cu"),
    RtkChip(0x8822, 0x0C, 0x0A, "RTL8822CU", "rtl8822cu"),
    RtkChip(0x8822, 0x0B, 0x07, "RTL8822BU", "rtl8822b", config_needed=True),
    RtkChip(0x8852, 0x0A, 0x0B, "RTL8852AU", "rtl8852au"),
    RtkChip(0x8852, 0x0B, 0x0B, "RTL8852BU", "rtl8852bu"),
    RtkChip(0x8852, 0x0C, 0x0C, "RTL8852CU", "rtl8852cu"),
    RtkChip(0x8851, 0x0B, 0x0C, "RTL8851BU", "rtl8851bu"),
    RtkChip(0x8922, 0x0A, 0x0C, "RTL8922AU", "rtl8922au"),
    RtkChip(0x8852, 0x87, 0x0C, "RTL8852BTU", "rtl8852btu"),
)


def realtek_script() -> SetupScript[SetupResult]:
    """Gives the controller its firmware if it runs from its ROM. A download that fails leaves it of no use."""
    yield Ask(Reset())
    version = yield from ask(ReadLocalVersionInformation(), LocalVersionInformation)
    chip = _chip_of(version)
    if chip is None:
        return SetupResult()
    rom_version = RtkRomVersion(0)
    if chip.has_rom_version:
        answer = yield from ask(RtkReadRomVersion(), RtkRomVersion)
        if answer is None:
            return _without(
                chip, f"rtl_bt/{chip.files}_fw.bin", "not loaded: the controller does not tell for which version"
            )
        rom_version = answer
    name, reply = yield from _firmware_of(chip)
    if reply.status:
        return _without(chip, name, reply.why)
    key = 0
    if is_signed_form(reply.data):
        register = yield from ask(RtkReadRegister(_KEY_REGISTER), RtkRegister)
        key = register.value & 0xFF if register else 0
    try:
        firmware = _for(chip, reply.data, rom_version.version, key)
    except FirmwareError as error:
        return _without(chip, name, str(error))
    if chip.has_rom_version and not key:
        config = yield FirmwareFile(f"rtl_bt/{chip.files}_config.bin", PACKAGE)
        if config.status and chip.config_needed:
            return _without(chip, f"rtl_bt/{chip.files}_config.bin", config.why)
        firmware += config.data
    yield from _download(firmware)
    version = yield from ask(ReadLocalVersionInformation(), LocalVersionInformation)
    running = f"{version.hci_subversion:04x}{version.lmp_subversion:04x}" if version else None
    return SetupResult(f"Realtek {chip.name}", name, running)


def _chip_of(version: LocalVersionInformation | None) -> RtkChip | None:
    if version is None or version.company_identifier != REALTEK:
        return None
    for chip in CHIPS:
        if (version.lmp_subversion, version.hci_subversion) == (chip.rom, chip.hci_subversion) and chip.hci_version in (
            0, version.hci_version,
        ):  # fmt: skip
            return chip
    return None


def _firmware_of(chip: RtkChip) -> SetupScript[tuple[str, Reply]]:
    """Returns the name and the content of the firmware. One chip has a second file, which is better where it is."""
    names = [f"rtl_bt/{chip.files}_fw.bin"]
    if chip.name == "RTL8852CU":
        names.insert(0, f"rtl_bt/{chip.files}_fw_v2.bin")
    for name in names:
        reply = yield FirmwareFile(name, PACKAGE)
        if not reply.status:
            break
    return name, reply


def _for(chip: RtkChip, content: bytes, rom_version: int, key: int) -> bytes:
    if chip.has_rom_version:
        return patch_for(content, chip.rom, rom_version, key)
    if len(content) < 8 or content.startswith(b"Realtech"):
        raise FirmwareError("for another chip: this one's has no header")
    return content


def _download(firmware: bytes) -> SetupScript[None]:
    """Sends the pieces. The last one is shorter than the others, so that it may be empty."""
    index = 0
    for start in range(0, len(firmware) + 1, PIECE):
        piece = firmware[start : start + PIECE]
        yield from load(RtkDownload(index | (_LAST if len(piece) < PIECE else 0), piece))
        index = 1 if index == _MAX_INDEX else index + 1


def _without(chip: RtkChip, file: str, reason: str) -> SetupResult:
    return SetupResult(f"Realtek {chip.name}", problem=FirmwareProblem(file, PACKAGE, reason))
