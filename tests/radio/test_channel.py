"""What an adapter hands out, at its edges; test_adapter.py has the rest."""

import pytest

from tests.demo.peers import PeerChannel
from tests.support import air
from usbbtd.bluetooth import LE, format_address
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.limits import SDU_OVERHEAD
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import RadioChannel
from usbbtd.radio.errors import Refused, Unreachable

User = air.User
MTU = 1000


@pytest.fixture
async def channel(adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote) -> RadioChannel:
    """To a peer that takes SDUs of 500 octets. Without a user."""
    peer.serve(air.BREDR, mtu=500)
    address, address_type = air.PEER[air.BREDR]
    return await adapter.channels.connect(air.octets(address), address_type, air.PSM[air.BREDR], MTU)


@pytest.fixture
async def remote(peer: air.Remote, channel: RadioChannel) -> PeerChannel:
    return await peer.accepted.get()


async def test_what_was_negotiated(channel: RadioChannel) -> None:
    assert (channel.psm, channel.tx_mtu, channel.rx_mtu) == (air.PSM[air.BREDR], 500, MTU)
    assert channel.link.transport == air.BREDR


async def test_what_comes_before_there_is_a_user_waits_for_it(
    adapter: SharedAdapter, channel: RadioChannel, remote: PeerChannel
) -> None:
    for number in range(5):
        await remote.send(bytes([number]))
    await air.turns(lambda: adapter.statistics()["l2cap_sdus_received"] == 5)
    user = User()
    user.channel = channel
    channel.set_user(user)
    assert user.sdus == [bytes([number]) for number in range(5)]


async def test_a_user_that_comes_too_late_hears_all_of_it(channel: RadioChannel, remote: PeerChannel) -> None:
    await remote.send(b"last words")
    await remote.close()
    await air.turns(lambda: not channel.open)
    user = User(reads=False)
    channel.set_user(user)
    assert (user.sdus, user.reason) == ([b"last words"], l2cap_events.PEER_DISCONNECTED)


async def test_room_counts_each_sdu_with_its_overhead(channel: RadioChannel, remote: PeerChannel) -> None:
    room = channel.room()
    assert channel.send_sdus([b"", b"abc"]) == 2
    assert room - channel.room() == 3 + 2 * SDU_OVERHEAD


async def test_an_sdu_that_is_too_long_is_the_users_fault_and_those_before_it_are_sent(
    channel: RadioChannel, remote: PeerChannel
) -> None:
    with pytest.raises(LocalProtocolError):
        channel.send_sdus([b"one", b"two", bytes(501), b"three"])
    assert [await remote.recv(), await remote.recv()] == [b"one", b"two"]


async def test_finishing_sends_what_was_queued_first(channel: RadioChannel, remote: PeerChannel) -> None:
    user = User(channel)
    sent = [bytes([number]) * 500 for number in range(20)]
    assert channel.send_sdus(sent) == len(sent)
    channel.finish()
    assert [await remote.recv() for _ in sent] == sent
    assert await user.closed() == l2cap_events.DISCONNECTED
    channel.finish()


async def test_who_closes_hears_no_more(adapter: SharedAdapter, channel: RadioChannel, remote: PeerChannel) -> None:
    user = User(channel)
    channel.close()
    channel.close()
    await remote.send(b"too late")
    with pytest.raises(ConnectionError):
        await remote.recv()
    await air.turns(lambda: adapter.statistics()["channels"] == 0)
    assert (user.sdus, user.reason) == ([], None)
    assert channel.room() == 0
    channel.release_sdus(1)


def test_reasons_name_the_number() -> None:
    refused = Refused(LE, 6)
    assert str(refused) == "the peer refused the channel: L2CAP result 0x0006 (insufficient authorization)"
    assert (refused.result, Unreachable("no", 8).status) == (6, 8)


def test_addresses_are_shown_as_people_write_them() -> None:
    assert format_address(bytes.fromhex("010000eeffc0")) == "C0:FF:EE:00:00:01"
