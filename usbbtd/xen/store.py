"""xenstore for the event loop: makes calls in a thread, watches by a file descriptor, and reconnects.

The loop never waits for xenstored. When the connection is lost, calls wait until there is one again and are repeated,
and every watch is set again. So a call may reach xenstored twice, and must write the same both times.
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

#: The errors of libxenstore after the connection is lost; they have other causes, too.
_PERHAPS_LOST = frozenset({errno.EBADF, errno.EINVAL, errno.EPIPE, errno.ECONNRESET, errno.EIO})
#: How often to ask whether the connection is lost: libxenstore's watch descriptor does not tell.
_PROBE_S = 1.0
_FIRST_RETRY_S, _LAST_RETRY_S = 0.02, 5.0
_MOST_CONFLICTS = 64
_EVENTS_A_WAKEUP = 256


class _XenstoredWatch:
    """A watch that xenstored has for us, and our Watches that share it, each with its path at or below this one's."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sharers: list[tuple[Watch, str]] = []

    def receive_event(self, path: str) -> None:
        """Tells the Watches that ``path`` has changed. If it is above a watched path, that may have gone with it."""
        for watch, watched in self.sharers:
            if _is_below(path, watched):
                watch.add(path)
            elif _is_below(watched, path):
                watch.add(watched)

    def end(self, error: XenError | None = None) -> None:
        for watch, _ in self.sharers:
            watch.end(error)


def _is_below(path: str, top: str) -> bool:
    """Tells whether a path is at or below ``top``."""
    return path == top or path.startswith(top.rstrip("/") + "/")


