"""An adapter with a real controller and a remote device with Bumble's stack on a virtual air."""

import asyncio
import contextlib

import pytest
from bumble.l2cap import L2CAP_LE_Flow_Control_Credit, L2capError
from structlog.testing import capture_logs

from tests.support import air
from usbbtd.bluetooth import ADDRESS_TYPES, BredrResult
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.l2cap import events as l2cap_events
from usbbtd.radio.channel import (
    ADAPTER_GONE,
    Advertiser,
    Exhausted,
    InUse,
    NoDongle,
    NotSupported,
    Refused,
    ScanUser,
    Unreachable,
)

octets, User = air.octets, air.User

connect, unreachable, Taker, MTU, TRANSPORTS = air.connect, air.unreachable, air.Taker, air.MTU, air.TRANSPORTS
WRITE_SCAN_ENABLE, SET_ADVERTISING_ENABLE, RESET = b"\x1a\x0c", b"\x0a\x20", b"\x03\x0c\x00"
SET_EVENT_MASK, SET_SCAN_PARAMETERS = b"\x01\x0c", b"\x0b\x20"

both_transports = pytest.mark.parametrize("transport", TRANSPORTS)


def advertise(adapter):
    advertiser = Advertiser(b"", 20, True)
    adapter.air.start_advertising(advertiser)
    return advertiser


async def peer_opens(peer, transport, **options):
    """A task for the peer's channel, with the link up."""
    connection = peer.links.get(transport) or await peer.connect(transport)
    return asyncio.create_task(peer.open(connection, transport, **options))


def scan_user(*, active=False, duplicates=False):
    reports, ended = asyncio.Queue(), asyncio.Event()
    return ScanUser(active, duplicates, reports.put_nowait, ended.set), reports, ended


# Power


async def test_without_a_dongle_nothing_works_and_listening_waits(adapter):
    assert (adapter.powered, adapter.address, adapter.transports) == (False, bytes(6), (False, False))
    assert adapter.statistics() == {"links": 0, "channels": 0, "listeners": 0}
    assert (adapter.info().state, adapter.info().address, adapter.links()) == ("no dongle", None, [])
    with pytest.raises(NoDongle):
        await connect(adapter, air.BREDR)
    with pytest.raises(NoDongle):
        adapter.air.start_scan(scan_user()[0])
    Taker(adapter, air.BREDR)
    advertise(adapter)
    await adapter.disconnect_all(10)


async def test_what_a_dongle_is(adapter, dongle):
    assert adapter.powered
    assert adapter.address == octets(air.OUR_ADDRESS)
    assert adapter.transports == (True, True)
    assert adapter.statistics()["hci_resets"] == adapter.statistics()["l2cap_channels"] == 0
    info = adapter.info()
    assert (info.state, info.dongle, info.address) == ("up", dongle.name, air.OUR_ADDRESS)
    assert (info.transports, info.random_address) == (["BR/EDR", "LE"], air.OUR_LE_ADDRESS)
    assert (info.links, info.channels, info.listeners, info.scans, info.advertising) == (0, 0, 0, 0, False)


async def test_a_second_dongle_is_left_alone(adapter, dongle, new_dongle):
    second = new_dongle("C0:FF:EE:00:00:03")
    with capture_logs() as logs:
        await adapter.take_dongle(H2Dongle(second))
    assert [(log["event"], log["dongle"]) for log in logs] == [("dongle ignored", second.name)]
    assert second.closed
    assert second.commands == []
    assert adapter.powered


async def test_a_controller_that_was_reset_goes_on_with_its_listeners(adapter, dongle, peer):
    taker = Taker(adapter, air.BREDR)
    dongle.loses = {SET_ADVERTISING_ENABLE}
    commands = len(dongle.commands)
    advertise(adapter)
    second = Taker(adapter, air.BREDR, 0x1003)
    await air.turns(lambda: RESET in dongle.commands[commands:])
    await air.turns(lambda: adapter._controller.host.state == "up")
    assert adapter.powered
    for each, psm in ((taker, air.PSM[air.BREDR]), (second, 0x1003)):
        opening = await peer_opens(peer, air.BREDR, psm=psm)
        await adapter.accept(await each.offers.get(), MTU)
        await opening


