"""Guests that break every rule, against the very service; after each, a guest that keeps them goes on as before.

That guest is this file, too, when it is run as a program.
"""

import asyncio
import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.demo import plan
from tests.sim.world import World
from tests.support import remote_peer as remote
from tests.support import stack as stack_module
from tests.support.domain import Domain, NewDomain
from tests.support.stack import Stack
from usbbtd.guest import Adapter, AdapterGone, AddressType, ChannelClosed, open_adapter
from usbbtd.l2capif.wire import REQUEST_SIZE, RESPONSE_SIZE
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.ring import FrontRing
from usbbtd.xen.store import Store
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action

SIZES = (1, 48, 1021, 2048)
OUT_PROD, IN_CONS = 128, 64  # in the page of indices
LIES = {"prod": (OUT_PROD, 0x7FFFFFFF), "cons": (IN_CONS, 1), "half a message": (OUT_PROD, 3)}


@pytest.fixture(scope="module")
def stack(world: World, domids: Iterator[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_module.Stack(world, tmp_path_factory.mktemp("stack"), domids) as running:
        yield running


class Bystander:
    """A guest with a channel on each transport, all the time."""

    def __init__(self, stack: Stack, domid: int) -> None:
        self._world = stack.world
        self._home = f"/local/domain/{domid}"
        self._rounds = 0
        self.process = stack_module.Process(stack.world, domid, "-m", "tests.test_hostile_guest")
        self.check()

    def check(self) -> None:
        """It exchanges SDUs, now."""
        self._rounds += 1
        self._world.change_store(write=[(f"{self._home}/data/go", str(self._rounds), None)])
        self._world.wait_value(f"{self._home}/data/done", str(self._rounds))


@pytest.fixture(scope="module")
def bystander(stack: Stack, world: World, domids: Iterator[int]) -> Iterator[Bystander]:
    domid = next(domids)
    world.create_domain(domid, "bystander")
    world.attach_vl2cap(domid, stack.driver)
    made = Bystander(stack, domid)
    yield made
    made.process.kill()
    world.destroy_domain(domid)


@pytest.fixture
def attacker(stack: Stack, bystander: Bystander, new_domain: NewDomain) -> Iterator[Domain]:
    """A guest with device 0. Afterwards it is gone, nothing of it is left, and nobody else has noticed."""
    before = stack.held()
    since = len(stack.daemon.log)
    guest = stack.new_guest(new_domain)
    yield guest
    bystander.check()
    guest.destroy()
    stack.detach(guest)
    stack.wait_held(before)
    assert stack.daemon.running
    assert not [line for line in stack.daemon.log[since:] if "[error" in line or "Traceback" in line]


# What guests do


def connect(adapter: Adapter, transport: plan.Transport, psms: Any = remote.ECHO) -> Any:
    address_type: AddressType = "bredr" if transport == "bredr" else "random"
    return adapter.connect(plan.ECHO.address_on(transport), psms[transport], address_type=address_type, mtu=2048)


async def keep_talking() -> None:
    store = await Store.open()
    async with open_adapter() as adapter:
        channels = [await connect(adapter, transport) for transport in plan.TRANSPORTS]
        async with store.watch("data/go") as changes:
            async for _ in changes:
                if not (go := await store.read("data/go")):
                    continue
                for channel in channels:
                    for size in SIZES:
                        await channel.send(os.urandom(1) * size)
                        assert len(await channel.recv()) == size
                await store.write("data/done", go)


async def lie_on_the_command_ring(index: Any) -> Any:
    """And be connected again afterwards."""
    async with open_adapter() as adapter:
        listener = await adapter.listen(0x1021)
        accepting = asyncio.create_task(listener.accept())
        await asyncio.sleep(0)
        connection = adapter._connection
        assert connection
        connection._ring._page[0:4] = index.to_bytes(4, "little")
        connection._channel.notify()
        try:
            await accepting
        except AdapterGone:
            await adapter.wait_ready(10)
            return "connected again"


class RawFrontend:
    """Connects as a frontend does, and then does as it likes."""

    def __init__(self, xen: Any, device: Any) -> None:
        self._xen, self._device = xen, device
        self.attached = asyncio.Event()
        self.notified = asyncio.Event()

    async def perform(self, action: Any) -> Any:
        if action is Action.OFFER:
            self.page = self._xen.grants.share(self._device.other_domid, 1)
            self.ring = FrontRing(self.page.memory, REQUEST_SIZE, RESPONSE_SIZE)
            self.channel = self._xen.evtchn.bind_unbound(self._device.other_domid, self.notified.set)
            return {
                "version": "1", "ring-ref": str(self.page.refs[0]), "event-channel": str(self.channel.port)
            }  # fmt: skip
        if action is Action.ATTACH:
            self.attached.set()
        return None


async def send_garbage() -> Any:
    """Fills the ring and takes no answer; says how many there are when there are no more."""
    async with Xen.open() as xen:
        frontend = RawFrontend(xen, XenbusDevice(xen.store, "frontend", "device/vl2cap/0"))
        running = asyncio.create_task(frontend._device.run(frontend.perform))
        await frontend.attached.wait()
        ring = frontend.ring
        ring.put([number.to_bytes(4, "little") + os.urandom(60) for number in range(ring.free)])
        frontend.channel.notify()
        await frontend.notified.wait()
        answers = int.from_bytes(frontend.page.memory[8:12], "little")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return answers


async def lie_on_a_data_ring(offset: Any, index: Any) -> Any:
    async with open_adapter() as adapter:
        channel = await connect(adapter, "le")
        shared = channel._stream.shared
        shared._indices[offset : offset + 4] = index.to_bytes(4, "little")
        for _ in range(100):
            shared.notify()
        try:
            await channel.recv()
        except ChannelClosed as error:
            for _ in range(100):
                shared.notify()
                await asyncio.sleep(0)
            await channel.abort()
            return error.errno


async def send_too_long_an_sdu() -> Any:
    async with open_adapter() as adapter:
        channel = await connect(adapter, "bredr")
        await channel._stream.send([bytes(channel.tx_mtu + 1)])
        try:
            await channel.recv()
        except ChannelClosed as error:
            return error.errno


async def write_without_end(count: int) -> None:
    store = await Store.open()
    for number in range(count):
        await store.write("device/vl2cap/0/state", str(number % 9))
        await store.write("device/vl2cap/0/version", "nonsense")
    await store.write("device/vl2cap/0/state", "6")
    await store.close()


async def never_read(transport: plan.Transport) -> Any:
    """Opens a channel to a peer that sends without end; returns when the daemon must have had enough."""
    async with open_adapter() as adapter:
        channel = await connect(adapter, transport, remote.FLOOD)
        store = await Store.open()
        await store.write("data/done", "open")
        async with store.watch("data/go") as changes:
            async for _ in changes:
                if await store.read("data/go"):
                    break
        await store.close()
        received = 0
        try:
            async with asyncio.timeout(1):
                while True:
                    await channel.recv()
                    received += 1
        except ChannelClosed as error:
            return [received > 0, error.errno]
        except TimeoutError:
            return [received > 0, 0]
        finally:
            await channel.abort()


# Tests


@pytest.mark.parametrize("index", [40, 1 << 31, 0xFFFFFFFF])
def test_impossible_indices_on_the_command_ring_close_that_device(stack: Stack, attacker: Domain, index: int) -> None:
    since = len(stack.daemon.log)
    assert attacker.run(lie_on_the_command_ring, index) == "connected again"
    line = stack.daemon.wait_logged("guest disconnected", f"domid={attacker.domid}", since=since)
    assert "command ring: the other end's index" in line


def test_garbage_is_answered_to_a_guest_that_takes_no_answers(attacker: Domain) -> None:
    assert attacker.run(send_garbage) == 32


@pytest.mark.parametrize("attack", LIES)
def test_lies_on_a_data_ring_end_that_channel(stack: Stack, attacker: Domain, attack: str) -> None:
    since = len(stack.daemon.log)
    assert attacker.run(lie_on_a_data_ring, *LIES[attack]) == errno.EBADMSG
    stack.daemon.wait_logged("channel broken by the guest", f"domid={attacker.domid}", since=since)
    assert len([line for line in stack.daemon.log[since:] if "broken by the guest" in line]) == 1


def test_an_sdu_beyond_the_peers_mtu_ends_that_channel(attacker: Domain) -> None:
    assert attacker.run(send_too_long_an_sdu) == errno.EBADMSG


def test_a_storm_of_changes_to_its_own_nodes(attacker: Domain, bystander: Bystander) -> None:
    """From several processes: enough to disturb every transaction that reads them."""
    storms = [attacker.start(write_without_end, 700) for _ in range(3)]
    bystander.check()
    for storm in storms:
        assert storm.result() is None


def test_a_guest_that_does_not_read_loses_its_bredr_channel(stack: Stack, attacker: Domain) -> None:
    since = len(stack.daemon.log)
    reading = attacker.start(never_read, "bredr")
    line = stack.daemon.wait_logged("object ended", f"domid={attacker.domid}", since=since)
    assert "the guest did not read" in line
    stack.world.change_store(write=[(f"{attacker.home}/data/go", "1", None)])
    assert reading.result() == [True, errno.ENOBUFS]


def test_a_guest_that_does_not_read_stalls_its_le_peer(stack: Stack, attacker: Domain, bystander: Bystander) -> None:
    reading = attacker.start(never_read, "le")
    stack.world.wait_value(f"{attacker.home}/data/done", "open")
    for _ in range(5):
        bystander.check()
    stack.world.change_store(write=[(f"{attacker.home}/data/go", "1", None)])
    assert reading.result() == [True, 0]


def test_a_guest_that_never_answers(stack: Stack, attacker: Domain) -> None:
    stack.world.wait_value(f"{stack.backend(attacker)}/state", "2")


if __name__ == "__main__":
    asyncio.run(keep_talking())
