"""Keeps what outlives a restart: records in a directory that only the service may enter.

A record is a small file of three lines: ``usbbtd NAME VERSION``, one value as JSON, ``sha256`` of the lines before. It
is written whole or not at all.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from usbbtd.config import static_address

T = TypeVar("T")

VERSION = 1
MAX_BYTES = 1 << 16
KEY_BYTES = 32

_HEAD = re.compile(rb"usbbtd [a-z0-9-]+ ([0-9]{1,9})\n")


class BrokenRecord(Exception):
    """A record's file that cannot be used as it is. Tells its path, and what is wrong with it."""


class State:
    """The values that the service remembers. Each is made when it is asked for first, and stays the same from then on.

    If the directory cannot be used, a value stays the same until the end of the process only, and the log says so. No
    file is touched before a value is asked for. Calls wait for the disk.
    """

    def __init__(self, directory: Path, log: FilteringBoundLogger) -> None:
        self._directory = directory
        self._log = log
        self._known: dict[str, bytes] = {}
        self._records: Records | None = None

    def adapter_address(self) -> bytes:
        """Returns the adapter's random static address: six octets, least significant first."""
        return self._recall("adapter-address", _random_static_address, static_address)

    def log_key(self) -> bytes:
        """Returns the secret key, of KEY_BYTES, with which the log hashes addresses."""
        return self._recall("log-key", lambda: secrets.token_hex(KEY_BYTES), _key)

    def close(self) -> None:
        """Closes the directory. Idempotent."""
        if self._records is not None:
            self._records.close()
            self._records = None

    def _recall(self, name: str, make: Callable[[], str], decode: Callable[[object], bytes]) -> bytes:
        if name not in self._known:
            try:
                self._known[name] = self._recall_from_disk(name, make, decode)
            except OSError as error:
                self._log.warning("state is in memory only", record=name, reason=f"{error.filename}: {error.strerror}")
                self._known[name] = decode(make())
        return self._known[name]

    def _recall_from_disk(self, name: str, make: Callable[[], str], decode: Callable[[object], bytes]) -> bytes:
        """Returns a record's value; makes and writes one if there is none.

        A broken file is set aside: all values that are kept so far can be made anew without a risk. Raises OSError with
        a whole path, and then leaves the file as it is.
        """
        if self._records is None:
            self._records = Records(self._directory)
        try:
            if (known := self._records.read(name, decode)) is not None:
                return known
        except BrokenRecord as error:
            aside = self._records.set_aside(name)
            self._log.error("state file set aside", file=str(aside), reason=str(error))
        value = make()
        self._records.write(name, value)
        return decode(value)


class Records:
    """The records in a directory that is ours alone, by name. Every OSError has a whole path."""

    def __init__(self, directory: Path) -> None:
        """Opens and locks the directory. Raises OSError, also if other users may enter it or another process has it."""
        self.directory = directory
        with _naming(directory), contextlib.ExitStack() as stack:
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(self.close)
            if wrong := _wrong_rights(os.fstat(self._descriptor), "0700"):
                raise PermissionError(errno.EPERM, wrong)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(error.errno, "another usbbtd has it") from None
            stack.pop_all()

    def read(self, name: str, decode: Callable[[object], T]) -> T | None:
        """Returns what ``decode`` makes of the value; None if there is no record. Raises BrokenRecord, OSError.

        ``decode`` raises ValueError for a value that is not legal.
        """
        path = self.directory / name
        try:
            with _naming(path):
                descriptor = self._open(name, os.O_RDONLY)
                try:
                    wrong = _wrong_rights(os.fstat(descriptor), "0600")
                    content = os.read(descriptor, MAX_BYTES)
                finally:
                    os.close(descriptor)
        except FileNotFoundError:
            return None
        try:
            if wrong:
                raise ValueError(wrong)
            return decode(unpack(name, content))
        except ValueError as error:
            raise BrokenRecord(f"{path}: {error}") from None

    def write(self, name: str, value: object) -> None:
        """Replaces the value. If power is lost meanwhile, the old value is there or the new one. Raises OSError.

        A value that could not be read again is not written.
        """
        new, content = f"{name}.new", pack(name, value)
        if len(content) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"longer than {MAX_BYTES} bytes", str(self.directory / name))
        with _naming(self.directory / new):
            with open(self._open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # before the rename: else a loss of power could leave an empty file
            self._rename(new, name)

    def names(self) -> list[str]:
        """Returns the names of all files that are there, those that are no record's too. Raises OSError."""
        with _naming(self.directory):
            return os.listdir(self._descriptor)

    def remove(self, name: str) -> None:
        """Removes a record, what was set aside of it, and what was being written. Raises OSError.

        It need not be there. If power is lost meanwhile, it is there or not; afterwards it is not. A file that cannot
        be removed keeps none of the others.
        """
        failed: OSError | None = None
        for each in (name, f"{name}.new", f"{name}.broken"):
            try:
                with _naming(self.directory / each), contextlib.suppress(FileNotFoundError):
                    os.unlink(each, dir_fd=self._descriptor)
            except OSError as error:
                failed = failed or error
        with _naming(self.directory):
            os.fsync(self._descriptor)
        if failed is not None:
            raise failed

    def set_aside(self, name: str) -> Path:
        """Renames a record's file and returns its new path. One that was set aside before is lost. Raises OSError."""
        with _naming(self.directory / name):
            self._rename(name, f"{name}.broken")  # on the disk before a new file is: else that could replace this one
        return self.directory / f"{name}.broken"

    def close(self) -> None:
        """Closes the directory, and unlocks it. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self, name: str, flags: int) -> int:
        """Opens a file without waiting, even if it is a FIFO that no process has opened."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=self._descriptor)

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        os.fsync(self._descriptor)


def pack(name: str, value: object) -> bytes:
    """Returns the content of a record's file."""
    text = f"usbbtd {name} {VERSION}\n{json.dumps(value)}\n".encode()
    return text + _last_line(text)


def unpack(name: str, content: bytes) -> object:
    """Returns the value in a record's file. Raises ValueError, which says what is wrong with the content."""
    head = _HEAD.match(content)
    if head and int(head[1]) != VERSION:
        raise ValueError(f"of version {int(head[1])}; this usbbtd knows version {VERSION}")
    text = content[: content.rfind(b"sha256 ")]
    if head is None or content != text + _last_line(text):
        raise ValueError("not whole, or changed by hand")
    if not text.startswith(b"usbbtd %s " % name.encode()):
        raise ValueError("this is another record's file")
    try:
        value: object = json.loads(text[head.end() :])
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    return value


def _last_line(text: bytes) -> bytes:
    return f"sha256 {hashlib.sha256(text).hexdigest()}\n".encode()


def _wrong_rights(status: os.stat_result, wanted: str) -> str | None:
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, and not to user {os.geteuid()} as usbbtd does"
    mode = stat.S_IMODE(status.st_mode)
    return f"mode {mode:04o}, where only {wanted} is safe" if mode & 0o077 else None


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts this path into each OSError that the block raises, as some system calls leave it out."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None


def _random_static_address() -> str:
    """Draws a random static address (Vol 6, Part B, 1.3.2.1), in its usual form."""
    return (bytes((secrets.randbelow(0x40) | 0xC0,)) + secrets.token_bytes(5)).hex(":").upper()


def _key(value: object) -> bytes:
    key = bytes.fromhex(value) if isinstance(value, str) else b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"not a key of {KEY_BYTES} bytes")
    return key