# Connecting


@both_transports
async def test_sdus_go_both_ways_over_a_channel(adapter, dongle, peer, transport):
    peer.serve_echo(transport)
    user = User(await connect(adapter, transport))
    (link,) = adapter.links()
    address, address_type = air.PEER[transport]
    assert link[:5] == (user.channel.handle, address, ADDRESS_TYPES[address_type], "central", 1)
    sent = [bytes([number % 256]) * size for number, size in enumerate(air.SIZES * 20)]
    await user.send(sent)
    assert await user.receive(len(sent)) == sent


@both_transports
async def test_a_psm_that_the_peer_does_not_know_is_refused(adapter, dongle, peer, transport):
    with pytest.raises(Refused) as refused:
        await connect(adapter, transport)
    assert refused.value.result == 0x0002
    assert adapter.statistics()["channels"] == 0


@both_transports
async def test_who_gives_up_while_the_channel_opens_leaves_no_channel(adapter, dongle, peer, transport):
    peer.serve(transport)
    User(await connect(adapter, transport))
    await peer.accepted.get()
    dongle.held = True
    connecting = asyncio.create_task(connect(adapter, transport))
    await peer.accepted.get() if transport == air.LE else await air.turns(lambda: dongle.waiting)
    connecting.cancel()
    await asyncio.wait([connecting])
    dongle.release()
    (link,) = adapter._links.by_handle.values()
    await air.turns(lambda: adapter.statistics()["l2cap_channels"] == 1 and link.channels == 1)
    assert adapter._opening == {}


async def test_a_link_has_as_many_channels_as_it_may(adapter, dongle, peer):
    peer.serve(air.BREDR)
    channels = [await connect(adapter, air.BREDR) for _ in range(adapter._limits.channels)]
    with pytest.raises(Exhausted):
        await connect(adapter, air.BREDR)
    channels[0].close()
    await air.turns(lambda: adapter.statistics()["channels"] < len(channels))
    await connect(adapter, air.BREDR)


async def test_what_the_controller_does_not_have_is_not_tried(adapter, dongle, monkeypatch):
    monkeypatch.setattr(type(adapter._controller.host), "supports_le", False)
    with pytest.raises(NotSupported):
        await connect(adapter, air.LE)
    with pytest.raises(NotSupported):
        adapter.air.start_scan(scan_user()[0])


# Listening


@both_transports
async def test_a_peer_gets_the_channel_that_was_accepted(adapter, dongle, peer, transport):
    taker = Taker(adapter, transport)
    advertise(adapter)
    opening = await peer_opens(peer, transport)
    offer = await taker.offers.get()
    user = User(await adapter.accept(offer, MTU))
    remote = await opening
    assert user.channel.psm == air.PSM[transport]
    assert (user.channel.link.address, user.channel.link.address_type) == (
        octets(air.PEER[transport][0]), air.PEER[transport][1],
    )  # fmt: skip
    sent = [bytes([number]) * size for number, size in enumerate(air.SIZES)]
    for sdu in sent:
        await remote.send(sdu)
    assert await user.receive(len(sent)) == sent
    await user.send(sent)
    assert [await remote.recv() for _ in sent] == sent


@both_transports
async def test_a_peer_is_refused(adapter, dongle, peer, transport):
    taker = Taker(adapter, transport)
    advertise(adapter)
    opening = await peer_opens(peer, transport)
    offer = await taker.offers.get()
    adapter.refuse(offer)
    adapter.refuse(offer)
    with pytest.raises(L2capError) as refused:
        await opening
    assert refused.value.error_code == BredrResult.NO_RESOURCES
    with pytest.raises(Unreachable):
        await adapter.accept(offer, MTU)


