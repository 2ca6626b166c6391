"""Ends every command in the same way when its output fails or a signal comes; prints its version."""

from __future__ import annotations

import argparse
import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from signal import SIGINT, SIGPIPE
from typing import Any, Protocol

#: The status of a command whose standard output cannot be written: EX_IOERR of sysexits.h.
CANNOT_WRITE = 74


class Main(Protocol):
    """The main function of a command. ``argv``: None for the arguments of the process. Returns the exit status."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


class OutputError(Exception):
    """Standard output cannot be written. It is no OSError, which could be taken for a failure of the command's work."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write standard output: {error.strerror}")
        self.errno = error.errno


def program(name: str) -> Callable[[Main], Main]:
    """Returns a decorator that makes a main function end as every command does, whatever becomes of its output.

    If the reader of standard output has gone, the status is that of SIGPIPE, without a message. After another failure,
    such as of a full disk, it is CANNOT_WRITE, with a message. Messages that standard error does not take are dropped
    and counted. Letters that the locale does not have are escaped.
    """

    def decorate(main: Main) -> Main:
        @wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            _prepare(name)
            try:
                try:
                    return main(argv)
                finally:
                    sys.stdout.flush()  # here a failure can still be told, also after --help, which raises SystemExit
            except OutputError as error:
                if error.errno == errno.EPIPE:
                    return 128 + SIGPIPE
                print(f"{name}: {error}", file=sys.stderr)
                return CANNOT_WRITE
            except KeyboardInterrupt:
                return 128 + SIGINT

        return run

    return decorate


def never_wait() -> None:
    """Makes standard error that of a service: messages that it does not take at once are dropped and counted.

    A command waits for its reader, such as ``less``; a service that did so could not even be stopped.
    """
    raw = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
    if isinstance(raw, _LossyOutput):
        raw.never_wait()


def tell_done(text: str) -> None:
    """Prints what has been done. If it cannot be printed, the command goes on: it is done all the same."""
    try:
        print(text, flush=True)
    except OutputError as error:
        if error.errno != errno.EPIPE:
            print(error, file=sys.stderr)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Adds --version."""
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and end")


class _Version(argparse.Action):
    """Looks the version up when it is asked for: that takes longer than most commands."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"{parser.prog} {version('usbbtd')}")
        except PackageNotFoundError:
            print(f"{parser.prog}, of no known version")
        parser.exit()


def _prepare(name: str) -> None:
    """Replaces Python's own standard streams by those that fail as ``program`` says. Others, as in tests, stay."""
    closed = _occupy_standard_descriptors()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_CheckedOutput(1, failing=1 in closed), sys.__stdout__)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_LossyOutput(2, name, failing=2 in closed), sys.__stderr__)


def _occupy_standard_descriptors() -> set[int]:
    """Opens /dev/null for each of 0 to 2 that is closed, and returns those. Else the next file would get the number."""
    closed = set()
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            closed.add(descriptor)
    return closed


def _text(raw: io.RawIOBase, like: io.TextIOBase | Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(like, "encoding", None),
        errors="backslashreplace",
        line_buffering=raw.isatty() or isinstance(raw, _LossyOutput),
    )


class _OutputDescriptor(io.RawIOBase):
    def __init__(self, descriptor: int, *, failing: bool) -> None:
        self._descriptor = descriptor
        self._failing = failing
        self._write: Callable[[Any], int] = partial(os.write, descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return not self._failing and os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def _put(self, data: Any) -> int:
        if self._failing:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._write(data)


class _CheckedOutput(_OutputDescriptor):
    """Raises OutputError, once: Python flushes again at its exit."""

    _failed = False

    def write(self, data: Any) -> int:
        if self._failed:
            return len(data)
        try:
            return self._put(data)
        except OSError as error:
            self._failed = True
            raise OutputError(error) from error


class _LossyOutput(_OutputDescriptor):
    """Drops what cannot be written, and writes how often, on a line of its own, when it can again."""

    def __init__(self, descriptor: int, name: str, *, failing: bool) -> None:
        super().__init__(descriptor, failing=failing)
        self._name = name
        self._lost = 0
        self._torn = False

    def never_wait(self) -> None:
        if not self._failing:
            self._write = _without_waiting(self._descriptor)

    def write(self, data: Any) -> int:
        try:
            if self._lost:
                end = "\n" if self._torn else ""
                self._put(f"{end}{self._name}: {self._lost} messages could not be written here\n".encode())
                self._lost = 0
            written = self._put(data)
        except OSError:
            self._lost += 1
            return len(data)
        self._torn = written < len(data)
        return written


def _without_waiting(descriptor: int) -> Callable[[Any], int]:
    """Returns a write that raises BlockingIOError instead of waiting.

    The descriptor does not become non-blocking: its flags are those of other processes, too, which may not expect that.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        from socket import MSG_DONTWAIT, socket

        own = socket(fileno=os.dup(descriptor))
        return lambda data: own.send(data, MSG_DONTWAIT)
    if not stat.S_ISFIFO(mode) and not stat.S_ISCHR(mode):
        return partial(os.write, descriptor)  # a file never has a writer wait
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return partial(os.write, os.open(f"/proc/self/fd/{descriptor}", flags))
    except OSError:  # it belongs to another user, as behind sudo
        return partial(_write_if_room, descriptor)


def _write_if_room(descriptor: int, data: Any) -> int:
    """Writes at most PIPE_BUF bytes, if poll(2) finds room for them; waits only if another writer takes that room."""
    import select

    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    if not room.poll(0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.write(descriptor, data[: select.PIPE_BUF])
