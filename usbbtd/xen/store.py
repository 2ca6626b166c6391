"""xenstore for the event loop: calls in a thread of their own, watches by file descriptor, reconnection.

The loop never waits for xenstored. When the connection is lost, calls wait until there is one again and are made anew,
and every watch is set again. So a call may reach xenstored twice, and what is written must be the same both times.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from usbbtd.abi._xen import ffi, lib
from usbbtd.errors import LocalProtocolError
from usbbtd.identifiers import parse_domid
from usbbtd.nodes import DOMID
from usbbtd.xen.error import XenError
from usbbtd.xen.transaction import Transaction, decode, encode_path
from usbbtd.xen.watch import Watch

T = TypeVar("T")

_DEVICE = "/dev/xen/xenbus"
_SOCKET = "/var/run/xenstored/socket"

#: What libxenstore says of a connection that is gone, among other things.
_PERHAPS_LOST = frozenset({errno.EBADF, errno.EINVAL, errno.EPIPE, errno.ECONNRESET, errno.EIO})
#: libxenstore's watch descriptor is silent when xenstored goes away, so that somebody has to ask.
_PROBE_S = 1.0
_FIRST_RETRY_S, _LAST_RETRY_S = 0.02, 5.0
_MOST_CONFLICTS = 64
_EVENTS_A_WAKEUP = 256


class _Cover:
    """A watch of xenstored's, and all of ours that live by it, each with its path at or below this one's."""

    def __init__(self, path: str, told: list[tuple[Watch, str]]) -> None:
        self.path = path
        self.told = told

    def receive_event(self, path: str) -> None:
        """``path`` has changed, or, when it is above a watched one, may have gone with all below it."""
        for watch, watched in self.told:
            if _is_below(path, watched):
                watch.add(path)
            elif _is_below(watched, path):
                watch.add(watched)

    def end(self, error: XenError | None = None) -> None:
        for watch, _ in self.told:
            watch.end(error)


def _is_below(path: str, top: str) -> bool:
    """At ``top`` itself, too."""
    return path == top or path.startswith(top.rstrip("/") + "/")


class Store:
    """A connection to xenstored. Paths are absolute, or relative to the own domain's directory."""

    def __init__(self) -> None:
        """For ``Store.open``."""
        self._loop = asyncio.get_running_loop()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="xenstore")
        self._handle: Any = None  # of libxenstore; None: not connected
        self._connecting = asyncio.Lock()
        self._reconnection: asyncio.Task[None] | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._covers: dict[str, _Cover] = {}  # by token
        self._next_token = 0
        self._closed = False

    @classmethod
    async def open(cls) -> Self:
        """Connects. Raises XenError that names what is missing."""
        store = cls()
        try:
            await store._connect()
        except BaseException:
            await store.close()
            raise
        return store

    async def read(self, path: str) -> str | None:
        """The value of a node; None when there is no such node."""
        return await self._call(lambda handle: Transaction(handle).read(path))

    async def write(self, path: str, value: str) -> None:
        """Sets a node's value; makes it and its parents where they are missing."""
        await self._call(lambda handle: Transaction(handle).write(path, value))

    async def remove(self, path: str) -> None:
        """Removes a node and all below it; nothing happens when there is none."""
        await self._call(lambda handle: Transaction(handle).remove(path))

    async def permissions(self, path: str) -> list[str] | None:
        """A node's permissions, the owner's first, as in ``["n3", "r0"]``; None when there is no such node."""
        return await self._call(lambda handle: Transaction(handle).permissions(path))

    async def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        """Sets a node's permissions: the first entry names the owner and what all others may do."""
        await self._call(lambda handle: Transaction(handle).set_permissions(path, permissions))

    async def list(self, path: str) -> list[str] | None:
        """The names of a node's children; None when there is no such node."""
        return await self._call(lambda handle: Transaction(handle).list(path))

    async def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Runs ``work`` in the store's thread, once or more: until no other change came between.

        What it raises abandons the transaction and comes out here; but EIO is xenstored's answer where another has
        removed what a list that ``work`` has read still names, so that is a conflict, too. Raises XenError (EAGAIN, or
        that EIO) after too many of them.
        """
        return await self._call(lambda handle: _transact(handle, work))

    async def domid(self) -> int:
        """The own domain's number."""
        text = await self.read(DOMID)
        if (domid := parse_domid(text)) is None:
            raise XenError(errno.ENOENT, f"xenstore does not say which domain this is: domid is {text!r}")
        return domid

    @asynccontextmanager
    async def watch(self, *paths: str) -> AsyncIterator[Watch]:
        """Watches paths and all below them: ``async with store.watch(...) as watch: async for path in watch: ...``

        Each path fires when it is set, and again when the connection was lost and is back. xenstored lets a domain have
        few watches, so what is below a path that is watched already costs none.
        """
        watch = Watch(paths)
        new = self._cover(watch)
        try:
            try:
                await self._call(lambda handle: _set_watches(handle, new.items()))
            except XenError as error:
                for token, cover in new.items():
                    self._covers.pop(token, None)
                    cover.end(error)
                raise
            yield watch
        finally:
            self._uncover(watch)

    async def close(self) -> None:
        """Ends the watches and closes the connection. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._reconnection:
            self._reconnection.cancel()
        for cover in self._covers.values():
            cover.end()
        self._disconnect()
        await self._loop.run_in_executor(None, self._worker.shutdown)

    def _cover(self, watch: Watch) -> dict[str, _Cover]:
        """Has ``watch`` told of its paths; returns what is to be set for that, by token."""
        new = {}
        for path in watch.paths:
            cover = next((cover for cover in self._covers.values() if _is_below(path, cover.path)), None)
            if cover is not None:
                watch.add(path)  # xenstored says it of those only that are set anew
            else:
                token, self._next_token = str(self._next_token), self._next_token + 1
                cover = self._covers[token] = new[token] = _Cover(path, [])
            cover.told.append((watch, path))
        return new

    def _uncover(self, watch: Watch) -> None:
        for token, cover in tuple(self._covers.items()):
            cover.told = [told for told in cover.told if told[0] is not watch]
            if not cover.told:
                del self._covers[token]
                if self._handle is not None:
                    self._worker.submit(_unset_watch, self._handle, token, cover.path)

    async def _call(self, work: Callable[[Any], T]) -> T:
        while True:
            if self._closed:
                raise LocalProtocolError("the store is closed")
            handle = self._handle
            if handle is None:
                await self._reconnect(None)
                continue
            try:
                return await self._loop.run_in_executor(self._worker, work, handle)
            except XenError as error:
                if error.errno not in _PERHAPS_LOST or self._closed:
                    raise
                if handle is self._handle and await self._loop.run_in_executor(self._worker, _alive, handle):
                    raise
            await self._reconnect(handle)

    async def _reconnect(self, lost: Any) -> None:
        """Gives up the connection ``lost`` and returns with another, however long that takes."""
        async with self._connecting:
            if self._handle is not lost or self._closed:
                return
            self._disconnect()
            delay_s = _FIRST_RETRY_S
            while not self._closed:
                try:
                    await self._connect()
                except XenError:
                    await asyncio.sleep(delay_s)
                    delay_s = min(2 * delay_s, _LAST_RETRY_S)
                else:
                    return

    async def _connect(self) -> None:
        handle, refused = await self._loop.run_in_executor(self._worker, _open, list(self._covers.items()))
        if self._closed:
            return
        for token, error in refused.items():
            if token in self._covers:
                self._covers.pop(token).end(error)
        self._handle = handle
        self._loop.add_reader(lib.xs_fileno(handle), self._receive_events)
        self._probe = self._loop.call_later(_PROBE_S, self._check_connection)

    def _disconnect(self) -> None:
        """The handle is closed by the worker, behind every call that has it already."""
        if self._probe:
            self._probe.cancel()
        if self._handle is not None:
            self._loop.remove_reader(lib.xs_fileno(self._handle))
            self._worker.submit(ffi.release, self._handle)
            self._handle = None

    def _check_connection(self) -> None:
        self._probe = self._loop.call_later(_PROBE_S, self._check_connection)
        self._receive_events()

    def _receive_events(self) -> None:
        for _ in range(_EVENTS_A_WAKEUP):
            event = lib.xs_check_watch(self._handle)
            if event == ffi.NULL:
                if ffi.errno != errno.EAGAIN and (self._reconnection is None or self._reconnection.done()):
                    self._reconnection = self._loop.create_task(self._reconnect(self._handle))
                return
            with ffi.gc(event, lib.free):
                path, token = (decode(ffi.string(event[index])) for index in range(2))
            if token in self._covers:
                self._covers[token].receive_event(path)


# What runs in the worker.


def _open(covers: Iterable[tuple[str, _Cover]]) -> tuple[Any, dict[str, XenError]]:
    """A connected handle, closed when it is released or forgotten, and the watches that it could not set."""
    handle = lib.xs_open(0)
    if handle == ffi.NULL:
        socket = os.environ.get("XENSTORED_PATH", f"{_SOCKET} nor {_DEVICE}")
        raise XenError.last(f"no xenstore: cannot open {socket}; this needs a Xen domain, or the simulated one")
    handle = ffi.gc(handle, lib.xs_close)
    if lib.xs_fileno(handle) < 0:
        raise XenError.last("no descriptor for xenstore's watches")
    refused = {}
    for token, cover in covers:
        try:
            _set_watches(handle, [(token, cover)])
        except XenError as error:
            if error.errno in _PERHAPS_LOST and not _alive(handle):
                raise
            refused[token] = error
    return handle, refused


def _alive(handle: Any) -> bool:
    path = lib.xs_get_domain_path(handle, 0)
    lib.free(path)
    return bool(path != ffi.NULL)


def _set_watches(handle: Any, covers: Iterable[tuple[str, _Cover]]) -> None:
    for token, cover in covers:
        if not lib.xs_watch(handle, encode_path(cover.path), token.encode()) and ffi.errno != errno.EEXIST:
            raise XenError.last(f"cannot watch {cover.path}")


def _unset_watch(handle: Any, token: str, path: str) -> None:
    lib.xs_unwatch(handle, encode_path(path), token.encode())


def _transact(handle: Any, work: Callable[[Transaction], T]) -> T:
    conflict = XenError(errno.EAGAIN, f"a xenstore transaction was in conflict with others {_MOST_CONFLICTS} times")
    for _ in range(_MOST_CONFLICTS):
        identity = lib.xs_transaction_start(handle)
        if identity == 0:
            raise XenError.last("cannot start a xenstore transaction")
        try:
            result = work(Transaction(handle, identity))
        except BaseException as exc:
            lib.xs_transaction_end(handle, identity, True)
            if not (isinstance(exc, XenError) and exc.errno == errno.EIO):
                raise
            conflict = exc
            continue
        if lib.xs_transaction_end(handle, identity, False):
            return result
        if ffi.errno != errno.EAGAIN:
            raise XenError.last("cannot end a xenstore transaction")
    raise conflict
