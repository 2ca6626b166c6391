"""What root may have done, and who else may not; each act is a record. Pairing is between two adapters of ours."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import structlog
from bumble.link import LocalLink
from structlog.testing import capture_logs

from tests.support import air
from usbbtd.bluetooth import LEVEL_AUTHENTICATED
from usbbtd.control.acts import Acts
from usbbtd.control.credentials import Credentials
from usbbtd.control.pairing import ClientAgent
from usbbtd.control.protocol import Message, RequestError
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.log import setup
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import Advertiser
from usbbtd.security.bonds import Bond, BredrKey
from usbbtd.service.bond_record import decode, encode
from usbbtd.service.bonds import BondFiles

ROOT, MEMBER = Credentials(77, 0, frozenset()), Credentials(78, 1000, frozenset())
KEY = bytes(range(0xA0, 0xB0))
OTHER = "C0:FF:EE:00:00:33"


class Client:
    """A client of the socket, without the socket. ``replies``: what it has said; None: that it has gone."""

    def __init__(self, acts: Acts, who: Credentials = ROOT) -> None:
        self._acts = acts
        self._who = who
        self.replies: asyncio.Queue[Message | None] = asyncio.Queue()

    def ask(self, command: str, **arguments: object) -> AsyncGenerator[Message, None]:
        return self._acts.ask(command, {"command": command, **arguments}, self._who, self.replies.get)

    async def answers(self, command: str, **arguments: object) -> list[Message]:
        async with asyncio.timeout(air.TIME_LIMIT_S):
            return [answer async for answer in self.ask(command, **arguments)]

    async def refusal(self, command: str, **arguments: object) -> str:
        with pytest.raises(RequestError) as caught:
            await self.answers(command, **arguments)
        return str(caught.value)


async def started(radio: LocalLink, address: str, le_address: str, bonds: BondFiles | None = None) -> SharedAdapter:
    adapter = SharedAdapter(
        random_address=air.octets(le_address), command_timeout_s=0.5, limits=L2capLimits(mps=1021, drain_s=0.5),
        log=structlog.get_logger(), bonds=bonds,
    )  # fmt: skip
    await adapter.take_dongle(H2Dongle(air.DirectDongle(radio, address)))
    await adapter.wait_powered()
    return adapter


@pytest.fixture
async def ours(radio: LocalLink, tmp_path: Path) -> AsyncIterator[SharedAdapter]:
    files = BondFiles(tmp_path / "bonds", structlog.get_logger())
    adapter = await started(radio, air.OUR_ADDRESS, air.OUR_LE_ADDRESS, files)
    air.Taker(adapter, air.BREDR)  # so that it can be connected to
    yield adapter
    adapter.close()
    files.close()


@pytest.fixture
async def theirs(radio: LocalLink) -> AsyncIterator[SharedAdapter]:
    adapter = await started(radio, air.PEER_ADDRESS, air.PEER_LE_ADDRESS)
    air.Taker(adapter, air.BREDR)
    adapter.air.start_advertising(Advertiser(b"", 20, True))
    yield adapter
    adapter.close()


@pytest.fixture
def acts(ours: SharedAdapter) -> Acts:
    return Acts(adapter=ours, decode_bond=decode)


@pytest.fixture
def client(acts: Acts) -> Client:
    return Client(acts)


@contextlib.asynccontextmanager
async def answering(adapter: SharedAdapter, *, accept: bool = True) -> AsyncIterator[list[Message]]:
    """An agent of an adapter, which accepts all that it is asked, or nothing: what it was asked."""
    agent = ClientAgent("lab", LEVEL_AUTHENTICATED, legacy_pin=False)
    asked: list[Message] = []

    async def answer() -> None:
        while True:
            await agent.changed.wait()
            for message in agent.take():
                asked.append(message)
                if "prompt" in message:
                    agent.receive({"reply": message["prompt"], "accept": accept})

    adapter.agents.register(agent)
    task = asyncio.create_task(answer())
    try:
        yield asked
    finally:
        task.cancel()
        adapter.agents.unregister(agent)


async def test_only_root_may_and_others_are_told(acts: Acts) -> None:
    with capture_logs() as logs:
        for command in acts.commands:
            refused = f"not permitted: {command} is for root alone"
            assert await Client(acts, MEMBER).refusal(command) == refused
    assert [(log["event"], log["uid"], log["pid"]) for log in logs] == [("control refused", 1000, 78)] * len(
        acts.commands
    )
    assert len(acts.commands) == 8


@pytest.mark.parametrize(
    ("command", "arguments", "error"),
    [
        ("pair", {}, "address: such as C0:FF:EE:00:00:01"),
        ("pair", {"address": OTHER}, "guest: the name of a guest, to whom the bond will belong"),
        ("pair", {"address": OTHER, "type": "le", "guest": "a"}, "type: one of bredr, public, random"),
        ("pair", {"address": OTHER, "guest": "7"}, "guest: a name, as a bond outlives the guest's number"),
        ("pair", {"address": OTHER, "guest": "a\x1b"}, "guest: the name of a guest"),
        ("pair", {"address": OTHER, "guest": "a", "security": "none"}, "security: one of encrypted, authenticated"),
        ("pair", {"address": OTHER, "guest": "a", "legacy_pin": 1}, "legacy_pin: true or false"),
        ("pair", {"pin": "0000"}, "no such argument: 'pin'"),
        ("agent", {"guest": ["a"]}, "guest: the name of a guest"),
        ("forget", {"address": OTHER}, f"there is no bond with {OTHER}; 'usbbtctl bonds' lists"),
        ("forget", {"address": OTHER, "type": 1}, "type: one of bredr"),
        ("import-bond", {"bond": {"key": KEY.hex()}}, "bond: not a bond"),
        ("disconnect", {"link": 5}, "no link has handle 0x0005"),
        ("disconnect", {"link": OTHER}, f"there is no link to {OTHER}"),
        ("disconnect", {"link": True}, "link: a handle, or an address"),
        ("power", {"on": "yes"}, "on: true or false"),
        ("log-level", {"level": "loud"}, "level: one of debug, info, warning, error"),
    ],
)  # fmt: skip
async def test_requests_that_are_none_are_refused_without_a_record(
    client: Client, command: str, arguments: dict[str, object], error: str
) -> None:
    with capture_logs() as logs:
        assert (await client.refusal(command, **arguments)).startswith(error)
    assert [log["event"] for log in logs] == (["control act"] if error.startswith("there is no bond") else [])


@pytest.mark.parametrize(("address", "kind"), [(air.PEER_ADDRESS, "bredr"), (air.PEER_LE_ADDRESS, "random")])
async def test_pairing_asks_the_client(
    client: Client, ours: SharedAdapter, theirs: SharedAdapter, address: str, kind: str
) -> None:
    terms = {"type": kind, "guest": "work", "security": "secure"}
    with capture_logs() as logs:
        async with asyncio.timeout(air.TIME_LIMIT_S), answering(theirs) as asked:
            answers = []
            async for answer in client.ask("pair", address=address, **terms):
                answers.append(answer)
                if "prompt" in answer:
                    client.replies.put_nowait({"reply": answer["prompt"], "accept": True})
    prompt, result = (answer for answer in answers if answer)
    assert (prompt["kind"], prompt["address"], prompt["guest"]) == ("confirm", address, "work")
    assert prompt["value"] == asked[0]["value"]
    assert len(prompt["value"]) == 6
    assert result == {"security": 4, "key_size": 16, "bonded": True}
    (bond,) = ours.security.bonds()
    assert bond.guests == {"work"}
    record = next(log for log in logs if log["event"] == "control act")
    assert {name: record[name] for name in ("act", "uid", "pid", "guest", "addr")} == {
        "act": "pair", "uid": 0, "pid": 77, "guest": "work", "addr": air.octets(address),
    }  # fmt: skip
    assert await client.answers("disconnect", link=address) == [{"disconnected": 1}]
    await air.turns(lambda: not ours.links.by_handle)
    assert await client.answers("forget", address=address) == [{"forgotten": 1}]
    assert ours.security.bonds() == []


@pytest.mark.parametrize("refuses", ["we", "they"])
async def test_pairing_that_is_refused_makes_no_bond(
    client: Client, ours: SharedAdapter, theirs: SharedAdapter, refuses: str
) -> None:
    async def pair() -> None:
        async for answer in client.ask("pair", address=air.PEER_ADDRESS, guest="work"):
            if "prompt" in answer:
                client.replies.put_nowait({"reply": answer["prompt"], "accept": refuses != "we"})

    async with answering(theirs, accept=refuses != "they"):
        with pytest.raises(RequestError):
            await pair()
    assert ours.security.bonds() == theirs.security.bonds() == []


async def test_a_client_that_goes_takes_its_pairing_with_it(
    client: Client, ours: SharedAdapter, theirs: SharedAdapter
) -> None:
    async with asyncio.timeout(air.TIME_LIMIT_S), answering(theirs):
        async for answer in client.ask("pair", address=air.PEER_ADDRESS, guest="work"):
            if "prompt" in answer:
                client.replies.put_nowait(None)
    assert ours.security.bonds() == []


async def test_replies_that_do_not_count_are_told(client: Client, theirs: SharedAdapter) -> None:
    async with asyncio.timeout(air.TIME_LIMIT_S), answering(theirs):
        told = []
        async for answer in client.ask("pair", address=air.PEER_ADDRESS, guest="work"):
            if "prompt" in answer:
                for number in (answer["prompt"] + 1, answer["prompt"], answer["prompt"]):
                    client.replies.put_nowait({"reply": number, "accept": True})
            elif "ignored" in answer:
                told.append((answer["ignored"] - 1, answer["reason"]))
            elif "security" in answer:
                assert answer["bonded"]
    assert [reason for _, reason in told] == ["nobody waits for that"] * len(told)
    assert told


async def test_an_agent_lets_peers_pair_for_as_long_as_it_is_there(
    client: Client, ours: SharedAdapter, theirs: SharedAdapter
) -> None:
    other = Client(Acts(adapter=theirs, decode_bond=decode))
    agent = client.ask("agent", guest="work")
    assert await anext(agent) == {}
    assert len(ours.agents) == 1

    async def serve() -> None:
        async for answer in agent:
            if "prompt" in answer:
                client.replies.put_nowait({"reply": answer["prompt"], "accept": True})

    serving = asyncio.create_task(serve())
    async with asyncio.timeout(air.TIME_LIMIT_S):
        async for answer in other.ask("pair", address=air.OUR_ADDRESS, guest="lab"):
            if "prompt" in answer:
                other.replies.put_nowait({"reply": answer["prompt"], "accept": True})
        await air.turns(lambda: ours.security.bonds())
        assert ours.security.bonds()[0].guests == {"work"}
        client.replies.put_nowait(None)
        await serving
    assert len(ours.agents) == 0


async def test_a_bond_is_imported_and_none_is_made_weaker(client: Client, ours: SharedAdapter) -> None:
    bond = Bond(air.octets(OTHER), 0, BredrKey(KEY, 5), frozenset({"work"}), 1.0)
    with capture_logs() as logs:
        assert await client.answers("import-bond", bond=encode(bond)) == [{}]
        assert await client.answers("import-bond", bond=encode(bond._replace(guests=frozenset({"lab"})))) == [{}]
        weaker = bond._replace(keys=BredrKey(KEY[::-1], 4))
        error = await client.refusal("import-bond", bond=encode(weaker))
    assert error == "the bond is authenticated, the new keys are not"
    assert ours.security.bonds() == [bond._replace(guests=frozenset({"work", "lab"}))]
    assert KEY.hex() not in json.dumps(logs, default=str)


async def test_power_and_reset(client: Client, ours: SharedAdapter, radio: LocalLink) -> None:
    assert await client.answers("power", on=False) == [{"adapter": "switched off"}]
    assert not ours.powered
    assert await client.refusal("reset") == "there is no dongle"
    dongle = air.DirectDongle(radio, OTHER)
    taking = asyncio.create_task(ours.take_dongle(H2Dongle(dongle)))
    await air.turns(lambda: not taking.done())
    assert dongle.commands == []
    with capture_logs() as logs:
        assert await client.answers("power", on=True) == [{"adapter": "no dongle"}]
        await taking
        await ours.wait_powered()
        assert await client.answers("reset") == [{}]
    assert dongle.closed
    assert [(log["log_level"], log["reason"]) for log in logs if log["event"] == "adapter down"] == [
        ("info", "the adapter is being reset")
    ]


async def test_the_level_of_the_log(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    setup.configure(setup.LogDefaults(target="stderr"))
    try:
        bound = structlog.get_logger().bind(domid=3)
        await client.answers("log-level", level="warning")
        bound.info("not this")
        await client.answers("log-level", level="debug")
        bound.debug("but this")
    finally:
        structlog.reset_defaults()
    said = capsys.readouterr().err
    assert "not this" not in said
    assert "but this" in said
