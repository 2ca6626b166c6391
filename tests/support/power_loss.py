"""Losing power while files are written: a process that is cut off at each step, and a disk that forgets.

``run`` does something in a process of its own, with power_loss.c preloaded, again and again: cut off at its first
step with a file, at its second, until it comes to its end. ``disks`` goes further: what was not fsynced may be
missing, in part, or be there without what was done before it.
"""

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CUT = 77  # power_loss.c
Files = dict[str, bytes]
Call = list[str]


def build(directory: Path) -> Path:
    """The library, for LD_PRELOAD."""
    library = directory / "power_loss.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def run(prepare: Callable[[Path], None], do: Callable[[Path], None], place: Path) -> list[Call]:
    """In a process with the library: does it in ``place``/0, cut off at the first step, and so on.

    The last is complete: returns its calls.
    """
    power_loss_after = ctypes.CDLL(None).power_loss_after
    for steps in itertools.count():
        directory = place / str(steps)
        directory.mkdir(0o700, parents=True)
        prepare(directory)
        told = os.memfd_create("told")
        if not (pid := os.fork()):
            power_loss_after(steps, told)
            do(directory)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            return [line.split() for line in os.pread(told, 1 << 20, 0).decode().splitlines()]
        if status != CUT:
            raise ChildProcessError(status, f"{directory}: it failed, with status {status}")
        os.close(told)
    raise AssertionError


def files_in(directory: Path) -> Files:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@dataclass(eq=False)
class _Inode:
    synced: bytes
    written: bytes

    def possible(self) -> set[bytes]:
        """What a file system may have of it: the old, nothing, a beginning, zeros, all."""
        if self.synced == self.written:
            return {self.written}
        return {self.synced, b"", self.written[: len(self.written) // 2], bytes(len(self.written)), self.written}


class _Disk:
    """Names change in one step each, and a change counts for good when the directory is fsynced."""

    def __init__(self, files: Files) -> None:
        self.names: dict[str, _Inode | None] = {name: _Inode(content, content) for name, content in files.items()}
        self.changes: list[dict[str, _Inode | None]] = []
        self._open: dict[str, _Inode] = {}

    def do(self, call: Call) -> None:
        match call:
            case ["open", fd, flags, name] if int(flags) & os.O_CREAT:
                inode = self.present().get(name)
                if inode is None:
                    inode = _Inode(b"", b"")
                    self.changes.append({name: inode})
                elif int(flags) & os.O_TRUNC:
                    inode.written = b""
                self._open[fd] = inode
            case ["open", fd, _, _]:
                self._open.pop(fd, None)  # read, or the directory
            case ["write", fd, octets]:
                self._open[fd].written += bytes.fromhex(octets)
            case ["fsync", fd] if fd in self._open:
                self._open[fd].synced = self._open[fd].written
            case ["fsync", _]:
                self.names, self.changes = self.present(), []
            case ["rename", old, new]:
                self.changes.append({new: self.present()[old], old: None})
            case ["unlink", name]:
                self.changes.append({name: None})

    def present(self) -> dict[str, _Inode | None]:
        """As programs see it."""
        return dict(itertools.chain(self.names.items(), *(change.items() for change in self.changes)))


def disks(files: Files, calls: list[Call]) -> Iterator[Files]:
    """All that can be left of these files when the power is lost after these calls. The first has lost nothing."""
    disk = _Disk(files)
    for call in calls:
        disk.do(call)
    seen = set()
    for made in itertools.product((True, False), repeat=len(disk.changes)):
        changes = (change.items() for change, is_made in zip(disk.changes, made, strict=True) if is_made)
        names = dict(itertools.chain(disk.names.items(), *changes))
        inodes = {name: inode for name, inode in names.items() if inode is not None}
        present = [[inode.written] for inode in inodes.values()]
        for contents in itertools.chain(
            itertools.product(*present), itertools.product(*(inode.possible() for inode in inodes.values()))
        ):
            left = tuple(zip(inodes, contents, strict=True))
            if left not in seen:
                seen.add(left)
                yield dict(left)


def put(files: Files, directory: Path) -> Path:
    """A disk to look at."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(0o700)
    for name, content in files.items():
        path = directory / name
        path.touch(0o600)
        path.write_bytes(content)
    return directory
