"""Grants and event channels between two domains that are one process: both ends of a ring in one event loop.

For what stands above ``usbbtd.xen``, with every step under the test's control; that the same code runs on the
libraries is shown by test_service.py, on the simulated Xen.
"""

import asyncio
import errno
import itertools
from functools import partial

from usbbtd.errors import LocalProtocolError
from usbbtd.xen.error import XenError

PAGE_SIZE = 4096


class PlainXen:
    """Both ``Grants`` and ``EventChannels`` of everybody. ``held`` counts what is mapped and bound."""

    def __init__(self):
        self._loop = asyncio.get_running_loop()
        self._references = itertools.count(8)
        self._ports = itertools.count(1)
        self._pages = {}  # by reference: allocation, offset
        self._channels = {}  # by port
        self.mapped = 0
        self.put_off = None  # there while a handler is called: what is called after it

    @property
    def held(self):
        """(pages mapped, pages shared, ports bound)"""
        return self.mapped, len(self._pages), len(self._channels)

    def share(self, _domid, count):
        memory = bytearray(count * PAGE_SIZE)
        refs = list(itertools.islice(self._references, count))
        self._pages |= {ref: (memory, number * PAGE_SIZE) for number, ref in enumerate(refs)}

        def unshare():
            for ref in refs:
                del self._pages[ref]

        return _Pages(memoryview(memory), refs, unshare)

    def map(self, _domid, refs):
        found = [self._pages.get(ref) for ref in refs]
        if None in found:
            raise XenError(errno.EINVAL, f"cannot map references {refs}")
        memory, start = found[0]
        if found != [(memory, start + number * PAGE_SIZE) for number in range(len(refs))]:
            raise XenError(errno.EINVAL, f"references {refs} are not one piece")
        self.mapped += len(refs)

        def unmap():
            self.mapped -= len(refs)

        return _Pages(memoryview(memory)[start : start + len(refs) * PAGE_SIZE], list(refs), unmap)

    def bind_unbound(self, _domid, handler):
        return self._bind(handler)

    def bind_interdomain(self, _domid, remote_port, handler):
        other = self._channels.get(remote_port)
        if other is None or other.other is not None:
            raise XenError(errno.EINVAL, f"cannot bind to port {remote_port}")
        channel = self._bind(handler)
        channel.other, other.other = other, channel
        channel.pend()
        return channel

    def call_soon(self, callback):
        if self.put_off is None:
            self._loop.call_soon(callback)
        else:
            self.put_off.append(callback)

    def wake_up(self, handler):
        self.put_off = []
        handler()
        for callback in self.put_off:
            callback()
        self.put_off = None

    def _bind(self, handler):
        port = next(self._ports)
        wake_up = partial(self.wake_up, handler)
        channel = self._channels[port] = _Channel(self._loop, port, wake_up, lambda: self._channels.pop(port))
        return channel


class _Pages:
    def __init__(self, memory, refs, give_up):
        self.memory = memory
        self.refs = refs
        self._give_up = give_up

    def page(self, number):
        return self.memory[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]

    def close(self):
        try:
            self.memory.release()
        except BufferError:
            raise LocalProtocolError("pages are closed before the ring that lives in them") from None
        give_up, self._give_up = self._give_up, lambda: None
        give_up()


class _Channel:
    def __init__(self, loop, port, handler, unbind):
        self.port = port
        self.other = None
        self.notifications = 0
        self._loop = loop
        self._handler = handler
        self._unbind = unbind
        self._pending = False
        self._closed = False

    def notify(self):
        if self._closed:
            raise LocalProtocolError("the event channel is closed")
        self.notifications += 1
        if self.other is not None:
            self.other.pend()

    def pend(self):
        if not self._pending:
            self._pending = True
            self._loop.call_soon(self._run)

    def close(self):
        if not self._closed:
            self._closed = True
            self._unbind()
            if self.other is not None:
                self.other.other = None

    def _run(self):
        self._pending = False
        if not self._closed:
            self._handler()
