"""Ends of a pipe, a socket or a terminal that nobody reads, and that are full."""

import contextlib
import os
import pty
import socket
import tty
from collections.abc import Iterator

KINDS = ("pipe", "socket", "terminal")


@contextlib.contextmanager
def unread(kind: str) -> Iterator[tuple[int, int]]:
    """(the end to read from, the full one to write to), both as they are by default: who uses them waits."""
    reading, writing = {"pipe": os.pipe, "socket": _sockets, "terminal": pty.openpty}[kind]()
    try:
        if kind == "terminal":
            tty.setraw(writing)
        os.set_blocking(writing, False)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writing, b"x" * size)
        os.set_blocking(writing, True)
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def drain(reading: int) -> bytes:
    """All that is there to be read now."""
    os.set_blocking(reading, False)
    octets = b""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(reading, 1 << 16):
            octets += more
    os.set_blocking(reading, True)
    return octets


def _sockets() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()
