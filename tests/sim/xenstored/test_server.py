"""The server with the real libxenstore and Xen's own tools, and by hand where those cannot go."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from ctypes import POINTER, byref, c_bool, c_char_p, c_uint, c_ulong, c_void_p
from typing import Any

import pytest

from tests.sim.conftest import NewDomid, Until
from tests.sim.world import World
from tests.sim.xenstored import wire

_library = ctypes.CDLL("libxenstore.so.4", use_errno=True)
_libc = ctypes.CDLL(None)


def call(name: str, result: type[c_bool] | type[c_uint] | type[c_void_p], *arguments: Any) -> int:
    """arguments: (type, value) pairs."""
    function = getattr(_library, name)
    function.restype, function.argtypes = result, [kind for kind, _ in arguments]
    value = function(*(value for _, value in arguments))
    if not value:
        raise OSError(ctypes.get_errno(), name)
    return int(value)


class Client:
    """libxenstore's handle."""

    def __init__(self, world: World, domid: int) -> None:
        os.environ["XENSTORED_PATH"] = world.environment(domid)["XENSTORED_PATH"]
        self._handle = c_void_p, call("xs_open", c_void_p, (c_ulong, 0))
        del os.environ["XENSTORED_PATH"]

    def read(self, path: str, transaction: int = 0) -> str:
        length = c_uint()
        data = call(
            "xs_read", c_void_p, self._handle, (c_uint, transaction), (c_char_p, path.encode()),
            (POINTER(c_uint), byref(length)),
        )  # fmt: skip
        return ctypes.string_at(data, length.value).decode()

    def write(self, path: str, value: str, transaction: int = 0) -> None:
        call(
            "xs_write", c_bool, self._handle, (c_uint, transaction), (c_char_p, path.encode()),
            (c_char_p, value.encode()), (c_uint, len(value)),
        )  # fmt: skip

    def remove(self, path: str, transaction: int = 0) -> None:
        call("xs_rm", c_bool, self._handle, (c_uint, transaction), (c_char_p, path.encode()))

    def begin(self) -> int:
        return call("xs_transaction_start", c_uint, self._handle)

    def end(self, transaction: int, abort: bool = False) -> None:
        call("xs_transaction_end", c_bool, self._handle, (c_uint, transaction), (c_bool, abort))

    def directory(self, path: str) -> list[str]:
        count = c_uint()
        names = call(
            "xs_directory",
            c_void_p,
            self._handle,
            (c_uint, 0),
            (c_char_p, path.encode()),
            (POINTER(c_uint), byref(count)),
        )
        return [name.decode() for name in ctypes.cast(names, POINTER(c_char_p))[: count.value]]

    def watch(self, path: str, token: str) -> None:
        call("xs_watch", c_bool, self._handle, (c_char_p, path.encode()), (c_char_p, token.encode()))

    def unwatch(self, path: str, token: str) -> None:
        call("xs_unwatch", c_bool, self._handle, (c_char_p, path.encode()), (c_char_p, token.encode()))

    def event(self) -> tuple[str, str]:
        """Waits for one."""
        count = c_uint()
        pair = call("xs_read_watch", c_void_p, self._handle, (POINTER(c_uint), byref(count)))
        path, token = ctypes.cast(pair, POINTER(c_char_p))[:2]
        return path.decode(), token.decode()

    def introduced(self, domid: int) -> bool:
        function = _library.xs_is_domain_introduced
        function.restype, function.argtypes = c_bool, [c_void_p, c_uint]
        return bool(function(self._handle[1], domid))

    def close(self) -> None:
        _library.xs_close.argtypes = [c_void_p]
        _library.xs_close(self._handle[1])


@pytest.fixture
def connect(world: World) -> Iterator[Callable[..., Any]]:
    clients = []

    def connect(domid: int) -> Client:
        clients.append(Client(world, domid))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def tool(world: World, domid: int, *command: Any) -> tuple[int, str]:
    done = subprocess.run(
        command, env=os.environ | world.environment(domid), capture_output=True, text=True, timeout=10, check=False
    )
    return done.returncode, done.stdout


def test_the_tools_of_xen(world: World, new_domain: NewDomid) -> None:
    domid = new_domain("somebody")
    home = f"/local/domain/{domid}"
    assert tool(world, domid, "xenstore-write", "data/a", "hello", "data/b", "") == (0, "")
    assert tool(world, domid, "xenstore-read", "data/a") == (0, "hello\n")
    assert tool(world, 0, "xenstore-read", f"{home}/name") == (0, "somebody\n")
    assert tool(world, domid, "xenstore-list", "data") == (0, "a\nb\n")
    code, listing = tool(world, 0, "xenstore-ls", "-f", "-p", home)
    assert code == 0
    rows = [line.replace(" . ", " ").split() for line in listing.splitlines()]
    shown = {row[0]: row[-1] for row in rows}
    assert shown[f"{home}/data/a"] == f"(n{domid})"
    assert shown[f"{home}/name"] == f"(n0,r{domid})"
    assert tool(world, domid, "xenstore-chmod", "data/a", f"n{domid}", "r0") == (0, "")
    assert tool(world, domid, "xenstore-rm", "data/a") == (0, "")
    assert tool(world, domid, "xenstore-exists", "data/a")[0] == 1
    assert tool(world, domid, "xenstore-write", "name", "else")[0] == 1
    assert tool(world, domid, "xenstore-watch", "-n", "1", "data") == (0, "data\n")