@both_transports
async def test_an_offer_is_withdrawn_when_the_peer_goes(adapter, dongle, peer, transport):
    taker = Taker(adapter, transport)
    advertise(adapter)
    opening = await peer_opens(peer, transport)
    offer = await taker.offers.get()
    await peer.links[transport].disconnect()
    await air.turns(lambda: taker.withdrawn == [offer])
    with pytest.raises(Unreachable):
        await adapter.accept(offer, MTU)
    adapter.refuse(offer)
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening


async def test_who_stops_listening_refuses_those_who_wait_and_those_who_come(adapter, dongle, peer):
    taker = Taker(adapter, air.BREDR)
    opening = await peer_opens(peer, air.BREDR)
    await taker.offers.get()
    adapter.unlisten(air.BREDR, air.PSM[air.BREDR])
    adapter.unlisten(air.BREDR, air.PSM[air.BREDR])
    with pytest.raises(L2capError):
        await opening
    with pytest.raises(L2capError):
        await peer.open(peer.links[air.BREDR], air.BREDR)
    await air.turns(lambda: dongle.commands[-1] == WRITE_SCAN_ENABLE + b"\x01\x00")


async def test_a_psm_is_taken_once_on_each_transport(adapter, dongle):
    Taker(adapter, air.BREDR, 0x81)
    Taker(adapter, air.LE, 0x81)
    for transport in TRANSPORTS:
        with pytest.raises(InUse):
            Taker(adapter, transport, 0x81)
    adapter.unlisten(air.LE, 0x81)
    Taker(adapter, air.LE, 0x81)


# Back-pressure


async def test_a_user_that_does_not_read_stops_its_le_peer_and_nobody_else(adapter, dongle, peer):
    peer.serve(air.LE)
    slow = User(await connect(adapter, air.LE), reads=False)
    remote = await peer.accepted.get()
    sdus = [bytes([number]) * MTU for number in range(200)]
    sending = asyncio.create_task(send_all(remote, sdus))
    await air.turns(lambda: remote._channel.credits == 0)
    other = User(await connect(adapter, air.LE))
    other_remote = await peer.accepted.get()
    await send_all(other_remote, sdus)
    assert await other.receive(len(sdus)) == sdus
    stalled_at = len(slow.sdus)
    assert 0 < stalled_at < len(sdus)
    slow.reads = True
    slow.channel.release_sdus(stalled_at)
    assert await slow.receive(len(sdus)) == sdus
    await sending


async def send_all(channel, sdus):
    for sdu in sdus:
        await channel.send(sdu)


