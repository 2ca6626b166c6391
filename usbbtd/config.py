"""The configuration of the service: TOML in, frozen models out. ``etc/usbbtd.toml`` documents every key."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

_ADDRESS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_SELECT = re.compile(r"any|[0-9a-f]{4}:[0-9a-f]{4}(:.+)?")
_LONGEST_SOCKET_PATH = 107  # unix(7)
_SYNTAX_ERROR_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)")


class ConfigError(Exception):
    """What is wrong with a configuration: one line ``file:line: key: what`` for each mistake."""


def static_address(text: object) -> bytes:
    """Random static address of Vol 6, Part B, 1.3.2.1, from its usual form to octets, least significant first.

    Raises ValueError.
    """
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
        raise ValueError('not an address such as "C0:12:34:56:78:9A"')
    address = int(text.replace(":", ""), 16)
    if address >> 46 != 0b11 or address & (1 << 46) - 1 in (0, (1 << 46) - 1):
        raise ValueError("not a random static address: the first octet is C0 to FF, the rest neither all 0 nor all 1")
    return address.to_bytes(6, "little")


def _absolute(text: object) -> Path:
    if not isinstance(text, str) or not text.startswith("/"):
        raise ValueError('not an absolute path such as "/var/lib/usbbtd"')
    return Path(text)


def _selection(text: str) -> str:
    if not _SELECT.fullmatch(text):
        raise ValueError('"any", "vvvv:pppp" or "vvvv:pppp:serial", in lower-case hexadecimal')
    return text


def _socket_path(text: str) -> str:
    if text and (not text.startswith("/") or len(text.encode()) > _LONGEST_SOCKET_PATH):
        raise ValueError(f"not an absolute path of at most {_LONGEST_SOCKET_PATH} bytes, nor empty")
    return text


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Adapter(_Section):
    """The dongle."""

    usb: Literal["usbif", "libusb"] = "usbif"
    select: Annotated[str, AfterValidator(_selection)] = "any"
    address: Annotated[bytes, BeforeValidator(static_address)] | None = None
    command_timeout_s: float = Field(default=2.0, ge=0.1, le=60)

    def selects(self, vendor_id: int, product_id: int, serial: str | None) -> bool:
        """Whether a Bluetooth dongle with these descriptors is the one to drive. ``serial`` None: whether it may be."""
        kind = f"{vendor_id:04x}:{product_id:04x}"
        if serial is None and self.select.startswith(f"{kind}:"):
            return True
        return self.select in ("any", kind, f"{kind}:{serial}")


class Guests(_Section):
    """What one guest may have at a time."""

    channels: int = Field(default=64, ge=1, le=4096)
    listeners: int = Field(default=16, ge=0, le=1024)
    scans: int = Field(default=1, ge=0, le=16)
    advertisements: int = Field(default=1, ge=0, le=1)
    requests: int = Field(default=24, ge=1, le=31)
    backlog: int = Field(default=8, ge=1, le=256)
    max_page_order: int = Field(default=5, ge=1, le=6)
    unread_bytes: int = Field(default=1 << 18, ge=4096, le=1 << 26)


class Log(_Section):
    """Where the log goes, and what it shows."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    target: Literal["auto", "stderr", "journal"] = "auto"
    addresses: Literal["shown", "hashed"] = "shown"


class State(_Section):
    """Where that is kept which outlives a restart."""

    directory: Annotated[Path, BeforeValidator(_absolute)] = Path("/var/lib/usbbtd")


class Control(_Section):
    """The socket of usbbtctl. An empty path: none."""

    socket: Annotated[str, AfterValidator(_socket_path)] = "/run/usbbtd/control"
    group: str = "usbbtd"


class Config(_Section):
    """The whole file; a section or key that is left out has its default."""

    adapter: Adapter = Adapter()
    guests: Guests = Guests()
    log: Log = Log()
    state: State = State()
    control: Control = Control()


def load(path: Path) -> Config:
    """Reads a file. Raises ConfigError, which names file, line and key."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error


def parse(text: str, name: str) -> Config:
    """Reads the text of a file called ``name``. Raises ConfigError."""
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX_ERROR_PLACE.fullmatch(str(error))
        what, line = (match[1], match[2]) if match else (str(error), None)
        raise ConfigError(f"{name}:{line or len(text.splitlines())}: {what}") from None
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(name, text, details) for details in error.errors())) from None


def _explain(name: str, text: str, details: ErrorDetails) -> str:
    # pydantic adds the name of a union's member to the path: not a part of the file
    path = tuple(str(step) for step in details["loc"] if not str(step).startswith("function-"))
    if details["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _keys_beside(path), n=1)
        what = "no such key" + (f"; is {near[0]} meant?" if near else "")
    else:
        what = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{name}:{line_of(text, path)}: {'.'.join(path)}: {what}"


def _keys_beside(path: tuple[str, ...]) -> list[str]:
    section: Any = Config
    for step in path[:-1]:
        section = section.model_fields[step].annotation
    return list(section.model_fields)


def line_of(text: str, path: tuple[str, ...]) -> int:
    """The line, from 1, on which the statement that first sets the key ``path`` begins; 1 when nothing sets it.

    A key is set by the first statement with which the text up to there is TOML and has the key. That is right for
    dotted keys, quoted keys, tables and values over several lines, and needs no second TOML parser.
    """
    start = 1
    for end, document in _documents(text):
        if _has(document, path):
            return start
        start = end + 1
    return 1


def _documents(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of lines, document) of each beginning of the text that is TOML."""
    lines = text.splitlines(keepends=True)
    for end in range(1, len(lines) + 1):
        try:
            yield end, tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue


def _has(document: Any, path: tuple[str, ...]) -> bool:
    for step in path:
        if not isinstance(document, dict) or step not in document:
            return False
        document = document[step]
    return True
