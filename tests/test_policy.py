"""Policy in the very service: guests of the simulated Xen get what the files say, and feel it when these change."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_pair import Session
from tests.demo import plan
from tests.sim.configuration import ALLOW_ALL
from tests.sim.world import World
from tests.support import stack as stack_module
from tests.support.domain import NewDomain
from tests.support.stack import Stack
from usbbtd.guest import Adapter, AdapterError, AddressType, ChannelClosed, open_adapter
from usbbtd.xen.store import Store

TYPES: dict[plan.Transport, AddressType] = {"bredr": "bredr", "le": "random"}
SILENT_PSM = 0x1013  # of remote_peer.py
LISTENER_PSM = 0x1077

TRUSTED = f"""\
[[rule]]
guest = "tag:trusted"
action = "connect"
peer = "{plan.ECHO.address}"
psm = {plan.ECHO_PSM["bredr"]}
verdict = "allow"

[[rule]]
guest = "tag:trusted"
action = "connect"
spsm = {plan.ECHO_PSM["le"]}
verdict = "allow"
security = "encrypted"

[[rule]]
guest = ["tag:headset", "nobody"]
action = ["listen", "scan", "advertise"]
verdict = "allow"

[[limits]]
guest = "tag:headset"
connects_per_minute = 2
"""


@pytest.fixture(scope="module")
def stack(world: World, domids: Iterator[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_module.Stack(world, tmp_path_factory.mktemp("policy"), domids) as running:
        yield running


def reload(stack: Stack, policy: str, phrase: str = "policy loaded") -> int:
    """Returns what ``since`` is for the log after it."""
    since = len(stack.daemon.log)
    stack.set_policy(policy)
    stack.daemon.signal(signal.SIGHUP)
    stack.daemon.wait_logged(phrase, since=since)
    return since


def rule_of(line: str) -> str:
    """The file, without its directory, and the line that decided."""
    (rule,) = re.findall(r" rule=\S*/(\S+)", line)
    return str(rule)


# What guests do


async def outcome(work: Any) -> Any:
    try:
        if (made := await work) is not None:
            await made.close()
    except AdapterError as error:
        return type(error).__name__
    return "done"


async def hear(adapter: Adapter) -> None:
    """The remote device advertises."""
    async with adapter.scan(duplicates=True) as scan:
        await anext(aiter(scan))


async def advertise(adapter: Adapter) -> None:
    async with adapter.advertise(b""):
        pass


async def try_everything() -> Any:
    async with open_adapter() as adapter:
        echo = plan.ECHO.address
        return {
            "connect": await outcome(adapter.connect(echo, plan.ECHO_PSM["bredr"])),
            "another PSM": await outcome(adapter.connect(echo, SILENT_PSM)),
            "another peer": await outcome(adapter.connect(plan.CALLER.address, plan.ECHO_PSM["bredr"])),
            "another transport": await outcome(
                adapter.connect(plan.ECHO.le_address, plan.ECHO_PSM["le"], address_type="random")
            ),
            "listen": await outcome(adapter.listen(LISTENER_PSM)),
            "scan": await outcome(hear(adapter)),
            "advertise": await outcome(advertise(adapter)),
        }


async def take_peers(psm: int) -> None:
    """Until it is killed."""
    store = await Store.open()
    async with open_adapter() as adapter, await adapter.listen(psm, security="none") as listener:
        await store.write("data/done", "listening")
        async for _ in listener:
            pass


async def connect_three_times() -> Any:
    async with open_adapter() as adapter:
        return [await outcome(adapter.connect(plan.ECHO.address, plan.ECHO_PSM["bredr"])) for _ in range(3)]


async def stay_connected(transport: plan.Transport) -> Any:
    """Echoes as long as it may: what the channel said at its end, and what the next connect says."""
    store = await Store.open()
    async with open_adapter() as adapter:
        peer = plan.ECHO.address_on(transport), plan.ECHO_PSM[transport]
        channel = await adapter.connect(*peer, address_type=TYPES[transport])
        await store.write("data/done", "open")
        try:
            while await store.read("data/stop") is None:
                await channel.send(b"echo")
                assert await channel.recv() == b"echo"
            await channel.close()
            said = "never ended"
        except ChannelClosed as error:
            said = error.reason
        again = await outcome(adapter.connect(*peer, address_type=TYPES[transport]))
    await store.close()
    return [said, again]


# Tests


def test_guests_get_what_rules_allow_and_every_answer_is_a_record(stack: Stack, new_domain: NewDomain) -> None:
    trusted = stack.new_guest(new_domain, tags="trusted input")
    headset = stack.new_guest(new_domain, tags="headset")
    since = reload(stack, TRUSTED)
    denied = "PermissionDenied"
    of_trusted = trusted.start(try_everything)
    of_headset = headset.start(try_everything)
    of_the_trusted = of_trusted.result()
    assert of_the_trusted.pop("another transport") not in ("done", denied)  # allowed, on a link that is encrypted
    assert of_the_trusted == {"connect": "done"} | dict.fromkeys(
        ["another PSM", "another peer", "listen", "scan", "advertise"], denied
    )
    assert of_headset.result() == dict.fromkeys(["listen", "scan", "advertise"], "done") | dict.fromkeys(
        ["connect", "another PSM", "another peer", "another transport"], denied
    )
    who = f"domid={trusted.domid}", f"guest=guest-{trusted.domid}"
    granted = stack.daemon.wait_logged("access granted", "action=connect", *who, since=since)
    assert rule_of(granted) == "guests.toml:1"
    assert f"addr={plan.ECHO.address}" in granted
    assert "psm=0x1001" in granted
    stack.daemon.wait_logged("access denied", "action=connect", "psm=0x1013", "rule=default", *who, since=since)
    wants = "this rule allows it with security 'encrypted' at least"
    granted = stack.daemon.wait_logged("access granted", "psm=0x0080", wants, *who, since=since)
    assert rule_of(granted) == "guests.toml:8"
    refused = stack.daemon.wait_logged("channel not opened", *who, since=since)
    assert "encrypted" in refused
    for guest in (trusted, headset):
        stack.detach(guest)


def test_a_guest_without_rights_is_told_so_and_sees_nothing(stack: Stack, new_domain: NewDomain) -> None:
    guest = stack.new_guest(new_domain)
    reload(stack, "")
    for command, request in (("discover", "scan"), ("scan", "scan"), ("agent", "agent")):
        with ExitStack() as undo:
            said = f"usbbt-guest: {request}: the driver domain does not allow it\n"
            assert Session(guest, undo, command).end() == (1, "", said)
    stack.detach(guest)


def test_a_peer_that_comes_is_asked_for_by_its_own_address(stack: Stack, new_domain: NewDomain) -> None:
    guest = stack.new_guest(new_domain)
    only_another = f'{ALLOW_ALL}peer = "{plan.CALLER.address}"'
    reload(stack, only_another)
    guest.start(take_peers, LISTENER_PSM)
    stack.world.wait_value(f"{guest.home}/data/done", "listening")
    since = len(stack.daemon.log)
    assert "SECURITY_BLOCK" in stack.peer.ask(psm=LISTENER_PSM)["said"]
    facts = "action=listen", f"addr={plan.ECHO.address}", f"domid={guest.domid}", f"psm=0x{LISTENER_PSM:04x}"
    stack.daemon.wait_logged("access denied", "rule=default", *facts, since=since)
    reload(stack, only_another.replace(plan.CALLER.address, plan.ECHO.address))
    assert stack.peer.ask(psm=LISTENER_PSM)["said"] == ""
    stack.daemon.wait_logged("access granted", *facts, since=since)
    guest.destroy()


def test_a_guest_that_connects_too_often(stack: Stack, new_domain: NewDomain) -> None:
    reload(stack, TRUSTED.replace('"tag:trusted"', '"any"'))
    guest = stack.new_guest(new_domain, tags="headset")
    assert guest.run(connect_three_times) == ["done", "done", "LimitReached"]
    stack.daemon.wait_logged("access denied", "the guest may connect 2 times in a minute, and has")
    stack.detach(guest)


def test_a_broken_file_is_refused_and_nothing_changes(stack: Stack, new_domain: NewDomain) -> None:
    reload(stack, ALLOW_ALL)
    guest = stack.new_guest(new_domain)
    since = reload(stack, ALLOW_ALL.replace("verdict", "verdikt"), "policy refused")
    assert "guests.toml:1: " in stack.daemon.wait_logged("policy refused", "rule.verdict: is missing", since=since)
    said = "rule.verdikt: no such key; is verdict meant?"
    assert "guests.toml:4: " in stack.daemon.wait_logged("policy refused", said, since=since)
    assert guest.run(connect_three_times) == ["done"] * 3
    stack.detach(guest)


def test_what_is_no_file_stops_neither_the_next_reload_nor_the_service(stack: Stack) -> None:
    fifo = stack.config.parent / "policy.d" / "pipe.toml"
    os.mkfifo(fifo)
    try:
        since = reload(stack, ALLOW_ALL, "policy refused")
        assert "pipe.toml: not a regular file" in stack.daemon.wait_logged("policy refused", since=since)
    finally:
        fifo.unlink()
    odd = fifo.with_name("a\nb.toml")
    odd.write_text("broken")
    try:
        since = reload(stack, ALLOW_ALL, "policy refused")
        reload(stack, ALLOW_ALL, "policy refused")
        refused = [line for line in stack.daemon.log[since:] if "policy refused" in line]
        assert len(refused) == 2
        assert all(r"a\\nb.toml:1: " in line for line in refused)
    finally:
        odd.unlink()
    hidden = fifo.with_name(".60-off.toml")
    hidden.write_text("broken")
    reload(stack, ALLOW_ALL)
    hidden.unlink()


def test_a_reload_ends_what_is_not_allowed_any_more_and_nothing_else(
    stack: Stack, new_domain: NewDomain, tmp_path: Path
) -> None:
    assert stack.daemon.terminate() == 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        manager.bind(str(tmp_path / "notify"))
        stack.set_policy(ALLOW_ALL)
        stack.start_daemon(NOTIFY_SOCKET=str(tmp_path / "notify"))
        stack.daemon.wait_logged("adapter up")
        losing, keeping = (stack.new_guest(new_domain, tags=tag) for tag in ("lose", "keep"))
        running = []
        for guest, transport in ((losing, "bredr"), (keeping, "le")):  # Bumble's controller connects one at a time
            running.append(guest.start(stay_connected, transport))
            stack.world.wait_value(f"{guest.home}/data/done", "open")
        lost, kept = running
        since = reload(stack, ALLOW_ALL.replace('"any"', '"tag:keep"', 1))
        told: list[Any] = []
        while not told or not told[-1].startswith(b"RELOADING=1\nMONOTONIC_USEC="):
            told.append(manager.recv(4096))
        while b"READY=1" not in told[-1]:
            told.append(manager.recv(4096))
    assert lost.result() == ["the driver domain does not allow it any more", "PermissionDenied"]
    stack.world.change_store(write=[(f"{keeping.home}/data/stop", "1", [f"n{keeping.domid}"])])
    assert kept.result() == ["never ended", "done"]
    stack.daemon.wait_logged("access revoked", f"domid={losing.domid}", "action=connect", since=since)
    assert not [line for line in stack.daemon.log if "access revoked" in line and f"domid={keeping.domid}" in line]
    for guest in (losing, keeping):
        stack.detach(guest)


def test_without_rules_nobody_may_do_anything_and_that_is_said(stack: Stack, new_domain: NewDomain) -> None:
    since = reload(stack, "")
    stack.daemon.wait_logged("no guest may do anything", since=since)
    guest = stack.new_guest(new_domain, tags="trusted")
    assert set(guest.run(try_everything).values()) == {"PermissionDenied"}
    stack.detach(guest)
