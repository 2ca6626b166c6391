"""The security of links between two adapters of ours, from what one user asks for to what the other is asked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import structlog
from bumble.link import LocalLink
from structlog.testing import capture_logs

from tests.radio.test_adapter import advertise
from tests.support import air
from tests.support.pairing import AirAgent, Answer, Notes, Shelf
from usbbtd.bluetooth import (
    BREDR,
    DISPLAY_ONLY,
    DISPLAY_YES_NO,
    KEYBOARD_ONLY,
    LE,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    NO_INPUT_NO_OUTPUT,
)
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.agents import PairingPrompt
from usbbtd.radio.channel import LEVEL_LOST, NOT_ALLOWED, RadioChannel
from usbbtd.radio.errors import Insecure, NoDongle, Obstacle, Refused
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY

ADDRESSES = ((air.OUR_ADDRESS, air.OUR_LE_ADDRESS), (air.PEER_ADDRESS, air.PEER_LE_ADDRESS))
both_transports = pytest.mark.parametrize("transport", air.TRANSPORTS)


class Party(NamedTuple):
    """An adapter of ours with its dongle, and where its bonds are kept."""

    adapter: SharedAdapter
    dongle: air.DirectDongle
    shelf: Shelf


async def start(
    radio: LocalLink, which: int, shelf: Shelf | None = None, make: type[air.DirectDongle] = air.DirectDongle
) -> Party:
    address, le_address = ADDRESSES[which]
    shelf = shelf or Shelf()
    adapter = SharedAdapter(
        random_address=air.octets(le_address), command_timeout_s=0.5, limits=L2capLimits(mps=1021, drain_s=0.5),
        log=structlog.get_logger(), bonds=shelf,
    )  # fmt: skip
    dongle = make(radio, address)
    await adapter.take_dongle(H2Dongle(dongle))
    await adapter.wait_powered()
    return Party(adapter, dongle, shelf)


@pytest.fixture
async def one(radio: LocalLink) -> AsyncIterator[Party]:
    party = await start(radio, 0)
    yield party
    party.adapter.close()


@pytest.fixture
async def other(radio: LocalLink) -> AsyncIterator[Party]:
    """The peer of ``one``, which can be found."""
    party = await start(radio, 1)
    advertise(party.adapter)
    air.Taker(party.adapter, BREDR, 0x1003)  # so that it is connectable
    yield party
    party.adapter.close()


def connecting(
    party: Party, transport: int, level: int = LEVEL_NONE, agent: AirAgent | None = None
) -> asyncio.Task[RadioChannel]:
    """A task of ``one`` that opens a channel to ``other``."""
    address, address_type = air.PEER[transport]
    channels = party.adapter.channels
    asked = channels.connect(air.octets(address), address_type, air.PSM[transport], air.MTU, level, agent)
    return asyncio.create_task(asked)


async def connected(
    one: Party, other: Party, transport: int, level: int = LEVEL_NONE, agent: AirAgent | None = None,
    *, needed: int = LEVEL_NONE,
) -> tuple[RadioChannel, RadioChannel]:  # fmt: skip
    """Both ends of a channel, for which ``one`` asks for a level and ``other`` needs one."""
    taker = air.Taker(other.adapter, transport, security=needed)
    task = connecting(one, transport, level, agent)
    offered = asyncio.create_task(taker.offers.get())
    await asyncio.wait([task, offered], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        offered.cancel()
        await task  # it has failed
    accepted = await other.adapter.channels.accept(offered.result(), air.MTU)
    other.adapter.channels.unlisten(transport, air.PSM[transport])
    return await task, accepted


def level_of(party: Party) -> int:
    (link,) = party.adapter.links.by_handle.values()
    return link.security.level


async def paired(one: Party, other: Party, transport: int, io: int = DISPLAY_YES_NO, level: int = LEVEL_SECURE) -> None:
    """Bonds of both with each other."""
    agents = AirAgent(io), AirAgent(io)
    other.adapter.agents.register(agents[1])
    channel, _ = await connected(one, other, transport, level, agents[0])
    channel.close()
    other.adapter.agents.unregister(agents[1])
    await air.turns(lambda: one.shelf.bonds and other.shelf.bonds)


async def disconnected(one: Party, other: Party) -> None:
    for link in tuple(one.adapter.links.by_handle.values()):
        link.stack.controller.host.disconnect(link.handle)
        link.stack.flush_soon()
    await air.turns(lambda: not one.adapter.links.by_handle and not other.adapter.links.by_handle)


async def refused(task: asyncio.Task[Any]) -> Insecure:
    with pytest.raises(Insecure) as caught:
        await task
    return caught.value


# Pairing


@both_transports
@pytest.mark.parametrize(
    ("io", "level", "asked"),
    [
        ((NO_INPUT_NO_OUTPUT, NO_INPUT_NO_OUTPUT), LEVEL_ENCRYPTED, ([], [CONSENT])),
        ((DISPLAY_YES_NO, DISPLAY_YES_NO), LEVEL_AUTHENTICATED, ([CONFIRM], [CONFIRM])),
        ((DISPLAY_YES_NO, DISPLAY_YES_NO), LEVEL_SECURE, ([CONFIRM], [CONFIRM])),
        ((DISPLAY_ONLY, KEYBOARD_ONLY), LEVEL_SECURE, ([DISPLAY], [ENTER_PASSKEY])),
        ((KEYBOARD_ONLY, DISPLAY_ONLY), LEVEL_SECURE, ([ENTER_PASSKEY], [DISPLAY])),
    ],
)
async def test_a_channel_is_as_secure_as_its_users_want(
    one: Party, other: Party, transport: int, io: tuple[int, int], level: int, asked: tuple[list[int], list[int]]
) -> None:
    notes = Notes()
    agents = AirAgent(io[0], notes=notes), AirAgent(io[1], guest="lab", notes=notes)
    other.adapter.agents.register(agents[1])
    with capture_logs() as log:
        ours, theirs = await connected(one, other, transport, level, agents[0], needed=level)
        user = air.User(theirs)
        ours.send_sdus([b"hello"])
        assert await user.receive(1) == [b"hello"]
    assert ours.link.security.level >= level
    assert (agents[0].kinds, agents[1].kinds) == asked
    assert len({prompt.value for agent in agents for prompt in agent.prompts if prompt.value is not None}) <= 1
    await air.turns(lambda: one.shelf.bonds and other.shelf.bonds)
    for party, guest in ((one, "work"), (other, "lab")):
        (bond,) = party.shelf.bonds.values()
        assert (bond.guests, bond.authenticated) == (frozenset((guest,)), level >= LEVEL_AUTHENTICATED)
        (info,) = party.adapter.links.info()
        assert (info.key_size, info.bonded) == (16, True)
    phrases = [entry["event"] for entry in log]
    assert phrases.count("bond made") == phrases.count("link encrypted") == phrases.count("pairing done") == 2
    assert phrases.count("pairing asked") == 1
    assert {entry["guest"] for entry in log if entry["event"] == "bond made"} == {"work", "lab"}


@both_transports
async def test_a_bond_is_used_again_without_a_word(radio: LocalLink, one: Party, other: Party, transport: int) -> None:
    await paired(one, other, transport)
    await disconnected(one, other)
    one.dongle.unplug()
    again = await start(radio, 0, one.shelf)  # as after a restart
    ours, theirs = await connected(again, other, transport, LEVEL_SECURE, needed=LEVEL_SECURE)
    assert ours.link.security == theirs.link.security == (LEVEL_SECURE, 16, True)
    again.adapter.close()


@both_transports
async def test_pairing_without_a_channel(one: Party, other: Party, transport: int) -> None:
    address, address_type = air.PEER[transport]
    agents = AirAgent(), AirAgent()
    other.adapter.agents.register(agents[1])
    with capture_logs() as log:
        for _ in range(2):  # also where there is a bond
            got = await one.adapter.security.pair(air.octets(address), address_type, LEVEL_AUTHENTICATED, agents[0])
            assert got == (LEVEL_SECURE, 16, True)
    assert {(entry["guest"], entry["former_guests"]) for entry in log if entry["event"] == "bond replaced"} == {
        ("work", "work")
    }
    assert agents[0].kinds == agents[1].kinds == [CONFIRM] * 2
    assert one.adapter.security.is_bonded_for(air.octets(address), address_type, "work")
    assert not one.adapter.security.is_bonded_for(air.octets(address), address_type, "lab")


# Refusals


@both_transports
async def test_a_bond_is_replaced_by_an_agent_that_may_pair_with_its_peer(
    one: Party, other: Party, transport: int
) -> None:
    """Whose bond it would be may be known at the end only, when the peer tells its identity."""
    address, address_type = air.PEER[transport]
    peer = air.octets(address), address_type
    other.adapter.agents.register(AirAgent())
    await one.adapter.security.pair(*peer, LEVEL_ENCRYPTED, AirAgent())
    (bond,) = one.adapter.security.bonds()

    def forbid(_prompt: PairingPrompt) -> Answer:
        lab.may = False
        return True, None

    lab = AirAgent(guest="lab", answer=forbid)
    with pytest.raises(Insecure) as caught:
        await one.adapter.security.pair(*peer, LEVEL_ENCRYPTED, lab)
    assert caught.value.why == Obstacle.REFUSED_HERE
    assert one.adapter.security.bonds() == list(one.shelf.bonds.values())
    assert [(kept.keys, kept.guests) for kept in one.shelf.bonds.values()] == [(bond.keys, frozenset({"work"}))]
    await air.turns(lambda: not one.adapter.links.by_handle)


@both_transports
async def test_without_a_key_and_an_agent_nothing_is_encrypted(one: Party, other: Party, transport: int) -> None:
    air.Taker(other.adapter, transport)
    error = await refused(connecting(one, transport, LEVEL_ENCRYPTED))
    assert (error.why, error.level, error.needed) == (Obstacle.NO_AGENT, LEVEL_NONE, LEVEL_ENCRYPTED)
    assert air.PEER[transport][0] in str(error)
    assert "encrypted" in str(error)
    error = await refused(connecting(one, transport, LEVEL_ENCRYPTED, AirAgent(may=False)))
    assert error.why is Obstacle.NO_AGENT


@both_transports
async def test_a_peer_whose_users_may_not_pair_refuses(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent(may=False))
    air.Taker(other.adapter, transport)
    with capture_logs() as log:
        error = await refused(connecting(one, transport, LEVEL_ENCRYPTED, AirAgent()))
    assert error.why is Obstacle.REFUSED_BY_PEER
    assert [entry["accepted"] for entry in log if entry["event"] == "pairing asked"] == [False]


@both_transports
async def test_who_says_no_is_told_from_the_peer_that_does(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent())
    error = await refused(connecting(one, transport, LEVEL_AUTHENTICATED, AirAgent(answer=lambda _: (False, None))))
    assert error.why is Obstacle.REFUSED_HERE
    assert one.shelf.bonds == other.shelf.bonds == {}


@both_transports
async def test_what_cannot_be_authenticated_is_not_tried(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent(NO_INPUT_NO_OUTPUT))
    error = await refused(connecting(one, transport, LEVEL_AUTHENTICATED, AirAgent()))
    assert error.why is Obstacle.NO_MITM
    assert one.shelf.bonds == {}


@both_transports
async def test_a_passkey_that_was_typed_wrong_proves_nothing(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent(DISPLAY_ONLY))
    agent = AirAgent(KEYBOARD_ONLY, answer=lambda _: (True, 1))
    error = await refused(connecting(one, transport, LEVEL_AUTHENTICATED, agent))
    assert error.why is (Obstacle.REFUSED_BY_PEER, Obstacle.NO_MATCH)[transport]  # BR/EDR has one status for both
    assert one.shelf.bonds == other.shelf.bonds == {}


@both_transports
async def test_who_has_to_wait_must_do_so_with_the_next_dongle_too(
    radio: LocalLink, one: Party, other: Party, transport: int
) -> None:
    other.adapter.agents.register(AirAgent(DISPLAY_ONLY))
    agent = AirAgent(KEYBOARD_ONLY, answer=lambda _: (True, 1))
    await refused(connecting(one, transport, LEVEL_AUTHENTICATED, agent))
    await disconnected(one, other)
    one.dongle.unplug()
    await one.adapter.take_dongle(H2Dongle(air.DirectDongle(radio, ADDRESSES[0][0])))
    await one.adapter.wait_powered()
    assert (await refused(connecting(one, transport, LEVEL_AUTHENTICATED, agent))).why is Obstacle.LOCKED_OUT


# Agents


@both_transports
async def test_a_pairing_ends_with_its_agent(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent())
    agent = AirAgent(answer=lambda _: None)
    one.adapter.agents.register(agent)
    task = connecting(one, transport, LEVEL_AUTHENTICATED, agent)
    await agent.asked.wait()
    one.adapter.agents.unregister(agent)
    assert (await refused(task)).why is Obstacle.REFUSED_HERE
    assert not agent.prompts[0].answer(True)


@both_transports
async def test_an_answer_counts_once(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent())
    agent = AirAgent(answer=lambda _: None)
    air.Taker(other.adapter, transport)
    task = connecting(one, transport, LEVEL_AUTHENTICATED, agent)
    await agent.asked.wait()
    (prompt,) = agent.prompts
    assert "427" not in repr(prompt)
    assert [prompt.answer(True), prompt.answer(False), prompt.answer(True)] == [True, False, False]
    await air.turns(lambda: level_of(one) >= LEVEL_AUTHENTICATED)
    assert agent.withdrawn == []
    task.cancel()


@both_transports
async def test_a_prompt_is_withdrawn_when_the_dongle_goes(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent())
    agent = AirAgent(answer=lambda _: None)
    task = connecting(one, transport, LEVEL_AUTHENTICATED, agent)
    await agent.asked.wait()
    one.dongle.unplug()
    with pytest.raises(NoDongle):
        await task
    assert agent.withdrawn == [(agent.prompts[0].number, Obstacle.LINK_ENDED)]
    assert not agent.prompts[0].answer(True)


@both_transports
async def test_a_pairing_is_given_up_with_its_channel(one: Party, other: Party, transport: int) -> None:
    theirs = AirAgent(answer=lambda _: None)
    other.adapter.agents.register(theirs)
    agent = AirAgent(answer=lambda _: None)
    task = connecting(one, transport, LEVEL_AUTHENTICATED, agent)
    await agent.asked.wait()
    task.cancel()
    await air.turns(lambda: agent.withdrawn and theirs.withdrawn)
    assert not one.adapter.security._pursuits
    assert not one.adapter.security._asked


# Listening


async def test_a_listener_has_a_bredr_peer_paired_first(one: Party, other: Party) -> None:
    for party in (one, other):
        party.adapter.agents.register(AirAgent())
    ours, theirs = await connected(one, other, BREDR, needed=LEVEL_SECURE)
    assert ours.link.security.level == theirs.link.security.level == LEVEL_SECURE


@both_transports
async def test_the_listeners_guest_is_the_first_whose_agent_pairs(one: Party, other: Party, transport: int) -> None:
    others, own = AirAgent(guest="lab"), AirAgent(guest="work")
    for agent in (others, own):
        other.adapter.agents.register(agent)
    taker = air.Taker(other.adapter, transport, security=LEVEL_AUTHENTICATED, guest="work")
    if transport == BREDR:
        one.adapter.agents.register(AirAgent())
        opening = connecting(one, transport)
    else:  # it hears that it has to pair, and does
        with pytest.raises(Refused):
            await connecting(one, transport)
        opening = connecting(one, transport, LEVEL_AUTHENTICATED, AirAgent())
    await other.adapter.channels.accept(await taker.offers.get(), air.MTU)
    await opening
    assert (others.kinds, own.kinds) == ([], [CONFIRM])
    assert [bond.guests for bond in other.adapter.security.bonds()] == [frozenset({"work"})]
    own.may = False
    assert other.adapter.agents.find(bytes(6), 2, "work") == (others, others.terms(b"", 0))


async def test_a_listener_of_no_agent_refuses_a_bredr_peer(one: Party, other: Party) -> None:
    taker = air.Taker(other.adapter, BREDR, security=LEVEL_ENCRYPTED)
    with pytest.raises(Refused) as caught:
        await connecting(one, BREDR)
    assert caught.value.result == 3
    assert taker.offers.empty()


@both_transports
async def test_the_level_may_depend_on_the_peer(one: Party, other: Party, transport: int) -> None:
    asked: list[tuple[bytes, int]] = []

    def level_for(address: bytes, address_type: int) -> int:
        asked.append((address, address_type))
        return LEVEL_ENCRYPTED

    air.Taker(other.adapter, transport, level_for=level_for)
    with pytest.raises(Refused):
        await connecting(one, transport)
    assert set(asked) == {(air.octets(ADDRESSES[0][transport]), 2 * transport)}


@both_transports
async def test_a_peer_that_may_not_come_is_refused_before_anything_else(
    one: Party, other: Party, transport: int
) -> None:
    asked = AirAgent()
    one.adapter.agents.register(asked)
    other.adapter.agents.register(asked)
    taker = air.Taker(other.adapter, transport, security=LEVEL_SECURE, level_for=lambda *_: None)
    with pytest.raises(Refused) as caught:
        await connecting(one, transport)
    assert caught.value.result == NOT_ALLOWED[transport]
    assert taker.offers.empty()
    assert asked.prompts == []
    assert level_of(other) == LEVEL_NONE
    assert other.adapter.security.bonds() == []


async def test_the_next_listener_may_need_more(one: Party, other: Party) -> None:
    """It is not offered a peer whose link was secured for the one before."""
    asked = AirAgent(NO_INPUT_NO_OUTPUT, answer=lambda _: None)
    one.adapter.agents.register(asked)
    other.adapter.agents.register(AirAgent())
    air.Taker(other.adapter, BREDR, security=LEVEL_ENCRYPTED)
    task = connecting(one, BREDR)
    await asked.asked.wait()
    other.adapter.channels.unlisten(BREDR, air.PSM[BREDR])
    taker = air.Taker(other.adapter, BREDR, security=LEVEL_SECURE)
    asked.prompts[0].answer(True)
    with pytest.raises(Refused):
        await task
    assert level_of(other) == LEVEL_ENCRYPTED
    assert taker.offers.empty()


ENCRYPTION_CHANGES = frozenset((0x08, 0x30, 0x59))


async def asked_before_the_news(one: Party, other: Party) -> tuple[air.Taker, asyncio.Task[RadioChannel]]:
    """``one`` uses the bond and asks for a channel, of which ``other`` hears before it hears of the encryption."""
    await paired(one, other, LE)
    await disconnected(one, other)
    taker = air.Taker(other.adapter, LE, security=LEVEL_SECURE)
    other.dongle.late = ENCRYPTION_CHANGES
    task = connecting(one, LE, LEVEL_SECURE)
    await air.turns(lambda: task.done() or other.adapter.channels._securing)
    assert level_of(other) == LEVEL_NONE
    return taker, task


async def test_data_may_be_here_before_the_news_that_the_link_is_encrypted(one: Party, other: Party) -> None:
    taker, task = await asked_before_the_news(one, other)
    other.dongle.release()
    await other.adapter.channels.accept(await taker.offers.get(), air.MTU)
    await task
    assert level_of(other) == LEVEL_SECURE


async def test_who_may_come_may_be_known_only_by_the_news(one: Party, other: Party) -> None:
    """Until its key has proved it a private address may be anybody's."""
    taker, task = await asked_before_the_news(one, other)
    other.adapter.channels.unlisten(LE, air.PSM[LE])
    taker = air.Taker(other.adapter, LE, level_for=lambda *_: LEVEL_NONE if level_of(other) > LEVEL_NONE else None)
    other.dongle.release()
    await other.adapter.channels.accept(await taker.offers.get(), air.MTU)
    await task


