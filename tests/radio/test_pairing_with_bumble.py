"""Pairing of an adapter with remote devices that have Bumble's stack, begun by either side; and what they refuse."""

import asyncio
from typing import Any

import pytest
from bumble.core import ProtocolError
from bumble.keys import MemoryKeyStore
from bumble.l2cap import L2capError
from bumble.pairing import PairingConfig, PairingDelegate

from tests.radio.test_adapter import advertise, peer_opens
from tests.support import air
from tests.support.pairing import AirAgent, Notes, RemoteUser
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
    BredrResult,
    LeResult,
)
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import RadioChannel
from usbbtd.radio.errors import Insecure, Obstacle
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY

both_transports = pytest.mark.parametrize("transport", air.TRANSPORTS)
SHOWN, TYPED = PairingDelegate.DISPLAY_OUTPUT_ONLY, PairingDelegate.KEYBOARD_INPUT_ONLY
COMPARED, NOTHING = PairingDelegate.DISPLAY_OUTPUT_AND_YES_NO_INPUT, PairingDelegate.NO_OUTPUT_NO_INPUT
#: What our agent has, what the remote device has, whether that authenticates, and what our agent is asked if we begin.
WAYS = [
    pytest.param(NO_INPUT_NO_OUTPUT, NOTHING, False, [], id="just_works"),
    pytest.param(DISPLAY_YES_NO, COMPARED, True, [CONFIRM], id="numeric_comparison"),
    pytest.param(DISPLAY_ONLY, TYPED, True, [DISPLAY], id="peer_types"),
    pytest.param(KEYBOARD_ONLY, SHOWN, True, [ENTER_PASSKEY], id="we_type"),
]


def prepare(
    peer: air.Remote, user: RemoteUser, *, sc: bool = True, mitm: bool = True,
    identity: PairingConfig.AddressType = PairingConfig.AddressType.PUBLIC,
) -> None:  # fmt: skip
    """Gives a remote device a user, and a place for keys. ``identity``: which of its addresses it gives as that."""
    peer.device.keystore = MemoryKeyStore()
    peer.device.pairing_config_factory = lambda _: PairingConfig(
        sc=sc, mitm=mitm, delegate=user, identity_address_type=identity
    )


async def connect(adapter: SharedAdapter, transport: int, level: int, agent: AirAgent | None = None) -> RadioChannel:
    address, address_type = air.PEER[transport]
    connecting = adapter.channels.connect(air.octets(address), address_type, air.PSM[transport], air.MTU, level, agent)
    async with asyncio.timeout(air.TIME_LIMIT_S):
        return await connecting


async def echo(channel: RadioChannel) -> None:
    user = air.User(channel)
    await user.send([b"hello"])
    assert await user.receive(1) == [b"hello"]


@both_transports
@pytest.mark.parametrize(("ours", "theirs", "authenticates", "asked"), WAYS)
async def test_we_pair(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int, ours: int, theirs: Any,
    authenticates: bool, asked: list[int],
) -> None:  # fmt: skip
    notes = Notes()
    agent = AirAgent(ours, notes=notes)
    prepare(peer, RemoteUser(theirs, notes))
    peer.serve_echo(transport)
    level = LEVEL_AUTHENTICATED if authenticates else LEVEL_ENCRYPTED
    channel = await connect(adapter, transport, level, agent)
    await echo(channel)
    assert agent.kinds == asked
    assert channel.link.security.level >= level
    assert peer.links[transport].is_encrypted


@pytest.mark.parametrize("sc", [False, True])
async def test_secure_connections_of_le(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, sc: bool
) -> None:
    notes = Notes()
    prepare(peer, RemoteUser(TYPED, notes), sc=sc)
    peer.serve_echo(LE)
    channel = await connect(adapter, LE, LEVEL_AUTHENTICATED, AirAgent(DISPLAY_ONLY, notes=notes))
    assert channel.link.security.level == (LEVEL_SECURE if sc else LEVEL_AUTHENTICATED)
    await echo(channel)
    if not sc:
        with pytest.raises(Insecure) as caught:
            await connect(adapter, LE, LEVEL_SECURE, AirAgent(DISPLAY_ONLY, notes=notes))
        assert "no Secure Connections" in str(caught.value)


