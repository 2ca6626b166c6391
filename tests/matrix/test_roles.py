"""On every make of controllers: who is found, who begins to pair, and what a bond is good for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from bumble import hci
from bumble.core import AdvertisingData, PhysicalTransport

from tests.demo.peers import PeerChannel
from tests.matrix.ends import BumblePeer, connect, echo_to, settle, start_adapter
from tests.radio.test_adapter import scan_user
from tests.sim.virtual_air import VirtualAir
from tests.support import air
from tests.support.pairing import AirAgent, Notes
from usbbtd.bluetooth import BREDR, LE, LEVEL_ENCRYPTED, LEVEL_SECURE
from usbbtd.hci.events import DeviceFound, NameFound
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import Advertiser
from usbbtd.radio.errors import Unreachable
from usbbtd.radio.inquiries import InquiryUser

CARRIERS = ("BR/EDR", "LE CoC")
NAME = b"\x05\x09peer"
SCAN_RESPONSE = 4  # Vol 4, Part E, 7.7.65.2


@pytest.fixture
async def ours(virtual_air: VirtualAir) -> AsyncIterator[SharedAdapter]:
    adapter = await start_adapter(virtual_air, air.OUR_LE_ADDRESS)
    yield adapter
    adapter.close()


@pytest.fixture
async def peer(virtual_air: VirtualAir, ours: SharedAdapter) -> BumblePeer:
    return await BumblePeer.start(virtual_air, LEVEL_SECURE, Notes(), ours)


async def test_a_device_of_bredr_is_found_and_named(ours: SharedAdapter, peer: BumblePeer) -> None:
    await peer.device.set_discoverable(True)
    told: asyncio.Queue[Any] = asyncio.Queue()
    ours.air.start_inquiry(InquiryUser(True, False, told.put_nowait, lambda: None))
    found = await told.get()
    assert isinstance(found, DeviceFound)
    assert found.address == peer.address(BREDR)[0]
    if NAME not in found.data:  # it was asked for
        named = await told.get()
        assert isinstance(named, NameFound)
        assert named.name.rstrip(b"\0") == b"peer"


async def test_a_device_of_le_is_found_with_its_scan_response(ours: SharedAdapter, peer: BumblePeer) -> None:
    scan, reports, _ = scan_user(active=True)
    ours.air.start_scan(scan)
    heard: dict[int, Any] = {}
    while len(heard) < 2:
        report = await reports.get()
        if report.address == peer.address(LE)[0]:
            heard[report.event_type] = report
    assert heard.keys() == {0, SCAN_RESPONSE}
    assert heard[0].address_type == 2


async def test_two_advertisements_are_heard(ours: SharedAdapter, peer: BumblePeer) -> None:
    heard: set[bytes] = set()
    both = asyncio.Event()

    def hear(advertisement: Any) -> None:
        for number in (1, 2):
            data = advertisement.data.get(AdvertisingData.MANUFACTURER_SPECIFIC_DATA, raw=True)
            if data is not None and data == b"\xff\xff" + bytes((number,)):
                heard.add(data)
        if len(heard) == 2:
            both.set()

    for number in (1, 2):
        ours.air.start_advertising(Advertiser(b"\x04\xff\xff\xff" + bytes((number,)), 20, False))
    await peer.device.stop_advertising()
    peer.device.on("advertisement", hear)
    await peer.device.start_scanning(filter_duplicates=False)
    await both.wait()


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_bond_is_used_again(ours: SharedAdapter, peer: BumblePeer, carrier: str) -> None:
    await connect(ours, peer, carrier, LEVEL_SECURE, AirAgent())
    [link] = ours.links.by_handle.values()
    [connection] = peer.device.connections.values()
    await connection.disconnect()
    await air.turns(lambda: not ours.links.by_handle)
    channel = None
    while channel is None:
        with suppress(Unreachable):  # it may not advertise yet
            channel = await connect(ours, peer, carrier, LEVEL_SECURE, AirAgent(may=False))
    assert channel.link is not link
    assert channel.link.security == (LEVEL_SECURE, 16, True)
    await peer.prove(channel)


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_the_peer_begins(ours: SharedAdapter, peer: BumblePeer, carrier: str) -> None:
    transport = LE if carrier == "LE CoC" else BREDR
    agent = AirAgent(level=LEVEL_ENCRYPTED)
    ours.agents.register(agent)
    taker = air.Taker(ours, transport, security=LEVEL_SECURE)
    ours.air.start_advertising(Advertiser(b"", 20, True))
    await settle(ours)
    if transport == LE:
        await peer.device.stop_advertising()
        connection = await peer.device.connect(hci.Address(air.OUR_LE_ADDRESS))
        await connection.pair()
    else:
        address = hci.Address(ours.address, hci.Address.PUBLIC_DEVICE_ADDRESS)
        connection = await peer.device.connect(address, PhysicalTransport.BR_EDR)
        await connection.authenticate()
        await connection.encrypt()
    opening = asyncio.create_task(connection.create_l2cap_channel(air.spec(transport, air.PSM[transport])))
    echo_to(await ours.channels.accept(await taker.offers.get(), air.MTU))
    channel = PeerChannel(await opening)
    await channel.send(b"hello")
    assert await channel.recv() == b"hello"
    assert agent.prompts
