"""An agent of a program: what it is asked, and what its answers come to. The peer is Bumble's, over a virtual air."""

import asyncio
from typing import Any

import pytest

from tests.backends.vl2cap.test_connection import Guest, both_transports
from tests.guest import in_process
from tests.guest.conftest import Pair
from tests.guest.in_process import TYPES, user_of
from tests.support import air
from tests.support.pairing import Notes
from usbbtd.guest import (
    Adapter,
    AdapterError,
    ChannelClosed,
    LimitReached,
    NotSecure,
    PermissionDenied,
    Prompt,
    open_adapter,
)
from usbbtd.guest.agent import _checked
from usbbtd.l2capif.messages import AnswerMessage
from usbbtd.radio.adapter import SharedAdapter

xen, guest, api = in_process.xen, in_process.guest, in_process.api


class Person:
    """Says yes, and types what ``notes`` have."""

    def __init__(self, notes: Notes | None = None) -> None:
        self.notes = notes or Notes()
        self.prompts: list[Prompt] = []
        self.ended: list[tuple[str, str]] = []

    async def answer(self, prompt: Prompt) -> bool | int | None:
        self.prompts.append(prompt)
        match prompt.kind:
            case "enter_passkey":
                return await self.notes.shown.get()
            case "display":
                assert prompt.number is not None
                self.notes.shown.put_nowait(prompt.number)
                return None
        return True

    def end(self, prompt: Prompt, reason: str) -> None:
        self.ended.append((prompt.kind, reason))


@both_transports
async def test_two_people_compare_numbers(api: Adapter, peer: air.Remote, transport: int) -> None:
    user, person = user_of(peer, 1), Person()
    peer.serve_echo(transport)
    address = air.PEER[transport][0]
    async with api.agent(person.answer):
        paired = await api.pair(address, address_type=TYPES[transport], security="mitm")
    assert (paired.security in ("authenticated", "secure"), paired.key_size, paired.bonded) == (True, 16, True)
    (prompt,) = person.prompts
    assert (prompt.kind, prompt.address, prompt.address_type) == ("confirm", address, TYPES[transport])
    assert user.compared == [prompt.number]
    assert 0 < prompt.timeout <= 30
    async with await api.connect(
        address, air.PSM[transport], address_type=TYPES[transport], security="mitm"
    ) as channel:  # with the key, and without an agent
        assert channel.security == paired.security
        await channel.send(b"secret")
        assert await channel.recv() == b"secret"


@pytest.mark.parametrize("types", [True, False])
async def test_a_passkey_is_typed_on_either_side(api: Adapter, peer: air.Remote, types: bool) -> None:
    notes = Notes()
    user_of(peer, 0 if types else 2, notes=notes)
    person = Person(notes)
    async with api.agent(person.answer, io_capability="keyboard" if types else "display", ended=person.end):
        paired = await api.pair(air.PEER_LE_ADDRESS, address_type="random", security="mitm")
        assert paired.security == "secure"
        assert [prompt.kind for prompt in person.prompts] == ["enter_passkey" if types else "display"]
        await air.turns(lambda: types or person.ended)
        assert person.ended == [] if types else [("display", "")]


async def test_a_connect_pairs_if_there_is_an_agent(api: Adapter, peer: air.Remote) -> None:
    user_of(peer, 3, mitm=False)
    peer.serve_echo(air.LE)
    with pytest.raises(NotSecure) as refused:
        await api.connect(air.PEER_LE_ADDRESS, air.PSM[air.LE], address_type="random", security="encrypted")
    assert refused.value.why == "no_agent"
    person = Person()
    async with api.agent(person.answer, io_capability="none"):
        with pytest.raises(LimitReached):
            async with api.agent(person.answer):
                pass
        async with await api.connect(
            air.PEER_LE_ADDRESS, air.PSM[air.LE], address_type="random", security="encrypted"
        ) as channel:
            assert channel.security == "encrypted"
        with pytest.raises(NotSecure, match="the link has to be authenticated: the two devices have no way") as less:
            await api.pair(air.PEER_LE_ADDRESS, address_type="random", security="mitm")
        assert (less.value.level, less.value.why) == ("authenticated", "no_mitm")
    assert person.prompts == []


async def raises(prompt: Prompt) -> bool:
    raise ValueError("I cannot see it")


async def is_silent(prompt: Prompt) -> None:
    return None


async def says_no(prompt: Prompt) -> bool:
    return False


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raises, f"the agent refused to confirm for {air.PEER_LE_ADDRESS}: I cannot see it"),
        (is_silent, f"the agent refused to confirm for {air.PEER_LE_ADDRESS}: the answer must be True or False"),
        (says_no, ""),
    ],
)
async def test_an_answer_that_is_none_refuses_the_pairing(
    api: Adapter, peer: air.Remote, answer: Any, said: str
) -> None:
    reports: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["message"]))
    user_of(peer, 1)
    async with api.agent(answer):
        with pytest.raises(NotSecure, match=r"pair with .*: the answer here was no") as refused:
            await api.pair(air.PEER_LE_ADDRESS, address_type="random", security="mitm")
        with pytest.raises(NotSecure) as later:  # the agent goes on
            await api.pair(air.PEER_LE_ADDRESS, address_type="random", security="mitm")
    assert (refused.value.why, reports) == ("refused_here", [said] if said else [])
    assert later.value.why == "locked_out"


