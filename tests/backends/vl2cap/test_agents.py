"""Guests' agents: a peer of Bumble's that pairs, and a guest that is asked through its ring."""

import asyncio
import errno
import re
from typing import Any

import pytest
from bumble.pairing import PairingConfig, PairingDelegate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from tests.support.pairing import Notes, RemoteUser
from usbbtd.abi.layout import constants
from usbbtd.backends.vl2cap.agents import MAX_QUEUED_PROMPTS, GuestAgent
from usbbtd.guest.errors import ChannelClosed
from usbbtd.guest.stream import Stream
from usbbtd.l2capif.messages import AnswerMessage, PromptMessage, pack_answer, unpack_prompt
from usbbtd.radio.agents import PairingPrompt
from usbbtd.radio.errors import Obstacle
from usbbtd.security import terms

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
CONSENT, CONFIRM, DISPLAY, PASSKEY, PIN = range(1, 6)
DISPLAY_ONLY, DISPLAY_YES_NO, KEYBOARD_ONLY, NOTHING, KEYBOARD_DISPLAY = range(5)


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


def user_of(peer: air.Remote, can: int = DISPLAY_YES_NO, *, mitm: bool = True) -> RemoteUser:
    """Who is at the remote device, which pairs from now on."""
    user = RemoteUser(PairingDelegate.IoCapability(can), Notes())
    configuration = PairingConfig(mitm=mitm, delegate=user)
    peer.device.pairing_config_factory = lambda _: configuration
    return user


def pair(guest: Guest, transport: int, **options: Any) -> connection.Answer:
    address, address_type = air.PEER[transport]
    return guest.send(lambda core: core.pair(octets(address), address_type, **options))


async def pair_by_numbers(guest: Guest, transport: int) -> None:
    """Makes a bond of level 3 at least, with an agent that is gone then."""
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, transport, security=3)
    await agent.answer((await agent.prompt()).number, True)
    assert (await pairing).ret == 0
    await agent.release()


