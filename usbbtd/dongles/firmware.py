"""Reads files of firmware that controllers need, where Linux has them. Nothing is read from anywhere else."""

import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["LINUX_FIRMWARE", "FirmwareDirectory", "FirmwareMissing"]

#: Where Debian's packages put firmware.
LINUX_FIRMWARE: Final = Path("/lib/firmware")

#: The most octets of a file; the longest known one has a megabyte.
MAX_SIZE: Final = 4 << 20

#: How other distributions compress their files; Debian 12 does not.
_COMPRESSED: Final = (".xz", ".zst")


class FirmwareMissing(Exception):
    """A file of firmware cannot be had. The message says what stands in the way."""


class FirmwareDirectory:
    """A directory with firmware."""

    def __init__(self, path: Path = LINUX_FIRMWARE) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        """Returns the content of a file below the directory. Raises FirmwareMissing.

        Links are followed, which firmware packages have, but not out of the directory. Blocks for as long as the disk
        takes: a dongle that waits for its firmware has no links that would wait, too.
        """
        root = os.path.realpath(self.path)
        path = os.path.realpath(self.path / name)
        if not path.startswith(f"{root}/"):
            raise FirmwareMissing(f"not read: it is outside of {self.path}")
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise FirmwareMissing(self._absent(path)) from None
        except OSError as error:
            raise FirmwareMissing(f"not readable: {error.strerror}") from error
        try:
            return self._read(file)
        except OSError as error:
            raise FirmwareMissing(f"not readable: {error.strerror}") from error
        finally:
            os.close(file)

    @staticmethod
    def _read(file: int) -> bytes:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FirmwareMissing("not read: it is no file")
        content = b""
        while len(content) <= MAX_SIZE and (more := os.read(file, MAX_SIZE + 1 - len(content))):
            content += more
        if not content or len(content) > MAX_SIZE:
            raise FirmwareMissing(f"not read: it is empty, or longer than {MAX_SIZE} octets")
        return content

    def _absent(self, path: str) -> str:
        for ending in _COMPRESSED:
            if os.path.exists(path + ending):
                return f"not in {self.path}, but for a compressed one, {ending}, which usbbtd does not read"
        return f"not in {self.path}"