async def test_a_question_that_does_not_count_any_more_is_cancelled(api: Adapter, peer: air.Remote) -> None:
    """The peer's user says no meanwhile."""
    asked, cancelled, ended = asyncio.Event(), asyncio.Event(), Person()

    async def says_no_when_asked(number: int, digits: int) -> bool:
        await asked.wait()
        return False

    user_of(peer, 1).compare_numbers = says_no_when_asked  # type: ignore[method-assign]

    async def thinks(prompt: Prompt) -> bool:
        asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        return True

    async with api.agent(thinks, ended=ended.end):
        with pytest.raises(NotSecure):
            await api.pair(air.PEER_LE_ADDRESS, address_type="random", security="mitm")
        await cancelled.wait()
        ((kind, reason),) = ended.ended
        assert kind == "confirm"
        assert reason


async def test_a_peer_begins(api: Adapter, peer: air.Remote) -> None:
    user_of(peer, 1)
    person = Person()
    async with api.agent(person.answer), await api.listen(air.PSM[air.LE], transport="le") as listener:
        async with api.advertise():
            link = await peer.connect(air.LE)
            await link.pair()
        opening = asyncio.create_task(peer.open(link, air.LE))
        async with await listener.accept() as accepted:
            assert accepted.security == "secure"
            await (await opening).send(b"hello")
            assert await accepted.recv() == b"hello"
    assert {prompt.kind for prompt in person.prompts} <= {"consent", "confirm"}
    assert person.prompts[-1].kind == "confirm"


async def test_policy_ends_an_agent(adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle) -> None:
    guest = Guest(adapter, xen, policy="")
    made = Adapter(xen, 0)
    made._receive_connection(guest.connection)
    await made.wait_connected(air.TIME_LIMIT_S)
    with pytest.raises(PermissionDenied):
        async with made.agent(says_no):
            pass
    guest.close()


async def test_an_agent_ends_with_the_service(guest: Guest, api: Adapter) -> None:
    agent = api.agent(says_no)
    with pytest.raises(RuntimeError, match="the agent is not open"):
        await agent.wait_ended()
    async with agent:
        waiting = asyncio.create_task(agent.wait_ended())
        await asyncio.sleep(0)
        guest.connection.close()
        with pytest.raises(ChannelClosed):
            await waiting
    await agent.close()


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("consent", True, (True, 0, b"")),
        ("confirm", False, (False, 0, b"")),
        ("display", None, None),
        ("display", True, None),
        ("display", False, (False, 0, b"")),
        ("enter_passkey", 0, (True, 0, b"")),
        ("enter_passkey", 999_999, (True, 999_999, b"")),
        ("enter_passkey", None, (False, 0, b"")),
        ("enter_passkey", False, (False, 0, b"")),
        ("enter_pin", "0000", (True, 0, b"0000")),
        ("enter_pin", b"\xff", (True, 0, b"\xff")),
        ("enter_pin", None, (False, 0, b"")),
    ],
)
def test_answers(kind: Any, answer: Any, message: tuple[Any, ...] | None) -> None:
    prompt = Prompt(kind, air.PEER_LE_ADDRESS, "random", None, 30)
    assert _checked(9, prompt, answer) == (None if message is None else AnswerMessage(9, *message))


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("consent", None), ("consent", 1), ("confirm", "yes"), ("display", 5), ("display", "no"),
        ("enter_passkey", True), ("enter_passkey", "000007"), ("enter_passkey", -1), ("enter_passkey", 1_000_000),
        ("enter_pin", True), ("enter_pin", 1234), ("enter_pin", ""), ("enter_pin", "12345678901234567"),
    ],
)  # fmt: skip
def test_answers_that_are_nonsense_are_not_quoted(kind: Any, answer: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as wrong:
        _checked(9, Prompt(kind, air.PEER_LE_ADDRESS, "random", 123, 30), answer)
    assert str(answer) not in str(wrong.value) or answer in ("", "no", 1, True, None)


def test_a_prompt_shows_digits_to_who_asks_only() -> None:
    prompt = Prompt("confirm", air.PEER_LE_ADDRESS, "random", 42_193, 30)
    assert prompt.digits == "042 193"
    assert repr(prompt) == f"<Prompt confirm of {air.PEER_LE_ADDRESS} (random)>"
    assert prompt._replace(number=None).digits == ""


async def of_an_old_service() -> str:
    async with open_adapter() as adapter:
        with pytest.raises(AdapterError) as failed:
            adapter.agent(says_no)
        return str(failed.value)


def test_an_old_service_has_no_agents(pair: Pair) -> None:
    pair.start_backend(True, False, False)
    assert pair.guest.run(of_an_old_service) == "agent: usbbtd in the driver domain is too old for that: update it"


async def asks() -> list[object]:
    async with open_adapter() as adapter:
        asked: list[object] = []
        shown = asyncio.Event()

        async def answer(prompt: Prompt) -> bool | int | None:
            asked.append([prompt.kind, prompt.digits])
            if prompt.kind == "display":
                shown.set()
            return 424242 if prompt.kind == "enter_passkey" else None if prompt.kind == "display" else True

        async with adapter.agent(answer):
            await shown.wait()
            asked.append(await adapter.pair("C0:FF:EE:00:00:01"))
        return asked


def test_prompts_of_a_service(pair: Pair) -> None:
    pair.start_backend()
    assert pair.guest.run(asks) == [
        ["consent", ""],
        ["enter_passkey", ""],
        ["display", "000 007"],
        ["confirm", "042 193"],
        ["encrypted", 16, True],
    ]
