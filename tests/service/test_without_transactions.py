"""A frontend without transactions, as docs/l2capif.md has it, against the very service.

The device changes between any two of the frontend's writes.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.sim.world import World
from tests.support.domain import Domain, NewDomain
from tests.support.host import Host
from tests.xen.test_device import move
from usbbtd.guest.connection import Connection
from usbbtd.l2capif.nodes import EVENT_CHANNEL, RING_REF, VERSION
from usbbtd.l2capif.wire import Response
from usbbtd.nodes import BACKEND, BACKEND_ID, STATE
from usbbtd.xen.error import XenError
from usbbtd.xen.xen import Xen

DEVICE = "device/vl2cap/0"
NODES = (VERSION, RING_REF, EVENT_CHANNEL)
CHECKS = "checks"
#: The frontend says in ``data/at`` before which it stands, and waits until ``data/go`` says the same.
STEPS = (*NODES, STATE, CHECKS)
REFUSED = "refused"  # in ``data/at``: a node could not be written
FREELY = "freely"  # in ``data/go``: it does not wait any more


class SingleWrites:
    """A frontend that writes each node by itself."""

    def __init__(self, xen: Xen, order: tuple[str, ...]) -> None:
        self._store = xen.store
        self._xen = xen
        self._order = order

    async def run(self) -> int:
        """Connects, asks for INFO, and closes. Returns how many attempts that took."""
        for attempt in itertools.count(1):
            await self._wait(f"{DEVICE}/{BACKEND}", lambda path: path is not None)
            backend, domid = await self._other_end()
            await self._begin(backend)
            connection = Connection(self._xen, domid, 5, pytest.fail)
            connected = await self._offer(connection, backend, domid)
            if connected:
                answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
                connection.send(lambda core: core.info(), answered.set_result)
                assert (await answered).ret == 0
            await self._close(connection)
            if connected:
                return attempt
        raise AssertionError("itertools.count ends")

    async def _begin(self, backend: str) -> None:
        """Takes the device, as somebody has left it, to where the backend waits for our nodes."""
        if await self._read(STATE) not in ("1", "6"):
            await self._close()
        await self._wait(f"{backend}/{STATE}", lambda state: state in ("1", "2", "6"))
        await self._write(STATE, "1")
        await self._wait(f"{backend}/{STATE}", lambda state: state == "2")

    async def _offer(self, connection: Connection, backend: str, domid: int) -> bool:
        """Writes our nodes. Returns whether the backend has connected."""
        try:
            for node in self._order:
                await self._pause(node)
                await self._write(node, connection.nodes[node])
            await self._pause(STATE)
            await self._write(STATE, "3")
        except XenError:
            await self._store.write("data/at", REFUSED)
            return False  # the device was taken away
        await self._pause(CHECKS)
        if await self._other_end() != (backend, domid) or await self._read(STATE) != "3":
            return False  # it is another one
        if await self._wait(f"{backend}/{STATE}", lambda state: state not in ("1", "2")) != "4":
            return False
        await self._write(STATE, "4")
        return True

    async def _close(self, connection: Connection | None = None) -> None:
        """Closes what we have begun with the device; nothing is begun with one that is new, or not there."""
        begun = await self._read(STATE) not in ("1", None)
        if begun:
            await self._write(STATE, "5")
            await self._wait(f"{(await self._other_end())[0]}/{STATE}", lambda state: state in ("5", "6", None))
        if connection is not None:
            connection.close()
        if begun:
            await self._write(STATE, "6")

    async def _other_end(self) -> tuple[str, int]:
        return await self._read(BACKEND) or "", int(await self._read(BACKEND_ID) or -1)

    async def _read(self, node: str) -> str | None:
        return await self._store.read(f"{DEVICE}/{node}")

    async def _write(self, node: str, value: str) -> None:
        await self._store.write(f"{DEVICE}/{node}", value)

    async def _wait(self, path: str, wanted: Callable[[str | None], bool]) -> str | None:
        async with self._store.watch(path) as changes:
            async for _ in changes:
                if wanted(value := await self._store.read(path)):
                    return value
        raise AssertionError("a watch ends")

    async def _pause(self, step: str) -> None:
        await self._store.write("data/at", step)
        await self._wait("data/go", lambda value: value in (step, FREELY))


async def connect_one_by_one(*order: str) -> int:
    async with Xen.open() as xen:
        return await SingleWrites(xen, order).run()


@pytest.fixture(scope="module")
def host(world: World, domids: Iterator[int]) -> Iterator[Host]:
    with Host(world, domids) as made:
        yield made


@pytest.fixture(scope="module")
def drivers(host: Host) -> tuple[int, int]:
    """Two driver domains with the service."""
    first, second = host.create("sys-bluetooth"), host.create("sys-bluetooth-2")
    host.serve(first)
    host.serve(second)
    return first, second


@pytest.fixture
def driver(drivers: tuple[int, int]) -> int:
    """The guest's driver domain, at first."""
    return drivers[0]


