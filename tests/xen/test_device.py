"""Both ends of a device in their domains, through all that can happen to either."""

import asyncio
import errno
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from tests.support.domain import Domain, NewDomain
from usbbtd.errors import RemoteProtocolError
from usbbtd.toolstack import changes
from usbbtd.toolstack import domains as toolstack
from usbbtd.toolstack.devices import make_device
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.error import XenError
from usbbtd.xen.evtchn import EventChannels
from usbbtd.xen.store import Store
from usbbtd.xenbus import Action

FRONTEND = "device/vl2cap/0"
NO_NUMBERS = ["", "10", "07", "4294967303", "-1", " 7", "7\n", "٧", "0x7", "9" * 1000]


async def follow(role: str, path: str) -> list[str]:
    """Follows the device until it is over, or ``data/stop`` is 1. Returns what it did.

    The backend wants a number up to 9, which it gets from the first frontend's ``data/say`` and is 7 otherwise. What is
    written to ``data/fail`` is the reason for which it closes the connection.
    """
    log: list[str] = []
    store, evtchn = await Store.open(), EventChannels()
    device = XenbusDevice(store, "frontend" if role == "frontend" else "backend", path, is_gone=evtchn.is_gone)

    async def perform(action: Action) -> Mapping[str, str] | None:
        said = action.value
        match action:
            case Action.PUBLISH:
                nodes = {"offer": "5"}
            case Action.OFFER:
                said += f" {await device.read_other_int('offer', 5, 5)}"
                nodes = {"number": await store.read("data/say") or "7"}
                nodes |= {f"wrong-{number}": text for number, text in enumerate(NO_NUMBERS)}
                await store.write("data/say", "")
            case Action.ATTACH if role == "backend":
                nodes = {}
                number = await device.read_other_int("number", 0, 9)
                for node in ("none", *(f"wrong-{number}" for number in range(len(NO_NUMBERS)))):
                    with pytest.raises(RemoteProtocolError, match=rf"{node} is .*, not a number from 0 to 9$"):
                        await device.read_other_int(node, 0, 9)
                assert await device.read_other("none") is None
                assert await device.read_other_int("none", 0, 1, default=1) == 1
                assert await device.read_own("offer") == "5"
                said += f" {number}"
            case _:
                nodes = {}
        if action is Action.DETACH and device.reason:
            said += f": {device.reason}"
        log.append(said)
        return nodes

    async def obey() -> None:
        async with store.watch("data/stop", "data/fail") as watch:
            async for path in watch:
                said = await store.read(path)
                if path == "data/stop" and said == "1":
                    running.cancel()
                elif path == "data/fail" and said:
                    device.fail(said)

    running = asyncio.ensure_future(device.run(perform))
    obeying = asyncio.create_task(obey())
    await asyncio.wait([running])
    obeying.cancel()
    if running.cancelled():
        log.append("cancelled")
    else:
        running.result()
        log.append("over")
    await store.close()
    evtchn.close()
    return log


class End:
    """One end: its domain, and what runs there."""

    def __init__(self, domain: Domain, role: str, path: str) -> None:
        self.domain = domain
        self.path = f"{domain.home}/{path}"
        self._arguments = (role, path)

    def start(self) -> None:
        self.tell("stop", "0")
        self.process = self.domain.start(follow, *self._arguments)

    def tell(self, node: str, value: str) -> None:
        write = [(f"{self.domain.home}/data/{node}", value, [f"n{self.domain.domid}"])]
        self.domain.world.change_store(write=write)

    def wait(self, *states: str) -> None:
        self.domain.world.wait_value(f"{self.path}/state", *states)

    def result(self) -> list[str]:
        """What it did, without the repetitions: DETACH may come for each state on the way down."""
        log = self.process.result()
        return [entry for number, entry in enumerate(log) if log[number - 1 : number] != [entry]]

    def stop(self) -> list[str]:
        self.tell("stop", "1")
        return self.result()


class Pair(NamedTuple):
    frontend: End
    backend: End

    def connect(self) -> None:
        self.frontend.wait("4")
        self.backend.wait("4")


@pytest.fixture
def pair(new_domain: NewDomain) -> Pair:
    """Attached, and both ends running."""
    guest, driver = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    pair = Pair(End(guest, "frontend", FRONTEND), End(driver, "backend", f"backend/vl2cap/{guest.domid}/0"))
    pair.frontend.tell("say", "")
    pair.backend.start()
    pair.frontend.start()
    pair.connect()
    return pair


def test_both_ends_connect_close_and_connect_again(pair: Pair) -> None:
    frontend, backend = pair
    assert frontend.stop() == ["offer 5", "attach", "detach", "cancelled"]
    frontend.wait("6")
    backend.wait("6")
    frontend.start()
    pair.connect()
    assert backend.stop() == ["publish", "attach 7", "detach", "publish", "attach 7", "detach", "cancelled"]
    backend.wait("6")
    assert frontend.stop() == ["detach", "offer 5", "attach", "detach", "cancelled"]


