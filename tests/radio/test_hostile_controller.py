"""Controllers that are out to harm: nothing but their own links is harmed, and they get nobody's keys."""

import asyncio
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.matrix.ends import BumblePeer, connect, start_adapter
from tests.radio.test_adapter import advertise, scan_user
from tests.sim.hostile import Hostile
from tests.sim.plugged import PluggedDongle, plug
from tests.sim.virtual_air import BumbleAir
from tests.support import air
from tests.support.pairing import AirAgent, Notes, Shelf
from usbbtd.bluetooth import BREDR, LEVEL_ENCRYPTED, LEVEL_NONE, NO_INPUT_NO_OUTPUT, format_address
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.errors import Insecure, Obstacle, RadioError
from usbbtd.security.bonds import Bond, BredrKey, LeKeys, LongTermKey

PATIENCE_S = 0.2
OTHER_LE_ADDRESS = "C0:FF:EE:00:00:03"
ABSENT, KEY = air.octets("C0:FF:EE:00:00:77"), b"a key of nobody."
CARRIERS = ("BR/EDR", "LE CoC", "ATT")
CONNECTION_COMPLETE, CONNECTION_REQUEST, LINK_KEY_REQUEST, LE_META = 0x03, 0x04, 0x17, 0x3E
LE_CONNECTION_COMPLETE, LONG_TERM_KEY_REQUEST = 1, 5
LINK_KEY_REFUSAL, LONG_TERM_KEY_REFUSAL = b"\x0c\x04", b"\x1b\x20"  # opcodes


def agent() -> AirAgent:
    return AirAgent(NO_INPUT_NO_OUTPUT, LEVEL_ENCRYPTED)


async def try_everything(adapter: SharedAdapter, peer: BumblePeer) -> None:
    """Does what users do, each with little patience, and whatever comes of it."""

    async def patiently(work: Coroutine[Any, Any, Any]) -> None:
        with suppress(RadioError, TimeoutError, AssertionError):  # the last: other data than was sent
            async with asyncio.timeout(PATIENCE_S):
                await work

    advertise(adapter)
    with suppress(RadioError):
        adapter.air.start_scan(scan_user(active=True)[0])
    for carrier in CARRIERS:
        for level in (LEVEL_NONE, LEVEL_ENCRYPTED):
            await patiently(connect_and_echo(adapter, peer, carrier, level))
    for transport in air.TRANSPORTS:
        await patiently(adapter.security.pair(*peer.address(transport), LEVEL_ENCRYPTED, agent()))


async def connect_and_echo(adapter: SharedAdapter, peer: BumblePeer, carrier: str, level: int) -> None:
    await peer.prove(await connect(adapter, peer, carrier, level, agent()))


class Bystander:
    """Another adapter on the same air, with a channel on each transport to a device of its own."""

    def __init__(self, adapter: SharedAdapter, users: list[air.User]) -> None:
        self.adapter = adapter
        self._users = users
        self._rounds = 0

    @classmethod
    async def start(cls, on: BumbleAir) -> "Bystander":
        adapter = await start_adapter(on, OTHER_LE_ADDRESS)
        peer = await BumblePeer.start(on, LEVEL_ENCRYPTED, Notes(), adapter, "C0:FF:EE:00:00:13")
        users = [air.User(await connect(adapter, peer, carrier, LEVEL_ENCRYPTED, agent())) for carrier in CARRIERS[:2]]
        return cls(adapter, users)

    async def check(self) -> None:
        self._rounds += 1
        async with asyncio.timeout(air.TIME_LIMIT_S):
            for user in self._users:
                await user.send([b"still here"])
                await user.receive(self._rounds)


async def replug(adapter: SharedAdapter, dongle: PluggedDongle) -> None:
    """Pulls a dongle out, if it has not been given up, and plugs another in."""
    if adapter._stack is not None:
        old = air.controller_of(adapter).dongle
        assert isinstance(old, H2Dongle)
        assert isinstance(old.usb, PluggedDongle)
        old.usb.unplug()
    await adapter.take_dongle(H2Dongle(dongle))
    await adapter.wait_powered()