async def test_news_of_an_encryption_that_never_come_are_not_waited_for(one: Party, other: Party) -> None:
    taker, task = await asked_before_the_news(one, other)
    with pytest.raises(Refused):
        await task
    assert taker.offers.empty()
    other.dongle.release()
    await air.turns(lambda: level_of(other) == LEVEL_SECURE)
    assert not other.adapter.channels._securing


@pytest.mark.parametrize("end", ["link", "dongle"])
async def test_a_peer_goes_before_the_news(one: Party, other: Party, end: str) -> None:
    taker, task = await asked_before_the_news(one, other)
    if end == "link":
        one.adapter.links.disconnect(*one.adapter.links.by_handle)
    else:
        other.dongle.unplug()
    await air.turns(lambda: not other.adapter.links.by_handle and not other.adapter.channels._securing)
    await air.turns(lambda: not other.adapter.security._encrypting)
    assert taker.offers.empty()
    one.dongle.unplug()
    await asyncio.wait([task])


# Afterwards


def fall(party: Party) -> None:
    """The controller says that its link is not encrypted any more."""
    (handle,) = party.adapter.links.by_handle
    party.dongle.inject([bytes((0x08, 4, 0)) + handle.to_bytes(2, "little") + b"\0"])


@both_transports
async def test_an_offer_is_as_secure_as_it_was_when_it_is_accepted(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent())
    taker = air.Taker(other.adapter, transport, security=LEVEL_AUTHENTICATED)
    task = connecting(one, transport, LEVEL_AUTHENTICATED, AirAgent())
    offer = await taker.offers.get()
    fall(other)
    await air.turns(lambda: level_of(other) == LEVEL_NONE)
    with pytest.raises(Insecure) as caught:
        await other.adapter.channels.accept(offer, air.MTU)
    assert (caught.value.level, caught.value.needed) == (LEVEL_NONE, LEVEL_AUTHENTICATED)
    with pytest.raises(Refused):
        await task


