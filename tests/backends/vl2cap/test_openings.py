"""CONNECTs of a guest, as its frontend sees them answered and released, over a virtual air."""

import asyncio
import errno
from typing import Any

import pytest

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from usbbtd.radio.adapter import SharedAdapter

xen, guest = connection.xen, connection.guest
MTU, ORDER, NOBODY, both_transports = connection.MTU, connection.ORDER, connection.NOBODY, connection.both_transports
octets = air.octets


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