@pytest.mark.parametrize("rate", [0.05, 0.3])
@pytest.mark.parametrize("seed", range(5))
async def test_nothing_but_its_own_links_is_harmed(seed: int, rate: float) -> None:
    on, hostile, shelf = BumbleAir(), Hostile(random.Random(seed), rate=0), Shelf()
    kept = Bond(ABSENT, 0, BredrKey(KEY, 8))
    shelf.save(kept)
    with capture_logs() as logs:
        bystander = await Bystander.start(on)
        adapter = await start_adapter(on, air.OUR_LE_ADDRESS, hostile, bonds=shelf)
        peer = await BumblePeer.start(on, LEVEL_NONE, Notes(), adapter)
        hostile.rate = rate
        await try_everything(adapter, peer)
        for _ in range(1000):
            hostile.invent()
        await bystander.check()
        await replug(adapter, await plug(on))
        await bystander.check()
        assert not adapter.links.by_handle
        for carrier in CARRIERS:
            async with asyncio.timeout(air.TIME_LIMIT_S):
                await connect_and_echo(adapter, peer, carrier, LEVEL_NONE)
        for each in (adapter, bystander.adapter):
            each.close()
    assert not [log for log in logs if "exc_info" in log]
    assert shelf.bonds[ABSENT, 0] == kept
    assert not any(KEY in packet for packet in hostile.heard)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1])
@pytest.mark.parametrize("seed", range(5))
async def test_lies_from_the_start(adapter: SharedAdapter, seed: int, rate: float) -> None:
    """It comes up or does not; the next dongle does."""
    on, hostile = BumbleAir(), Hostile(random.Random(seed), rate=rate)
    with capture_logs() as logs:
        await adapter.take_dongle(H2Dongle(await plug(on, hostile)))
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await adapter.wait_powered()
        await replug(adapter, await plug(on))
        peer = await BumblePeer.start(on, LEVEL_NONE, Notes(), adapter)
        await connect_and_echo(adapter, peer, "LE CoC", LEVEL_NONE)
    assert hostile.heard
    assert not [log for log in logs if "exc_info" in log]


async def bonded(on: BumbleAir, carrier: str) -> tuple[SharedAdapter, BumblePeer, Shelf, bytes]:
    """An adapter with a bond that it has used, and the secret of it."""
    shelf = Shelf()
    adapter = await start_adapter(on, air.OUR_LE_ADDRESS, bonds=shelf)
    peer = await BumblePeer.start(on, LEVEL_ENCRYPTED, Notes(), adapter)
    await connect_and_echo(adapter, peer, carrier, LEVEL_ENCRYPTED)
    [bond] = shelf.bonds.values()
    if isinstance(bond.keys, BredrKey):
        return adapter, peer, shelf, bond.keys.key
    assert bond.keys.theirs is not None
    return adapter, peer, shelf, bond.keys.theirs.key


async def test_a_dongle_gets_no_key_without_a_link() -> None:
    on, hostile, shelf = BumbleAir(), Hostile(random.Random(0), rate=0), Shelf()
    shelf.save(Bond(ABSENT, 0, BredrKey(KEY, 8)))
    adapter = await start_adapter(on, air.OUR_LE_ADDRESS, hostile, bonds=shelf)
    hostile.forge(LINK_KEY_REQUEST, ABSENT)
    await air.turns(lambda: any(packet[1:3] == LINK_KEY_REFUSAL for packet in hostile.heard))
    assert not any(KEY in packet for packet in hostile.heard)
    adapter.close()


@pytest.mark.parametrize("asks_first", [True, False])
async def test_a_dongle_gets_no_key_by_a_link_that_nobody_wants(asks_first: bool) -> None:
    """Even if it has the address with which the bond was made, or claims it."""
    on, hostile, shelf = BumbleAir(), Hostile(random.Random(0), rate=0), Shelf()
    adapter = await start_adapter(on, air.OUR_LE_ADDRESS, hostile, bonds=shelf)
    bonds = [Bond(ABSENT, 0, BredrKey(KEY, 8), own_address=adapter.address)]
    long_term = LongTermKey(KEY)
    bonds.append(Bond(ABSENT, 2, LeKeys(long_term, long_term, 16, True, True)))
    assert not any(map(adapter.security.take_bond, bonds))
    if asks_first:
        hostile.forge(CONNECTION_REQUEST, ABSENT + b"\0\0\0\1")
    hostile.forge(CONNECTION_COMPLETE, b"\0\x77\0" + ABSENT + b"\1\0")
    for handle, role in ((0x78, 0), (0x79, 1)):
        link = bytes((0, handle, 0, role, 1)) + ABSENT + b"\x18\0\0\0\xf4\1\0"
        hostile.forge(LE_META, bytes((LE_CONNECTION_COMPLETE,)) + link)
        hostile.forge(LE_META, bytes((LONG_TERM_KEY_REQUEST, handle)) + bytes(11))
    hostile.forge(LINK_KEY_REQUEST, ABSENT)
    refusals = {LINK_KEY_REFUSAL, LONG_TERM_KEY_REFUSAL}
    await air.turns(lambda: refusals <= {packet[1:3] for packet in hostile.heard})
    assert not adapter.links.by_handle
    assert not any(KEY in packet for packet in hostile.heard)
    adapter.close()