def test_a_backend_that_was_killed_is_followed_by_another(pair: Pair) -> None:
    frontend, backend = pair
    backend.process.kill()
    backend.start()
    frontend.wait("1", "3", "5", "6")
    pair.connect()
    assert frontend.stop() == ["offer 5", "attach", "detach", "offer 5", "attach", "detach", "cancelled"]
    assert backend.stop() == ["detach", "publish", "attach 7", "detach", "cancelled"]


def test_a_frontend_that_was_killed_is_followed_by_another(pair: Pair) -> None:
    frontend, backend = pair
    frontend.process.kill()
    frontend.start()
    backend.wait("2", "5", "6")
    pair.connect()
    assert frontend.stop() == ["detach", "offer 5", "attach", "detach", "cancelled"]
    backend.wait("6")
    assert backend.stop() == ["publish", "attach 7", "detach", "publish", "attach 7", "detach", "cancelled"]


def test_a_failure_closes_the_connection_and_another_is_made(pair: Pair) -> None:
    frontend, backend = pair
    backend.tell("fail", "a lie in the ring")
    frontend.wait("1", "3", "5", "6")
    pair.connect()
    frontend.tell("say", "10")  # and now an action of the backend fails
    frontend.tell("fail", "enough")
    backend.wait("2", "5", "6")
    pair.connect()
    assert backend.stop() == [
        "publish",
        "attach 7",
        "detach: a lie in the ring",
        "publish",
        "attach 7",
        "detach",
        "publish",
        f"detach: {frontend.path}/number is '10', not a number from 0 to 9",
        "publish",
        "attach 7",
        "detach",
        "cancelled",
    ]
    assert frontend.stop()[:5] == ["offer 5", "attach", "detach", "offer 5", "attach"]


def test_dom0_finds_why_a_device_was_closed(pair: Pair) -> None:
    frontend, backend = pair
    world, home = frontend.domain.world, backend.domain.home
    told = f"{home}/error/backend/vl2cap/{frontend.domain.domid}/0/error"
    frontend.process.kill()
    backend.tell("fail", "a lie in the ring")
    backend.wait("5")
    assert world.read(told) == f"{errno.EPROTO} a lie in the ring"
    frontend.start()
    world.wait_value(told, None)
    pair.connect()
    frontend.process.kill()
    backend.tell("fail", "another")
    backend.wait("5")
    assert world.read(told) == f"{errno.EPROTO} another"
    frontend.domain.destroy()
    assert backend.result()[-1] == "over"
    assert world.read(f"{home}/error/backend") is None
    assert world.read(f"{home}/error") == ""


def test_nonsense_in_the_state_node_ends_the_connection(pair: Pair) -> None:
    frontend, backend = pair
    world = frontend.domain.world
    frontend.process.kill()
    world.change_store(write=[(f"{frontend.path}/state", "4\n" * 1000, None)])
    backend.wait("6")
    assert backend.stop() == ["publish", "attach 7", "detach", "cancelled"]


@pytest.mark.parametrize("role", ["frontend", "backend"])
def test_whatever_is_in_the_own_node_both_ends_connect(new_domain: NewDomain, role: str) -> None:
    guest, driver = new_domain(), new_domain()
    world = guest.world
    world.attach_vl2cap(guest.domid, driver.domid)
    pair = Pair(End(guest, "frontend", FRONTEND), End(driver, "backend", f"backend/vl2cap/{guest.domid}/0"))
    pair.frontend.tell("say", "")
    first, second = pair if role == "backend" else pair[::-1]  # the second finds the nonsense
    first.start()
    for text in (None, "", "0", " 4", "04", "7", "8", "x", "9" * 1000):
        if text is None:
            world.change_store(remove=[f"{second.path}/state"])
        else:
            owner = [f"n{second.domain.domid}", f"r{first.domain.domid}"]
            world.change_store(write=[(f"{second.path}/state", text, owner)])
        second.start()
        pair.connect()
        second.process.kill()
    assert first.stop()[-1] == "cancelled"


@pytest.mark.parametrize("role", ["frontend", "backend"])
def test_what_is_written_over_the_own_node_is_put_right(new_domain: NewDomain, role: str) -> None:
    guest, driver = new_domain(), new_domain()
    world = guest.world
    world.attach_vl2cap(guest.domid, driver.domid)
    pair = Pair(End(guest, "frontend", FRONTEND), End(driver, "backend", f"backend/vl2cap/{guest.domid}/0"))
    pair.frontend.tell("say", "")
    first, second = pair if role == "frontend" else pair[::-1]
    first.start()
    waiting = "1" if role == "frontend" else "2"
    first.wait(waiting)
    for text in ("0", "", " 4", "7"):
        world.change_store(write=[(f"{first.path}/state", text, None)])
        first.wait(waiting)
    second.start()
    pair.connect()


