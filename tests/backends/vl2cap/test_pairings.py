"""PAIRs of a guest: what they end with, over a virtual air."""

import errno
from typing import Any

import pytest
from bumble.pairing import OobContext, OobLegacyContext, PairingConfig
from structlog.testing import capture_logs

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_agents import DISPLAY_YES_NO, NOTHING, AgentEnd, pair, user_of
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from usbbtd.abi.layout import constants
from usbbtd.l2capif.calls import PairCall
from usbbtd.l2capif.wire import PairRequest, PairResponse
from usbbtd.radio.adapter import SharedAdapter

xen, guest, both_transports = connection.xen, connection.guest, connection.both_transports
octets = air.octets
NO_AGENT, NO_MITM = constants.L2CAPIF_WHY_NO_AGENT, constants.L2CAPIF_WHY_NO_MITM


@both_transports
async def test_a_pairing_without_an_agent_is_none(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    answer = await pair(guest, transport, security=3)
    assert answer[3:] == PairResponse(0, 0, 0, -errno.EPERM, why=NO_AGENT, needed=3)[3:]
    assert not peer.links


@both_transports
async def test_a_pairing_that_shows_nothing_asks_nothing(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    user_of(peer, NOTHING, mitm=False)
    await AgentEnd.start(guest, NOTHING)
    answer = await pair(guest, transport)
    assert answer[3:] == (0, 2, 16, 1, 0, 0, 0)
    assert guest.served.statistics()["prompts"] == 0


@both_transports
async def test_what_the_level_needs_is_told(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    user_of(peer, NOTHING, mitm=False)
    await AgentEnd.start(guest, NOTHING)
    answer = await pair(guest, transport, security=3)
    assert (answer.ret, answer.why, answer.needed) == (-errno.EPERM, NO_MITM, 3)


async def test_policy_may_want_more_than_the_guest(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    policy = '[[rule]]\nguest = "any"\naction = "agent"\nverdict = "allow"\nsecurity = "authenticated"\n'
    guest = Guest(adapter, xen, policy=policy)
    user_of(peer, NOTHING, mitm=False)
    await AgentEnd.start(guest, NOTHING)
    answer = await pair(guest, air.LE)
    assert (answer.ret, answer.why, answer.needed) == (-errno.EPERM, NO_MITM, 3)
    guest.close()


async def test_data_from_another_way_need_no_agent(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    user = user_of(peer, NOTHING)
    context = OobContext()
    shared = context.share()
    configuration = PairingConfig(delegate=user, oob=PairingConfig.OobConfig(context, None, OobLegacyContext()))
    peer.device.pairing_config_factory = lambda _: configuration
    answer = await pair(guest, air.LE, security=4, oob=shared.c + shared.r)
    assert answer[3:] == (0, 4, 16, 1, 0, 0, 0)


async def test_a_temporary_key_from_another_way(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    user = user_of(peer, NOTHING)
    context = OobLegacyContext()
    configuration = PairingConfig(sc=False, delegate=user, oob=PairingConfig.OobConfig(None, None, context))
    peer.device.pairing_config_factory = lambda _: configuration
    answer = await pair(guest, air.LE, security=3, oob=context.tk)
    assert answer[3:] == (0, 3, 16, 1, 0, 0, 0)
    answer = await pair(guest, air.LE, security=4, oob=context.tk)
    assert (answer.ret, answer.why, answer.needed) == (-errno.EPERM, constants.L2CAPIF_WHY_NO_SC, 4)


async def test_a_pairing_is_given_up(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    user_of(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, air.BREDR, security=3)
    await agent.prompt()
    assert (await guest.release(pairing.number)).ret == 0
    assert (await pairing).ret == -errno.ENOTCONN
    assert (await agent.prompt()).kind == 0
    again = pair(guest, air.BREDR, security=3)
    await agent.answer((await agent.prompt()).number, True)
    assert (await again).ret == 0


async def test_people_who_take_too_long(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    user_of(peer)
    agent = await AgentEnd.start(guest)
    answer = await pair(guest, air.BREDR, security=3, timeout_s=0.05)
    assert answer.ret == -errno.ETIMEDOUT
    first, over = await agent.prompt(), await agent.prompt()
    assert (first.number, over.number, over.kind) == (1, 1, 0)


async def test_who_is_not_there_and_what_is_not_there(
    guest: Guest, adapter: SharedAdapter, dongle: air.DirectDongle
) -> None:
    await AgentEnd.start(guest, DISPLAY_YES_NO)
    pairing = guest.send(lambda core: core.pair(octets(air.NOBODY), 0, timeout_s=0.05))
    assert (await pairing).ret == -errno.ETIMEDOUT
    dongle.unplug()
    assert (await pair(guest, air.LE)).ret == -errno.ENODEV


async def test_pairing_counts_as_connecting(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    limited = air.ALLOW_ALL + "connects_per_minute = 1\n"
    guest = Guest(adapter, xen, policy=limited)
    assert (await pair(guest, air.LE)).ret == -errno.EPERM
    assert (await pair(guest, air.LE)).ret == -errno.EAGAIN
    guest.close()


async def test_a_pairing_ends_with_the_device(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    guest = Guest(adapter, xen)
    user_of(peer)
    agent = await AgentEnd.start(guest)
    pair(guest, air.BREDR, security=3)
    await agent.prompt()
    guest.close()
    assert len(adapter.agents) == 0
    other = Guest(adapter, xen)
    assert (await pair(other, air.BREDR, security=3)).why == NO_AGENT
    other.close()


def test_keys_are_not_printed() -> None:
    key = bytes(range(16))
    for told in (
        PairRequest(1, 9, 1, 2, bytes(6), 2, 3, 0, key.ljust(32, b"\0")), PairCall(1, 1, bytes(6), 2, 3, 1.0, key)
    ):  # fmt: skip
        assert "\\x01\\x02" not in repr(told)
        assert repr(told).endswith("'...')")


@pytest.mark.parametrize("level", [2, 3, 4])
async def test_the_level_that_was_reached_is_at_least_that_which_was_asked_for(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, level: int
) -> None:
    user_of(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, air.LE, security=level)
    await agent.answer((await agent.prompt()).number, True)
    assert (await pairing).security >= level


async def test_the_log_says_what_was_missing(guest: Guest, dongle: air.DirectDongle) -> None:
    with capture_logs() as logs:
        await pair(guest, air.LE, security=3)
    (told,) = [log for log in logs if log["event"] == "peer not paired"]
    assert told["reason"] == f"{air.PEER_LE_ADDRESS} was to reach the level authenticated, but the guest has no agent"
