"""Links on demand, over a virtual air: who shares them, who gives them up, and when."""

import asyncio

import pytest

from tests.support import air
from usbbtd.l2cap import events as l2cap_events
from usbbtd.radio import links
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.errors import Unreachable

octets, User = air.octets, air.User

connect, unreachable, Taker, MTU, TRANSPORTS = air.connect, air.unreachable, air.Taker, air.MTU, air.TRANSPORTS


async def test_channels_to_one_peer_share_a_link_and_other_links_are_apart(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    for transport in TRANSPORTS:
        peer.serve_echo(transport)
    channels = await asyncio.gather(*(connect(adapter, transport) for transport in TRANSPORTS * 3))
    assert adapter.statistics()["links"] == 2
    assert adapter.statistics()["channels"] == 6
    assert len({(channel.handle, channel.cid) for channel in channels}) == 6
    users = [User(channel) for channel in channels]
    for number, user in enumerate(users):
        await user.send([bytes([number]) * 50] * 10)
    for number, user in enumerate(users):
        assert await user.receive(10) == [bytes([number]) * 50] * 10


async def test_who_gives_up_an_unreachable_peer_leaves_nothing(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    for transport in TRANSPORTS:
        peer.serve(transport)
        first, second = unreachable(adapter, transport), unreachable(adapter, transport)
        await air.turns(lambda: len(adapter.links._attempts) == 1)
        first.cancel()
        await asyncio.wait([first])
        assert len(adapter.links._attempts) == 1
        second.cancel()
        await asyncio.wait([second])
        assert adapter.links._attempts == {}
        await connect(adapter, transport)  # the controller is free again


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_who_asks_right_after_one_gave_up_does_not_hear_of_that(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    """The controller is still at the attempt before, and its end is told while the next is waited for."""
    asking = unreachable(adapter, transport)
    for _ in range(3):
        await air.turns(lambda: adapter.statistics()["hci_commands_sent"] == len(dongle.commands))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asking.done()
        dongle.held = True
        asking.cancel()
        await asyncio.wait([asking])
        asking = unreachable(adapter, transport)
        await air.turns(lambda: adapter.links._attempts)
        dongle.release()
    asking.cancel()
    await asyncio.wait([asking])
    peer.serve(transport)
    await connect(adapter, transport)


@pytest.mark.parametrize(
    ("address", "address_type"), [(air.OUR_ADDRESS, 0), (air.OUR_ADDRESS, 1), (air.OUR_LE_ADDRESS, 2)]
)
async def test_what_the_host_refuses_is_told_at_once(
    adapter: SharedAdapter, dongle: air.DirectDongle, address: str, address_type: int
) -> None:
    with pytest.raises(Unreachable) as refused:
        await asyncio.wait_for(adapter.channels.connect(octets(address), address_type, 0x81, MTU), air.TIME_LIMIT_S)
    assert refused.value.status == 0x0F
    assert adapter.statistics()["hci_commands_sent"] == len(dongle.commands)
    assert not {b"\x05\x04", b"\x0d\x20"} & {command[:2] for command in dongle.commands}


async def test_a_link_that_comes_when_nobody_wants_it_any_more_goes_again(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "IDLE_LINK_S", 0)
    peer.serve(air.BREDR)
    dongle.held = True
    connecting = asyncio.create_task(connect(adapter, air.BREDR))
    await air.turns(lambda: peer.device.connections)
    connecting.cancel()
    await asyncio.wait([connecting])
    dongle.release()
    await air.turns(lambda: adapter.statistics()["hci_links_opened"] == 1)
    await air.turns(lambda: not peer.device.connections and adapter.statistics()["links"] == 0)


async def test_an_idle_link_of_ours_goes_and_the_next_connect_does_not_get_it(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "IDLE_LINK_S", 0)
    peer.serve(air.BREDR)
    for _ in range(3):
        user = User(await connect(adapter, air.BREDR))
        user.channel.finish()
        assert await user.closed() == l2cap_events.DISCONNECTED
        dongle.held = True
        await air.turns(lambda: any(link.closing for link in adapter.links.by_handle.values()))
        again = asyncio.create_task(connect(adapter, air.BREDR))
        await asyncio.sleep(0)
        dongle.release()
        User(await again).channel.close()
        await air.turns(lambda: adapter.statistics()["links"] == 0)


async def test_an_idle_link_is_kept_for_the_next_channel(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    peer.serve(air.BREDR)
    for _ in range(3):
        user = User(await connect(adapter, air.BREDR))
        user.channel.finish()
        await user.closed()
        (link,) = adapter.links.by_handle.values()
        assert link.idle is not None
    assert adapter.statistics()["hci_links_opened"] == 1


async def test_a_waiting_offer_holds_a_link_of_ours(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "IDLE_LINK_S", 0)
    peer.serve(air.BREDR)
    user = User(await connect(adapter, air.BREDR))
    taker = Taker(adapter, air.BREDR, 0x1003)
    opening = asyncio.create_task(peer.open(peer.links[air.BREDR], air.BREDR, 0x1003))
    offer = await taker.offers.get()
    user.channel.close()
    await air.turns(lambda: adapter.statistics()["channels"] == 0)
    for _ in range(100):
        await asyncio.sleep(0)
    accepted = User(await adapter.channels.accept(offer, MTU))
    await opening
    accepted.channel.close()
    await air.turns(lambda: adapter.statistics()["links"] == 0)


async def test_disconnect_all_ends_links_in_order(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    for transport in TRANSPORTS:
        peer.serve(transport)
    idle = User(await connect(adapter, air.LE))
    idle.channel.close()
    User(await connect(adapter, air.BREDR)).channel.close()  # its disconnection is on the way
    await asyncio.wait_for(adapter.disconnect_all(air.TIME_LIMIT_S), air.TIME_LIMIT_S / 2)
    assert adapter.statistics()["links"] == 0
    await air.turns(lambda: not peer.device.connections)


async def test_disconnect_all_does_not_wait_for_a_peer_that_holds_on(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    peer.serve(air.BREDR)
    User(await connect(adapter, air.BREDR))
    await adapter.disconnect_all(0.01)
    assert adapter.statistics()["links"] == 1
