"""CONNECTs of a guest, as its frontend sees them answered and released, over a virtual air."""

import asyncio
import errno
from typing import Any

import pytest
from bumble.gatt import Service
from structlog.testing import capture_logs

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_agents import AgentEnd, pair, pair_by_numbers, user_of
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from tests.support.pairing import AirAgent
from usbbtd.abi.layout import constants
from usbbtd.guest.errors import ChannelClosed
from usbbtd.l2capif.wire import ChannelResponse
from usbbtd.radio.adapter import SharedAdapter

xen, guest = connection.xen, connection.guest
MTU, ORDER, NOBODY, both_transports = connection.MTU, connection.ORDER, connection.NOBODY, connection.both_transports
octets = air.octets
ATT = 4
WHY_NO_AGENT = constants.L2CAPIF_WHY_NO_AGENT


@both_transports
async def test_sdus_of_all_sizes_go_there_and_back(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    peer.serve_echo(transport)
    stream = guest.stream()
    opened = await guest.connect(transport, stream=stream)
    assert (opened.ret, opened.address, opened.psm) == (0, octets(air.PEER[transport][0]), air.PSM[transport])
    assert opened.tx_mtu == opened.rx_mtu == MTU
    sent = [bytes([number % 256]) * size for number, size in enumerate(air.SIZES * 5)]
    sending = asyncio.create_task(stream.send(sent))
    received: list[Any] = []
    while len(received) < len(sent):
        received += await stream.receive_many()
    assert received == sent
    await sending


async def test_without_a_dongle(guest: Guest) -> None:
    stream = guest.stream()
    assert (await guest.connect()).ret == -errno.ENODEV
    shared = stream.shared
    assert (await guest.ask(lambda core: core.scan(ref=shared.ref, evtchn=shared.port))).ret == -errno.ENODEV
    assert guest.served.statistics()["channels"] == 0
    await guest.listen()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"ref": 999_999}, errno.EFAULT),
        ({"evtchn": 999_999}, errno.EFAULT),
        ({"mtu": 8189}, errno.EINVAL),  # a ring of order 2 takes 8188
        ({"mtu": 47}, errno.EINVAL),
        ({"psm": 0x100}, errno.EINVAL),
        ({"security": 5}, errno.EINVAL),
    ],
)
async def test_a_connect_that_cannot_be(
    guest: Guest, dongle: air.DirectDongle, bad: dict[str, Any], error: int
) -> None:
    assert (await guest.connect(**bad)).ret == -error
    assert guest.xen.mapped == 1
    assert dongle.commands[-1][:2] != b"\x05\x04"  # the peer was not bothered


@pytest.mark.parametrize(("order", "first_ref", "error"), [(0, None, errno.EINVAL), (6, None, errno.EINVAL),
                                                           (7, None, errno.EINVAL), (0xFFFFFFFF, None, errno.EINVAL),
                                                           (ORDER, 999_999, errno.EFAULT)])  # fmt: skip
async def test_a_page_of_indices_that_makes_no_sense(
    guest: Guest, dongle: air.DirectDongle, order: int, first_ref: int | None, error: int
) -> None:
    for make in ("connect", "scan"):
        stream = guest.stream()
        memory = stream.shared._indices
        memory[256:260] = order.to_bytes(4, "little")
        if first_ref is not None:
            memory[260:264] = first_ref.to_bytes(4, "little")
        if make == "connect":
            answer = await guest.connect(stream=stream)
        else:
            answer = await guest.ask(lambda core, of=stream.shared: core.scan(ref=of.ref, evtchn=of.port))
        assert answer.ret == -error


@both_transports
async def test_a_refusal_carries_the_peers_result(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    answer = await guest.connect(transport)
    assert (answer.ret, answer.result, answer.status) == (-errno.ECONNREFUSED, 2, 0)


@both_transports
async def test_a_peer_that_does_not_answer_in_time(guest: Guest, dongle: air.DirectDongle, transport: int) -> None:
    answer = await guest.connect(transport, NOBODY, timeout_s=0.05)
    assert (answer.ret, answer.result, answer.status) == (-errno.ETIMEDOUT, 0, 0)


async def test_a_link_that_cannot_be_made_carries_the_hci_status(
    guest: Guest, dongle: air.DirectDongle, adapter: SharedAdapter
) -> None:
    connecting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: adapter.links._attempts)
    dongle.inject([b"\x03\x0b\x04\x00\x00" + NOBODY + b"\x01\x00"])  # Connection Complete: page timeout
    answer = await connecting
    assert (answer.ret, answer.status) == (-errno.ETIMEDOUT, 4)


