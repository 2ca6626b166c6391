"""What every client has to be able to do, whatever language it is written in: tests call these with their program.

The other ends are the very service, with its dongle and a remote device of another stack (tests/support/stack.py).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients.client import Client, ClientError
from tests.demo import plan
from tests.support.domain import Domain
from tests.support.remote_peer import SILENT
from tests.support.stack import Stack

TYPES: dict[plan.Transport, str] = {"bredr": "bredr", "le": "random"}
SOURCES: dict[plan.Transport, str] = {"bredr": "inquiry", "le": "advertising"}
#: AD structures: LE General Discoverable Mode, and no BR/EDR.
FLAGS = "020106"
#: No peer has it, and the rules of ``POLICY`` deny it.
DENIED_PSM: dict[plan.Transport, int] = {"bredr": 0x1203, "le": 0x00F0}
UNUSED_PSM: dict[plan.Transport, int] = {"bredr": 0x1099, "le": 0x00E0}
LISTENING_PSM: dict[plan.Transport, int] = {"bredr": 0x1077, "le": 0x00A7}
POLICY = """\
[[rule]]
guest = "any"
action = ["connect", "listen"]
psm = "0x1203"
verdict = "deny"
[[rule]]
guest = "any"
action = ["connect", "listen"]
spsm = "0x00F0"
verdict = "deny"
[[rule]]
guest = "any"
action = "any"
verdict = "allow"
"""
LARGEST_SDU = 2048


def connect(client: Client, transport: plan.Transport, psm: int | None = None, level: str = "none") -> str:
    """Connects to the remote device, by default to the PSM that echoes, and returns the channel."""
    psm = plan.ECHO_PSM[transport] if psm is None else psm
    address = plan.ECHO.address_on(transport), TYPES[transport]
    channel, *peer, tx_mtu, rx_mtu, _ = client.ask("connect", *address, psm, LARGEST_SDU, level)
    assert tuple(peer) == address
    assert int(tx_mtu) >= LARGEST_SDU
    assert int(rx_mtu) == LARGEST_SDU
    return channel


def tells_what_the_adapter_is(client: Client) -> None:
    client.ask("ready")
    address, le_address, powered, features, _, channels, max_mtu = client.ask("info")
    assert (address, powered, channels) == (plan.DONGLE_ADDRESS, "true", "0")
    assert le_address.count(":") == 5
    assert int(features) & 0b11111 == 0b11111
    assert int(max_mtu) >= LARGEST_SDU


def echoes_sdus_of_every_size(client: Client, transport: plan.Transport) -> None:
    """From 1 octet: a peer with Bumble's stack takes 0 for unknown."""
    client.ask("ready")
    channel = connect(client, transport)
    assert client.ask("echo", channel, 1, LARGEST_SDU) == [str(LARGEST_SDU)]
    client.ask("close", channel)
    assert client.ask("info")[5] == "0"
    with pytest.raises(ClientError) as closed:
        client.ask("recv", channel)
    assert closed.value.kind == "closed"


def takes_a_peer_that_connects(client: Client, stack: Stack, transport: plan.Transport) -> None:
    """On LE it advertises, so that the peer finds it."""
    client.ask("ready")
    wanted = transport, LISTENING_PSM[transport], 1000, "none"
    (listener,) = client.ask("listen", *wanted)
    with pytest.raises(ClientError) as taken:
        client.ask("listen", *wanted)
    assert taken.value.kind == "in-use"
    command: dict[str, object] = {"psm": LISTENING_PSM[transport]}
    if transport == "le":
        client.ask("advertise", FLAGS)
        command["le"] = client.ask("info")[1]
    with ThreadPoolExecutor(1) as threads:
        client.say("accept", listener)
        call = threads.submit(stack.peer.ask, **command)
        channel, *peer, _, _, _ = client.answer()
        assert call.result() == {"said": ""}
    assert peer == [plan.ECHO.address_on(transport), TYPES[transport]]
    client.ask("send", channel, "0102")
    client.ask("close", channel)
    client.ask("close", listener)
    (again,) = client.ask("listen", *wanted)
    client.ask("close", again)


def hears_who_is_there(client: Client, transport: plan.Transport) -> None:
    client.ask("ready")
    (scan,) = client.ask("scan", transport)
    while (report := client.ask("report", scan))[0] != plan.ECHO.address_on(transport):
        pass
    assert report[1:3] == [TYPES[transport], SOURCES[transport]]
    client.ask("close", scan)


def is_refused(client: Client, transport: plan.Transport) -> None:
    """By policy, by the peer, for want of security, and for an argument; and goes on."""
    client.ask("ready")
    for psm, level, kind in (
        (DENIED_PSM[transport], "none", "denied"),
        (UNUSED_PSM[transport], "none", "refused"),
        (plan.ECHO_PSM[transport], "authenticated", "not-secure"),
    ):
        with pytest.raises(ClientError) as refused:
            connect(client, transport, psm, level)
        assert refused.value.kind == kind
    with pytest.raises(ClientError) as denied:
        client.ask("listen", transport, DENIED_PSM[transport], 1000, "none")
    assert denied.value.kind == "denied"
    address = plan.ECHO.address_on(transport), TYPES[transport]
    with pytest.raises(ClientError) as wrong:
        client.ask("connect", *address, 0x1_0001, 1000, "none")
    assert wrong.value.kind == "invalid"
    channel = connect(client, transport)
    assert client.ask("echo", channel, 1, 10) == ["10"]
    with pytest.raises(ClientError) as long:
        client.ask("send", channel, "00" * 65536)
    assert long.value.kind == "invalid"
    client.ask("close", channel)


def outlives_a_restart_of_the_service(client: Client, stack: Stack) -> None:
    client.ask("ready")
    channel = connect(client, "le", SILENT["le"])
    client.say("recv", channel)
    stack.daemon.kill()
    stack.start_daemon()
    with pytest.raises(ClientError) as lost:
        client.answer()
    assert lost.value.kind == "disconnected"
    client.ask("ready")
    stack.daemon.wait_logged("adapter up")
    for transport in plan.TRANSPORTS:
        channel = connect(client, transport)
        assert client.ask("echo", channel, 1, 100) == ["100"]
        client.ask("close", channel)


def leaves_nothing(client: Client, stack: Stack, guest: Domain) -> None:
    """It quits with a channel open."""
    client.ask("ready")
    connect(client, "le")
    client.quit()
    stack.world.wait_value(f"{guest.home}/device/vl2cap/0/state", "6")
    counts = stack.world.statistics()[guest.domid]
    assert (counts["shared"], counts["ports"]) == (0, 0)
