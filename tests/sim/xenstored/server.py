"""The xenstored of the simulation: a socket for each domain, the real wire protocol, the store behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

from tests.sim.xenstored import wire
from tests.sim.xenstored.requests import ON_NODES
from tests.sim.xenstored.tree import PRIVILEGED, Change, Quota, Tree, TreeTransaction
from tests.sim.xenstored.watches import SetWatch, Watches
from tests.sim.xenstored.wire import StoreError

_BACKLOG_MAX = 4096  # events that wait for a client that does not read; more are dropped and counted

log = structlog.get_logger("tests.sim")


class XenStored:
    """The store, its watches, and the domains that may connect: at `directory`/xenstored.<domid>."""

    def __init__(self, directory: Path, quota: Quota | None = None) -> None:
        self.store = Tree(quota or Quota())
        self.watches = Watches(self.store.quota.watches)
        self.connections: set[XenstoredConnection] = set()
        self.dropped_events = 0
        self._directory = directory
        self._sockets: dict[int, socket.socket] = {}
        self._accepting: set[asyncio.Task[None]] = set()

    def introduce(self, domid: int) -> None:
        """From now on the domain exists here. StoreError EEXIST."""
        if domid in self._sockets:
            raise StoreError("EEXIST")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(self._directory / f"xenstored.{domid}"))
        listener.listen(128)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener, domid)
        self._sockets[domid] = listener
        self.store.domains.add(domid)
        self._fire_special("@introduceDomain")

    def release(self, domid: int) -> None:
        """The domain is gone: connections, watches, permissions, and nodes that only it owned. StoreError ENOENT."""
        if domid not in self._sockets:
            raise StoreError("ENOENT")
        listener = self._sockets.pop(domid)
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        (self._directory / f"xenstored.{domid}").unlink(missing_ok=True)
        for connection in [connection for connection in self.connections if connection.domid == domid]:
            connection.abort()
        self.store.domains.discard(domid)
        self.watches.fire(self.store.forget_domain(domid))
        self._fire_special("@releaseDomain")

    def transact(self, work: Callable[[TreeTransaction], None]) -> None:
        """Does `work` as the privileged domain, all or nothing, and tells watches. StoreError."""
        transaction = TreeTransaction(self.store, PRIVILEGED)
        work(transaction)
        self.watches.fire(transaction.commit())

    def statistics(self, domid: int) -> dict[str, int]:
        own = [connection for connection in self.connections if connection.domid == domid]
        return {
            "nodes": self.store.node_counts[domid],
            "watches": self.watches.counts[domid],
            "connections": len(own),
            "transactions": sum(connection.open_transactions for connection in own),
        }

    def close(self) -> None:
        for domid in list(self._sockets):
            self.release(domid)

    def _accept(self, listener: socket.socket, domid: int) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        client.setblocking(False)
        self._accepting.add(task := asyncio.create_task(self._connect(client, domid)))
        task.add_done_callback(self._accepting.discard)

    async def _connect(self, client: socket.socket, domid: int) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: XenstoredConnection(self, domid), client)

    def _fire_special(self, path: str) -> None:
        self.watches.fire([Change(path, False, (self.store.nodes[path].permissions,))])


class XenstoredConnection(asyncio.Protocol):
    """One client, a Watcher. Requests are answered in order; events go out as they happen."""

    def __init__(self, server: XenStored, domid: int) -> None:
        self.domid = domid
        self._server = server
        self._transactions: dict[int, TreeTransaction] = {}
        self._next_transaction_id = 1
        self._buffer = b""
        self._full = False  # the client does not read: no more requests of it, and events wait
        self._backlog: dict[bytes, None] = {}  # a set in order: an event that already waits is not sent twice

    @property
    def open_transactions(self) -> int:
        return len(self._transactions)

    def abort(self) -> None:
        self._transport.abort()
        self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        if self.domid not in self._server.store.domains:  # released between accept and here
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transactions.clear()
        self._server.watches.remove_all(self)
        self._server.connections.discard(self)

    def pause_writing(self) -> None:
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        waiting, self._backlog = self._backlog, {}
        self._transport.writelines(waiting)
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._full and len(self._buffer) >= wire.HEADER_SIZE:
            operation, request_id, transaction_id, untrusted_length = wire.unpack_header(self._buffer)
            if untrusted_length > wire.PAYLOAD_MAX:
                log.warning("oversized request", domid=self.domid, length=untrusted_length)
                self.abort()
                return
            end = wire.HEADER_SIZE + untrusted_length
            if len(self._buffer) < end:
                return
            payload, self._buffer = self._buffer[wire.HEADER_SIZE : end], self._buffer[end:]
            self._answer(operation, request_id, transaction_id, payload)

    def send_event(self, path: str, token: str) -> None:
        payload = f"{path}\0{token}\0".encode()
        if len(payload) > wire.PAYLOAD_MAX:
            return
        event = wire.message(wire.WATCH_EVENT, 0, 0, payload)
        if not self._full:
            self._transport.write(event)
        elif event in self._backlog or len(self._backlog) < _BACKLOG_MAX:
            self._backlog[event] = None
        else:
            self._server.dropped_events += 1

    def _answer(self, operation: int, request_id: int, transaction_id: int, payload: bytes) -> None:
        new_watch: SetWatch | None = None
        try:
            if operation == wire.WATCH:
                new_watch = self._watch(payload)
                answer = b"OK\0"
            elif operation in ON_NODES:
                answer = self._access(operation, transaction_id, payload)
            else:
                answer = self._control(operation, transaction_id, payload)
        except StoreError as error:
            operation, answer = wire.ERROR, error.name.encode() + b"\0"
        self._transport.write(wire.message(operation, request_id, transaction_id, answer))
        if new_watch:
            new_watch.tell(new_watch.path)

    def _control(self, operation: int, transaction_id: int, payload: bytes) -> bytes:
        match operation:
            case wire.UNWATCH:
                self._server.watches.remove(self, *_two(payload))
            case wire.RESET_WATCHES:
                self._server.watches.remove_all(self)
                self._transactions.clear()
            case wire.TRANSACTION_START:
                return self._start_transaction(transaction_id)
            case wire.TRANSACTION_END:
                self._end_transaction(transaction_id, payload)
            case wire.GET_DOMAIN_PATH:
                return b"/local/domain/%d\0" % _domid(wire.one_string(payload))
            case wire.IS_DOMAIN_INTRODUCED | wire.INTRODUCE | wire.RELEASE:
                if self.domid != PRIVILEGED:
                    raise StoreError("EACCES")
                return self._control_domain(operation, payload)
            case _:
                raise StoreError("ENOSYS")
        return b"OK\0"

    def _control_domain(self, operation: int, payload: bytes) -> bytes:
        if operation == wire.IS_DOMAIN_INTRODUCED:
            return b"T\0" if _domid(wire.one_string(payload)) in self._server.store.domains else b"F\0"
        if operation == wire.RELEASE:
            domid = _domid(wire.one_string(payload))
            if domid == PRIVILEGED:
                raise StoreError("EINVAL")
            self._server.release(domid)
        elif len(arguments := wire.strings(payload)) < 3:  # domid, frame number, port of the ring: a socket here
            raise StoreError("EINVAL")
        elif (domid := _domid(wire.text(arguments[0]))) not in self._server.store.domains:
            self._server.introduce(domid)
        return b"OK\0"

    def _access(self, operation: int, transaction_id: int, payload: bytes) -> bytes:
        """A request outside of a transaction is one of its own."""
        if transaction_id:
            return ON_NODES[operation](self._transaction(transaction_id), self.domid, payload)
        transaction = TreeTransaction(self._server.store, self.domid)
        answer = ON_NODES[operation](transaction, self.domid, payload)
        self._server.watches.fire(transaction.commit())
        return answer

    def _transaction(self, transaction_id: int) -> TreeTransaction:
        transaction = self._transactions.get(transaction_id)
        if transaction is None:
            raise StoreError("ENOENT")
        return transaction

    def _watch(self, payload: bytes) -> SetWatch:
        return self._server.watches.add(self, *_two(payload))

    def _start_transaction(self, transaction_id: int) -> bytes:
        if transaction_id:
            raise StoreError("EBUSY")
        if self.domid != PRIVILEGED and len(self._transactions) >= self._server.store.quota.transactions:
            raise StoreError("ENOSPC")
        while self._next_transaction_id in self._transactions or self._next_transaction_id == 0:
            self._next_transaction_id = (self._next_transaction_id + 1) & 0xFFFFFFFF
        new = self._next_transaction_id
        self._transactions[new] = TreeTransaction(self._server.store, self.domid)
        self._next_transaction_id = (new + 1) & 0xFFFFFFFF
        return b"%d\0" % new

    def _end_transaction(self, transaction_id: int, payload: bytes) -> None:
        transaction = self._transaction(transaction_id)
        if payload not in (b"T\0", b"F\0"):
            raise StoreError("EINVAL")
        del self._transactions[transaction_id]
        if payload == b"T\0":
            self._server.watches.fire(transaction.commit())


def _two(payload: bytes) -> tuple[str, str]:
    arguments = wire.strings(payload)
    if len(arguments) != 2:
        raise StoreError("EINVAL")
    return wire.text(arguments[0]), wire.text(arguments[1])


def _domid(number: str) -> int:
    if not number.isdecimal() or int(number) >= 0x7FF0:
        raise StoreError("EINVAL")
    return int(number)
