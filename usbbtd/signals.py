"""The signals of a service, from its first moment to its last.

asyncio's own handlers come late, with the event loop, and go with it before the process does: a signal before or after
would end the process, as SIGHUP does, or give it another status.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Held:
    """A handler that remembers."""

    came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True


def hold_sighup() -> None:
    """Has SIGHUP wait for ``handled``. For the first lines of a program: its imports are most of its start."""
    signal.signal(signal.SIGHUP, _Held())


@contextlib.contextmanager
def handled(stop: Callable[[], object], reload: Callable[[], object]) -> Iterator[None]:
    """Calls ``stop`` on SIGTERM and SIGINT, ``reload`` on SIGHUP, also on one that was held.

    In an event loop that has no handlers of its own. Once it is over all three are ignored: what is left is the end of
    the process, which none of them may cut short.
    """
    import asyncio  # here: who only holds a signal cannot wait for it
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
            if isinstance(held, _Held) and held.came:
                reload()
            yield
        finally:
            for number in _NUMBERS:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(before)
            loop.remove_reader(reading)
