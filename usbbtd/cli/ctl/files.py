"""Files that people name for what a command gives. What is no regular file stays what it is, and is written to."""

import errno
import os
import stat
import tempfile
from pathlib import Path

from usbbtd.cli.ctl.client import CommandFailed

STANDARD_OUTPUT = "-"


def replace(path: str, text: str) -> None:
    """Puts a file in the place of one that is there, at once: who reads it sees all of one of them.

    It can be read by all, as one that a shell makes. A link stays, and leads to the new file. What is no regular file,
    such as a device or a pipe, is written to. Raises CommandFailed.
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
    """Opens a file to write it anew. One that is made is for its owner alone; a pipe must have a reader.

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
    """Whether a regular file is there, or nothing yet."""
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
