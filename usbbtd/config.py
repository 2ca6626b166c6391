"""Reads the configuration of the service from TOML files. ``etc/usbbtd.toml`` documents every key."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from usbbtd.bluetooth import parse_address
from usbbtd.tomlfile import ConfigError as ConfigError
from usbbtd.tomlfile import Section, is_missing, parse_document, read_directory, read_document, validate_all

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


def _absolute(text: object) -> Path:
    if not isinstance(text, str) or not text.startswith("/"):
        raise ValueError("not an absolute path")
    return Path(text)


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

    usb: Literal["usbif", "libusb"] = "usbif"
    select: Annotated[str, AfterValidator(_selection)] = "any"
    address: Annotated[bytes, BeforeValidator(static_address)] | None = None
    command_timeout_s: float = Field(default=2.0, ge=0.1, le=60)

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

    channels: int = Field(default=64, ge=1, le=4096)
    listeners: int = Field(default=16, ge=0, le=1024)
    scans: int = Field(default=2, ge=0, le=16)
    advertisements: int = Field(default=1, ge=0, le=16)
    requests: int = Field(default=24, ge=1, le=31)
    backlog: int = Field(default=8, ge=1, le=256)
    max_page_order: int = Field(default=5, ge=1, le=6)
    unread_bytes: int = Field(default=1 << 18, ge=4096, le=1 << 26)
    connects_per_minute: int = Field(default=600, ge=1, le=100_000)


class PolicySettings(Section):
    """Where the files of the policy are, which say which guest may do what."""

    directory: Annotated[Path, BeforeValidator(_absolute)] = Path("/etc/usbbtd/policy.d")


class LogSettings(Section):
    """Where the log goes, and what it shows."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    target: Literal["auto", "stderr", "journal"] = "auto"
    addresses: Literal["shown", "hashed"] = "shown"


class StateSettings(Section):
    """Where the service keeps what has to outlive a restart."""

    directory: Annotated[Path, BeforeValidator(_absolute)] = Path("/var/lib/usbbtd")


class ControlSettings(Section):
    """The socket of usbbtctl; there is none if the path is empty. ``group``: the members may use it."""

    socket: Annotated[str, AfterValidator(_socket_path)] = "/run/usbbtd/control"
    group: str = "usbbtd"


class Config(Section):
    """The whole file; a section or key that is left out has its default."""

    adapter: AdapterSettings = AdapterSettings()
    guests: GuestSettings = GuestSettings()
    policy: PolicySettings = PolicySettings()
    log: LogSettings = LogSettings()
    state: StateSettings = StateSettings()
    control: ControlSettings = ControlSettings()


def load(path: Path, *, must_exist: bool = True) -> Config:
    """Reads a file and its drop-ins. Raises ConfigError, which names file, line and key."""
    documents = [] if not must_exist and is_missing(path) else [read_document(path)]
    documents += read_directory(path.parent / DROP_INS)
    validate_all(documents, Config)  # each file by itself, so that a mistake is told with its file and line
    merged: dict[str, Any] = {}
    for document in documents:
        for section, keys in document.content.items():
            merged[section] = merged.get(section, {}) | keys
    return Config.model_validate(merged)


def parse(text: str, name: str) -> Config:
    """Reads the text of a file called ``name``. Raises ConfigError."""
    return parse_document(text, name).validate_as(Config)
