"""Reads the configuration of the service from TOML files. ``etc/usbbtd.toml`` documents every key."""

import re
from pathlib import Path
from typing import Any, Literal

from usbbtd.bluetooth import parse_address
from usbbtd.sections import OneTable, Section, absolute_path, choice, integer, key, number, text
from usbbtd.tomlfile import ConfigError as ConfigError
from usbbtd.tomlfile import is_missing, parse_document, read_directory, read_document, validate_all

_SELECT = re.compile(r"any|[0-9a-f]{4}:[0-9a-f]{4}(:.+)?")
_LONGEST_SOCKET_PATH = 107  # unix(7)
#: The directory of drop-ins, beside the file. Their keys win over the file's, and those of a later name over earlier.
DROP_INS = "conf.d"


def static_address(text: object) -> bytes:
    """Returns a random static address (Vol 6, Part B, 1.3.2.1) as octets, least significant first.

    Raises ValueError if the text is not an address, or an address of another kind.
    """
    if not isinstance(text, str):
        raise ValueError('not an address such as "C0:12:34:56:78:9A"')
    octets = parse_address(text)
    address = int.from_bytes(octets, "little")
    if address >> 46 != 0b11 or address & (1 << 46) - 1 in (0, (1 << 46) - 1):
        raise ValueError("not a random static address: the first octet is C0 to FF, the rest neither all 0 nor all 1")
    return octets


def _selection(text: str) -> str:
    if not _SELECT.fullmatch(text):
        raise ValueError('"any", "vvvv:pppp" or "vvvv:pppp:serial", in lower-case hexadecimal')
    return text


def _socket_path(text: str) -> str:
    if text and (not text.startswith("/") or len(text.encode()) > _LONGEST_SOCKET_PATH):
        raise ValueError(f"not an absolute path of at most {_LONGEST_SOCKET_PATH} bytes, nor empty")
    return text


class AdapterSettings(Section):
    """Which dongle is driven, and how."""

    usb: Literal["usbif", "libusb"] = key(choice("usbif", "libusb"), default="usbif")
    select: str = key(text(_selection), default="any")
    address: bytes | None = key(static_address, default=None)
    command_timeout_s: float = key(number(0.1, 60), default=2.0)

    def selects(self, vendor_id: int, product_id: int, serial: str | None) -> bool:
        """Tells whether a Bluetooth dongle with these descriptors is to be driven.

        ``serial``: None if it is not known yet, as any serial number could be the right one.
        """
        kind = f"{vendor_id:04x}:{product_id:04x}"
        if serial is None and self.select.startswith(f"{kind}:"):
            return True
        return self.select in ("any", kind, f"{kind}:{serial}")


class GuestSettings(Section):
    """How much one guest may have at a time; the policy can give a guest other limits."""

    channels: int = key(integer(1, 4096), default=64)
    listeners: int = key(integer(0, 1024), default=16)
    scans: int = key(integer(0, 16), default=1)
    advertisements: int = key(integer(0, 1), default=1)
    requests: int = key(integer(1, 31), default=24)
    backlog: int = key(integer(1, 256), default=8)
    max_page_order: int = key(integer(1, 6), default=5)
    unread_bytes: int = key(integer(4096, 1 << 26), default=1 << 18)
    connects_per_minute: int = key(integer(1, 100_000), default=600)


class PolicySettings(Section):
    """Where the files of the policy are, which say which guest may do what."""

    directory: Path = key(absolute_path, default=Path("/etc/usbbtd/policy.d"))


class LogSettings(Section):
    """Where the log goes, and what it shows."""

    level: Literal["debug", "info", "warning", "error"] = key(
        choice("debug", "info", "warning", "error"), default="info"
    )
    target: Literal["auto", "stderr", "journal"] = key(choice("auto", "stderr", "journal"), default="auto")
    addresses: Literal["shown", "hashed"] = key(choice("shown", "hashed"), default="shown")


class StateSettings(Section):
    """Where the service keeps what has to outlive a restart."""

    directory: Path = key(absolute_path, default=Path("/var/lib/usbbtd"))


class ControlSettings(Section):
    """The socket of usbbtctl; there is none if the path is empty. ``group``: the members may use it."""

    socket: str = key(text(_socket_path), default="/run/usbbtd/control")
    group: str = key(text(str), default="usbbtd")


class Config(Section):
    """The whole file; a section or key that is left out has its default."""

    adapter: AdapterSettings = key(OneTable(AdapterSettings), default=AdapterSettings())
    guests: GuestSettings = key(OneTable(GuestSettings), default=GuestSettings())
    policy: PolicySettings = key(OneTable(PolicySettings), default=PolicySettings())
    log: LogSettings = key(OneTable(LogSettings), default=LogSettings())
    state: StateSettings = key(OneTable(StateSettings), default=StateSettings())
    control: ControlSettings = key(OneTable(ControlSettings), default=ControlSettings())


def load(path: Path, *, must_exist: bool = True) -> Config:
    """Reads a file and its drop-ins. Raises ConfigError, which names file, line and key."""
    documents = [] if not must_exist and is_missing(path) else [read_document(path)]
    documents += read_directory(path.parent / DROP_INS)
    validate_all(documents, Config)  # each file by itself, so that a mistake is told with its file and line
    merged: dict[str, Any] = {}
    for document in documents:
        for section, keys in document.content.items():
            merged[section] = merged.get(section, {}) | keys
    return Config.read(merged)


def parse(text: str, name: str) -> Config:
    """Reads the text of a file called ``name``. Raises ConfigError."""
    return parse_document(text, name).validate_as(Config)
