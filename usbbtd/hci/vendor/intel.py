"""Gives a controller of Intel's its firmware, without which it has a bootloader only, and knows no HCI.

The bootloader checks who has signed the firmware. When it has it all, it is told to start it; some controllers leave
the bus then and come back with it. Then the controller may be given a configuration, which it also does without.
"""

from typing import Final, NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.vendor.intel_firmware import ECDSA, RSA, parse_configuration, parse_sfi
from usbbtd.hci.vendor.steps import (
    Ask,
    AwaitEvent,
    FirmwareError,
    FirmwareFile,
    FirmwareProblem,
    SetupResult,
    SetupScript,
    Tell,
    ask,
    load,
)
from usbbtd.hci.vendor.wire import (
    PIECE,
    IntelBootParameters,
    IntelReadBootParameters,
    IntelReadVersion,
    IntelReset,
    IntelSecureSend,
    IntelVersion,
    IntelWriteConfiguration,
)

__all__ = ["intel_script"]

PACKAGE = "firmware-iwlwifi"

#: How long a controller may take to check its firmware, and to start it.
CHECK_S, BOOT_S = 5.0, 5.0

#: Events of the maker's: the firmware is complete; it has been started.
_LOADED, _BOOTED = 0x06, 0x02
#: Sections of what the bootloader is sent.
_HEADER, _DATA, _SIGNATURE, _KEY = 0, 1, 2, 3
_PLATFORM: Final = 0x37
#: The firmware that an older controller runs; others are its ROM's.
_BOOTLOADER, _FIRMWARE = 0x06, 0x23
#: The image that a newer controller runs.
_IMAGE_BOOTLOADER, _IMAGE_FIRMWARE = 1, 3
#: Types of a newer controller's version.
_CNVI_TOP, _CNVR_TOP, _CNVI, _IMAGE, _UNANSWERED, _ENGINE = 0x10, 0x11, 0x12, 0x1C, 0x2E, 0x2F
_SIZES: Final = {_CNVI_TOP: 4, _CNVR_TOP: 4, _CNVI: 4, _IMAGE: 1, _UNANSWERED: 1, _ENGINE: 1}

#: Those whose name is made of variant and device revision, and of variant and two revisions.
_BY_DEVICE, _BY_REVISION = (0x0B, 0x0C), (0x11, 0x12, 0x13, 0x14)
#: Those that have both kinds of secure boot. Later ones have another loader before their firmware.
_BY_PARTS: Final = (0x17, 0x18, 0x19, 0x1B, 0x1C, 0x1D)

_NAMES: Final = {
    0x07: "7260", 0x08: "7265 or 3165", 0x0B: "8260", 0x0C: "8265", 0x11: "9560", 0x12: "9260", 0x13: "AX201",
    0x14: "AX200", 0x17: "AX210", 0x18: "AX211", 0x19: "AX211", 0x1C: "BE200",
}  # fmt: skip


class _Bootloader(NamedTuple):
    """A controller that waits for its firmware. ``base``: the names of its files without ending."""

    chip: str
    base: str
    engine: int
    both: bool  # whether its files have both kinds of signatures


def intel_script(*, came_back: bool) -> SetupScript[SetupResult]:
    """Gives the controller its firmware if it has none. Without a file it is of no use.

    ``came_back``: whether it has left the bus a moment ago to start its firmware.
    """
    reply = yield Ask(IntelReadVersion(0xFF))
    if reply.status:
        return SetupResult()  # an old one, which has all that it needs: its host finds out
    if len(reply.data) == IntelVersion.LAYOUT.size and reply.data[0] == _PLATFORM:
        found = yield from _examine_older(IntelVersion.parse(reply.data))
    else:
        found = _examine_newer(reply.data)
    if isinstance(found, str):
        return SetupResult(found)
    if came_back:
        raise RemoteProtocolError(f"{found.chip} is in its bootloader again, although it was given its firmware")
    file = FirmwareFile(f"{found.base}.sfi", PACKAGE)
    firmware = yield file
    problem = firmware.why
    if not firmware.status:
        try:
            image = parse_sfi(firmware.data, found.engine, both=found.both)
        except FirmwareError as error:
            problem = str(error)
    if problem:
        failure = f"{found.chip} does nothing without its firmware, {file.name}"
        return SetupResult(found.chip, problem=FirmwareProblem(*file, problem), failure=failure)
    for section, content in ((_HEADER, image.header), (_KEY, image.key), (_SIGNATURE, image.signature)):
        yield from _send(section, content)
    for group in image.groups:
        yield from _send(_DATA, group)
    loaded = yield AwaitEvent(_LOADED, CHECK_S)
    if loaded.status or loaded.data[:1] != b"\0":
        raise RemoteProtocolError(f"{found.chip} does not accept its firmware, {file.name}")
    yield Tell(IntelReset(0, 1, 0, 1, image.boot_address))
    booted = yield AwaitEvent(_BOOTED, BOOT_S)
    if booted.status:
        raise RemoteProtocolError(f"{found.chip} does not start its firmware, {file.name}")
    problem_with_configuration = yield from _configure(FirmwareFile(f"{found.base}.ddc", PACKAGE))
    return SetupResult(found.chip, file.name, problem=problem_with_configuration)


