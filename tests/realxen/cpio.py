"""The archive of a Linux initramfs: cpio's "newc" format, see Linux's Documentation/driver-api/early-userspace."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

_ALIGNMENT = 4
_TRAILER = "TRAILER!!!"


def write_tree(tree: Path, archive: BinaryIO) -> None:
    """Appends everything below ``tree``, owned by root and without times, so that equal trees give equal archives.

    A kernel takes several archives after one another as one; each begins at a multiple of four octets.
    """
    number = 0
    for directory, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted([*folders, *files]):
            number += 1
            _write_entry(Path(directory, name), os.path.relpath(os.path.join(directory, name), tree), number, archive)
    _write_member(_TRAILER, 0, b"", 0, archive)


def _write_entry(path: Path, name: str, number: int, archive: BinaryIO) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        content = os.readlink(path).encode()
    elif stat.S_ISREG(mode):
        content = path.read_bytes()
    else:
        content = b""
    _write_member(name, mode, content, number, archive)


def _write_member(name: str, mode: int, content: bytes, number: int, archive: BinaryIO) -> None:
    encoded = name.encode() + b"\0"
    # inode, mode, uid, gid, links, time, size, device and its minor, of a device node and its minor, name, checksum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    archive.write(header + encoded + bytes(-(len(header) + len(encoded)) % _ALIGNMENT))
    archive.write(content)
    archive.write(bytes(-len(content) % _ALIGNMENT))