@pytest.mark.parametrize("transport", [air.BREDR, air.LE])
async def test_two_people_compare_numbers(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    user = user_of(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, transport, security=3)
    asked = await agent.prompt()
    assert (asked.number, asked.kind, asked.address) == (1, CONFIRM, octets(air.PEER[transport][0]))
    await air.turns(lambda: user.compared == [asked.value])
    assert 0 < asked.timeout_ms <= 30_000
    await agent.answer(asked.number, True)
    done = await pairing
    assert (done.ret, done.security >= 3, done.key_size, done.bonded) == (0, True, 16, 1)
    assert guest.served.statistics()["prompts"] == 1
    assert guest.served.info(7, 0).agent
    await agent.release()
    assert not guest.served.info(7, 0).agent


async def test_a_passkey_of_the_peer_is_entered_and_nonsense_before_is_passed_over(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    user = user_of(peer, DISPLAY_ONLY)
    agent = await AgentEnd.start(guest, KEYBOARD_ONLY)
    pairing = pair(guest, air.LE, security=3)
    asked = await agent.prompt()
    assert (asked.kind, asked.value) == (PASSKEY, 0)
    passkey = await user.notes.shown.get()
    await agent.answer(asked.number, True, 1_000_000)
    await agent.answer(asked.number, True, passkey, pin=b"1")
    await agent.answer(asked.number, False, passkey)  # a refusal has no passkey
    await agent.answer(asked.number + 1, True, passkey)
    await agent.answer(0, True)
    await agent.answer(asked.number, True, passkey)
    await agent.answer(asked.number, False)  # a second answer
    assert (await pairing).ret == 0
    assert guest.served.statistics()["answers_ignored"] == 6


async def test_a_passkey_is_shown_until_the_peer_has_it(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    user = user_of(peer, KEYBOARD_ONLY)
    agent = await AgentEnd.start(guest, DISPLAY_ONLY)
    pairing = pair(guest, air.LE, security=3)
    shown = await agent.prompt()
    assert shown.kind == DISPLAY
    user.notes.shown.put_nowait(shown.value)
    assert (await pairing).ret == 0
    over = await agent.prompt()
    assert (over.number, over.kind, over.value, over.why) == (shown.number, 0, 0, 0)


@pytest.mark.parametrize("transport", [air.BREDR, air.LE])
async def test_people_who_say_no_are_obeyed(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    user_of(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, transport, security=3)
    await agent.answer((await agent.prompt()).number, False)
    refused = await pairing
    assert (refused.ret, refused.why, refused.needed) == (-errno.EPERM, constants.L2CAPIF_WHY_REFUSED_HERE, 3)
    assert not guest.served.info(7, 0).counters["pairings"]


async def test_a_prompt_of_a_pairing_that_ends_is_withdrawn(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    user_of(peer)
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
    user_of(peer, NOTHING, mitm=False)
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
    user_of(peer)
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
    user_of(peer)
    agent = await AgentEnd.start(guest)
    pairing = pair(guest, air.BREDR, security=3)
    await agent.prompt()
    await agent.release()
    assert (await pairing).ret == -errno.EPERM
    again = await pair(guest, air.BREDR, security=3)
    assert (again.ret, again.why) == (-errno.EPERM, constants.L2CAPIF_WHY_NO_AGENT)


async def test_an_agent_that_may_not_be_one_any_more(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    user_of(peer)
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
    user_of(peer, NOTHING, mitm=False)
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


class Asked:
    """Prompts that nobody on the air has asked, and what was answered."""

    def __init__(self, guest: Guest, agent: AgentEnd) -> None:
        self.server: GuestAgent = guest.served._core.server(agent.number).server
        self.answers: list[tuple[int, bool, int | bytes | None]] = []
        self._last = 100

    def ask(self, kind: int, value: int | None = None) -> PairingPrompt:
        self._last += 1
        expires = asyncio.get_running_loop().time() + 30
        prompt = PairingPrompt(self._last, kind, value, bytes(6), 2, expires, self._answer)
        self.server.ask(prompt)
        return prompt

    def _answer(self, prompt: PairingPrompt, accept: bool, value: int | bytes | None) -> bool:
        self.answers.append((prompt.number, accept, value))
        return True


async def test_a_guest_that_does_not_answer_is_asked_so_much_and_no_more(
    guest: Guest, dongle: air.DirectDongle
) -> None:
    agent = await AgentEnd.start(guest)
    asked = Asked(guest, agent)
    prompts = [asked.ask(terms.CONSENT) for _ in range(MAX_QUEUED_PROMPTS + 3)]
    assert asked.answers == [(prompt.number, False, None) for prompt in prompts[MAX_QUEUED_PROMPTS:]]
    assert guest.served.statistics()["prompts_refused"] == 3
    assert [(await agent.prompt()).number for _ in range(MAX_QUEUED_PROMPTS)] == [*range(1, MAX_QUEUED_PROMPTS + 1)]


async def test_a_guest_that_does_not_read_costs_little(guest: Guest, dongle: air.DirectDongle) -> None:
    agent = await AgentEnd.start(guest)
    asked = Asked(guest, agent)
    for _ in range(1000):
        asked.server.withdraw(asked.ask(terms.CONFIRM, 123456).number, Obstacle.NO_ANSWER)
        stream = asked.server._stream
        assert stream is not None
        assert stream.queued <= 2 * MAX_QUEUED_PROMPTS
    assert len(asked.answers) == guest.served.statistics()["prompts_refused"] > 500


KINDS = st.sampled_from([terms.CONSENT, terms.CONFIRM, terms.DISPLAY, terms.ENTER_PASSKEY, terms.ENTER_PIN])
ANSWERS = st.builds(
    AnswerMessage, st.integers(0, 5), st.booleans(), st.sampled_from([0, 1, 999_999, 1_000_000]),
    st.sampled_from([b"", b"1234"]),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(KINDS, max_size=4), st.lists(ANSWERS, max_size=12))
async def test_only_what_was_asked_for_is_passed_on(
    plain_xen: Any, adapter: Any, kinds: list[int], answers: list[AnswerMessage]
) -> None:
    guest = Guest(adapter, plain_xen())
    agent = await AgentEnd.start(guest)
    asked = Asked(guest, agent)
    numbers = {prompt.number: prompt for prompt in map(asked.ask, kinds)}
    await agent.stream.send([pack_answer(answer) for answer in answers])
    passed = guest.served.statistics
    await air.turns(lambda: len(asked.answers) + passed()["answers_ignored"] == len(answers))
    for number, accept, value in asked.answers:
        kind = numbers[number].kind
        assert (value is None) or (accept and kind in (terms.ENTER_PASSKEY, terms.ENTER_PIN))
        assert isinstance(value, int) == (accept and kind == terms.ENTER_PASSKEY)
        assert isinstance(value, bytes) == (accept and kind == terms.ENTER_PIN)
    final = [number for number, accept, _ in asked.answers if not (accept and numbers[number].kind == terms.DISPLAY)]
    assert len(final) == len(set(final))
    guest.close()