@both_transports
async def test_a_channel_that_opens_when_the_level_falls_does_not(one: Party, other: Party, transport: int) -> None:
    other.adapter.agents.register(AirAgent())
    taker = air.Taker(other.adapter, transport)
    task = connecting(one, transport, LEVEL_AUTHENTICATED, AirAgent())
    offer = await taker.offers.get()
    fall(one)
    assert (await refused(task)).level == LEVEL_NONE
    accepting = asyncio.create_task(other.adapter.channels.accept(offer, air.MTU))
    await air.turns(lambda: one.adapter.statistics()["l2cap_channels"] == 0)
    accepting.cancel()
    assert one.adapter.statistics()["channels"] == 0


@both_transports
async def test_channels_end_when_the_level_falls(one: Party, other: Party, transport: int) -> None:
    for party in (one, other):
        party.adapter.agents.register(AirAgent())
    needy, _ = await connected(one, other, transport, LEVEL_ENCRYPTED, AirAgent())
    bonded, _ = await connected(one, other, transport)
    plain, _ = await connected(one, other, transport)
    bonded.needs_bond = True
    users = [air.User(channel) for channel in (needy, bonded, plain)]
    with capture_logs() as log:
        fall(one)
        assert [await user.closed() for user in users[:2]] == [LEVEL_LOST] * 2
    assert users[2].reason is None
    assert [entry["security"] for entry in log if entry["event"] == "link security fell"] == ["none"]


@both_transports
async def test_a_bond_is_forgotten_with_its_link(one: Party, other: Party, transport: int) -> None:
    await paired(one, other, transport)
    address, address_type = air.PEER[transport]
    assert one.adapter.security.forget(air.octets(address), address_type)
    assert not one.adapter.security.forget(air.octets(address), address_type)
    assert one.adapter.security.bonds() == [*one.shelf.bonds.values()] == []
    await air.turns(lambda: not one.adapter.links.by_handle)
    error = await refused(connecting(one, transport, LEVEL_ENCRYPTED))
    assert error.why is Obstacle.NO_AGENT
