"""The whole path: a guest, usbbtd, usbif, a dongle, the air, a Bumble peer. Beside it: the path of Bumble alone."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from tests.bench.lab import BenchLab
from tests.bench.path_end import HALF, LARGE
from tests.bench.runner import BenchRow, Effort, Goal, runs_in_turn
from tests.demo import plan
from tests.demo.process import Process

TITLE = "Guest to Bluetooth peer, on the simulation"
PEER = "Bumble, without Xen"

THROUGHPUT = Goal(1, at_least=True)
ROUND_TRIP = Goal(1.2)

SDUS, ROUND_TRIPS = 256, 200
NAMES: dict[plan.Transport, str] = {"bredr": "BR/EDR", "le": "LE"}


async def carry(process: Process, transport: plan.Transport, direction: str, count: int) -> tuple[float]:
    """Bytes per second."""
    report = await process.ask(do=direction, transport=transport, count=count)
    return (count * LARGE / report["seconds"],)


async def ping(process: Process, transport: plan.Transport, count: int) -> tuple[float, float]:
    """Microseconds: median and 99th percentile."""
    times = (await process.ask(do="echo", transport=transport, count=count))["times_us"]
    return median(times), quantiles(times, n=100, method="inclusive")[98]


async def rows(effort: Effort, directory: Path, logs: Path) -> AsyncIterator[BenchRow]:
    async with BenchLab(directory, logs) as lab:
        await lab.start_usbbtd()
        processes = [await lab.start_guest(), await lab.start_direct()]
        for transport, name in NAMES.items():
            for process in processes:
                await process.ask(do="open", transport=transport)
            for direction, words in (("send", "guest to peer"), ("receive", "peer to guest")):
                count = max(1, effort.of(SDUS) // HALF) * HALF
                measures = [partial(carry, process, transport, direction, count) for process in processes]
                (ours,), (theirs,) = await runs_in_turn(effort.runs, *measures)
                yield BenchRow(f"{name}, SDUs of {LARGE} bytes, {words}", "bytes/s", ours, PEER, theirs, THROUGHPUT)
            count = max(2, effort.of(ROUND_TRIPS))
            ours_us, theirs_us = await runs_in_turn(
                effort.runs, *(partial(ping, process, transport, count) for process in processes)
            )
            goals = {"median": ROUND_TRIP, "99th percentile": None}
            for (what, goal), our, their in zip(goals.items(), ours_us, theirs_us, strict=True):
                yield BenchRow(f"{name}, round trip of 64 bytes, {what}", "µs", our, PEER, their, goal)
