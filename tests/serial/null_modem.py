"""A cable between two serial ports, which are pseudo terminals: it may be slow, and damage what passes."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import tty
from collections.abc import Callable
from typing import Self

_PORTION = 64
#: Start bit, 8 data bits, stop bit.
_BITS_PER_OCTET = 10


class NullModem:
    """``ports``: the paths of its two ends. ``damage``: what it does to octets, whichever way they go.

    ``baud``: None if it is as fast as it can be.
    """

    def __init__(self, damage: Callable[[bytes], bytes] = bytes, baud: int | None = None) -> None:
        self.damage = damage
        self._baud = baud
        self._masters: list[int] = []
        self._slaves: list[int] = []
        for _ in range(2):
            master, slave = os.openpty()
            tty.setraw(slave)
            self._masters.append(master)
            self._slaves.append(slave)  # held open, so that a program may come and go
        self.ports = [os.ttyname(slave) for slave in self._slaves]
        self._stop, self._stopped = os.pipe()
        first, second = self._masters
        self._threads = [threading.Thread(target=self._relay, args=ends) for ends in ((first, second), (second, first))]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stopped)
        for thread in self._threads:
            thread.join()
        for descriptor in (self._stop, *self._masters, *self._slaves):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _relay(self, source: int, target: int) -> None:
        while True:
            readable, _, _ = select.select([source, self._stop], [], [])
            if self._stop in readable:
                return
            octets = os.read(source, _PORTION if self._baud else 4096)
            if self._baud:
                time.sleep(len(octets) * _BITS_PER_OCTET / self._baud)  # as long as it takes on the wire
            octets = self.damage(octets)
            while octets:
                _, writable, _ = select.select([self._stop], [target], [])
                if not writable:
                    return
                octets = octets[os.write(target, octets) :]
