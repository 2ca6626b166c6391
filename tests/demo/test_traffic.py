"""Streams: what both ends count when the channel is good, and when it is not."""

import asyncio
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.demo.traffic import LENGTHS, Counts, Sender, echo, sdu_of

#: What comes of the SDU with a number that an end sends.
Fault = Callable[[int, bytes], list[bytes]]


def unchanged(_number: int, sdu: bytes) -> list[bytes]:
    return [sdu]


class Pipe:
    """One end of a channel in memory."""

    def __init__(self, fault: Fault) -> None:
        self.other: Pipe
        self._fault = fault
        self._numbers = count()
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def send(self, sdu: bytes, /) -> None:
        for changed in self._fault(next(self._numbers), sdu):
            self.other._received.put_nowait(changed)

    async def recv(self) -> bytes:
        if (sdu := await self._received.get()) is None:
            raise ConnectionResetError
        return sdu

    def close(self) -> None:
        for end in (self, self.other):
            end._received.put_nowait(None)


def pipes(near_fault: Fault = unchanged, far_fault: Fault = unchanged) -> tuple[Pipe, Pipe]:
    near, far = Pipe(near_fault), Pipe(far_fault)
    near.other, far.other = far, near
    return near, far


async def run_stream(near: Pipe, far: Pipe, sdus: int, window: int) -> tuple[Counts, Counts]:
    sender = Sender(near, 7, clock=asyncio.get_running_loop().time)
    echoed: list[Counts] = []
    echoing = asyncio.create_task(echo(far, echoed))
    await sender.run(sdus, window)
    near.close()
    await echoing
    assert len(sender.rtt_us) == sdus
    return sender.counts, echoed[0]


@given(st.integers(0, 60), st.integers(1, 10))
def test_both_ends_count_the_same(sdus: int, window: int) -> None:
    octets = sum(LENGTHS[number % len(LENGTHS)] for number in range(sdus))
    sent, echoed = asyncio.run(run_stream(*pipes(), sdus, window))
    assert sent == Counts(7, "sender", sdus, sdus, 0, octets)
    assert echoed == Counts(7, "echo", sdus, sdus, 0, octets)


async def test_what_names_no_stream_is_echoed_all_the_same() -> None:
    near, far = pipes()
    counts: list[Counts] = []
    echoing = asyncio.create_task(echo(far, counts))
    for sdu in (b"", b"hello", b"SDUs", bytes(10), bytes(64)):
        await near.send(sdu)
        assert await near.recv() == sdu
    await Sender(near, 7, clock=asyncio.get_running_loop().time).run(3, 1)
    near.close()
    await echoing
    assert [each.received for each in counts] == [3]


async def test_a_changed_octet_is_seen_by_the_end_that_receives_it() -> None:
    def flip(number: int, sdu: bytes) -> list[bytes]:
        return [sdu[:-1] + bytes([sdu[-1] ^ 1])] if number == 3 else [sdu]

    sent, echoed = await run_stream(*pipes(flip, unchanged), 10, 2)
    assert (sent.corrupted, echoed.corrupted) == (1, 1)
    sent, echoed = await run_stream(*pipes(unchanged, flip), 10, 2)
    assert (sent.corrupted, echoed.corrupted) == (1, 0)


async def test_sdus_in_the_wrong_order_are_corrupted() -> None:
    late: list[bytes] = []

    def swap(number: int, sdu: bytes) -> list[bytes]:
        if number == 4:
            late.append(sdu)
            return []
        return [sdu, *late] if number == 5 else [sdu]

    sent, echoed = await run_stream(*pipes(swap, unchanged), 10, 2)
    assert (sent.corrupted, echoed.corrupted) == (2, 2)


async def test_the_end_of_the_channel_ends_the_sender() -> None:
    near, far = pipes()
    sender = Sender(near, 7, clock=asyncio.get_running_loop().time)
    running = asyncio.create_task(sender.run(10, 4))
    await far.recv()
    near.close()
    with pytest.raises(ConnectionResetError):
        await running


def test_sdus_differ_by_stream_and_number() -> None:
    sdus = {sdu_of(stream, number, 16) for stream in range(8) for number in range(100)}
    assert len(sdus) == 800
    assert [len(sdu_of(1, number)) for number in range(len(LENGTHS))] == list(LENGTHS)