def _examine_older(version: IntelVersion) -> SetupScript[_Bootloader | str]:
    """Returns what firmware a controller wants; its name if it wants none."""
    chip = _name(version.variant)
    if version.firmware_variant != _BOOTLOADER:
        return chip
    parameters = yield from ask(IntelReadBootParameters(), IntelBootParameters)
    if parameters is None or parameters.pieces_unanswered:
        raise RemoteProtocolError(f"{chip} does not say how its bootloader works, or works otherwise")
    if version.variant in _BY_DEVICE:
        base = f"intel/ibt-{version.variant}-{parameters.device_revision}"
    elif version.variant in _BY_REVISION:
        base = f"intel/ibt-{version.variant}-{version.revision}-{version.firmware_revision}"
    else:
        raise RemoteProtocolError(f"{chip} wants firmware, and nobody knows which")
    return _Bootloader(chip, base, RSA, both=False)


def _examine_newer(untrusted: bytes) -> _Bootloader | str:
    """Returns what firmware a controller wants; its name if it wants none. Raises RemoteProtocolError."""
    facts = _parse_facts(untrusted)
    cnvi = facts.get(_CNVI, 0)
    variant = cnvi >> 16 & 0x3F
    chip = _name(variant)
    image = facts.get(_IMAGE)
    if image == _IMAGE_FIRMWARE or cnvi >> 8 & 0xFF != _PLATFORM:
        return chip
    engine = facts.get(_ENGINE, RSA)
    if image != _IMAGE_BOOTLOADER or variant not in _BY_PARTS or engine not in (RSA, ECDSA) or facts.get(_UNANSWERED):
        raise RemoteProtocolError(f"{chip} has a bootloader that usbbtd does not know")
    base = f"intel/ibt-{_part(facts.get(_CNVI_TOP, 0)):04x}-{_part(facts.get(_CNVR_TOP, 0)):04x}"
    return _Bootloader(chip, base, engine, both=True)


def _parse_facts(untrusted: bytes) -> dict[int, int]:
    facts: dict[int, int] = {}
    at = 0
    while at < len(untrusted):
        if at + 2 > len(untrusted) or at + 2 + untrusted[at + 1] > len(untrusted):
            raise RemoteProtocolError("an Intel controller's version is cut short")
        kind, length = untrusted[at], untrusted[at + 1]
        if (size := _SIZES.get(kind)) is not None:
            if length < size:
                raise RemoteProtocolError(f"an Intel controller's version is cut short in type 0x{kind:02x}")
            facts[kind] = int.from_bytes(untrusted[at + 2 : at + 2 + size], "little")
        at += 2 + length
    return facts


def _part(top: int) -> int:
    """Returns the number of a part in the names of files: its type and its step, with their octets exchanged."""
    packed = (top & 0xFFF) << 4 | top >> 24 & 0xF
    return packed >> 8 | (packed & 0xFF) << 8


def _name(variant: int) -> str:
    return f"Intel {_NAMES[variant]}" if variant in _NAMES else f"Intel controller of variant 0x{variant:02x}"


def _send(section: int, content: bytes) -> SetupScript[None]:
    for start in range(0, len(content), PIECE):
        yield from load(IntelSecureSend(section, content[start : start + PIECE]))


def _configure(file: FirmwareFile) -> SetupScript[FirmwareProblem | None]:
    """Sends what is in a file of configuration, and returns what is wrong with it. That it is missing is not wrong."""
    reply = yield file
    if reply.status:
        return None
    try:
        records = parse_configuration(reply.data)
    except FirmwareError as error:
        return FirmwareProblem(*file, str(error))
    for record in records:
        answer = yield Ask(IntelWriteConfiguration(len(record), record))
        if answer.status:
            return FirmwareProblem(*file, f"not accepted by the controller: status 0x{answer.status & 0xFF:02X}")
    return None
