"""The line of a serial guest: a terminal, a device like a virtio port, or a socket of the Unix domain. Never waits."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import termios
import tty
from collections.abc import Callable

_PORTION = 4096

#: Baud rates by termios's constants. A pseudo terminal has one, too, which nobody keeps to.
_RATES = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}


class Line:
    """A line that is open. ``baud``: its rate; None if it is no terminal. ``path``: for people.

    ``received`` gets octets; ``written`` is called when all that was written is on the line; ``ended`` with the reason
    when it is no more, once. All are called from the event loop.
    """

    def __init__(self, path: str, baud: int | None = None) -> None:
        self.path = path
        self._socket, self._descriptor, is_terminal = _open(path)
        try:
            self.baud = _make_raw(self._descriptor, baud) if is_terminal else None
        except BaseException:
            self._close()
            raise
        self._pending = b""
        self._open = True

    def start(
        self, received: Callable[[bytes], None], written: Callable[[], None], ended: Callable[[str], None]
    ) -> None:
        """Begins to read."""
        self._received, self._written, self._ended = received, written, ended
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    @property
    def is_idle(self) -> bool:
        """Tells whether all that was written is on the line."""
        return self._open and not self._pending

    def write(self, octets: bytes) -> None:
        """Puts octets on the line, as soon as it takes them; it must be idle."""
        self._pending = octets
        self._flush()

    def close(self) -> None:
        """Ends the line; what has not been taken is lost. Idempotent."""
        if self._open:
            self._open = False
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._descriptor)
            loop.remove_writer(self._descriptor)
            self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._descriptor)

    def _read(self) -> None:
        try:
            octets = os.read(self._descriptor, _PORTION)
        except BlockingIOError:
            return
        except OSError as error:  # EIO: nobody has the other end of a pseudo terminal open
            self._end(os.strerror(error.errno or errno.EIO))
            return
        if octets:
            self._received(octets)
        else:
            self._end("closed by the other end")

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        was_blocked = len(self._pending)
        try:
            self._pending = self._pending[os.write(self._descriptor, self._pending) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(os.strerror(error.errno or errno.EIO))
            return
        if self._pending:
            loop.add_writer(self._descriptor, self._flush)
        elif was_blocked:
            loop.remove_writer(self._descriptor)
            loop.call_soon(self._tell_written)

    def _tell_written(self) -> None:
        if self.is_idle:
            self._written()

    def _end(self, reason: str) -> None:
        self.close()
        self._ended(reason)


def _open(path: str) -> tuple[socket.socket | None, int, bool]:
    """Returns (the socket or None, the descriptor, whether it is a terminal). Raises OSError."""
    mode = os.stat(path).st_mode
    if stat.S_ISSOCK(mode):
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            end.setblocking(False)
            end.connect(path)
        except BaseException:
            end.close()
            raise
        return end, end.fileno(), False
    if not stat.S_ISCHR(mode):
        raise OSError(errno.ENOTTY, "neither a terminal, another device, nor a socket", path)
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    return None, descriptor, os.isatty(descriptor)


def _make_raw(descriptor: int, baud: int | None) -> int | None:
    """Has the terminal change nothing of what passes, at 8 bits without parity, and returns its baud rate."""
    tty.setraw(descriptor, termios.TCSANOW)
    attributes = termios.tcgetattr(descriptor)
    attributes[2] = attributes[2] & ~(termios.PARENB | termios.CSTOPB | termios.CSIZE) | termios.CS8 | termios.CLOCAL
    attributes[2] |= termios.CREAD
    if baud is not None:
        attributes[4] = attributes[5] = next(number for number, rate in _RATES.items() if rate == baud)
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    termios.tcflush(descriptor, termios.TCIFLUSH)
    return _RATES.get(attributes[5])


BAUD_RATES = tuple(sorted(set(_RATES.values()) - {0}))