@pytest.mark.parametrize("reason", [0x08, 0x13])
async def test_a_link_that_ends_under_a_connect_carries_its_reason(
    guest: Guest, dongle: air.DirectDongle, adapter: SharedAdapter, peer: air.Remote, reason: int
) -> None:
    connecting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: adapter.links._attempts)
    # Connection Complete, then, with the L2CAP request unanswered, Disconnection Complete.
    dongle.inject([b"\x03\x0b\x00\x77\x00" + NOBODY + b"\x01\x00"])
    await air.turns(lambda: adapter.channels._opening)
    dongle.inject([b"\x05\x04\x00\x77\x00" + bytes([reason])])
    answer = await connecting
    assert (answer.ret, answer.status) == (-errno.ETIMEDOUT, reason)


async def test_a_dongle_that_goes_while_a_peer_is_called(guest: Guest, dongle: air.DirectDongle) -> None:
    connecting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: len(dongle.commands) and dongle.commands[-1][:2] == b"\x05\x04")
    dongle.unplug()
    assert (await connecting).ret == -errno.ENODEV


async def test_connect_and_release_in_one_batch(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    peer.serve(air.BREDR)
    stream = guest.stream()
    connecting = guest.connect(stream=stream)
    releasing = guest.release(connecting.number)
    assert (await connecting).ret == -errno.ENOTCONN
    assert (await releasing).ret == 0
    assert guest.xen.mapped == 1
    assert guest.served.statistics()["channels"] == 0


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13, 21, 34])
async def test_release_at_any_moment_of_a_connect(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, adapter: SharedAdapter, turns: int
) -> None:
    peer.serve(air.BREDR)
    connecting = guest.connect()
    for _ in range(turns):
        await asyncio.sleep(0)
    releasing = guest.release(connecting.number)
    assert (await releasing).ret == 0
    assert (await connecting).ret in (0, -errno.ENOTCONN)
    assert guest.xen.mapped == 1
    await air.turns(lambda: adapter.statistics()["l2cap_channels"] == 0 and adapter.links._attempts == {})


