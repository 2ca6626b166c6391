"""Writes the output of a command into the file that people name for it."""

import errno
import os
import stat
import tempfile
from pathlib import Path

from usbbtd.cli.ctl.client import CommandFailed

STANDARD_OUTPUT = "-"


def replace(path: str, text: str) -> None:
    """Replaces a file at once: a reader sees either the whole old file or the whole new one.

    All users may read the new file, as one that a shell makes. A link stays, and leads to it. A device or a pipe is
    written to instead. Raises CommandFailed.
    """
    try:
        if _can_be_replaced(path):
            _rename_over(Path(os.path.realpath(path)), text)
        else:
            with os.fdopen(open_descriptor(path), "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None


def open_descriptor(path: str) -> int:
    """Opens a file to write it anew. If it is made here, only its owner may read it. A pipe must have a reader.

    Raises CommandFailed.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        nobody = error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(path).st_mode)
        raise CommandFailed(f"{path}: {'nobody reads from this pipe' if nobody else error.strerror}") from None
    os.set_blocking(descriptor, True)
    return descriptor


def _can_be_replaced(path: str) -> bool:
    """Tells whether there is a regular file, or nothing yet."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _rename_over(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
