"""L2CAP echoes over a virtual air: Bumble's stack answers them, or does not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bumble.device import Connection
from bumble.l2cap import L2CAP_Command_Reject, L2CAP_Echo_Request, L2CAP_Echo_Response

from tests.support import air
from tests.support.fixtures import NewDongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.radio import links
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.errors import EchoRejected, Exhausted, NoDongle, NotSupported, Unreachable

PEER = air.octets(air.PEER_ADDRESS)


def answer(peer: air.Remote, with_data: Callable[..., Any]) -> list[Any]:
    """From now on the peer answers with what ``with_data`` makes of the request's data; None: not at all."""
    requests = []

    def answered(connection: Connection, cid: int, request: L2CAP_Echo_Request) -> None:
        requests.append(request.data)
        if (data := with_data(request.data)) is not None:
            manager.send_control_frame(connection, cid, L2CAP_Echo_Response(identifier=request.identifier, data=data))

    manager = peer.device.l2cap_channel_manager
    manager.on_l2cap_echo_request = answered
    return requests


def ask(adapter: SharedAdapter, data: bytes = b"ping") -> asyncio.Task[Any]:
    return asyncio.create_task(adapter.echoes.ask(PEER, data))


async def test_a_peer_echoes_over_a_link_that_is_made_for_it_and_goes(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await adapter.echoes.ask(PEER, b"") == b""
    assert await adapter.echoes.ask(PEER, bytes(range(44))) == bytes(range(44))
    (link,) = adapter.links.by_handle.values()
    assert (adapter.statistics()["hci_links_opened"], link.idle is not None, link.in_use) == (1, True, False)
    monkeypatch.setattr(links, "IDLE_LINK_S", 0)
    assert await adapter.echoes.ask(PEER, b"last") == b"last"
    await air.turns(lambda: adapter.statistics()["links"] == 0 and not peer.device.connections)


async def test_one_that_waits_holds_its_link(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "IDLE_LINK_S", 0)
    peer.serve(air.BREDR)
    asked = answer(peer, lambda data: None)
    waiting = ask(adapter)
    await air.turns(lambda: asked)
    air.User(await air.connect(adapter, air.BREDR)).channel.close()
    await air.turns(lambda: adapter.statistics()["channels"] == 0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert (adapter.statistics()["links"], adapter.links.info()[0].channels) == (1, 0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await air.turns(lambda: adapter.statistics()["links"] == 0)


async def test_answers_reach_who_asked(adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote) -> None:
    texts = [b"%d" % number for number in range(8)]
    assert await asyncio.gather(*(adapter.echoes.ask(PEER, text) for text in texts)) == texts
    answer(peer, lambda data: b"other" * 100)
    assert await adapter.echoes.ask(PEER, b"ping") == b"other" * 100


async def test_who_gives_up_leaves_the_late_answer_to_nobody(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    asked = answer(peer, lambda data: None if data == b"first" else data)
    first = ask(adapter, b"first")
    await air.turns(lambda: asked)
    first.cancel()
    await asyncio.wait([first])
    (connection,) = peer.device.connections.values()
    late = L2CAP_Echo_Response(identifier=1, data=b"first")
    peer.device.l2cap_channel_manager.send_control_frame(connection, 1, late)
    assert await adapter.echoes.ask(PEER, b"second") == b"second"
    assert adapter.echoes._waiters == {}


async def test_a_peer_that_never_answers_and_one_that_rejects(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    answer(peer, lambda data: None)
    with pytest.raises(Unreachable, match="the peer did not answer") as silent:
        await adapter.echoes.ask(PEER, b"ping")
    assert silent.value.status == 0
    manager = peer.device.l2cap_channel_manager
    manager.on_l2cap_echo_request = lambda connection, cid, request: manager.send_control_frame(
        connection, cid, L2CAP_Command_Reject(identifier=request.identifier, reason=0, data=b"")
    )
    with pytest.raises(EchoRejected):
        await adapter.echoes.ask(PEER, b"ping")


@pytest.mark.parametrize("end", ["link", "dongle"])
async def test_link_or_dongle_goes_while_it_waits(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, end: str
) -> None:
    asked = answer(peer, lambda data: None)
    waiting = [ask(adapter) for _ in range(3)]
    await air.turns(lambda: len(asked) == 3)
    if end == "link":
        await peer.links[air.BREDR].disconnect()
    else:
        dongle.unplug()
    for each in waiting:
        with pytest.raises(Unreachable if end == "link" else NoDongle) as lost:
            await each
        assert end == "dongle" or getattr(lost.value, "status", 0) == 0x13
    assert adapter.echoes._waiters == {}


async def test_so_many_wait_on_a_link_and_no_more(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    asked = answer(peer, lambda data: None)
    most = adapter._limits.echoes
    waiting = [ask(adapter) for _ in range(most)]
    await air.turns(lambda: len(asked) == most)
    with pytest.raises(Exhausted):
        await adapter.echoes.ask(PEER, b"ping")
    with pytest.raises(Exhausted):
        await adapter.echoes.ask(PEER, bytes(45))
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)


async def test_without_a_dongle_or_without_br_edr_there_is_none(adapter: SharedAdapter, new_dongle: NewDongle) -> None:
    with pytest.raises(NoDongle):
        await adapter.echoes.ask(PEER, b"ping")
    await adapter.take_dongle(H2Dongle(new_dongle()))
    await adapter.wait_powered()
    host = air.controller_of(adapter).host
    assert host.controller is not None
    host.controller = host.controller._replace(supports_bredr=False)
    with pytest.raises(NotSupported):
        await adapter.echoes.ask(PEER, b"ping")