@both_transports
@pytest.mark.parametrize(("ours", "theirs", "authenticates", "asked"), WAYS)
async def test_the_peer_pairs(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int, ours: int, theirs: Any,
    authenticates: bool, asked: list[int],
) -> None:  # fmt: skip
    notes = Notes()
    agent = AirAgent(ours, notes=notes)
    adapter.agents.register(agent)
    prepare(peer, RemoteUser(theirs, notes))
    taker = air.Taker(adapter, transport, security=LEVEL_AUTHENTICATED if authenticates else LEVEL_ENCRYPTED)
    advertise(adapter)
    connection = await peer.connect(transport)
    if transport == BREDR:
        await connection.authenticate()
        await connection.encrypt()
    else:
        await connection.pair()
    opening = await peer_opens(peer, transport)
    channel = await adapter.channels.accept(await taker.offers.get(), air.MTU)
    remote = await opening
    await remote.send(b"hello")
    assert await air.User(channel).receive(1) == [b"hello"]
    assert agent.kinds == (asked or [CONSENT])


@both_transports
async def test_a_bond_is_used_again(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    prepare(peer, RemoteUser(COMPARED))
    peer.serve_echo(transport)
    await connect(adapter, transport, LEVEL_AUTHENTICATED, AirAgent())
    await peer.links[transport].disconnect()
    await air.turns(lambda: not adapter.links.by_handle)
    if transport == LE:
        await peer.device.start_advertising(auto_restart=True)
    channel = await connect(adapter, transport, LEVEL_AUTHENTICATED)
    await echo(channel)
    assert channel.link.security.is_bonded


@both_transports
async def test_a_peer_that_lost_its_key_is_not_paired_with_anew(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    prepare(peer, RemoteUser(COMPARED))
    peer.serve_echo(transport)
    await connect(adapter, transport, LEVEL_AUTHENTICATED, AirAgent())
    await peer.links[transport].disconnect()
    await air.turns(lambda: not adapter.links.by_handle)
    prepare(peer, RemoteUser(COMPARED))
    if transport == LE:
        await peer.device.start_advertising(auto_restart=True)
    agent = AirAgent()
    with pytest.raises(Insecure) as caught:
        await connect(adapter, transport, LEVEL_AUTHENTICATED, agent)
    assert caught.value.why is Obstacle.KEY_MISSING
    assert agent.prompts == []


async def test_a_peripheral_asks_its_central_to_pair(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    agent = AirAgent(answer=lambda _: None)
    adapter.agents.register(agent)
    prepare(peer, RemoteUser(COMPARED))
    peer.serve_echo(LE)
    channel = await connect(adapter, LE, LEVEL_NONE)
    peer.links[LE].request_pairing()
    await agent.asked.wait()
    channel.close()
    await air.turns(lambda: not channel.link.channels)
    assert channel.link.in_use  # nobody has it ended while people are asked
    agent.prompts[0].answer(True)
    await air.turns(lambda: adapter.security.bonds())
    assert agent.kinds == [CONFIRM]
    assert channel.link.security == (LEVEL_SECURE, 16, True)


async def test_we_ask_our_central_to_pair(adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote) -> None:
    prepare(peer, RemoteUser(COMPARED))
    peer.serve_echo(LE)
    air.Taker(adapter, LE)
    advertise(adapter)
    connection = await peer.connect(LE)
    connection.on("security_request", lambda _: peer.run(connection.pair()))
    await air.turns(lambda: adapter.links.by_handle)  # else we would connect to it, too
    agent = AirAgent()
    channel = await connect(adapter, LE, LEVEL_AUTHENTICATED, agent)
    await echo(channel)
    assert agent.kinds == [CONFIRM]
    await connection.disconnect()
    await air.turns(lambda: not adapter.links.by_handle)
    again = await peer.connect(LE)
    again.on("security_request", lambda _: peer.run(again.encrypt()))
    await air.turns(lambda: adapter.links.by_handle)
    await echo(await connect(adapter, LE, LEVEL_AUTHENTICATED))  # it encrypts when it is asked to, by the bond


@pytest.mark.parametrize("consents", [True, False])
async def test_a_stranger_that_comes_is_asked_about(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, consents: bool
) -> None:
    """It is we who begin to pair then, with a device that can neither show nor type a number."""
    agent = AirAgent(answer=lambda _: (consents, None))
    adapter.agents.register(agent)
    prepare(peer, RemoteUser(NOTHING), mitm=False)
    taker = air.Taker(adapter, BREDR, security=LEVEL_ENCRYPTED)
    opening = await peer_opens(peer, BREDR)
    if consents:
        await adapter.channels.accept(await taker.offers.get(), air.MTU)
        await opening
    else:
        with pytest.raises(L2capError) as caught:
            await opening
        assert caught.value.error_code == BredrResult.SECURITY_BLOCK
    assert agent.kinds == [CONSENT]
    assert len(adapter.security.bonds()) == consents


# What a listener refuses


@pytest.mark.parametrize(
    ("level", "theirs", "result"),
    [
        (LEVEL_ENCRYPTED, None, LeResult.INSUFFICIENT_AUTHENTICATION),
        (LEVEL_AUTHENTICATED, NOTHING, LeResult.INSUFFICIENT_AUTHENTICATION),
        (LEVEL_SECURE, NOTHING, LeResult.INSUFFICIENT_AUTHENTICATION),
    ],
)
async def test_a_peer_on_le_hears_what_it_has_to_do(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, level: int, theirs: Any, result: int
) -> None:
    adapter.agents.register(AirAgent())
    taker = air.Taker(adapter, LE, security=level)
    advertise(adapter)
    connection = await peer.connect(LE)
    if theirs is not None:
        prepare(peer, RemoteUser(theirs))
        await connection.pair()
        assert connection.is_encrypted
    with pytest.raises(L2capError) as caught:
        await (await peer_opens(peer, LE))
    assert caught.value.error_code == result
    assert taker.offers.empty()


async def test_a_bonded_peer_on_le_hears_that_it_has_to_encrypt(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    adapter.agents.register(AirAgent())
    prepare(peer, RemoteUser(COMPARED))
    advertise(adapter)
    connection = await peer.connect(LE)
    await connection.pair()
    await air.turns(lambda: adapter.security.bonds())
    await connection.disconnect()
    await air.turns(lambda: not adapter.links.by_handle)
    air.Taker(adapter, LE, security=LEVEL_AUTHENTICATED)
    await peer.connect(LE)
    with pytest.raises(L2capError) as caught:
        await (await peer_opens(peer, LE))
    assert caught.value.error_code == LeResult.INSUFFICIENT_ENCRYPTION


async def test_a_bredr_peer_that_does_not_pair_is_refused(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    adapter.agents.register(AirAgent())
    prepare(peer, RemoteUser(COMPARED, says=False))
    taker = air.Taker(adapter, BREDR, security=LEVEL_AUTHENTICATED)
    with pytest.raises(L2capError) as caught:
        await (await peer_opens(peer, BREDR))
    assert caught.value.error_code == BredrResult.SECURITY_BLOCK
    assert taker.offers.empty()


@both_transports
async def test_a_peer_may_not_pair_without_an_agent(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    prepare(peer, RemoteUser(COMPARED))
    air.Taker(adapter, transport)
    advertise(adapter)
    connection = await peer.connect(transport)
    with pytest.raises(ProtocolError):
        await (connection.authenticate() if transport == BREDR else connection.pair())
    (link,) = adapter.links.by_handle.values()
    assert link.security.level == LEVEL_NONE
    assert adapter.security.bonds() == []