def test_a_frontend_that_hides_its_state_is_waited_for(pair: Pair, dom0: Domain) -> None:
    frontend, backend = pair
    frontend.process.kill()
    hidden, shown = ([f"n{frontend.domain.domid}", f"{access}{backend.domain.domid}"] for access in "nr")
    dom0.world.change_store(write=[(f"{frontend.path}/state", "4", hidden)])
    backend.wait("6")
    dom0.world.change_store(write=[(f"{frontend.path}/state", "4", shown)])
    frontend.start()
    pair.connect()
    frontend.process.kill()
    dom0.world.change_store(remove=[f"{frontend.path}/state"])
    backend.wait("6")
    frontend.start()
    dom0.world.wait_value(f"{frontend.path}/state", "4")
    assert backend.stop() == ["publish", "attach 7", "detach", "publish", "attach 7", "detach", "publish", "attach 7",
                              "detach", "cancelled"]  # fmt: skip


def test_a_frontend_that_hides_its_state_and_dies(pair: Pair, dom0: Domain) -> None:
    frontend, backend = pair
    frontend.process.kill()
    hidden = [f"n{frontend.domain.domid}", f"n{backend.domain.domid}"]
    dom0.world.change_store(write=[(f"{frontend.path}/state", "4", hidden)])
    backend.wait("6")
    frontend.domain.destroy()  # of which no watch tells
    assert backend.result() == ["publish", "attach 7", "detach", "over"]


def test_the_toolstack_takes_the_device_away(pair: Pair) -> None:
    frontend, backend = pair
    frontend.domain.world.detach_vl2cap(frontend.domain.domid, backend.domain.domid)
    assert backend.result() == ["publish", "attach 7", "detach", "over"]
    assert frontend.result() == ["offer 5", "attach", "detach", "over"]
    for end in pair:
        assert end.domain.world.read(end.path) is None


def test_the_other_domain_is_destroyed(pair: Pair) -> None:
    frontend, backend = pair
    frontend.domain.destroy()
    assert backend.result() == ["publish", "attach 7", "detach", "over"]
    backend.wait("6")


async def move(guest: int, driver: int) -> None:
    """In dom0: gives the guest's device another backend, in one step."""
    store = await Store.open()
    domains = toolstack.Domain(guest, ""), toolstack.Domain(driver, "")
    await store.transaction(lambda t: changes.apply(t, make_device(t, domains[0], 0, domains[1])))
    await store.close()


def test_a_frontend_leaves_a_device_that_is_another_now(pair: Pair, dom0: Domain, new_domain: NewDomain) -> None:
    frontend, backend = pair
    other = new_domain()
    dom0.run(move, frontend.domain.domid, other.domid)
    assert frontend.result() == ["offer 5", "attach", "detach", "over"]
    world = dom0.world
    # What the old connection had to say at its end is not told to the new backend.
    assert world.read(f"{frontend.path}/state") == "1"
    assert world.read(f"{frontend.path}/backend-id") == str(other.domid)
    assert world.read(f"{frontend.path}/ring-ref") is None
    assert "detach" in backend.stop()


def test_both_ends_leave_a_device_that_was_made_anew(pair: Pair, dom0: Domain) -> None:
    frontend, backend = pair
    dom0.run(move, frontend.domain.domid, backend.domain.domid)
    assert frontend.result() == ["offer 5", "attach", "detach", "over"]
    assert backend.result() == ["publish", "attach 7", "detach", "over"]
    for end in pair:
        assert dom0.world.read(f"{end.path}/state") == "1"
        end.start()
    pair.connect()
    assert frontend.stop() == ["offer 5", "attach", "detach", "cancelled"]
    assert backend.stop() == ["publish", "attach 7", "detach", "cancelled"]


async def refused(path: str) -> list[object]:
    store = await Store.open()
    with pytest.raises(XenError) as error:
        await XenbusDevice(store, "frontend", path).run(no_action)
    await store.close()
    return [error.value.errno, error.value.strerror]


async def no_action(action: Action) -> None:
    pytest.fail(action)


def test_devices_that_are_none(new_domain: NewDomain) -> None:
    domain = new_domain()
    assert domain.run(refused, FRONTEND) == [
        errno.ENOENT,
        f"{FRONTEND}: the device is not attached: it names no backend",
    ]
    domain.world.attach_vl2cap(domain.domid, domain.domid)
    assert domain.run(refused, FRONTEND) == [
        errno.EINVAL,
        f"{FRONTEND}: a device between domain {domain.domid} and itself",
    ]
    for number in ("", "x", "32752", "65536", "4294967296"):
        domain.world.change_store(write=[(f"{domain.home}/{FRONTEND}/backend-id", number, None)])
        said = f"{FRONTEND}/backend-id is {number!r}, the number of no domain"
        assert domain.run(refused, FRONTEND) == [errno.ENOENT, said]
