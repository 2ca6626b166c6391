"""Streams as channels have them, against the peers of echo_backend.py."""

import asyncio
import errno
import random
from contextlib import suppress

import pytest

from tests.support.domain import Domain
from usbbtd.guest import Adapter, Channel, ChannelClosed, open_adapter

PEER = "C0:FF:EE:00:00:01"
ECHO, DEAF, FLOODS, REPORTS, SAYS_GOODBYE, LIES = 0x1001, 0x100B, 0x100D, 0x100F, 0x1011, 0x1013
MTU = 1024
FLOOD_SDU = bytes(range(256)) * 4
HALF = 4 * (MTU + 4)  # rings are made for four SDUs, so this is the least that they hold
MOST = 16384  # and this more than any of order 2 holds
SPINS = pytest.mark.parametrize("spin", [0.0, 0.0002])


async def flooded(reports: Channel) -> int:
    """How many SDUs the peer at FLOODS has put into the ring. Wakes the one at DEAF, too."""
    await reports.send(b"")
    return int(await reports.recv())


async def all_sizes(spin: float) -> int:
    async with open_adapter(spin=spin) as adapter, await adapter.connect(PEER, ECHO, mtu=MTU) as channel:
        sizes = [0, 1, 2, 3, 4, 5, MTU - 1, MTU, 0, MTU, 0] + [random.Random(7).randint(0, MTU) for _ in range(300)]
        sdus = [number.to_bytes(2, "big") * (size // 2) + b"." * (size % 2) for number, size in enumerate(sizes)]
        for sdu in sdus[:20]:
            await channel.send(sdu)
            assert await channel.recv() == sdu
        sending = asyncio.create_task(channel.send_many(sdus))
        received: list[bytes] = []
        while len(received) < len(sdus):
            received += await channel.recv_many()
        await sending
        assert received == sdus
        return len(received)


@SPINS
def test_sdus_of_all_sizes_stay_whole(guest: Domain, spin: float) -> None:
    assert guest.run(all_sizes, spin) == 311


async def slow_reader() -> list[int]:
    async with (
        open_adapter() as adapter,
        await adapter.connect(PEER, FLOODS, mtu=MTU) as channel,
        await adapter.connect(PEER, REPORTS) as reports,
    ):
        sent = [await flooded(reports), await flooded(reports)]
        # The first read empties the ring into the inbox; from then on nothing moves until the inbox is empty.
        assert await channel.recv() == FLOOD_SDU
        full = await flooded(reports)
        assert await channel.recv() == FLOOD_SDU
        sent += [full, await flooded(reports)]
        for _ in range(100):
            assert await channel.recv() == FLOOD_SDU
        return [*sent, await flooded(reports)]


def test_who_does_not_read_is_not_sent_more(guest: Domain) -> None:
    first, second, third, fourth, last = guest.run(slow_reader)
    assert HALF <= first * (MTU + 4) <= MOST
    assert first == second < third == fourth <= 2 * first
    assert 102 <= last <= 102 + 2 * first


async def deaf_peer(spin: float) -> None:
    async with (
        open_adapter(spin=spin) as adapter,
        await adapter.connect(PEER, DEAF, mtu=MTU) as channel,
        await adapter.connect(PEER, REPORTS) as reports,
        await adapter.connect(PEER, ECHO) as echo,
    ):
        tags = [b"a", b"b", b"c", b"d"]
        tasks = [asyncio.create_task(channel.send_many([tag * 500] * 40)) for tag in tags]
        given_up = asyncio.create_task(channel.send(b"never"))
        await echo.send(b"time passes")
        await echo.recv()
        assert [task for task in (*tasks, given_up) if task.done()] == []
        given_up.cancel()
        await flooded(reports)
        received: list[bytes] = []
        while len(received) < 160:
            received += await channel.recv_many()
        await asyncio.gather(*tasks)
        assert received == [tag * 500 for tag in tags for _ in range(40)]
        await channel.send(b"and on")
        assert await channel.recv() == b"and on"


@SPINS
def test_senders_wait_for_room_in_turn(guest: Domain, spin: float) -> None:
    guest.run(deaf_peer, spin)


async def cancelled() -> None:
    async with open_adapter() as adapter, await adapter.connect(PEER, ECHO) as channel:
        waiting = asyncio.create_task(channel.recv())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task waits"):
            await channel.recv()
        await channel.send(b"1")
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await channel.send(b"2")
        assert await channel.recv() == b"1"
        assert await channel.recv() == b"2"


def test_a_cancelled_recv_loses_nothing(guest: Domain) -> None:
    guest.run(cancelled)


async def end_of(adapter: Adapter, psm: int) -> tuple[list[bytes], int | None, str]:
    async with await adapter.connect(PEER, psm) as channel:
        received: list[bytes] = []
        with suppress(ChannelClosed):
            while True:
                received.append(await channel.recv())
        with pytest.raises(ChannelClosed) as sending:
            await channel.send(b"too late")
        with pytest.raises(ChannelClosed) as receiving:
            await channel.recv_many()
        assert receiving.value.args == sending.value.args
        return received, sending.value.errno, sending.value.reason


async def ends(spin: float) -> None:
    async with open_adapter(spin=spin) as adapter:
        assert await end_of(adapter, SAYS_GOODBYE) == (
            [b"one", b"", b"three"],
            errno.ENOTCONN,
            "the peer disconnected",
        )
        received, number, reason = await end_of(adapter, LIES)
        assert (received, number) == ([], errno.EBADMSG)
        assert reason.startswith("the driver domain broke the protocol: the other end's index 2147483647 is impossible")
        async with await adapter.connect(PEER, ECHO) as channel:  # it cost that channel, nothing else
            await channel.send(b"still here")
            assert await channel.recv() == b"still here"


@SPINS
def test_how_streams_end(guest: Domain, spin: float) -> None:
    guest.run(ends, spin)


async def closing() -> None:
    async with open_adapter() as adapter:
        async with await adapter.connect(PEER, ECHO) as channel:
            await channel.send(b"x")
            assert await channel.recv() == b"x"
            waiting = asyncio.create_task(channel.recv())
            await asyncio.sleep(0)
        with pytest.raises(ChannelClosed, match="closed by this program"):
            await waiting
        for call in (channel.recv(), channel.recv_many(), channel.send(b"")):
            with pytest.raises(ChannelClosed, match="closed by this program"):
                await call
        await channel.close()
        assert (await adapter.read_info()).channels == 0


def test_a_closed_channel(guest: Domain) -> None:
    guest.run(closing)
