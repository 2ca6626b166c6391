"""usbbtctl top: shows what the service does now, until it is ended."""

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

from usbbtd.cli.arguments import seconds
from usbbtd.cli.ctl.client import Client, CommandFailed
from usbbtd.cli.ctl.frame import View, painted, take_sample
from usbbtd.cli.ctl.output import add_command

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # to the alternate screen, without a cursor, and back
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_SHORTEST_S = 0.1
_END_KEYS = (b"q", b"Q", b"\x04", b"")


def add_parser(subparsers: "Subparsers") -> None:
    parser = add_command(subparsers, "top", _top, "live: guests, channels, and what they carry; q ends it")
    parser.add_argument("--interval", type=seconds, default=1.0, metavar="S", help="between frames (default: 1)")
    parser.add_argument("--once", action="store_true", help="print one frame, and end")


def _top(arguments: argparse.Namespace) -> int:
    if arguments.json:
        return _stream(arguments)
    if not arguments.once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailed("top needs a terminal; --once and --json do not")
    interval = max(arguments.interval, _SHORTEST_S)
    with Client(arguments.socket) as client:
        view = View(take_sample(client))
        if arguments.once:
            time.sleep(interval)
            view.advance(take_sample(client))
            _print(view)
            return 0
        with _screen(), contextlib.suppress(KeyboardInterrupt):
            _draw(view)
            while not _wait_end(interval):
                view.advance(take_sample(client))
                _draw(view)
    return 0


def _stream(arguments: argparse.Namespace) -> int:
    """Prints a sample a line. Programs compute the rates from two of them, as ``View`` does."""
    with Client(arguments.socket) as client, contextlib.suppress(KeyboardInterrupt):
        while True:
            at, status, guests, channels = take_sample(client)
            sample = {"at": at, "status": status, "guests": guests, "channels": channels}
            print(json.dumps(sample), flush=True)
            if arguments.once:
                break
            time.sleep(max(arguments.interval, _SHORTEST_S))
    return 0


def _print(view: View) -> None:
    size = _size()
    colour = sys.stdout.isatty()
    for line in view.lines(size.columns, size.lines - 1):
        print(painted(line, size.columns, colour=colour).rstrip())


def _draw(view: View) -> None:
    size = _size()
    lines = [painted(line, size.columns, colour=True) for line in view.lines(size.columns, size.lines)]
    sys.stdout.write(_HOME + f"{_CLEAR_LINE}\r\n".join(lines) + _CLEAR_LINE + _CLEAR_BELOW)
    sys.stdout.flush()


def _size() -> os.terminal_size:
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        size = os.terminal_size((0, 0))
    return size if size.columns and size.lines else os.terminal_size((80, 24))


def _wait_end(seconds: float) -> bool:
    """Waits for a key, ``seconds`` at most, and tells whether it is one that ends the command."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and os.read(sys.stdin.fileno(), 1) in _END_KEYS


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """Switches to the terminal's alternate screen, where keys need no Enter, and back after the block."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # else the shell would appear on the alternate screen
    try:
        tty.setcbreak(descriptor)
        sys.stdout.write(_ENTER)
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
