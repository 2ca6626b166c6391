"""Guests' agents: a peer of Bumble's that pairs, and a guest that is asked through its ring."""

import asyncio
import errno
import re
from typing import Any

import pytest

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from tests.support.people import Can, People
from usbbtd.abi.layout import constants
from usbbtd.guest.errors import ChannelClosed
from usbbtd.guest.stream import Stream
from usbbtd.l2capif.messages import AnswerMessage, PromptMessage, pack_answer, unpack_prompt

xen, guest = connection.xen, connection.guest
octets = air.octets
NOT_PAIRED = re.compile("AUTHENTICATION|PAIRING")
ONLY_NOBODY = f'''
[[rule]]
guest = "any"
action = "agent"
peer = "{air.NOBODY}"
verdict = "allow"

[[rule]]
guest = "any"
action = "listen"
verdict = "allow"
'''
CONSENT, CONFIRM = 1, 2
DISPLAY_YES_NO = 1


class AgentEnd:
    """The frontend's end of an agent of the guest."""

    def __init__(self, guest: Guest, stream: Stream, number: int) -> None:
        self.guest, self.stream, self.number = guest, stream, number

    @classmethod
    async def start(cls, guest: Guest, io_capability: int = DISPLAY_YES_NO) -> "AgentEnd":
        stream = guest.stream()
        shared = stream.shared
        answer = guest.send(lambda core: core.agent(io_capability, ref=shared.ref, evtchn=shared.port))
        assert (await answer).ret == 0
        return cls(guest, stream, answer.number)

    async def prompt(self) -> PromptMessage:
        async with asyncio.timeout(air.TIME_LIMIT_S):
            return unpack_prompt(await self.stream.receive())

    async def answer(self, number: int, accept: bool, value: int = 0, pin: bytes = b"") -> None:
        await self.stream.send([pack_answer(AnswerMessage(number, accept, value, pin))])

    async def release(self) -> None:
        assert (await self.guest.release(self.number)).ret == 0


def pair(guest: Guest, transport: int, **options: Any) -> connection.Answer:
    address, address_type = air.PEER[transport]
    return guest.send(lambda core: core.pair(octets(address), address_type, **options))


