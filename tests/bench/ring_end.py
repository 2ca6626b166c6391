"""One end of a data ring in a process of its own: ``python -m tests.bench.ring_end server|client DOMID``.

The client shares the pages and prints where they are; the server gets that on its standard input. Then the client reads
lines ``pingpong COUNT SIZE`` and ``stream COUNT SIZE`` and answers each with the seconds that it took; a stream has
ended when the server has read all of it. All that happens between two messages happens in the event loop.
"""

import asyncio
import struct
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack

from tests.demo.lines import commands
from usbbtd.abi.layout import record
from usbbtd.guest.connection import SharedStream
from usbbtd.xen.dataring import PORTION, DataRing
from usbbtd.xen.xen import Xen

#: 32 pages: 64 KiB each way.
RING_ORDER = 5
_task = struct.Struct("<II")  # kind, count
ECHO, SWALLOW = 1, 0

_unpack_intf = record("struct l2capif_data_intf").unpack_from
_FIRST_REFERENCE = 11  # of the data pages, among the fields of the page of indices


class Server:
    """Echoes messages or swallows them, as each task says."""

    ring: DataRing
    notify: Callable[[], None]

    def __init__(self) -> None:
        self._kind = SWALLOW
        self._left = 0
        self._out: list[bytes] = []

    def receive_event(self) -> None:
        out = self._out
        while True:
            if out:
                taken, notify = self.ring.write(out)
                del out[:taken]
                if notify:
                    self.notify()
                if out:
                    return
            messages, notify = self.ring.read()
            if notify:
                self.notify()
            if not messages:
                return
            if not self._left:
                self._kind, self._left = _task.unpack(messages.pop(0))
            self._left -= len(messages)
            if self._kind == ECHO:
                out += messages
            elif not self._left:
                out.append(b"\0")


class RingClient:
    """Does one task at a time."""

    ring: DataRing
    notify: Callable[[], None]

    def __init__(self) -> None:
        self._done: asyncio.Future[None]
        self._message = b""
        self._kind = ECHO
        self._unsent = 0
        self._expected = 0
        self._clock = asyncio.get_running_loop().time

    async def run(self, kind: int, count: int, size: int) -> float:
        self._message = bytes(size)
        self._kind = kind
        self._unsent = count
        self._expected = count if kind == ECHO else 1
        self._done = asyncio.get_running_loop().create_future()
        start = self._clock()
        self._write([_task.pack(kind, count)])
        self._send()
        await self._done
        return self._clock() - start

    def receive_event(self) -> None:
        while True:
            messages, notify = self.ring.read()
            if notify:
                self.notify()
            if not messages:
                break
            self._expected -= len(messages)
            if not self._expected:
                self._done.set_result(None)
            elif self._kind == ECHO:
                self._send()
        if self._kind != ECHO:
            self._send()

    def connection_lost(self) -> None:
        """For SharedStream's user: nobody calls it here."""

    def fail(self, error: Exception) -> None:
        """Ends the task that is under way with what went wrong."""
        if not self._done.done():
            self._done.set_exception(error)

    def _send(self) -> None:
        if self._kind == ECHO:
            self._unsent -= self._write([self._message])
            return
        portion = [self._message] * max(1, PORTION // len(self._message))
        while self._unsent:
            messages = portion[: self._unsent]
            taken = self._write(messages)
            self._unsent -= taken
            if taken < len(messages):
                return

    def _write(self, messages: list[bytes]) -> int:
        taken, notify = self.ring.write(messages)
        if notify:
            self.notify()
        return taken


async def run_client(domid: int) -> None:
    async with AsyncExitStack() as stack:
        xen = await stack.enter_async_context(Xen.open())
        client = RingClient()
        shared = SharedStream(xen, domid, RING_ORDER, client, client.fail)
        stack.callback(shared.close)
        client.ring, client.notify = shared.ring, shared.notify
        sys.stdout.write(f"{shared.ref} {shared.port}\n")
        sys.stdout.flush()
        reader = await commands()
        while line := await reader.readline():
            kind, count, size = line.split()
            seconds = await client.run(ECHO if kind == b"pingpong" else SWALLOW, int(count), int(size))
            sys.stdout.write(f"{seconds:.9f}\n")
            sys.stdout.flush()


async def run_server(domid: int) -> None:
    reader = await commands()
    ref, port = map(int, (await reader.readline()).split())
    async with AsyncExitStack() as stack:
        xen = await stack.enter_async_context(Xen.open())
        indices = xen.grants.map(domid, [ref])
        stack.callback(indices.close)
        references = _unpack_intf(indices.memory)[_FIRST_REFERENCE : _FIRST_REFERENCE + (1 << RING_ORDER)]
        data = xen.grants.map(domid, references)
        stack.callback(data.close)
        server = Server()
        server.ring = DataRing(indices.memory, data.memory, frontend=False)
        stack.callback(server.ring.close)
        channel = xen.evtchn.bind_interdomain(domid, port, server.receive_event)
        stack.callback(channel.close)
        server.notify = channel.notify
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await reader.read()


if __name__ == "__main__":
    asyncio.run((run_server if sys.argv[1] == "server" else run_client)(int(sys.argv[2])))
