import asyncio
import errno
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from tests.support.domain import NewDomain
from usbbtd.abi._xen import ffi, lib
from usbbtd.errors import LocalProtocolError
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store
from usbbtd.xen.transaction import Transaction
from usbbtd.xen.watch import Watch


@asynccontextmanager
async def opened() -> AsyncIterator[Store]:
    store = await Store.open()
    try:
        yield store
    finally:
        await store.close()


async def next_path(watch: Watch) -> str:
    async with asyncio.timeout(10):
        return await anext(watch)


async def turns_until(condition: Callable[[], bool]) -> None:
    """Turns of the loop, however many it takes."""
    async with asyncio.timeout(10):
        for _ in itertools.count():
            if condition():
                return
            await asyncio.sleep(0)


async def nodes() -> list[object]:
    async with opened() as store:
        seen: list[object] = [await store.read("data/none"), await store.list("data/none")]
        seen += [await store.permissions("data/none")]
        await store.write("data/a/b", "wörd")
        await store.write("data/a/c", "")
        seen += [await store.read("data/a/b"), await store.read("data/a/c"), await store.read("data/a")]
        seen += [sorted(await store.list("data/a") or []), await store.list("data/a/b")]
        await store.remove("data/a")
        await store.remove("data/a")
        seen += [await store.read("data/a/b")]
        return seen


def test_nodes(new_domain: "NewDomain") -> None:
    assert new_domain().run(nodes) == [None, None, None, "wörd", "", "", ["b", "c"], [], None]


async def own_domid() -> int:
    async with opened() as store:
        return await store.domid()


def test_domid(new_domain: "NewDomain") -> None:
    domain = new_domain()
    assert domain.run(own_domid) == domain.domid


async def permissions(other: int) -> object:
    async with opened() as store:
        domid = await store.domid()
        await store.write("data/mine", "1")
        wanted = [f"n{domid}", f"r{other}", "b0", "w12"]
        await store.set_permissions("data/mine", wanted)
        assert await store.permissions("data/mine") == wanted
        return await store.permissions("data")


def test_permissions(new_domain: "NewDomain") -> None:
    domain = new_domain()
    assert domain.run(permissions, 7) == [f"n{domain.domid}"]


async def refusals(other: str) -> list[tuple[int | None, str]]:
    async with opened() as store:
        found = []
        for refused in (
            store.read(f"{other}/data"),
            store.write(f"{other}/data", "x"),
            store.remove(f"{other}/data"),
            store.list(f"{other}/data"),
            store.permissions(f"{other}/data"),
            store.set_permissions(f"{other}/data", ["n0"]),
            store.transaction(lambda transaction: transaction.write(f"{other}/data", "x")),
            store.write("data/a b", "x"),
            store.read("data\0/mine"),
            store.write("data/long", "x" * 5000),
        ):
            try:
                await refused
            except XenError as error:
                found.append((error.errno, str(error)))
        return found


def test_every_refusal_names_the_path(new_domain: "NewDomain") -> None:
    domain, other = new_domain(), new_domain()
    found = domain.run(refusals, other.home)
    codes = [errno.EACCES] * 7 + [errno.EINVAL, errno.EINVAL, errno.E2BIG]
    assert [code for code, _ in found] == codes
    assert all(f"{other.home}/data" in text for _, text in found[:7])
    assert [text.count("data") for _, text in found[7:]] == [1, 1, 1]
    assert found[0][1] == f"cannot read {other.home}/data: Permission denied"


async def transactions() -> list[object]:
    def increment(transaction: Transaction) -> int:
        value = int(transaction.read("data/count") or 0) + 1
        if len(attempts) < conflicts:
            assert lib.xs_write(stranger, 0, b"data/count", str(10 * value).encode(), 2)
        attempts.append(value)
        transaction.write("data/count", str(value))
        return value

    def fail(transaction: Transaction) -> None:
        transaction.remove("data/count")
        raise ValueError("enough")

    async with opened() as store:
        stranger = ffi.gc(lib.xs_open(0), lib.xs_close)
        attempts: list[int] = []
        conflicts = 1
        seen: list[object] = [await store.transaction(increment), attempts.copy(), await store.read("data/count")]
        with suppress(ValueError):
            await store.transaction(fail)
        seen.append(await store.read("data/count"))
        conflicts = 10**6
        try:
            await store.transaction(increment)
        except XenError as error:
            seen += [error.errno, len(attempts)]
        ffi.release(stranger)
        return seen


def test_transactions(new_domain: "NewDomain") -> None:
    domain = new_domain()
    assert domain.run(transactions) == [11, [1, 11], "11", "11", errno.EAGAIN, 66]