def test_conflicting_transactions(connect: Callable[..., Any], new_domain: NewDomid) -> None:
    domid = new_domain()
    first, second = connect(domid), connect(domid)
    first.write("data/n", "0")
    one, two = first.begin(), second.begin()
    first.write("data/n", first.read("data/n", one) + "1", one)
    second.write("data/n", second.read("data/n", two) + "2", two)
    first.end(one)
    with pytest.raises(BlockingIOError):  # EAGAIN
        second.end(two)
    assert second.read("data/n") == "01"
    with pytest.raises(FileNotFoundError):
        second.read("data/n", two)  # no such transaction any more


def test_an_aborted_transaction_did_nothing(connect: Callable[..., Any], new_domain: NewDomid) -> None:
    client = connect(new_domain())
    transaction = client.begin()
    client.write("data/x", "1", transaction)
    client.end(transaction, abort=True)
    with pytest.raises(FileNotFoundError):
        client.read("data/x")


def test_watches(connect: Callable[..., Any], new_domain: NewDomid) -> None:
    domid = new_domain()
    guest, dom0 = connect(domid), connect(0)
    home = f"/local/domain/{domid}"
    dom0.watch(f"{home}/data", "absolute")
    guest.watch("data", "relative")
    assert dom0.event() == (f"{home}/data", "absolute")
    assert guest.event() == ("data", "relative")
    guest.write("data/a/b", "1")
    dom0.write(f"{home}/data/c", "2")
    guest.remove("data/a")
    for path in ("data/a/b", "data/c", "data/a"):
        assert guest.event() == (path, "relative")
        assert dom0.event() == (f"{home}/{path}", "absolute")
    guest.unwatch("data", "relative")
    transaction = dom0.begin()
    dom0.write(f"{home}/data/d", "1", transaction)
    dom0.write(f"{home}/data/e", "1", transaction)
    dom0.write(f"{home}/data/f", "1")  # conflicts: that transaction comes to nothing
    with pytest.raises(BlockingIOError):
        dom0.end(transaction)
    assert dom0.event() == (f"{home}/data/f", "absolute")


def test_removing_a_directory_tells_the_watches_below(connect: Callable[..., Any], new_domain: NewDomid) -> None:
    domid = new_domain()
    guest = connect(domid)
    guest.write("data/a/b", "1")
    guest.watch("data/a/b", "t")
    assert guest.event() == ("data/a/b", "t")
    connect(0).remove(f"/local/domain/{domid}/data")
    assert guest.event() == ("data/a/b", "t")


def test_special_watches(connect: Callable[..., Any], new_domain: NewDomid, world: World) -> None:
    dom0, guest = connect(0), connect(new_domain())
    for client in (dom0, guest):
        client.watch("@introduceDomain", "in")
        client.watch("@releaseDomain", "out")
        client.event()
        client.event()
    domid = new_domain()
    assert dom0.event() == ("@introduceDomain", "in")
    assert dom0.introduced(domid)
    world.destroy_domain(domid)
    assert dom0.event() == ("@releaseDomain", "out")
    assert not dom0.introduced(domid)
    guest.watch("data", "mark")
    assert guest.event() == ("data", "mark")  # and nothing before it: a guest may not read those


def test_a_large_directory(connect: Callable[..., Any], new_domain: NewDomid) -> None:
    domid = new_domain()
    dom0 = connect(0)
    names = [f"{number:03}{'n' * 20}" for number in range(300)]
    for name in names:
        dom0.write(f"/local/domain/{domid}/data/{name}", "")
    assert dom0.directory(f"/local/domain/{domid}/data") == names


def test_quotas(connect: Callable[..., Any], new_domain: NewDomid) -> None:
    client = connect(new_domain())
    for number in range(128):
        client.watch("data", str(number))
    with pytest.raises(OSError, match="xs_watch") as caught:
        client.watch("data", "128")
    assert caught.value.errno
    assert os.strerror(caught.value.errno) == "No space left on device"
    transactions = [client.begin() for _ in range(10)]
    with pytest.raises(OSError, match="start"):
        client.begin()
    client.end(transactions[0])
    client.begin()
    with pytest.raises(OSError, match="xs_write"):
        client.write("data/big", "x" * 2048)


