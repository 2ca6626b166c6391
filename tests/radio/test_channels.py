"""Channels of an adapter with a real controller and a remote device with Bumble's stack on a virtual air."""

import asyncio
import contextlib
from typing import Any

import pytest
from bumble.l2cap import L2CAP_LE_Flow_Control_Credit, L2capError, LeCreditBasedChannel

from tests.demo.peers import PeerChannel
from tests.radio.test_adapter import WRITE_SCAN_ENABLE, advertise, peer_opens, scan_user
from tests.support import air
from usbbtd.bluetooth import ADDRESS_TYPES, BredrResult
from usbbtd.l2cap import events as l2cap_events
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import Offer
from usbbtd.radio.errors import Exhausted, InUse, NotSupported, Refused, Unreachable

octets, User = air.octets, air.User

connect, Taker, MTU, TRANSPORTS = air.connect, air.Taker, air.MTU, air.TRANSPORTS

both_transports = pytest.mark.parametrize("transport", TRANSPORTS)


# Connecting


@both_transports
async def test_sdus_go_both_ways_over_a_channel(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    peer.serve_echo(transport)
    user = User(await connect(adapter, transport))
    (link,) = adapter.links.info()
    address, address_type = air.PEER[transport]
    assert link[:5] == (user.channel.handle, address, ADDRESS_TYPES[address_type], "central", 1)
    sent = [bytes([number % 256]) * size for number, size in enumerate(air.SIZES * 20)]
    await user.send(sent)
    assert await user.receive(len(sent)) == sent


@both_transports
async def test_a_psm_that_the_peer_does_not_know_is_refused(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    with pytest.raises(Refused) as refused:
        await connect(adapter, transport)
    assert refused.value.result == 0x0002
    assert adapter.statistics()["channels"] == 0


@both_transports
async def test_who_gives_up_while_the_channel_opens_leaves_no_channel(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    peer.serve(transport)
    User(await connect(adapter, transport))
    await peer.accepted.get()
    dongle.held = True
    connecting = asyncio.create_task(connect(adapter, transport))
    await peer.accepted.get() if transport == air.LE else await air.turns(lambda: dongle.waiting)
    connecting.cancel()
    await asyncio.wait([connecting])
    dongle.release()
    (link,) = adapter.links.by_handle.values()
    await air.turns(lambda: adapter.statistics()["l2cap_channels"] == 1 and link.channels == 1)
    assert adapter.channels._opening == {}


async def test_a_link_has_as_many_channels_as_it_may(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    peer.serve(air.BREDR)
    channels = [await connect(adapter, air.BREDR) for _ in range(adapter._limits.channels)]
    with pytest.raises(Exhausted):
        await connect(adapter, air.BREDR)
    channels[0].close()
    await air.turns(lambda: adapter.statistics()["channels"] < len(channels))
    await connect(adapter, air.BREDR)


async def test_what_the_controller_does_not_have_is_not_tried(adapter: SharedAdapter, dongle: air.DirectDongle) -> None:
    host = air.controller_of(adapter).host
    assert host.controller is not None
    host.controller = host.controller._replace(supports_le=False)
    with pytest.raises(NotSupported):
        await connect(adapter, air.LE)
    with pytest.raises(NotSupported):
        adapter.air.start_scan(scan_user()[0])


# Listening


async def peer_asks(
    adapter: SharedAdapter, peer: air.Remote, transport: int
) -> tuple[air.Taker, asyncio.Task[Any], Offer]:
    """Listens, and returns who takes offers, what the peer waits for, and its offer."""
    taker = Taker(adapter, transport)
    advertise(adapter)
    opening = await peer_opens(peer, transport)
    return taker, opening, await taker.offers.get()


@both_transports
async def test_a_peer_gets_the_channel_that_was_accepted(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    _, opening, offer = await peer_asks(adapter, peer, transport)
    user = User(await adapter.channels.accept(offer, MTU))
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
async def test_a_peer_is_refused(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    _, opening, offer = await peer_asks(adapter, peer, transport)
    adapter.channels.refuse(offer)
    adapter.channels.refuse(offer)
    with pytest.raises(L2capError) as refused:
        await opening
    assert refused.value.error_code == BredrResult.NO_RESOURCES
    with pytest.raises(Unreachable):
        await adapter.channels.accept(offer, MTU)


@both_transports
async def test_an_offer_is_withdrawn_when_the_peer_goes(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    taker, opening, offer = await peer_asks(adapter, peer, transport)
    await peer.links[transport].disconnect()
    await air.turns(lambda: taker.withdrawn == [offer])
    with pytest.raises(Unreachable):
        await adapter.channels.accept(offer, MTU)
    adapter.channels.refuse(offer)
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening


async def test_who_stops_listening_refuses_those_who_wait_and_those_who_come(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    taker = Taker(adapter, air.BREDR)
    opening = await peer_opens(peer, air.BREDR)
    await taker.offers.get()
    adapter.channels.unlisten(air.BREDR, air.PSM[air.BREDR])
    adapter.channels.unlisten(air.BREDR, air.PSM[air.BREDR])
    with pytest.raises(L2capError):
        await opening
    with pytest.raises(L2capError):
        await peer.open(peer.links[air.BREDR], air.BREDR)
    await air.turns(lambda: dongle.commands[-1] == WRITE_SCAN_ENABLE + b"\x01\x00")


async def test_a_psm_is_taken_once_on_each_transport(adapter: SharedAdapter, dongle: air.DirectDongle) -> None:
    Taker(adapter, air.BREDR, 0x81)
    Taker(adapter, air.LE, 0x81)
    for transport in TRANSPORTS:
        with pytest.raises(InUse):
            Taker(adapter, transport, 0x81)
    adapter.channels.unlisten(air.LE, 0x81)
    Taker(adapter, air.LE, 0x81)


# Back-pressure


async def test_a_user_that_does_not_read_stops_its_le_peer_and_nobody_else(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
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


async def send_all(channel: PeerChannel, sdus: list[bytes]) -> None:
    for sdu in sdus:
        await channel.send(sdu)


async def test_a_user_that_does_not_read_loses_its_bredr_channel(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    peer.serve(air.BREDR)
    user = User(await connect(adapter, air.BREDR), reads=False)
    remote = await peer.accepted.get()
    for _ in range(adapter._limits.unread_bytes // MTU + 2):
        await remote.send(bytes(MTU))
    assert await user.closed() == l2cap_events.NOT_READ
    assert sum(map(len, user.sdus)) <= adapter._limits.unread_bytes + MTU


async def test_a_peer_that_gives_no_credits_fills_the_channel_until_it_gives_some(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    peer.serve(air.LE, max_credits=2)
    user = User(await connect(adapter, air.LE))
    remote = await peer.accepted.get()
    remote._channel.peer_credits_threshold = -1  # Bumble does not give credits back by itself any more
    sdus = [bytes([number]) * 2000 for number in range(60)]
    sending = asyncio.create_task(user.send(sdus))
    await air.turns(lambda: user.channel.room() <= 0)
    assert not sending.done()
    assert user.channel.send_sdus([b"no"]) == 0
    received: list[Any] = []
    while len(received) < len(sdus):
        give_credits(remote._channel, 4)
        await air.turns(lambda: remote._received.qsize())
        received.append(await remote.recv())
    assert received == sdus
    await sending


def give_credits(channel: LeCreditBasedChannel, count: int) -> None:
    channel.peer_credits += count
    identifier = channel.manager.next_identifier(channel.connection)
    channel.send_control_frame(
        L2CAP_LE_Flow_Control_Credit(identifier=identifier, cid=channel.source_cid, credits=count)
    )


@both_transports
async def test_what_a_peer_sent_last_arrives_before_its_disconnection(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
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
