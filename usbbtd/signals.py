"""Handles the signals of a service from its first moment to its last.

asyncio's own handlers are there no longer than the event loop: a signal before or after it would end the process, as
SIGHUP does, or give it another status.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _HeldSignal:
    """A signal handler that only notes that the signal came."""

    came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True


def hold_sighup() -> None:
    """Keeps SIGHUP for ``handled``. A program calls it in its first lines: the imports take most of its start."""
    signal.signal(signal.SIGHUP, _HeldSignal())


@contextlib.contextmanager
def handled(stop: Callable[[], object], reload: Callable[[], object]) -> Iterator[None]:
    """Calls ``stop`` on SIGTERM and SIGINT, and ``reload`` on SIGHUP, also if that was held.

    Runs in an event loop that has no signal handlers of its own. After the block all three are ignored: only the end of
    the process is left then, which no signal may cut short.
    """
    import asyncio  # only here: hold_sighup is called before such slow imports
    import socket

    loop = asyncio.get_running_loop()
    held = signal.getsignal(signal.SIGHUP)
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        # Only wakes the loop up, whichever thread was interrupted: Python's handlers run before anything else then.
        loop.add_reader(reading, reading.recv, 4096)
        for number, callback in zip(_NUMBERS, (stop, stop, reload), strict=True):
            signal.signal(number, lambda *_, callback=callback: loop.call_soon_threadsafe(callback))
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            if isinstance(held, _HeldSignal) and held.came:
                reload()
            yield
        finally:
            for number in _NUMBERS:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(before)
            loop.remove_reader(reading)
