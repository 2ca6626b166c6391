"""Grants and event channels between two domains that are one process: both ends of a ring in one event loop.

For what stands above ``usbbtd.xen``, with every step under the test's control; that the same code runs on the
libraries is shown by service/test_run.py, on the simulated Xen.
"""

import asyncio
import errno
import itertools
from collections.abc import Callable, Sequence
from functools import partial

from usbbtd.errors import LocalProtocolError
from usbbtd.xen.error import XenError

PAGE_SIZE = 4096


class PlainXen:
    """A ``Xen`` without a store, which is its own grants and event channels, of everybody.

    ``held`` counts what is mapped and bound.
    """

    def __init__(self) -> None:
        self.grants = self.evtchn = self
        self._loop = asyncio.get_running_loop()
        self._references = itertools.count(8)
        self._ports = itertools.count(1)
        self._pages: dict[int, tuple[bytearray, int]] = {}  # by reference: allocation, offset
        self._channels: dict[int, PlainChannel] = {}  # by port
        self.mapped = 0
        self.put_off: list[Callable[[], None]] | None = None  # there while a handler is called: what is called after it

    @property
    def held(self) -> tuple[int, int, int]:
        """(pages mapped, pages shared, ports bound)"""
        return self.mapped, len(self._pages), len(self._channels)

    def share(self, _domid: int, count: int) -> "PlainPages":
        memory = bytearray(count * PAGE_SIZE)
        refs = list(itertools.islice(self._references, count))
        self._pages |= {ref: (memory, number * PAGE_SIZE) for number, ref in enumerate(refs)}

        def unshare() -> None:
            for ref in refs:
                del self._pages[ref]

        return PlainPages(memoryview(memory), refs, unshare)

    def map(self, _domid: int, refs: Sequence[int]) -> "PlainPages":
        if not self._pages.keys() >= set(refs):
            raise XenError(errno.EINVAL, f"cannot map references {refs}")
        found = [self._pages[ref] for ref in refs]
        memory, start = found[0]
        if found != [(memory, start + number * PAGE_SIZE) for number in range(len(refs))]:
            raise XenError(errno.EINVAL, f"references {refs} are not one piece")
        self.mapped += len(refs)

        def unmap() -> None:
            self.mapped -= len(refs)

        return PlainPages(memoryview(memory)[start : start + len(refs) * PAGE_SIZE], list(refs), unmap)

    def bind_unbound(self, _domid: int, handler: Callable[[], None]) -> "PlainChannel":
        return self._bind(handler)

    def bind_interdomain(self, _domid: int, remote_port: int, handler: Callable[[], None]) -> "PlainChannel":
        other = self._channels.get(remote_port)
        if other is None or other.other is not None:
            raise XenError(errno.EINVAL, f"cannot bind to port {remote_port}")
        channel = self._bind(handler)
        channel.other, other.other = other, channel
        channel.pend()
        return channel

    def call_soon(self, callback: Callable[[], None]) -> None:
        if self.put_off is None:
            self._loop.call_soon(callback)
        else:
            self.put_off.append(callback)

    def wake_up(self, handler: Callable[[], None]) -> None:
        put_off: list[Callable[[], None]] = []
        self.put_off = put_off
        handler()
        for callback in put_off:
            callback()
        self.put_off = None

    def _bind(self, handler: Callable[[], None]) -> "PlainChannel":
        port = next(self._ports)
        wake_up = partial(self.wake_up, handler)
        channel = self._channels[port] = PlainChannel(self._loop, port, wake_up, lambda: self._channels.pop(port))
        return channel


class PlainPages:
    def __init__(self, memory: memoryview, refs: list[int], give_up: Callable[[], None]) -> None:
        self.memory = memory
        self.refs = refs
        self._give_up = give_up

    def page(self, number: int) -> memoryview:
        return self.memory[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]

    def close(self) -> None:
        try:
            self.memory.release()
        except BufferError:
            raise LocalProtocolError("pages are closed before the ring that lives in them") from None
        give_up, self._give_up = self._give_up, lambda: None
        give_up()


class PlainChannel:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, port: int, handler: Callable[[], None], unbind: Callable[[], object]
    ) -> None:
        self.port = port
        self.other: PlainChannel | None = None
        self.notifications = 0
        self._loop = loop
        self._handler = handler
        self._unbind = unbind
        self._pending = False
        self._closed = False

    def notify(self) -> None:
        if self._closed:
            raise LocalProtocolError("the event channel is closed")
        self.notifications += 1
        if self.other is not None:
            self.other.pend()

    def pend(self) -> None:
        if not self._pending:
            self._pending = True
            self._loop.call_soon(self._run)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._unbind()
            if self.other is not None:
                self.other.other = None

    def _run(self) -> None:
        self._pending = False
        if not self._closed:
            self._handler()
