"""An adapter with a real controller and a remote device with Bumble's stack on a virtual air."""

import asyncio
import contextlib
from typing import Any

import pytest
from bumble.link import LocalLink
from structlog.testing import capture_logs

from tests.support import air
from tests.support.fixtures import NewDongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.hci.events import Advertisement
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import Advertiser, ScanUser
from usbbtd.radio.channel import ADAPTER_GONE
from usbbtd.radio.errors import NoDongle, NotSupported
from usbbtd.security.bonds import Bond, LeKeys, LongTermKey
from usbbtd.security.toolbox import ah

octets, User = air.octets, air.User

connect, unreachable, Taker, MTU, TRANSPORTS = air.connect, air.unreachable, air.Taker, air.MTU, air.TRANSPORTS
WRITE_SCAN_ENABLE, SET_ADVERTISING_ENABLE, RESET = b"\x1a\x0c", b"\x0a\x20", b"\x03\x0c\x00"
LE_CREATE_CONNECTION = b"\x0d\x20"
SET_EVENT_MASK, SET_SCAN_PARAMETERS = b"\x01\x0c", b"\x0b\x20"


def advertise(adapter: SharedAdapter) -> Advertiser:
    advertiser = Advertiser(b"", 20, True)
    adapter.air.start_advertising(advertiser)
    return advertiser


async def peer_opens(peer: air.Remote, transport: int, **options: Any) -> asyncio.Task[Any]:
    """A task for the peer's channel, with the link up."""
    connection = peer.links.get(transport) or await peer.connect(transport)
    return asyncio.create_task(peer.open(connection, transport, **options))


def scan_user(*, active: bool = False, duplicates: bool = False) -> tuple[ScanUser, asyncio.Queue[Any], asyncio.Event]:
    reports: asyncio.Queue[Any] = asyncio.Queue()
    ended = asyncio.Event()
    return ScanUser(active, duplicates, reports.put_nowait, ended.set), reports, ended


async def test_a_bonded_peer_is_known_and_reached_by_its_private_address(
    adapter: SharedAdapter, dongle: air.DirectDongle
) -> None:
    irk, prand, identity = bytes(range(16)), b"\1\2\x43", octets("C0:FF:EE:00:00:77")
    private = ah(irk, prand) + prand
    scan, reports, _ = scan_user(duplicates=True)
    adapter.air.start_scan(scan)
    heard = Advertisement(private, 2, 0, -40, b"")
    adapter.air.receive(heard)
    assert reports.get_nowait() == heard
    adapter.security.book.keep(Bond(identity, 1, LeKeys(None, LongTermKey(bytes(16)), 16, True, True, irk)))
    stack = adapter._stack
    assert stack is not None
    assert stack.security is not None
    stack.security.tell_identities()
    adapter.air.receive(heard)
    assert reports.get_nowait() == heard._replace(address=identity, address_type=1)
    connecting = asyncio.create_task(adapter.channels.connect(identity, 1, air.PSM[air.LE], MTU))
    created = LE_CREATE_CONNECTION + b"\x19" + bytes.fromhex("6000 3000 00 01") + private
    await air.turns(lambda: any(command.startswith(created) for command in dongle.commands))
    connecting.cancel()


# Power


async def test_without_a_dongle_nothing_works_and_listening_waits(adapter: SharedAdapter) -> None:
    assert (adapter.powered, adapter.address, adapter.transports) == (False, bytes(6), (False, False))
    assert not any(adapter.statistics().values())
    assert (adapter.info().state, adapter.info().address, adapter.links.info()) == ("no dongle", None, [])
    with pytest.raises(NoDongle):
        await connect(adapter, air.BREDR)
    with pytest.raises(NoDongle):
        adapter.air.start_scan(scan_user()[0])
    Taker(adapter, air.BREDR)
    advertise(adapter)
    await adapter.disconnect_all(10)


async def test_what_a_dongle_is(adapter: SharedAdapter, dongle: air.DirectDongle) -> None:
    assert adapter.powered
    assert adapter.address == octets(air.OUR_ADDRESS)
    assert adapter.transports == (True, True)
    assert adapter.statistics()["hci_resets"] == adapter.statistics()["l2cap_channels"] == 0
    info = adapter.info()
    assert (info.state, info.dongle, info.address) == ("up", dongle.name, air.OUR_ADDRESS)
    assert info.controller == "company 0xffff, Bluetooth 5.0"
    assert (info.transports, info.random_address) == (["BR/EDR", "LE"], air.OUR_LE_ADDRESS)
    assert (info.links, info.channels, info.listeners, info.scans, info.advertising) == (0, 0, 0, 0, False)


async def test_a_second_dongle_is_left_alone(
    adapter: SharedAdapter, dongle: air.DirectDongle, new_dongle: NewDongle
) -> None:
    second = new_dongle("C0:FF:EE:00:00:03")
    with capture_logs() as logs:
        await adapter.take_dongle(H2Dongle(second))
    assert [(log["event"], log["dongle"]) for log in logs] == [("dongle ignored", second.name)]
    assert second.closed
    assert second.commands == []
    assert adapter.powered