async def test_release_of_a_channel_that_died(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    peer.serve(air.BREDR)
    stream = guest.stream()
    connecting = guest.connect(stream=stream)
    await connecting
    await (await peer.accepted.get()).close()
    with pytest.raises(ConnectionError):
        await stream.receive()
    assert (await guest.ask(lambda core: core.info())).channels == 1
    assert (await guest.release(connecting.number)).ret == 0
    assert (await guest.ask(lambda core: core.info())).channels == 0


@both_transports
async def test_a_channel_has_the_level_that_was_asked_for_and_a_bond_does_for_the_next(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    user_of(peer)
    peer.serve_echo(transport)
    agent = await AgentEnd.start(guest)
    stream = guest.stream()
    opening = guest.connect(transport, stream=stream, security=3)
    await agent.answer((await agent.prompt()).number, True)
    opened = await opening
    assert (opened.ret, opened.security >= 3, opened.why, opened.needed) == (0, True, 0, 0)
    await stream.send([b"secret"])
    assert await stream.receive() == b"secret"
    await agent.release()
    await guest.release(opened.id)
    await peer.links[transport].disconnect()
    again = await guest.connect(transport, security=3)
    assert (again.ret, again.security) == (0, opened.security)
    assert guest.served.statistics()["prompts"] == 1


@both_transports
async def test_without_an_agent_only_bonds_make_links_secure(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    user_of(peer)
    peer.serve(transport)
    refused = await guest.connect(transport, security=2)
    assert refused[3:] == ChannelResponse(0, 0, 0, -errno.EPERM, why=WHY_NO_AGENT, needed=2)[3:]
    assert guest.xen.mapped == 1
    opened = await guest.connect(transport, security=1)
    assert (opened.ret, opened.security) == (0, 1)


@both_transports
async def test_the_log_says_which_channel_was_not_opened(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    user_of(peer)
    peer.serve(transport)
    address = air.PEER[transport][0]
    with capture_logs() as logs:
        await guest.connect(transport, security=3)
    (told,) = [log for log in logs if log["event"] == "channel not opened"]
    assert (told["action"], told["addr"], told["psm"]) == ("connect", address, air.PSM[transport])
    assert told["reason"] == (
        f"{address} was to reach the level authenticated, but there are no keys for this level, "
        "and no agent that may pair"
    )


@both_transports
async def test_policy_wants_a_level_that_the_guest_did_not_ask_for(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    guest = Guest(adapter, xen, policy=air.ALLOW_ALL + 'security = "authenticated"\n')
    peer.serve(transport)
    user_of(peer)
    refused = await guest.connect(transport)
    assert (refused.ret, refused.why, refused.needed) == (-errno.EPERM, WHY_NO_AGENT, 3)
    agent = await AgentEnd.start(guest)
    opening = guest.connect(transport)
    await agent.answer((await agent.prompt()).number, True)
    assert (await opening).security >= 3
    guest.close()


async def test_a_rule_for_bonded_peers_holds_with_the_key_of_the_bond_only(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    policy = '[[rule]]\nguest = "any"\npeer = "bonded"\naction = "connect"\nverdict = "allow"\n'
    pairing = '[[rule]]\nguest = "any"\naction = "agent"\nverdict = "allow"\n'
    guest = Guest(adapter, xen, policy=policy + pairing)
    user_of(peer)
    peer.serve_echo(air.LE)
    assert (await guest.connect(air.LE)).ret == -errno.EACCES
    await pair_by_numbers(guest, air.LE)
    opened = await guest.connect(air.LE)
    assert (opened.ret, opened.security >= 2) == (0, True)
    guest.close()


async def test_a_channel_ends_when_its_link_is_not_secure_any_more(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    user_of(peer)
    peer.serve(air.BREDR)
    agent = await AgentEnd.start(guest)
    stream = guest.stream()
    opening = guest.connect(air.BREDR, stream=stream, security=3)
    await agent.answer((await agent.prompt()).number, True)
    assert (await opening).ret == 0
    await peer.links[air.BREDR].encrypt(False)
    with pytest.raises(ChannelClosed) as ended:
        await stream.receive()
    assert ended.value.errno == errno.EPERM


async def test_a_fixed_channel_belongs_to_one_guest(
    adapter: SharedAdapter, guest: Guest, dongle: air.DirectDongle, peer: air.Remote, plain_xen: Any
) -> None:
    peer.device.add_service(Service("1812", []))
    stream = guest.stream()
    opened = await guest.connect(air.LE, psm=ATT, stream=stream, fixed=True)
    assert (opened.ret, opened.psm, opened.rx_mtu, opened.tx_mtu >= 23) == (0, ATT, MTU, True)
    await stream.send([b"\x02\x00\x02"])  # ATT_EXCHANGE_MTU_REQ
    assert (await stream.receive())[:1] == b"\x03"
    (channel,) = guest.served.info(7, 0).channels
    assert (channel.psm, channel.cid) == (0, ATT)
    assert (await guest.connect(air.LE, psm=ATT, fixed=True)).ret == -errno.EADDRINUSE
    await guest.release(opened.id)
    assert (await guest.connect(air.LE, psm=ATT, fixed=True)).ret == 0


async def test_fixed_channels_that_cannot_be(
    guest: Guest, adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    assert (await guest.connect(air.LE, psm=6, fixed=True)).ret == -errno.EINVAL
    assert (await guest.connect(air.LE, psm=0x20, fixed=True)).ret == -errno.EOPNOTSUPP
    assert (await guest.connect(air.BREDR, psm=ATT, fixed=True)).ret == -errno.EOPNOTSUPP
    spsm_only = Guest(adapter, xen, policy=air.ALLOW_ALL + "spsm = 4\n")
    assert (await spsm_only.connect(air.LE, psm=ATT, fixed=True)).ret == -errno.EACCES
    spsm_only.close()
    cid_only = Guest(adapter, xen, policy=air.ALLOW_ALL + "cid = 4\n")
    assert (await cid_only.connect(air.LE, psm=ATT, fixed=True)).ret == 0
    assert (await cid_only.connect(air.LE, psm=ATT)).ret == -errno.EACCES
    cid_only.close()


async def test_a_peer_that_sends_more_than_a_fixed_channel_takes(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    stream = guest.stream()
    assert (await guest.connect(air.LE, psm=ATT, stream=stream, fixed=True, mtu=23)).ret == 0
    peer.device.send_l2cap_pdu(peer.links[air.LE].handle, ATT, bytes(24))
    with pytest.raises(ChannelClosed) as ended:
        await stream.receive()
    assert ended.value.errno == errno.EBADMSG


@both_transports
async def test_a_bond_of_another_guest_is_not_used_unless_a_rule_names_the_peer(
    guest: Guest, adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    address, address_type = air.PEER[transport]
    peer.serve(transport)
    user_of(peer)
    await adapter.security.pair(octets(address), address_type, 2, AirAgent(guest="lab"))
    (bond,) = adapter.security.bonds()
    await AgentEnd.start(guest)
    assert (await guest.connect(transport, security=2)).ret == -errno.EACCES
    assert (await pair(guest, transport)).ret == -errno.EACCES
    opened = await guest.connect(transport)
    assert (opened.ret, opened.security > 2) == (0, True)  # it asked for no key, which the link happens to have
    connection.change(guest, air.ALLOW_ALL + f'peer = "{address}"')
    named = await guest.connect(transport, security=2)
    assert (named.ret, named.security) == (0, opened.security)
    assert adapter.security.bonds()[0].guests == bond.guests == {"lab"}