@pytest.fixture
def guest(host: Host, driver: int, new_domain: NewDomain) -> Domain:
    made = new_domain()
    host.world.attach_vl2cap(made.domid, driver)
    return made


def go(guest: Domain, step: str) -> None:
    guest.world.change_store(write=[(f"{guest.home}/data/go", step, None)])


def wait_at(guest: Domain, step: str) -> None:
    """Lets the frontend go on until it comes to that step."""
    for each in STEPS[: STEPS.index(step)]:
        guest.world.wait_value(f"{guest.home}/data/at", each)
        go(guest, each)
    guest.world.wait_value(f"{guest.home}/data/at", step)


@pytest.mark.parametrize("order", [*itertools.permutations(NODES)])
def test_nodes_are_not_looked_at_before_the_state(
    host: Host, driver: int, guest: Domain, order: tuple[str, ...]
) -> None:
    """Whatever is in them until then, and however long that takes."""
    world, backend = host.world, f"{host.backend(guest.domid, driver)}/{STATE}"
    for left in ({}, dict.fromkeys(NODES, "nonsense"), dict.fromkeys(NODES, "4294967295")):
        world.change_store(write=[(f"{guest.home}/{DEVICE}/{node}", value, None) for node, value in left.items()])
        go(guest, "")
        process = guest.start(connect_one_by_one, *order)
        for step in (*order, STATE):
            world.wait_value(f"{guest.home}/data/at", step)
            world.change_store(write=[(f"{guest.home}/{DEVICE}/{STATE}", "1", None)])  # the backend looks again
            assert world.read(backend) == "2"
            go(guest, step)
        go(guest, FREELY)
        assert process.result() == 1
        assert world.read(f"{guest.home}/{DEVICE}/{STATE}") == "6"
    assert world.statistics()[guest.domid]["shared"] == 0


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("same", [True, False], ids=["same backend", "other backend"])
def test_the_device_is_made_anew_before_a_step(
    dom0: Domain, drivers: tuple[int, int], guest: Domain, step: str, same: bool
) -> None:
    process = guest.start(connect_one_by_one, *NODES)
    wait_at(guest, step)
    dom0.run(move, guest.domid, drivers[0 if same else 1])
    go(guest, FREELY)
    # Made anew before the first node, the device is complete if the backend is the same.
    assert process.result() == (1 if same and step == VERSION else 2)
    assert dom0.world.statistics()[guest.domid]["shared"] == 0


@pytest.mark.parametrize("step", STEPS[:-1])
def test_the_device_is_taken_away_before_a_step(host: Host, driver: int, guest: Domain, step: str) -> None:
    """The write makes no directory again, and the frontend finds the next device."""
    process = guest.start(connect_one_by_one, *NODES)
    wait_at(guest, step)
    host.world.detach_vl2cap(guest.domid, driver)
    go(guest, FREELY)
    host.world.wait_value(f"{guest.home}/data/at", REFUSED)
    assert host.world.read(f"{guest.home}/{DEVICE}") is None
    host.world.attach_vl2cap(guest.domid, driver)
    assert process.result() == 2


@pytest.mark.parametrize("step", STEPS)
def test_the_frontend_dies_before_a_step(guest: Domain, step: str) -> None:
    """The next one finds what it has left."""
    process = guest.start(connect_one_by_one, *NODES)
    wait_at(guest, step)
    process.kill()
    go(guest, FREELY)
    assert guest.run(connect_one_by_one, *NODES) == 1
    assert guest.world.statistics()[guest.domid]["shared"] == 0