async def test_a_user_that_does_not_read_loses_its_bredr_channel(adapter, dongle, peer):
    peer.serve(air.BREDR)
    user = User(await connect(adapter, air.BREDR), reads=False)
    remote = await peer.accepted.get()
    for _ in range(adapter._limits.unread_bytes // MTU + 2):
        await remote.send(bytes(MTU))
    assert await user.closed() == l2cap_events.NOT_READ
    assert sum(map(len, user.sdus)) <= adapter._limits.unread_bytes + MTU


async def test_a_peer_that_gives_no_credits_fills_the_channel_until_it_gives_some(adapter, dongle, peer):
    peer.serve(air.LE, max_credits=2)
    user = User(await connect(adapter, air.LE))
    remote = await peer.accepted.get()
    remote._channel.peer_credits_threshold = -1  # Bumble does not give credits back by itself any more
    sdus = [bytes([number]) * 2000 for number in range(60)]
    sending = asyncio.create_task(user.send(sdus))
    await air.turns(lambda: user.channel.room() <= 0)
    assert not sending.done()
    assert user.channel.send_sdus([b"no"]) == 0
    received = []
    while len(received) < len(sdus):
        give_credits(remote._channel, 4)
        await air.turns(lambda: remote._received.qsize())
        received.append(await remote.recv())
    assert received == sdus
    await sending


def give_credits(channel, count):
    channel.peer_credits += count
    identifier = channel.manager.next_identifier(channel.connection)
    channel.send_control_frame(
        L2CAP_LE_Flow_Control_Credit(identifier=identifier, cid=channel.source_cid, credits=count)
    )


@both_transports
async def test_what_a_peer_sent_last_arrives_before_its_disconnection(adapter, dongle, peer, transport):
    peer.serve(transport)
    user = User(await connect(adapter, transport))
    remote = await peer.accepted.get()
    sent = [bytes([number]) * 500 for number in range(20)]
    dongle.held = True
    await send_all(remote, sent)
    closing = asyncio.create_task(remote.close())
    await air.turns(lambda: len(dongle.waiting) > len(sent))
    dongle.release()
    assert await user.closed() == l2cap_events.PEER_DISCONNECTED
    assert user.sdus == sent
    await closing


# The dongle goes


async def test_a_lost_dongle_ends_everything_that_streams(adapter, dongle, peer):
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
    await air.turns(lambda: len(adapter._links._attempts) == 2)
    dongle.held = True
    on_the_way = [asyncio.create_task(connect(adapter, transport)) for transport in TRANSPORTS]
    await air.turns(lambda: len(adapter._opening) == 2)
    dongle.unplug()
    for waiting in [*dialling, *on_the_way]:
        with pytest.raises(NoDongle):
            await waiting
    assert [user.reason for user in users] == [ADAPTER_GONE] * 2
    assert scan_ended.is_set()
    assert taker.withdrawn == [offer]
    with pytest.raises(NoDongle):
        await adapter.accept(offer, MTU)
    late = User()
    unseen.set_user(late)
    assert late.reason == ADAPTER_GONE
    for user in users:  # nothing of it hurts any more
        assert user.channel.room() == 0
        assert user.channel.send_sdus([b"late"]) == 0
        user.channel.release_sdus(1)
        user.channel.close()
    assert adapter.statistics() == {"links": 0, "channels": 0, "listeners": 1}
    assert not adapter.powered
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening


async def test_listeners_and_the_advertiser_work_on_the_next_dongle(adapter, dongle, new_dongle, radio, peer):
    takers = {transport: Taker(adapter, transport) for transport in TRANSPORTS}
    advertise(adapter)
    dongle.unplug()
    third = Taker(adapter, air.BREDR, 0x1003)
    await adapter.take_dongle(H2Dongle(new_dongle()))
    await adapter.wait_powered()
    for transport in TRANSPORTS:
        opening = await peer_opens(peer, transport)
        await adapter.accept(await takers[transport].offers.get(), MTU)
        await opening
    opening = asyncio.create_task(peer.open(peer.links[air.BREDR], air.BREDR, 0x1003))
    await adapter.accept(await third.offers.get(), MTU)
    await opening


async def test_a_dongle_that_never_comes_up_does_not_bar_the_next(adapter, new_dongle, radio):
    silent = new_dongle()
    silent.deaf = {RESET[:2]}
    tried = asyncio.create_task(adapter.wait_tried())
    await adapter.take_dongle(H2Dongle(silent))
    await air.turns(lambda: silent.closed or tried.done())
    assert silent.closed
    await air.turns(tried.done)
    await adapter.take_dongle(H2Dongle(new_dongle()))
    await adapter.wait_powered()


async def test_a_transport_that_the_controller_cannot_be_set_up_for(adapter, new_dongle, peer):
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
async def test_an_adapter_that_goes_in_order_is_no_warning(adapter, dongle, stop, level):
    with capture_logs() as logs:
        adapter.close() if stop else dongle.unplug()
    (down,) = (log for log in logs if log["event"] == "adapter down")
    assert down["log_level"] == level