async def test_a_controller_that_was_reset_goes_on_with_its_listeners(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    taker = Taker(adapter, air.BREDR)
    dongle.loses = {SET_ADVERTISING_ENABLE}
    commands = len(dongle.commands)
    advertise(adapter)
    second = Taker(adapter, air.BREDR, 0x1003)
    await air.turns(lambda: RESET in dongle.commands[commands:])
    await air.turns(lambda: air.controller_of(adapter).host.state == "up")
    assert adapter.powered
    for each, psm in ((taker, air.PSM[air.BREDR]), (second, 0x1003)):
        opening = await peer_opens(peer, air.BREDR, psm=psm)
        await adapter.channels.accept(await each.offers.get(), MTU)
        await opening


# The dongle goes


async def test_a_lost_dongle_ends_everything_that_streams(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    for transport in TRANSPORTS:
        peer.serve(transport)
    users = [User(await connect(adapter, transport)) for transport in TRANSPORTS]
    unseen = await connect(adapter, air.LE)
    scan, _, scan_ended = scan_user()
    adapter.air.start_scan(scan)
    taker = Taker(adapter, air.BREDR, 0x1003)
    opening = asyncio.create_task(peer.open(peer.links[air.BREDR], air.BREDR, 0x1003))
    offer = await taker.offers.get()
    dialling = [unreachable(adapter, transport) for transport in TRANSPORTS]
    await air.turns(lambda: len(adapter.links._attempts) == 2)
    dongle.held = True
    on_the_way = [asyncio.create_task(connect(adapter, transport)) for transport in TRANSPORTS]
    await air.turns(lambda: len(adapter.channels._opening) == 2)
    dongle.unplug()
    for waiting in [*dialling, *on_the_way]:
        with pytest.raises(NoDongle):
            await waiting
    assert [user.reason for user in users] == [ADAPTER_GONE] * 2
    assert scan_ended.is_set()
    assert taker.withdrawn == [offer]
    with pytest.raises(NoDongle):
        await adapter.channels.accept(offer, MTU)
    late = User()
    unseen.set_user(late)
    assert late.reason == ADAPTER_GONE
    for user in users:  # nothing of it hurts any more
        assert user.channel.room() == 0
        assert user.channel.send_sdus([b"late"]) == 0
        user.channel.release_sdus(1)
        user.channel.close()
    assert {name: value for name, value in adapter.statistics().items() if value} == {"listeners": 1}
    assert not adapter.powered
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening


async def test_listeners_and_the_advertiser_work_on_the_next_dongle(
    adapter: SharedAdapter, dongle: air.DirectDongle, new_dongle: NewDongle, radio: LocalLink, peer: air.Remote
) -> None:
    takers = {transport: Taker(adapter, transport) for transport in TRANSPORTS}
    advertise(adapter)
    dongle.unplug()
    third = Taker(adapter, air.BREDR, 0x1003)
    await adapter.take_dongle(H2Dongle(new_dongle()))
    await adapter.wait_powered()
    for transport in TRANSPORTS:
        opening = await peer_opens(peer, transport)
        await adapter.channels.accept(await takers[transport].offers.get(), MTU)
        await opening
    opening = asyncio.create_task(peer.open(peer.links[air.BREDR], air.BREDR, 0x1003))
    await adapter.channels.accept(await third.offers.get(), MTU)
    await opening


async def test_a_dongle_that_never_comes_up_does_not_bar_the_next(
    adapter: SharedAdapter, new_dongle: NewDongle, radio: LocalLink
) -> None:
    silent = new_dongle()
    silent.deaf = {RESET[:2]}
    tried = asyncio.create_task(adapter.wait_tried())
    await adapter.take_dongle(H2Dongle(silent))
    await air.turns(lambda: silent.closed or tried.done())
    assert silent.closed
    await air.turns(tried.done)
    await adapter.take_dongle(H2Dongle(new_dongle()))
    await adapter.wait_powered()


async def test_a_transport_that_the_controller_cannot_be_set_up_for(
    adapter: SharedAdapter, new_dongle: NewDongle, peer: air.Remote
) -> None:
    """After Reset no event of LE comes: Vol 4, Part E, 7.3.1."""
    dongle = new_dongle()
    dongle.deaf = {SET_EVENT_MASK}
    with capture_logs() as logs:
        await adapter.take_dongle(H2Dongle(dongle))
        await adapter.wait_powered()
    assert adapter.transports == (True, False)
    assert (adapter.info().transports, adapter.le_address) == (["BR/EDR"], bytes(6))
    (missing,) = adapter.info().missing
    assert missing.startswith("LE: ")
    assert "SetEventMask" in missing
    assert [log["missing"] for log in logs if log["event"] == "transport missing"] == ["LE"]
    with pytest.raises(NotSupported):
        await connect(adapter, air.LE)
    with pytest.raises(NotSupported):
        adapter.air.start_scan(scan_user()[0])
    with pytest.raises(NotSupported):
        advertise(adapter)
    peer.serve(air.BREDR)
    await connect(adapter, air.BREDR)


@pytest.mark.parametrize(("stop", "level"), [(True, "info"), (False, "warning")])
async def test_an_adapter_that_goes_in_order_is_no_warning(
    adapter: SharedAdapter, dongle: air.DirectDongle, stop: bool, level: str
) -> None:
    with capture_logs() as logs:
        adapter.close() if stop else dongle.unplug()
    (down,) = (log for log in logs if log["event"] == "adapter down")
    assert down["log_level"] == level