class Store:
    """A connection to xenstored. Paths are absolute, or relative to the own domain's directory."""

    def __init__(self) -> None:
        """Is for ``Store.open`` only."""
        self._loop = asyncio.get_running_loop()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="xenstore")
        self._handle: Any = None  # of libxenstore; None if it is not connected
        self._connecting = asyncio.Lock()
        self._reconnection: asyncio.Task[None] | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._watches: dict[str, _XenstoredWatch] = {}  # by token
        self._next_token = 0
        self._closed = False

    @classmethod
    async def open(cls) -> Self:
        """Connects to xenstored. Raises XenError, which tells what is missing."""
        store = cls()
        try:
            await store._connect()
        except BaseException:
            await store.close()
            raise
        return store

    async def read(self, path: str) -> str | None:
        """Returns the value of a node; None if there is no such node."""
        return await self._call(lambda handle: Transaction(handle).read(path))

    async def write(self, path: str, value: str) -> None:
        """Sets a node's value. Makes the node and its parents if they are missing."""
        await self._call(lambda handle: Transaction(handle).write(path, value))

    async def remove(self, path: str) -> None:
        """Removes a node and all below it. Does nothing if there is no such node."""
        await self._call(lambda handle: Transaction(handle).remove(path))

    async def permissions(self, path: str) -> list[str] | None:
        """Returns a node's permissions, the owner's first, as in ``["n3", "r0"]``; None if there is no such node."""
        return await self._call(lambda handle: Transaction(handle).permissions(path))

    async def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        """Sets a node's permissions: the first entry names the owner and what all others may do."""
        await self._call(lambda handle: Transaction(handle).set_permissions(path, permissions))

    async def list(self, path: str) -> list[str] | None:
        """Returns the names of a node's children; None if there is no such node."""
        return await self._call(lambda handle: Transaction(handle).list(path))

    async def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Runs ``work`` in the store's thread, again and again until no other change conflicts with it.

        An exception of ``work`` abandons the transaction and is raised here. EIO is a conflict, too: xenstored answers
        so if a node that a list has named to ``work`` was removed meanwhile. Raises XenError (EAGAIN or that EIO) after
        too many conflicts.
        """
        return await self._call(lambda handle: _transact(handle, work))

    async def domid(self) -> int:
        """Returns the number of our own domain. Raises XenError if xenstore does not tell it."""
        text = await self.read(DOMID)
        if (domid := parse_domid(text)) is None:
            raise XenError(errno.ENOENT, f"xenstore does not say which domain this is: domid is {text!r}")
        return domid

    @asynccontextmanager
    async def watch(self, *paths: str) -> AsyncIterator[Watch]:
        """Watches paths and all below them: ``async with store.watch(...) as watch: async for path in watch: ...``

        Each path fires at once, and again when the connection was lost and is back. xenstored lets a domain have few
        watches: a path below one that is watched already needs no watch of its own. Raises XenError.
        """
        watch = Watch(paths)
        new = self._share(watch)
        try:
            try:
                await self._call(lambda handle: _set_watches(handle, new.items()))
            except XenError as error:
                for token, shared in new.items():
                    self._watches.pop(token, None)
                    shared.end(error)
                raise
            yield watch
        finally:
            self._unshare(watch)

    async def close(self) -> None:
        """Ends the watches and closes the connection. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._reconnection:
            self._reconnection.cancel()
        for shared in self._watches.values():
            shared.end()
        self._disconnect()
        await self._loop.run_in_executor(None, self._worker.shutdown)

    def _share(self, watch: Watch) -> dict[str, _XenstoredWatch]:
        """Has ``watch`` told of its paths. Returns the watches of xenstored that this needs anew, by token."""
        new = {}
        for path in watch.paths:
            shared = next((shared for shared in self._watches.values() if _is_below(path, shared.path)), None)
            if shared is not None:
                watch.add(path)  # xenstored fires only for a watch that is set anew
            else:
                token, self._next_token = str(self._next_token), self._next_token + 1
                shared = self._watches[token] = new[token] = _XenstoredWatch(path)
            shared.sharers.append((watch, path))
        return new

    def _unshare(self, watch: Watch) -> None:
        for token, shared in tuple(self._watches.items()):
            shared.sharers = [sharer for sharer in shared.sharers if sharer[0] is not watch]
            if not shared.sharers:
                del self._watches[token]
                if self._handle is not None:
                    self._worker.submit(_unset_watch, self._handle, token, shared.path)

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
        """Gives up the connection ``lost``, and connects again, however long that takes."""
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
        handle, refused = await self._loop.run_in_executor(self._worker, _open, list(self._watches.items()))
        if self._closed:
            return
        for token, error in refused.items():
            if token in self._watches:
                self._watches.pop(token).end(error)
        self._handle = handle
        self._loop.add_reader(lib.xs_fileno(handle), self._receive_events)
        self._probe = self._loop.call_later(_PROBE_S, self._check_connection)

    def _disconnect(self) -> None:
        """Has the worker close the handle, after all calls that use it."""
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
            if token in self._watches:
                self._watches[token].receive_event(path)


# Functions that run in the worker.


def _open(watches: Iterable[tuple[str, _XenstoredWatch]]) -> tuple[Any, dict[str, XenError]]:
    """Connects and sets the watches. Returns (the handle, the errors of watches that it could not set, by token).

    The handle is closed when it is released or forgotten.
    """
    handle = lib.xs_open(0)
    if handle == ffi.NULL:
        socket = os.environ.get("XENSTORED_PATH", f"{_SOCKET} nor {_DEVICE}")
        raise XenError.last(f"no xenstore: cannot open {socket}; this needs a Xen domain, or the simulated one")
    handle = ffi.gc(handle, lib.xs_close)
    if lib.xs_fileno(handle) < 0:
        raise XenError.last("no descriptor for xenstore's watches")
    refused = {}
    for token, watch in watches:
        try:
            _set_watches(handle, [(token, watch)])
        except XenError as error:
            if error.errno in _PERHAPS_LOST and not _alive(handle):
                raise
            refused[token] = error
    return handle, refused


def _alive(handle: Any) -> bool:
    path = lib.xs_get_domain_path(handle, 0)
    lib.free(path)
    return bool(path != ffi.NULL)


def _set_watches(handle: Any, watches: Iterable[tuple[str, _XenstoredWatch]]) -> None:
    for token, watch in watches:
        if not lib.xs_watch(handle, encode_path(watch.path), token.encode()) and ffi.errno != errno.EEXIST:
            raise XenError.last(f"cannot watch {watch.path}")


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
