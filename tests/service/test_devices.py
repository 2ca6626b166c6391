"""Which devices are served, and when again, on nodes of xenstore that are a dict."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

import pytest
import structlog.testing

from usbbtd.service.devices import Devices
from usbbtd.xen.error import XenError
from usbbtd.xen.watch import Watch
from usbbtd.xen.xen import Xen

GUEST = "backend/vl2cap/7/0"
OTHER = "backend/vl2cap/8/3"
CONTROLLER = "device/vusb/0"


class Nodes:
    """A store, and the event channels that know which guests are gone."""

    def __init__(self, *devices: str) -> None:
        ends = {path: "backend" if path.startswith("device") else "frontend" for path in devices}
        self.values = {f"{path}/{end}": "/the/other/end" for path, end in ends.items()}
        self.dead: set[int] = set()
        self.unreadable: set[str] = set()
        self._watches: list[Watch] = []

    async def read(self, path: str) -> str | None:
        self._check(path)
        return self.values.get(path)

    async def list(self, path: str) -> list[str] | None:
        self._check(path)
        below = [name.removeprefix(f"{path}/") for name in self.values if name.startswith(f"{path}/")]
        return list(dict.fromkeys(name.partition("/")[0] for name in below)) or None

    async def remove(self, path: str) -> None:
        self.values = {name: value for name, value in self.values.items() if not name.startswith(f"{path}/")}

    @contextlib.asynccontextmanager
    async def watch(self, *paths: str) -> AsyncIterator[Watch]:
        watch = Watch(paths)
        for path in paths:
            watch.add(path)
        self._watches.append(watch)
        yield watch
        self._watches.remove(watch)

    def write(self, path: str, value: str) -> None:
        self.values[path] = value
        for watch in self._watches:
            for top in watch.paths:
                if path == top or path.startswith(f"{top}/"):
                    watch.add(path)

    def is_gone(self, domid: int) -> bool:
        return domid in self.dead

    def _check(self, path: str) -> None:
        if path in self.unreadable:
            raise XenError(errno.EACCES, f"cannot read {path}")


class Served:
    """The devices that are served; ``end`` ends one, or has it fail."""

    def __init__(self) -> None:
        self.began: list[tuple[int, ...]] = []
        self.under_way: dict[tuple[int, ...], asyncio.Future[None]] = {}

    async def serve(self, *numbers: int) -> None:
        self.began.append(numbers)
        self.under_way[numbers] = asyncio.get_running_loop().create_future()
        try:
            await self.under_way[numbers]
        finally:
            del self.under_way[numbers]

    def end(self, *numbers: int, error: Exception | None = None) -> None:
        if error is None:
            self.under_way[numbers].set_result(None)
        else:
            self.under_way[numbers].set_exception(error)


Start = Callable[..., Awaitable[tuple[Devices, Served]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(nodes: Nodes, *, usbif: bool = True) -> tuple[Devices, Served]:
            served = Served()
            devices = Devices(
                Xen(cast(Any, nodes), cast(Any, nodes), cast(Any, None)),
                served.serve, served.serve if usbif else None, structlog.get_logger(),
            )  # fmt: skip
            watching = asyncio.create_task(devices.watch())
            stack.callback(watching.cancel)
            stack.push_async_callback(devices.stop_guests)
            stack.push_async_callback(devices.stop_dongles)
            await devices.scanned.wait()
            await turns()
            return devices, served

        yield start


@pytest.fixture(autouse=True)
def told() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield cast(list[Any], events)


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_each_device_is_served_once(start: Start) -> None:
    nodes = Nodes(GUEST, OTHER, CONTROLLER, "backend/vl2cap/7/none", "backend/vl2cap/none/0")
    devices, served = await start(nodes)
    assert sorted(served.began) == [(0,), (7, 0), (8, 3)]
    assert devices.has_dongles
    nodes.write(f"{GUEST}/state", "4")
    await turns()
    assert len(served.began) == 3


async def test_controllers_are_left_alone_where_usbif_is_not_used(start: Start) -> None:
    devices, served = await start(Nodes(GUEST, CONTROLLER), usbif=False)
    assert served.began == [(7, 0)]
    assert not devices.has_dongles


@pytest.mark.parametrize(
    ("online", "state", "is_served"), [("1", "6", True), ("0", "4", True), ("0", "6", False), (None, None, True)]
)
async def test_what_the_toolstack_has_taken_away_is_not_served(
    start: Start, online: str | None, state: str | None, is_served: bool
) -> None:
    nodes = Nodes(GUEST)
    nodes.values |= {f"{GUEST}/{name}": value for name, value in (("online", online), ("state", state)) if value}
    _, served = await start(nodes)
    assert served.began == [(7, 0)] * is_served


async def test_a_device_that_is_being_made_is_served_when_it_is_whole(start: Start) -> None:
    nodes = Nodes()
    nodes.values[f"{GUEST}/online"] = "1"
    _, served = await start(nodes)
    assert served.began == []
    nodes.write(f"{GUEST}/frontend", "/local/domain/7/device/vl2cap/0")
    await turns()
    assert served.began == [(7, 0)]


async def test_the_directory_of_a_dead_guest_is_removed(start: Start, told: list[Any]) -> None:
    nodes = Nodes(GUEST, OTHER)
    nodes.dead.add(7)
    _, served = await start(nodes)
    assert served.began == [(8, 3)]
    assert await nodes.list("backend/vl2cap/7") is None
    assert [event["event"] for event in told] == ["directory of a dead guest removed"]


async def test_what_cannot_be_read_holds_up_nothing_and_is_told_once(start: Start, told: list[Any]) -> None:
    nodes = Nodes(GUEST, OTHER)
    nodes.unreadable |= {f"{GUEST}/frontend", "device/vusb"}
    _, served = await start(nodes)
    nodes.write(f"{OTHER}/state", "4")
    await turns()
    assert served.began == [(8, 3)]
    assert [(event["event"], event["path"]) for event in told] == [
        ("device passed over", "device/vusb"),
        ("device passed over", GUEST),
    ]


async def test_a_device_that_has_ended_is_looked_at_again(start: Start) -> None:
    """The toolstack may have put another in its place already."""
    _, served = await start(Nodes(GUEST))
    served.end(7, 0)
    await turns()
    assert served.began == [(7, 0)] * 2


@pytest.mark.parametrize("error", [XenError(errno.ENOSPC, "cannot write"), KeyError("a bug")])
async def test_a_device_that_failed_waits_for_the_toolstack(start: Start, told: list[Any], error: Exception) -> None:
    nodes = Nodes(GUEST, OTHER)
    _, served = await start(nodes)
    for times in range(1, 3):
        served.end(7, 0, error=error)
        await turns()
        nodes.write(f"{OTHER}/state", "4")  # of another device: no reason to try again
        await turns()
        assert served.began.count((7, 0)) == times
        nodes.write(f"{GUEST}/frontend", "/local/domain/7/device/vl2cap/0")
        await turns()
        assert served.began.count((7, 0)) == times + 1
    assert [event["event"] for event in told] == ["device given up"]  # the second time it is no news
    is_xens = isinstance(error, XenError)
    assert ("quota of xenstored" in told[0]["reason"]) == is_xens
    assert told[0]["exc_info"] is (None if is_xens else error)


async def test_devices_are_ended_by_their_side(start: Start) -> None:
    devices, served = await start(Nodes(GUEST, OTHER, CONTROLLER))
    await devices.stop_guests()
    assert set(served.under_way) == {(0,)}
    await devices.stop_dongles()
    assert not served.under_way