async def conflict_below() -> list[object]:
    """A child goes between a transaction's look at its parent and the parent's removal: xenstored's EIO."""

    def remove(transaction: Transaction) -> None:
        attempts.append(transaction.list("data/parent"))
        lib.xs_rm(stranger, 0, b"data/parent/child")
        transaction.remove("data/parent")

    async with opened() as store:
        stranger = ffi.gc(lib.xs_open(0), lib.xs_close)
        attempts: list[list[str] | None] = []
        await store.write("data/parent/child", "")
        await store.transaction(remove)
        ffi.release(stranger)
        return [attempts, await store.list("data/parent")]


def test_a_child_that_another_removes_is_a_conflict(new_domain: "NewDomain") -> None:
    domain = new_domain()
    assert domain.run(conflict_below) == [[["child"], []], None]


async def watching() -> list[object]:
    async with opened() as store:
        async with store.watch("data/one", "data/two") as watch, store.watch("data/one") as same:
            seen: list[object] = [sorted([await next_path(watch), await next_path(watch)]), await next_path(same)]
            await store.write("data/one/deep/down", "x")
            seen += [await next_path(watch), await next_path(same)]
            for number in range(5):
                await store.write("data/two", str(number))
            await store.write("data/one", "last")
            seen.append(await next_path(same))
            seen.append(sorted({await next_path(watch), await next_path(watch)}))
        async with store.watch("data/two") as again:
            seen.append(await next_path(again))
        return seen


def test_watches(new_domain: "NewDomain") -> None:
    domain = new_domain()
    assert domain.run(watching) == [
        ["data/one", "data/two"],
        "data/one",
        "data/one/deep/down",
        "data/one/deep/down",
        "data/one",
        ["data/one", "data/two"],
        "data/two",
    ]


async def watching_below() -> list[object]:
    async with opened() as store, AsyncExitStack() as outlives:
        async with store.watch("data") as above:
            inner = await outlives.enter_async_context(store.watch("data/a/state"))
            seen: list[object] = [await next_path(above), await next_path(inner)]
            for path in ("data/a/state/deep", "data/a/states", "data/a/state"):
                await store.write(path, "x")
            seen.append([await next_path(inner) for _ in range(2)])
            await store.remove("data/a")  # of all that goes xenstored names this alone
            seen.append(await next_path(inner))
        await store.write("data/a/state", "back")
        seen.append(await next_path(inner))
        for number in range(200):  # xenstored would refuse the 128th
            await outlives.enter_async_context(store.watch(f"data/a/state/{number}"))
        return seen


def test_a_watch_below_another_needs_none_of_xenstored(new_domain: "NewDomain") -> None:
    below = ["data/a/state/deep", "data/a/state"]
    assert new_domain().run(watching_below) == ["data", "data/a/state", below, "data/a/state", "data/a/state"]


async def too_many() -> list[object]:
    """The watch that is one too many, one below it while it is asked for, and the same again when there is room."""
    async with opened() as store, AsyncExitStack() as others:
        for number in range(128):
            await others.enter_async_context(store.watch(f"data/{number}"))
        refused = store.watch("data/x")
        attempt = asyncio.create_task(refused.__aenter__())
        below = asyncio.create_task(store.watch("data/x/below").__aenter__())
        errors = await asyncio.gather(attempt, below, return_exceptions=True)
        watch = errors[1]
        assert isinstance(watch, Watch)
        seen: list[object] = [getattr(errors[0], "errno", None), await next_path(watch)]
        with pytest.raises(XenError) as error:
            await next_path(watch)
        seen.append(error.value.errno)
        await others.aclose()
        async with store.watch("data/x") as again:
            seen.append(await next_path(again))
        return seen


def test_a_watch_that_is_refused(new_domain: "NewDomain") -> None:
    assert new_domain().run(too_many) == [errno.ENOSPC, "data/x/below", errno.ENOSPC, "data/x"]


async def flood() -> list[object]:
    async with opened() as store, store.watch("data") as watch:
        await next_path(watch)

        def spam(transaction: Transaction) -> None:
            for number in range(300):
                transaction.write(f"data/{number}", "")

        await store.transaction(spam)
        async with store.watch("domid") as behind:  # its first event comes behind those of the flood
            await next_path(behind)
        paths = []
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0):
                    paths.append(await anext(watch))
        return [paths[0], len(paths) < 256, paths[-1], len(set(paths)) == len(paths)]


def test_a_flood_is_bounded_and_nothing_is_forgotten(new_domain: "NewDomain") -> None:
    assert new_domain().run(flood) == ["data", True, "data/299", True]