@pytest.mark.parametrize("transport", [air.BREDR])
async def test_two_people_compare_numbers(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    people = People.at(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, transport, security=3)
    asked = await agent.prompt()
    assert (asked.number, asked.kind, asked.address) == (1, CONFIRM, octets(air.PEER[transport][0]))
    assert asked.value == await people.shown.get()
    assert 0 < asked.timeout_ms <= 30_000
    await agent.answer(asked.number, True)
    done = await pairing
    assert (done.ret, done.security >= 3, done.key_size, done.bonded) == (0, True, 16, 1)
    assert guest.served.statistics()["prompts"] == 1
    await agent.release()


@pytest.mark.parametrize("transport", [air.BREDR])
async def test_people_who_say_no_are_obeyed(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    People.at(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, transport, security=3)
    await agent.answer((await agent.prompt()).number, False)
    refused = await pairing
    assert (refused.ret, refused.why, refused.needed) == (-errno.EPERM, constants.L2CAPIF_WHY_REFUSED_HERE, 3)
    assert not guest.served.info(7, 0).counters["pairings"]


async def test_a_prompt_of_a_pairing_that_ends_is_withdrawn(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    People.at(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, air.BREDR, security=3)
    asked = await agent.prompt()
    dongle.unplug()
    assert (await pairing).ret == -errno.ENODEV
    over = await agent.prompt()
    assert (over.number, over.kind) == (asked.number, 0)
    await agent.answer(asked.number, True)
    await air.turns(lambda: guest.served.statistics()["answers_ignored"] == 1)


async def test_a_peer_that_begins_is_asked_about(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    People.at(peer, Can.NO_OUTPUT_NO_INPUT, mitm=False)
    agent = await AgentEnd.start(guest)
    await guest.listen()  # so that the peer finds us
    link = await peer.connect(air.BREDR)
    authenticating = asyncio.ensure_future(link.authenticate())
    asked = await agent.prompt()
    assert (asked.kind, asked.address) == (CONSENT, octets(air.PEER[air.BREDR][0]))
    await agent.answer(asked.number, True)
    await authenticating


@pytest.mark.parametrize("policy", ["", air.ALLOW_ALL.replace('"any"\nverdict', '["connect", "listen"]\nverdict')])
async def test_a_guest_that_may_pair_with_nobody_has_no_agent(
    adapter: Any, xen: Any, dongle: air.DirectDongle, peer: air.Remote, policy: str
) -> None:
    guest = Guest(adapter, xen, policy=policy)
    shared = guest.stream().shared
    answer = await guest.ask(lambda core: core.agent(1, ref=shared.ref, evtchn=shared.port))
    assert answer.ret == -errno.EACCES
    guest.close()


async def test_an_agent_is_asked_about_no_other_peer_than_policy_allows(
    adapter: Any, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    guest = Guest(adapter, xen, policy=ONLY_NOBODY)
    People.at(peer)
    await AgentEnd.start(guest)
    assert (await pair(guest, air.BREDR)).ret == -errno.EACCES
    await guest.listen()  # so that the peer finds us
    link = await peer.connect(air.BREDR)
    with pytest.raises(Exception, match=NOT_PAIRED):
        await asyncio.wait_for(link.authenticate(), air.TIME_LIMIT_S)
    assert guest.served.statistics()["prompts"] == 0
    guest.close()


async def test_what_is_asked_is_refused_when_the_agent_is_released(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    People.at(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, air.BREDR, security=3)
    await agent.prompt()
    await agent.release()
    assert (await pairing).ret == -errno.EPERM
    again = await pair(guest, air.BREDR, security=3)
    assert (again.ret, again.why) == (-errno.EPERM, constants.L2CAPIF_WHY_NO_AGENT)


async def test_an_agent_that_may_not_be_one_any_more(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    People.at(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, air.BREDR, security=3)
    await agent.prompt()
    connection.change(guest, "")
    assert (await pairing).ret == -errno.EACCES
    with pytest.raises(ChannelClosed) as ended:
        await agent.prompt()
    assert ended.value.errno == errno.EACCES
    await agent.release()


async def test_what_is_asked_about_a_peer_is_refused_when_that_may_not_pair_any_more(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    People.at(peer, Can.NO_OUTPUT_NO_INPUT, mitm=False)
    agent = await AgentEnd.start(guest)
    await guest.listen()  # so that the peer finds us
    link = await peer.connect(air.BREDR)
    authenticating = asyncio.ensure_future(link.authenticate())
    asked = await agent.prompt()
    connection.change(guest, ONLY_NOBODY)
    over = await agent.prompt()
    assert (over.number, over.kind, over.why) == (asked.number, 0, constants.L2CAPIF_WHY_NO_AGENT)
    with pytest.raises(Exception, match=NOT_PAIRED):
        await authenticating


@pytest.mark.parametrize(
    "message",
    [b"", bytes(31), bytes(33), pack_answer(AnswerMessage(1, True))[:-1] + b"\1", bytes(8) + b"\2" + bytes(23)],
)
async def test_a_malformed_answer_ends_the_agent(guest: Guest, dongle: air.DirectDongle, message: bytes) -> None:
    agent = await AgentEnd.start(guest)
    await agent.stream.send([message])
    with pytest.raises(ChannelClosed) as ended:
        await agent.prompt()
    assert ended.value.errno == errno.EBADMSG
    second = guest.stream().shared
    answer = await guest.ask(lambda core: core.agent(1, ref=second.ref, evtchn=second.port))
    assert answer.ret == -errno.EMFILE  # the first has its id until it is released
    await agent.release()
    await AgentEnd.start(guest)


async def test_an_agent_ends_when_the_guest_ends_it(guest: Guest, dongle: air.DirectDongle) -> None:
    agent = await AgentEnd.start(guest)
    await agent.answer(1, True)
    await agent.stream.finish(air.TIME_LIMIT_S)
    assert agent.stream.shared.ended == -errno.ENOTCONN
    assert guest.served.statistics()["answers_ignored"] == 1


async def test_a_flood_of_answers_is_taken_in_portions(guest: Guest, dongle: air.DirectDongle) -> None:
    agent = await AgentEnd.start(guest)
    for _ in range(10):
        await agent.stream.send([pack_answer(AnswerMessage(number, True)) for number in range(200)])
    await air.turns(lambda: guest.served.statistics()["answers_ignored"] == 2000)


async def test_a_broken_ring_ends_the_agent(guest: Guest, dongle: air.DirectDongle) -> None:
    agent = await AgentEnd.start(guest)
    agent.stream.shared._indices[128:132] = b"\xff" * 4  # out.producer.prod
    agent.stream.shared.notify()
    await air.turns(lambda: agent.stream.shared.ended == -errno.EBADMSG)


async def test_an_agent_with_a_ring_that_cannot_be_mapped(guest: Guest, dongle: air.DirectDongle) -> None:
    answer = await guest.ask(lambda core: core.agent(1, ref=999_999, evtchn=1))
    assert answer.ret == -errno.EFAULT
    await AgentEnd.start(guest)
