"""Collects the changes of watched xenstore paths: a guest can write to its own nodes as often as it likes."""

import asyncio
from typing import Self

from usbbtd.xen.error import XenError

_MOST_PATHS = 256


class Watch:
    """Yields each path at or below ``paths`` that has changed; once, however often it has.

    Yields ``paths`` themselves at first, after xenstored was away, and instead of all others when too many of these
    wait. Ends when the store is closed.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self._changed: dict[str, None] = {}
        self._wakeup = asyncio.Event()
        self._end: StopAsyncIteration | XenError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._changed:
            if self._end:
                raise self._end
            self._wakeup.clear()
            await self._wakeup.wait()
        path = next(iter(self._changed))
        del self._changed[path]
        return path

    def add(self, path: str) -> None:
        """Adds a path that has changed."""
        self._changed[path] = None
        if len(self._changed) > _MOST_PATHS:
            self._changed = dict.fromkeys(self.paths)
        self._wakeup.set()

    def end(self, error: XenError | None = None) -> None:
        """Ends the iteration after the paths that wait, or has it raise ``error``."""
        self._end = error or StopAsyncIteration()
        self._wakeup.set()