async def test_a_dongle_with_another_address_gets_no_link_key() -> None:
    """By a link that is wanted: its peer would not know the key, and it alone would learn it."""
    on, hostile, shelf = BumbleAir(), Hostile(random.Random(0), rate=0), Shelf()
    adapter = await start_adapter(on, air.OUR_LE_ADDRESS, hostile, bonds=shelf)
    peer = await BumblePeer.start(on, LEVEL_NONE, Notes(), adapter)
    address = peer.address(BREDR)[0]
    assert adapter.security.take_bond(Bond(address, 0, BredrKey(KEY, 8), own_address=ABSENT)) is None
    await connect_and_echo(adapter, peer, "BR/EDR", LEVEL_NONE)
    hostile.forge(LINK_KEY_REQUEST, address)
    await air.turns(lambda: any(packet[1:3] == LINK_KEY_REFUSAL for packet in hostile.heard))
    assert not any(KEY in packet for packet in hostile.heard)
    adapter.close()


@pytest.mark.parametrize("carrier", CARRIERS[:2])
async def test_a_dongle_that_claims_anothers_address_gets_none_of_its_bonds(carrier: str) -> None:
    """It is another adapter's: bonds are those of the identity that we gave, whatever a dongle says."""
    on, hostile = BumbleAir(), Hostile(random.Random(0), rate=0)
    adapter, peer, shelf, key = await bonded(on, carrier)
    on.claimed = format_address(adapter.address)
    adapter.close()
    others = Shelf()
    claiming = await start_adapter(on, OTHER_LE_ADDRESS, hostile, bonds=others)
    with pytest.raises(Insecure) as caught:
        await connect(claiming, peer, carrier, LEVEL_ENCRYPTED, AirAgent(may=False))
    assert caught.value.why is Obstacle.NO_AGENT
    [handle] = claiming.links.by_handle
    hostile.forge(LINK_KEY_REQUEST, peer.address(BREDR)[0])
    hostile.forge(LE_META, bytes((LONG_TERM_KEY_REQUEST,)) + handle.to_bytes(2, "little") + bytes(10))
    refusals = {LINK_KEY_REFUSAL} if carrier == "BR/EDR" else {LINK_KEY_REFUSAL, LONG_TERM_KEY_REFUSAL}
    await air.turns(lambda: refusals <= {packet[1:3] for packet in hostile.heard})
    assert not any(key in packet for packet in hostile.heard)
    assert (len(shelf.bonds), len(others.bonds)) == (1, 0)
    claiming.close()


async def test_a_bond_of_bredr_outlives_a_dongle_with_another_address() -> None:
    on = BumbleAir()
    adapter, peer, shelf, _ = await bonded(on, "BR/EDR")
    kept, address = dict(shelf.bonds), format_address(adapter.address)
    await replug(adapter, await plug(on))
    with pytest.raises(Insecure) as caught:
        await connect(adapter, peer, "BR/EDR", LEVEL_ENCRYPTED, agent())
    assert caught.value.why is Obstacle.KEY_MISSING  # the peer knows the other address
    assert shelf.bonds.keys() == kept.keys()
    on.claimed = address
    await replug(adapter, await plug(on))
    channel = await connect(adapter, peer, "BR/EDR", LEVEL_ENCRYPTED, AirAgent(may=False))
    assert channel.link.security.is_bonded
    adapter.close()


async def test_a_bond_of_le_is_good_with_any_dongle() -> None:
    """Peers know the address that we were given."""
    on = BumbleAir()
    adapter, peer, _, _ = await bonded(on, "LE CoC")
    await replug(adapter, await plug(on))
    channel = await connect(adapter, peer, "LE CoC", LEVEL_ENCRYPTED, AirAgent(may=False))
    assert channel.link.security.is_bonded
    adapter.close()
