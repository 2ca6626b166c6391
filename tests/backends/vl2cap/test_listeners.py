"""Listeners of guests and the peers that come to them, over a virtual air."""

import asyncio
import errno
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_agents import AgentEnd, user_of
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from usbbtd.backends.vl2cap.listeners import GuestListener
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.errors import InUse

xen, guest = connection.xen, connection.guest
both_transports = connection.both_transports
octets = air.octets
REFUSALS = ("SECURITY_BLOCK", "INSUFFICIENT_AUTHORIZATION")
KEPT_AWAY = """
[[rule]]
guest = "any"
action = ["agent", "advertise"]
verdict = "allow"

[[rule]]
guest = "any"
action = "listen"
peer = ["C0:FF:EE:00:00:99", "bonded"]
verdict = "allow"
"""


@both_transports
async def test_a_listener_gets_its_peers_in_order_and_their_data(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    listener = await guest.listen(transport)
    advertising = guest.send(lambda core: core.advertise(b"", interval_ms=20))
    assert (await advertising).ret == 0
    streams = [guest.stream(), guest.stream()]
    accepting = [guest.accept(listener, stream) for stream in streams]
    connection = await peer.connect(transport)
    for number, stream in enumerate(streams):
        remote = await peer.open(connection, transport)
        opened = await accepting[number]
        assert (opened.ret, opened.address) == (0, octets(air.PEER[transport][0]))
        await remote.send(bytes([number]))
        assert await stream.receive() == bytes([number])
        await stream.send([b"answer"])
        assert await remote.recv() == b"answer"


async def test_a_peer_waits_in_the_backlog_and_one_too_many_is_refused(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    listener = await guest.listen(backlog=1)
    connection = await peer.connect(air.BREDR)
    waiting = asyncio.create_task(peer.open(connection, air.BREDR))
    await air.turns(lambda: guest.served.statistics()["offers"] == 1)
    with pytest.raises(Exception, match="NO_RESOURCES"):
        await peer.open(connection, air.BREDR)
    assert (await guest.accept(listener)).ret == 0
    await waiting


async def test_a_peer_that_went_away_is_not_accepted_the_accept_waits_for_the_next(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    listener = await guest.listen()
    connection = await peer.connect(air.BREDR)
    gone = asyncio.create_task(peer.open(connection, air.BREDR))
    await air.turns(lambda: guest.served.statistics()["offers"] == 1)
    dongle.held = True
    accepting = guest.accept(listener)
    await connection.disconnect()
    dongle.release()
    await air.turns(lambda: not peer.links)
    connection = await peer.connect(air.BREDR)
    await peer.open(connection, air.BREDR)
    assert (await accepting).ret == 0
    gone.cancel()


async def test_an_accept_with_a_bad_ring_is_answered_when_the_peer_is_there_who_is_refused(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    listener = await guest.listen()
    accepting = guest.send(lambda core: core.accept(listener, ref=999_999, evtchn=1))
    connection = await peer.connect(air.BREDR)
    with pytest.raises(Exception, match="NO_RESOURCES"):
        await peer.open(connection, air.BREDR)
    assert (await accepting).ret == -errno.EFAULT


async def test_release_of_a_listener_answers_what_waits_there(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    listener = await guest.listen()
    accepting = [guest.accept(listener) for _ in range(3)]
    await air.turns(lambda: guest.served.statistics()["in_flight"] == 3)
    assert (await guest.release(listener)).ret == 0
    assert [(await each).ret for each in accepting] == [-errno.ENOTCONN] * 3
    await guest.listen()


async def test_release_of_a_waiting_accept(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    listener = await guest.listen()
    accepting = guest.accept(listener)
    assert (await guest.release(accepting.number)).ret == 0
    assert (await accepting).ret == -errno.ENOTCONN


async def test_accept_and_release_in_one_batch_refuses_the_peer_that_waited(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    listener = await guest.listen()
    connection = await peer.connect(air.BREDR)
    opening = asyncio.create_task(peer.open(connection, air.BREDR))
    await air.turns(lambda: guest.served.statistics()["offers"] == 1)
    accepting = guest.accept(listener)
    releasing = guest.release(accepting.number)
    assert (await accepting).ret == -errno.ENOTCONN
    assert (await releasing).ret == 0
    with pytest.raises(Exception, match="NO_RESOURCES"):
        await asyncio.wait_for(opening, 5)


def ignore(_told: object) -> None:
    pass


def no_level(_address: bytes, _address_type: int) -> int:
    return 0


async def test_a_listener_holds_its_psm_until_it_is_closed(adapter: SharedAdapter) -> None:
    listener = GuestListener(adapter, air.LE, 0x80, 0, "work", level_for=no_level, offered=ignore, failed=ignore)
    with pytest.raises(InUse):
        GuestListener(adapter, air.LE, 0x80, 0, "work", level_for=no_level, offered=ignore, failed=ignore)
    listener.close()
    listener.close()
    GuestListener(adapter, air.LE, 0x80, 0, "work", level_for=no_level, offered=ignore, failed=ignore)


async def test_a_peer_of_bredr_waits_while_its_link_is_made_secure(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    user_of(peer)
    agent = await AgentEnd.start(guest)
    listener = await guest.listen(security=3)
    accepting = guest.accept(listener)
    connection = await peer.connect(air.BREDR)
    opening = asyncio.create_task(peer.open(connection, air.BREDR))
    await agent.answer((await agent.prompt()).number, True)
    accepted = await accepting
    assert (accepted.ret, accepted.security >= 3) == (0, True)
    await opening


async def test_a_peer_of_bredr_is_refused_if_its_link_is_not_made_secure(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    user_of(peer)
    await guest.listen(security=2)
    connection = await peer.connect(air.BREDR)
    with pytest.raises(Exception, match="SECURITY_BLOCK"):
        await asyncio.wait_for(peer.open(connection, air.BREDR), air.TIME_LIMIT_S)
    assert guest.served.statistics()["offers"] == 0


async def test_a_peer_of_le_hears_what_it_has_to_do(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    user_of(peer)
    agent = await AgentEnd.start(guest)
    listener = await guest.listen(air.LE, security=2)
    assert (await guest.ask(lambda core: core.advertise(b""))).ret == 0
    connection = await peer.connect(air.LE)
    with pytest.raises(Exception, match="INSUFFICIENT_AUTHENTICATION"):
        await asyncio.wait_for(peer.open(connection, air.LE), air.TIME_LIMIT_S)
    pairing = asyncio.create_task(connection.pair())
    await agent.answer((await agent.prompt()).number, True)
    await pairing
    accepting = guest.accept(listener)
    await asyncio.wait_for(peer.open(connection, air.LE), air.TIME_LIMIT_S)
    assert (await accepting).security >= 2


@both_transports
async def test_a_peer_that_policy_keeps_away_is_paired_with_by_nobody(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    guest = Guest(adapter, xen, policy=KEPT_AWAY)
    user_of(peer)
    await AgentEnd.start(guest)
    await guest.listen(transport, security=3)
    assert (await guest.ask(lambda core: core.advertise(b""))).ret == 0
    connection = await peer.connect(transport)
    with capture_logs() as records, pytest.raises(Exception, match=REFUSALS[transport]):
        await asyncio.wait_for(peer.open(connection, transport), air.TIME_LIMIT_S)
    assert [record["event"] for record in records if "action" in record] == ["access denied"]
    statistics = guest.served.statistics()
    assert (statistics["prompts"], statistics["offers"], adapter.security.bonds()) == (0, 0, [])
    guest.close()
