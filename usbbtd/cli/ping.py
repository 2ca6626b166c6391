"""usbbt-guest ping: measures round trips by the L2CAP echo, which every BR/EDR device answers, or by an echoing PSM."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from errno import EBADMSG, ETIMEDOUT
from functools import partial

from usbbtd.cli.table import print_table
from usbbtd.guest import DEFAULT_MTU, MAX_ECHO, Adapter, AdapterError, Channel

_SDU_SIZE = 64

#: Sends octets and returns what comes back.
Ask = Callable[[bytes], Awaitable[bytes]]


def complete(arguments: argparse.Namespace) -> None:
    """Fills in the size, which depends on other arguments. Raises ValueError if the arguments contradict each other."""
    if arguments.psm is None:
        if arguments.le:
            raise ValueError("LE has no L2CAP echo: name an SPSM that echoes")
        if arguments.mtu is not None:
            raise ValueError("--mtu is of a channel, and without a PSM there is none")
    if arguments.size is None:
        arguments.size = MAX_ECHO if arguments.psm is None else _SDU_SIZE
    if arguments.psm is not None and arguments.size > (mtu := arguments.mtu or DEFAULT_MTU):
        raise ValueError(f"an echo of {arguments.size} bytes is longer than the {mtu} of --mtu: see --size")


async def ping(adapter: Adapter, arguments: argparse.Namespace, connect: Callable[[], Awaitable[Channel]]) -> None:
    """Prints each round trip, then a summary, also when it ends early.

    ``arguments``: as ``complete`` leaves them. ``connect`` opens the channel to the PSM, if there is one. Raises
    AdapterError; ValueError if an argument is not legal.
    """
    times_us: list[float] = []
    start = 0.0
    try:
        async with _asker(adapter, arguments, connect) as ask:
            for sequence in range(arguments.count):
                if sequence and arguments.interval:
                    await asyncio.sleep(start + arguments.interval - time.perf_counter())
                sent = sequence.to_bytes(4, "little").ljust(arguments.size, b".")[: arguments.size]
                start = time.perf_counter()
                received = await ask(sent)
                times_us.append((time.perf_counter() - start) * 1e6)
                if not arguments.json and not arguments.quiet:
                    other = "" if received == sent else " (not what was sent)"
                    print(f"{len(received)} bytes from {arguments.address}: {times_us[-1]:.0f} µs{other}", flush=True)
    finally:
        if times_us:
            _print_round_trips(times_us, arguments)


@asynccontextmanager
async def _asker(
    adapter: Adapter, arguments: argparse.Namespace, connect: Callable[[], Awaitable[Channel]]
) -> AsyncIterator[Ask]:
    """Yields the function that asks for a round trip: through a channel to the PSM, or by the L2CAP echo."""
    if arguments.psm is not None:
        async with await connect() as channel:
            yield partial(_ask_channel, channel, arguments.timeout)
        return
    ask = partial(adapter.echo, arguments.address, timeout=arguments.timeout)
    await ask()  # makes the link; its time does not count
    yield ask


async def _ask_channel(channel: Channel, timeout_s: float, sdu: bytes) -> bytes:
    await channel.send(sdu)
    try:
        async with asyncio.timeout(timeout_s):
            echo = await channel.recv()
    except TimeoutError:
        raise AdapterError(ETIMEDOUT, f"no echo within {timeout_s:g} s: does that PSM echo?") from None
    if echo != sdu:
        raise AdapterError(EBADMSG, f"that is no echo: sent {len(sdu)} bytes, got {len(echo)} others")
    return echo


def _print_round_trips(times_us: list[float], arguments: argparse.Namespace) -> None:
    from statistics import quantiles  # brings decimal, fractions and random, which no other command needs

    ranks = quantiles(times_us, n=100, method="inclusive") if len(times_us) > 1 else times_us * 99
    figures = {"min_us": min(times_us), "p50_us": ranks[49], "p99_us": ranks[98], "max_us": max(times_us)}
    counts = {"count": len(times_us), "size": arguments.size}
    if arguments.json:
        rounded = {name: round(value, 1) for name, value in figures.items()}
        print(json.dumps({"address": arguments.address, "psm": arguments.psm} | counts | rounded))
    else:
        print_table(
            ("ROUND TRIPS", "BYTES", "MIN µs", "P50 µs", "P99 µs", "MAX µs"),
            [[f"{value:.0f}" for value in (counts | figures).values()]],
        )