class Relay:
    """A socket between us and xenstored, to be cut."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/relay"
        self.writers: list[asyncio.StreamWriter] = []
        self.flowing = asyncio.Event()
        self._behind = os.environ["XENSTORED_PATH"]
        os.environ["XENSTORED_PATH"] = self.path

    async def start(self) -> None:
        self.flowing.set()
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        self._server.close()
        os.unlink(self.path)
        for writer in self.writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        self.writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_unix_connection(self._behind)
        self.writers += [writer, other_writer]
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, other_writer), self._pump(other_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.flowing.wait()
            writer.write(data)
        writer.close()


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Relay, Store]]:
    with tempfile.TemporaryDirectory() as directory:
        relay = Relay(directory)
        await relay.start()
        async with opened() as store:
            yield relay, store
        await relay.cut()


async def reconnection() -> list[object]:
    async with relayed() as (relay, store), store.watch("data/one", "data/two") as watch:
        seen: list[object] = [{await next_path(watch), await next_path(watch)} == {"data/one", "data/two"}]
        for _ in range(3):
            await relay.cut()
            calls = asyncio.gather(store.write("data/x", "kept"), store.transaction(lambda t: t.read("data/x")))
            await relay.start()
            seen.append(await calls)
            seen.append({await next_path(watch), await next_path(watch)} == {"data/one", "data/two"})
            await store.write("data/one/more", "")
            seen.append(await next_path(watch))
        return seen


def test_a_lost_connection_is_made_again_with_all_watches(new_domain: "NewDomain") -> None:
    seen = new_domain().run(reconnection)
    assert seen[0] is True
    assert seen[1][0] is None
    assert seen[2::3] == [True] * 3
    assert seen[3::3] == ["data/one/more"] * 3


async def loss_without_a_call() -> list[str]:
    async with relayed() as (relay, store), store.watch("data/one") as watch:
        await next_path(watch)
        await relay.cut()
        await relay.start()
        return [await next_path(watch)]


def test_a_loss_is_noticed_without_a_call(new_domain: "NewDomain") -> None:
    assert new_domain().run(loss_without_a_call) == ["data/one"]


async def no_connection() -> list[str]:
    async with relayed() as (relay, store), store.watch("data") as watch:
        await next_path(watch)
        await relay.cut()
        call = asyncio.create_task(store.read("data"))
        reading = asyncio.create_task(anext(watch))
        await turns_until(lambda: store._handle is None)
        await store.close()
        await relay.start()
        outcomes = await asyncio.gather(call, reading, return_exceptions=True)
        return [type(outcome).__name__ for outcome in outcomes]


def test_closing_while_there_is_no_connection(new_domain: "NewDomain") -> None:
    domain = new_domain()
    assert domain.run(no_connection) == ["LocalProtocolError", "StopAsyncIteration"]


async def slow_xenstored() -> list[object]:
    async with relayed() as (relay, store):
        relay.flowing.clear()
        call = asyncio.create_task(store.read("domid"))
        for _ in range(1000):
            await asyncio.sleep(0)
        seen: list[object] = [call.done()]
        relay.flowing.set()
        return [*seen, await call]


def test_a_slow_xenstored_does_not_stop_the_loop(new_domain: "NewDomain") -> None:
    domain = new_domain()
    assert domain.run(slow_xenstored) == [False, str(domain.domid)]


async def missing() -> tuple[int | None, str]:
    os.environ["XENSTORED_PATH"] = "/nowhere/socket"
    try:
        await Store.open()
    except XenError as error:
        return error.errno, str(error)
    raise AssertionError


def test_without_xenstore(new_domain: "NewDomain") -> None:
    code, text = new_domain().run(missing)
    assert code == errno.ENOENT
    assert "/nowhere/socket" in text
    assert "\n" not in text


async def hostile_values() -> list[str | None]:
    async with opened() as store:
        lib.xs_write(store._handle, 0, b"data/x", b"\xff\0caf\xc3\xa9", 7)
        return [await store.read("data/x")]


def test_values_that_are_no_text(new_domain: "NewDomain") -> None:
    assert new_domain().run(hostile_values) == ["\\xff\0café"]


async def closing() -> list[object]:
    store = await Store.open()
    async with store.watch("data") as watch:
        seen: list[object] = [await next_path(watch)]
        await store.close()
        await store.close()
        seen += [path async for path in watch]
    try:
        await store.read("domid")
    except LocalProtocolError as error:
        seen.append(str(error))
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        async with opened() as again, again.watch("data", "data/x") as watch:
            await next_path(watch)
    seen.append(len(os.listdir("/proc/self/fd")) - descriptors)
    return seen


def test_close_leaves_nothing(new_domain: "NewDomain") -> None:
    assert new_domain().run(closing) == ["data", "the store is closed", 0]


async def unset() -> str:
    async with opened() as store:
        for _ in range(200):
            async with store.watch("data", "data/x"):
                pass
        async with store.watch("data/wait") as watch:
            await next_path(watch)
            await store.write("data/done", "")
            return await next_path(watch)


def test_a_watch_that_is_left_is_unset(new_domain: "NewDomain") -> None:
    domain = new_domain()
    process = domain.start(unset)
    domain.world.wait_value(f"{domain.home}/data/done", "")
    for _ in range(10_000):
        if domain.world.statistics()[domain.domid]["watches"] == 1:
            break
    else:
        pytest.fail("watches that were left are still set")
    domain.world.change_store(write=[(f"{domain.home}/data/wait", "now", None)])
    assert process.result() == "data/wait"
