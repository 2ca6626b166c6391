"""Keeps bonds over restarts: a file for each, in a directory of those of one identity of ours.

The directory is named by the identity that the adapter was given, not by what a dongle says of itself: no dongle gets
the bonds of another adapter by claiming its address. Keys are in the files and nowhere else: no record of the log
and no error shows what is in a file.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import format_address
from usbbtd.security.bonds import Bond
from usbbtd.service.bond_record import decode, encode, is_name, name_of
from usbbtd.service.state import BrokenRecord, Records

#: The most bonds that are kept for one identity.
MAX_BONDS = 256

#: How much later a peer has to be seen again for that alone to be written: a disk must not wear out by it.
SEEN_S = 86_400.0


def directory_of(state: Path, identity: bytes) -> Path:
    """Returns where the bonds of an identity of ours are: ``identity`` has 6 octets, least significant first."""
    return state / f"bonds-{identity[::-1].hex()}"


class BondFiles:
    """The bonds in one directory, which is made when there is a first one. Calls wait for the disk.

    What cannot be read or written is told to the log, and costs its own bond: after a restart it is not there, or is as
    it was before.
    """

    def __init__(self, directory: Path, log: FilteringBoundLogger) -> None:
        self._directory = directory
        self._log = log
        self._records: Records | None = None
        self._kept: dict[str, Bond] = {}  # what the files have, by their names
        self._later: dict[str, Bond] = {}  # bonds of which no more than the time is new

    def load(self) -> list[Bond]:
        """Returns the bonds that are kept. A file that is no good is set aside, or passed over."""
        try:
            names = self._open().names()
        except FileNotFoundError:
            return []
        except OSError as error:
            self._log.error("bonds are in memory only", reason=_reason(error))
            return []
        self._clear_remains(names)
        names = sorted(name for name in names if is_name(name))
        if len(names) > MAX_BONDS:
            self._log.error("bonds left out", directory=str(self._directory), count=len(names) - MAX_BONDS)
        for name in names[:MAX_BONDS]:
            if (bond := self._read(name)) is not None:
                self._kept[name] = bond
        return list(self._kept.values())

    def save(self, bond: Bond) -> None:
        """Keeps a bond, in the place of the one that there is for its peer and transport."""
        name = name_of(bond)
        old = self._kept.get(name)
        if old is not None and bond == old._replace(seen=bond.seen) and (bond.seen or 0) - (old.seen or 0) < SEEN_S:
            if bond != old:
                self._later[name] = bond
            return
        if old is None and len(self._kept) >= MAX_BONDS:
            self._log.error("bond not kept", addr=format_address(bond.address), reason=f"there are {MAX_BONDS} bonds")
            return
        self._write(name, bond)

    def remove(self, bond: Bond) -> None:
        """Forgets the bond with its peer and transport, and what was set aside of it."""
        name = name_of(bond)
        self._kept.pop(name, None)
        self._later.pop(name, None)
        try:
            self._open().remove(name)
        except FileNotFoundError:
            pass  # there is no directory
        except OSError as error:
            self._log.error("bond not removed", addr=format_address(bond.address), reason=_reason(error))

    def close(self) -> None:
        """Writes when peers were seen last, and closes the directory. Idempotent."""
        for name, bond in tuple(self._later.items()):
            self._write(name, bond)
        self._later.clear()
        if self._records is not None:
            self._records.close()
            self._records = None

    # Inside.

    def _open(self) -> Records:
        if self._records is None:
            self._records = Records(self._directory)
        return self._records

    def _open_or_make(self) -> Records:
        try:
            return self._open()
        except FileNotFoundError:
            make_directory(self._directory)
            return self._open()

    def _read(self, name: str) -> Bond | None:
        """Returns the bond in a file; None, with a record, if there is none to be had. Such a file is set aside."""
        records = self._open()
        try:
            return records.read(name, decode)
        except BrokenRecord as error:
            with self._passing_over():
                aside = records.set_aside(name)
                self._log.error("bond file set aside", file=str(aside), reason=str(error))
        except OSError as error:
            self._pass_over(error)
        return None

    def _write(self, name: str, bond: Bond) -> None:
        try:
            self._open_or_make().write(name, encode(bond))
        except OSError as error:
            self._log.error("bond not kept", addr=format_address(bond.address), reason=_reason(error))
            return
        self._kept[name] = bond
        self._later.pop(name, None)

    def _clear_remains(self, names: list[str]) -> None:
        """Removes files that a process has left that ended while it wrote: there are keys in them."""
        for name in names:
            if name.endswith(".new"):
                with self._passing_over():
                    self._open().remove(name)

    def _pass_over(self, error: OSError) -> None:
        self._log.error("bond file passed over", reason=_reason(error))

    @contextlib.contextmanager
    def _passing_over(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._pass_over(error)


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}"


def make_directory(path: Path) -> None:
    """Makes a directory that only its owner may enter, and has it on the disk. Raises OSError with a whole path."""
    try:
        os.mkdir(path, 0o700)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)  # else a loss of power could take the bonds with their directory
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror, str(path)) from None
