"""ECHOs of a guest, as its frontend sees them answered: rings in memory, and Bumble's stack as the peer."""

import errno
from typing import Any

import pytest
import structlog

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_connection import Answer, Guest
from tests.radio.test_echoes import answer
from tests.support import air
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.radio.adapter import SharedAdapter

xen, guest, change = connection.xen, connection.guest, connection.change
PEER, NOBODY = air.octets(air.PEER_ADDRESS), air.octets(air.NOBODY)
ONLY_LE = '[[rule]]\nguest = "any"\naction = "connect"\nspsm = 0x80\nverdict = "allow"\n'
ONE_PSM = f'[[rule]]\nguest = "any"\naction = "connect"\npeer = "{air.PEER_ADDRESS}"\npsm = 0x1001\nverdict = "allow"\n'


def echo(guest: Guest, data: bytes = b"ping", address: bytes = PEER, timeout_s: float = 0.0) -> Answer:
    return guest.send(lambda core: core.echo(address, data, timeout_s=timeout_s))


async def test_a_peer_answers(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    for data in (b"", b"ping", bytes(range(36))):
        answered = await echo(guest, data)
        assert (answered.ret, answered.length, answered.data[: len(data)]) == (0, len(data), data)
    answer(peer, lambda data: bytes(range(100)))
    answered = await echo(guest)
    assert (answered.ret, answered.length, answered.data) == (0, 100, bytes(range(36)))
    assert (guest.access.open_grants, guest.served._core.objects()) == (0, [])


async def test_why_there_is_no_answer(
    guest: Guest, adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    asked = answer(peer, lambda data: None)
    late, lost = echo(guest, b"late", timeout_s=0.05), echo(guest, b"lost")
    assert ((await late).ret, late.result().status) == (-errno.ETIMEDOUT, 0)
    await air.turns(lambda: b"lost" in asked)
    await peer.links[air.BREDR].disconnect()
    assert ((await lost).ret, lost.result().status) == (-errno.ETIMEDOUT, 0x13)
    assert (await echo(guest, address=NOBODY, timeout_s=0.05)).ret == -errno.ETIMEDOUT
    assert adapter.links._attempts == {}
    dongle.unplug()
    assert (await echo(guest)).ret == -errno.ENODEV


async def test_so_many_wait_and_no_more(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    """And none is left when the guest goes; another guest has its own."""
    asked = answer(peer, lambda data: None)
    guest, other = Guest(adapter, xen, FrontendLimits(echoes=2)), Guest(adapter, xen)
    waiting = [echo(guest), echo(guest)]
    assert (await echo(guest)).ret == -errno.EMFILE
    waiting.append(echo(other))
    await air.turns(lambda: len(asked) == 3)
    guest.close()
    assert [(request.done(), request.done() and request.result().ret) for request in waiting] == [
        (True, -errno.ENODEV), (True, -errno.ENODEV), (False, False),
    ]  # fmt: skip
    await air.turns(lambda: len(adapter.echoes._waiters) == 1)
    other.close()
    await air.turns(lambda: not adapter.echoes._waiters)
    assert guest.broken == other.broken == []


async def test_one_that_is_given_up_counts_no_more(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    asked = answer(peer, lambda data: None)
    guest = Guest(adapter, xen, FrontendLimits(echoes=1))
    for number in range(1, 4):
        waiting = echo(guest, timeout_s=30.0)
        await air.turns(lambda: len(asked) == number)  # noqa: B023
        assert ((await guest.release(waiting.number)).ret, (await waiting).ret) == (0, -errno.ENOTCONN)
        assert (guest.access.open_grants, guest.served._core.objects()) == (0, [])
    await air.turns(lambda: not adapter.echoes._waiters)
    assert guest.broken == []
    guest.close()


async def test_a_late_answer_is_not_given_to_another_guest(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    first, second = Guest(adapter, xen), Guest(adapter, xen)
    manager, held = peer.device.l2cap_channel_manager, []
    answers = manager.on_l2cap_echo_request
    manager.on_l2cap_echo_request = lambda *request: held.append(request)
    assert (await echo(first, b"secret", timeout_s=0.05)).ret == -errno.ETIMEDOUT
    waiting = echo(second, b"own")
    await air.turns(lambda: held and held[-1][2].data == b"own")
    for request in held:
        answers(*request)
    answered = await waiting
    assert (answered.ret, answered.length, answered.data.rstrip(b"\0")) == (0, 3, b"own")
    first.close()
    second.close()


@pytest.mark.parametrize(("policy", "allowed"), [(ONE_PSM, True), (ONLY_LE, False), ("", False), (air.ALLOW_ALL, True)])
async def test_policy_decides(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote, policy: str, allowed: bool
) -> None:
    guest = Guest(adapter, xen, policy=policy)
    commands = len(dongle.commands)
    assert (await echo(guest)).ret == (0 if allowed else -errno.EACCES)
    assert allowed or len(dongle.commands) == commands  # the air heard nothing of it
    guest.close()


async def test_what_is_not_allowed_any_more_is_answered_so(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, adapter: SharedAdapter
) -> None:
    asked = answer(peer, lambda data: None)
    waiting = echo(guest)
    await air.turns(lambda: asked)
    change(guest, ONE_PSM)
    assert not waiting.done()
    change(guest, ONLY_LE)
    assert (await waiting).ret == -errno.EACCES
    await air.turns(lambda: not adapter.echoes._waiters)
    assert (await echo(guest)).ret == -errno.EACCES


async def test_a_bug_costs_the_guest_its_device(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("bug")

    guest = Guest(adapter, xen)
    monkeypatch.setattr(guest.served._core, "complete_echo", fail)
    with structlog.testing.capture_logs() as entries:
        echo(guest)
        await air.turns(lambda: guest.broken)
    assert [entry["event"] for entry in entries if entry["log_level"] == "error"] == ["guest failed"]
    guest.close()
