"""As many guests as xenstored's default quotas, which the simulated one enforces, leave room for; and more."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sim.world import World
from tests.support import stack as stack_module
from tests.support.domain import Domain, NewDomain
from tests.support.stack import Process
from usbbtd.guest import open_adapter
from usbbtd.xen.store import Store

MANY = 64


async def stay_connected() -> None:
    async with open_adapter(timeout=60, powered=False):
        store = await Store.open()
        await store.write("data/done", "connected")
        async with store.watch("data/stop") as changes:
            async for _ in changes:
                if await store.read("data/stop"):
                    break
        await store.close()


@pytest.fixture
def driver(new_domain: NewDomain) -> Domain:
    return new_domain()


@pytest.fixture
def daemon(world: World, driver: Domain) -> Iterator[Process]:
    """The service, without a dongle."""
    process = stack_module.Process(world, driver.domid, "-m", "usbbtd", "run", "--config", "/dev/null")
    yield process
    process.kill()


def attached(new_domain: Callable[..., Any], driver: Domain, count: int) -> list[Domain]:
    guests = [new_domain() for _ in range(count)]
    for guest in guests:
        guest.world.attach_vl2cap(guest.domid, driver.domid)
    return guests


def state(guest: Domain, driver: Domain) -> str:
    return f"{driver.home}/backend/vl2cap/{guest.domid}/0/state"


def test_64_guests_are_connected_at_a_time(
    world: World, new_domain: NewDomain, driver: Domain, daemon: Process
) -> None:
    guests = attached(new_domain, driver, MANY)
    running = [guest.start(stay_connected) for guest in guests]
    for guest in guests:
        world.wait_value(f"{guest.home}/data/done", "connected", timeout_s=60)
    used = world.statistics()[driver.domid]
    assert used["watches"] <= MANY + 4
    assert used["nodes"] < 1000
    for guest in guests:
        world.change_store(write=[(f"{guest.home}/data/stop", "1", [f"n{guest.domid}"])])
    for process in running:
        process.result()
    assert not [line for line in daemon.log if "given up" in line]


def test_what_has_no_room_is_told_once_whatever_the_others_do(
    world: World, new_domain: NewDomain, driver: Domain, daemon: Process
) -> None:
    guests = attached(new_domain, driver, MANY + 8)
    told = daemon.wait_logged("device given up")
    assert "No space left on device: this domain's quota of xenstored is used up" in told
    served = next(guest for guest in guests if world.read(state(guest, driver)) == "2")
    for _ in range(50):
        guests[0].world.change_store(write=[(f"{driver.home}/backend/vl2cap/{served.domid}/0/note", "x", None)])
    assert daemon.terminate() == 0
    paths = [line.partition("path=")[2].split()[0] for line in daemon.log if "device given up" in line]
    assert 0 < len(paths) == len(set(paths))


def test_a_device_that_had_no_room_is_served_when_there_is(
    world: World, new_domain: NewDomain, driver: Domain, daemon: Process
) -> None:
    guests = attached(new_domain, driver, MANY + 8)
    refused = daemon.wait_logged("device given up").partition("backend/vl2cap/")[2].split("/")[0]
    late = next(guest for guest in guests if str(guest.domid) == refused)
    for guest in guests:
        if guest is not late and world.read(state(guest, driver)) in ("1", "2"):
            guest.destroy()
    assert world.wait_value(state(late, driver), "2", timeout_s=30) == "2"


@pytest.mark.parametrize("number", ["4294967296", "4294967295", "65536", "32752", "99999999999", "007", "x"])
def test_a_directory_of_no_domain_is_passed_over(
    world: World, new_domain: NewDomain, driver: Domain, daemon: Process, number: str
) -> None:
    guest, path = new_domain(), f"{driver.home}/backend/vl2cap/{number}/0"
    nodes = {"frontend": f"/local/domain/{number}/device/vl2cap/0", "frontend-id": number, "online": "1", "state": "1"}
    world.change_store(write=[(f"{path}/{node}", value, None) for node, value in nodes.items()])
    world.attach_vl2cap(guest.domid, driver.domid)
    world.wait_value(state(guest, driver), "2")
    assert world.read(f"{path}/state") == "1"
    assert daemon.terminate() == 0


def test_a_directory_that_cannot_be_looked_at_costs_nobody_else_a_device(
    world: World, new_domain: NewDomain, driver: Domain, daemon: Process
) -> None:
    hidden, guest = new_domain(), new_domain()
    path = f"{driver.home}/backend/vl2cap/{hidden.domid}"
    world.change_store(write=[(path, "", ["n0"]), (f"{path}/0", "", ["n0"])])
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    world.wait_value(state(guest, driver), "2")
    assert f"path=backend/vl2cap/{hidden.domid} " in daemon.wait_logged("device passed over")
    assert daemon.terminate() == 0
    assert sum("device passed over" in line for line in daemon.log) == 1