def test_a_connection_that_ends_takes_its_watches_and_transactions_along(
    connect: Callable[..., Any], new_domain: NewDomid, world: World, until: Until
) -> None:
    domid = new_domain()
    client = Client(world, domid)
    client.watch("data", "t")
    client.begin()
    assert world.statistics()[domid].items() >= {"connections": 1, "watches": 1, "transactions": 1}.items()
    client.close()
    until(domid, connections=0, watches=0, transactions=0)


class Raw:
    def __init__(self, world: World, domid: int) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(world.environment(domid)["XENSTORED_PATH"])
        self._reader = self.socket.makefile("rb")

    def send(self, operation: int, payload: bytes, transaction: int = 0) -> None:
        self.socket.sendall(wire.message(operation, 1, transaction, payload))

    def receive(self) -> tuple[int, bytes]:
        operation, _, _, length = wire.unpack_header(self._reader.read(wire.HEADER_SIZE))
        return operation, self._reader.read(length)

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def ask(self, *arguments: Any) -> tuple[int, bytes]:
        self.send(*arguments)
        return self.receive()


@pytest.fixture
def raw(world: World, new_domain: NewDomid) -> Iterator[Raw]:
    client = Raw(world, new_domain())
    yield client
    client.close()


@pytest.mark.parametrize(
    ("operation", "payload", "error"),
    [
        (99, b"", b"ENOSYS\0"),
        (wire.WATCH_EVENT, b"", b"ENOSYS\0"),
        (wire.INTRODUCE, b"77\0001\0001\0", b"EACCES\0"),
        (wire.RELEASE, b"0\0", b"EACCES\0"),
        (wire.IS_DOMAIN_INTRODUCED, b"0\0", b"EACCES\0"),
        (wire.GET_DOMAIN_PATH, b"x\0", b"EINVAL\0"),
        (wire.WATCH, b"data\0", b"EINVAL\0"),
        (wire.TRANSACTION_END, b"T\0", b"ENOENT\0"),
        (wire.READ, b"data", b"EINVAL\0"),
    ],
)
def test_refusals(raw: Raw, operation: int, payload: bytes, error: bytes) -> None:
    assert raw.ask(operation, payload) == (wire.ERROR, error)


def test_what_unprivileged_clients_may_ask_of_domains(raw: Raw) -> None:
    assert raw.ask(wire.GET_DOMAIN_PATH, b"7\0") == (wire.GET_DOMAIN_PATH, b"/local/domain/7\0")


def test_nested_transactions(raw: Raw) -> None:
    _, answer = raw.ask(wire.TRANSACTION_START, b"\0")
    assert raw.ask(wire.TRANSACTION_START, b"\0", int(answer[:-1])) == (wire.ERROR, b"EBUSY\0")
    assert raw.ask(wire.TRANSACTION_END, b"?\0", int(answer[:-1])) == (wire.ERROR, b"EINVAL\0")


def test_reset_watches(raw: Raw) -> None:
    assert raw.ask(wire.WATCH, b"data\0t\0") == (wire.WATCH, b"OK\0")
    assert raw.receive() == (wire.WATCH_EVENT, b"data\0t\0")
    assert raw.ask(wire.RESET_WATCHES, b"\0") == (wire.RESET_WATCHES, b"OK\0")
    assert raw.ask(wire.WRITE, b"data\0x") == (wire.WRITE, b"OK\0")


def test_requests_in_pieces_and_in_one_piece(raw: Raw) -> None:
    requests = b"".join(wire.message(wire.WRITE, 1, 0, b"data\0%d" % number) for number in range(50))
    for start in range(0, len(requests), 7):
        raw.socket.sendall(requests[start : start + 7])
    for _ in range(50):
        assert raw.receive() == (wire.WRITE, b"OK\0")
    assert raw.ask(wire.READ, b"data\0") == (wire.READ, b"49")


def test_an_oversized_request_costs_the_connection(raw: Raw) -> None:
    raw.socket.sendall(wire.message(wire.WRITE, 1, 0, b"")[:12] + b"\x01\x10\0\0")
    assert raw.socket.recv(1) == b""


def test_who_does_not_read_gets_each_event_once_and_harms_nobody(
    raw: Raw, world: World, connect: Callable[..., Any]
) -> None:
    domid = int(raw.ask(wire.READ, b"domid\0")[1])
    writer = connect(0)
    for number in range(128):
        assert raw.ask(wire.WATCH, b"data\0%01200d\0" % number) == (wire.WATCH, b"OK\0")
        raw.receive()
    home = f"/local/domain/{domid}/data"
    for number in range(40):
        writer.write(f"{home}/{number % 4}", "x")
    raw.send(wire.UNWATCH, b"data\0none\0")
    events = []
    while (answer := raw.receive()) != (wire.ERROR, b"ENOENT\0"):
        events.append(answer)
    assert len(set(events)) == 128 * 4
    assert len(events) < 128 * 40
