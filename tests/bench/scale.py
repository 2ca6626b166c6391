"""What more guests and more channels cost: processor time of the service for an SDU, memory, openings, a start.

As many SDUs are on their way with one guest as with many; with many, each wakes the service for one SDU of its own. The
guests are devices of one domain, and their programs one process. All sizes are there at a time, each on a simulated Xen
of its own, and take turns.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Self

from tests.bench.lab import BenchLab, private_bytes
from tests.bench.path_end import PEERS
from tests.bench.runner import BenchRow, Effort, Goal, runs_in_turn
from tests.bench.scale_end import CHANNELS_A_PEER
from tests.demo.process import Process

TITLE = "The service with many guests and channels, on the simulation"

GUESTS, CHANNELS = (1, 4, 16, 64), (1, 8, 64, 512)
FLAT = Goal(1.2)

SDUS, WINDOW = 512, 64
RUNS = 2
#: A domain shares 1024 pages at most, and a channel takes two.
CHANNELS_A_DOMAIN = 256
CONFIGURATION = f"[guests]\nchannels = {CHANNELS_A_DOMAIN}\nconnects_per_minute = 100000\n"


class ScaleLab:
    """A service with ``guests`` and their ``channels``; what it took to have them is measured on the way."""

    def __init__(self, lab: BenchLab, guests: int, channels: int) -> None:
        self.lab = lab
        self._guests = guests
        self._channels = channels
        self._domains: list[Process] = []
        self.bytes_a_guest = self.bytes_a_channel = self.openings_a_second = self.opening_us = 0.0

    async def start(self) -> Self:
        lab, domains = self.lab, -(-self._channels // CHANNELS_A_DOMAIN)
        await lab.start_usbbtd()
        idle = private_bytes(lab.usbbtd_pid())
        self._domains = [await lab.start_guests(self._guests) for _ in range(domains)]
        for domain in self._domains:
            await domain.ask(do="connect", guests=self._guests)
        connected = private_bytes(lab.usbbtd_pid())
        each, start_s = self._channels // domains, lab.processor_s()
        reports = await asyncio.gather(
            *(domain.ask(do="open", channels=each, first=number * each) for number, domain in enumerate(self._domains))
        )
        self.opening_us = (lab.processor_s() - start_s) / self._channels * 1e6
        self.openings_a_second = self._channels / max(report["seconds"] for report in reports)
        self.bytes_a_guest = (connected - idle) / self._guests
        self.bytes_a_channel = (private_bytes(lab.usbbtd_pid()) - connected) / self._channels
        return self

    async def cost(self, count: int) -> tuple[float]:
        """Returns microseconds of the service's processor time for an echoed SDU."""
        each = max(count, self._channels) // len(self._domains)
        window = min(WINDOW, count) // len(self._domains)
        start_s = self.lab.processor_s()
        await asyncio.gather(*(domain.ask(do="echo", count=each, window=window) for domain in self._domains))
        return ((self.lab.processor_s() - start_s) / (each * len(self._domains)) * 1e6,)

    async def start_again(self) -> float:
        """Returns the seconds from a start of the service to READY=1, with all guests attached and none connected."""
        for domain in self._domains:
            await domain.ask(do="disconnect")
        await self.lab.stop_usbbtd()
        return (await self.lab.start_usbbtd()).ready_s


async def rows(effort: Effort, directory: Path, logs: Path) -> AsyncIterator[BenchRow]:
    guests, channels = effort.some(GUESTS), effort.some(CHANNELS)
    async with AsyncExitStack() as stack:
        labs = await start_all(stack, directory / "g", logs, [(count, count) for count in guests])
        for row in await flat_rows(labs, "guest", guests, effort):
            yield row
        most = labs[-1]
        yield BenchRow("memory of a guest", "bytes", [most.bytes_a_guest])
        ready_s = await most.start_again()
        yield BenchRow(f"from its start to READY=1, {guests[-1]} guests attached", "s", [ready_s])
    async with AsyncExitStack() as stack:
        labs = await start_all(stack, directory / "c", logs, [(1, count) for count in channels])
        for row in await flat_rows(labs, "channel", channels, effort):
            yield row
        most = labs[-1]
        yield BenchRow("memory of a channel", "bytes", [most.bytes_a_channel])
        yield BenchRow("channels opened in a second", "a second", [most.openings_a_second])
        yield BenchRow("processor time to open a channel", "µs", [most.opening_us])


async def start_all(
    stack: AsyncExitStack, directory: Path, logs: Path, sizes: Sequence[tuple[int, int]]
) -> list[ScaleLab]:
    """Starts a service for each size, which is a number of guests and one of channels."""
    labs = []
    for guests, channels in sizes:
        peers = PEERS[: -(-channels // CHANNELS_A_PEER)]
        name = f"{guests}.{channels}"
        lab = BenchLab(directory / name, logs / name, peers=peers, configuration=CONFIGURATION)
        labs.append(await ScaleLab(await stack.enter_async_context(lab), guests, channels).start())
    return labs


async def flat_rows(labs: Sequence[ScaleLab], what: str, sizes: Sequence[int], effort: Effort) -> list[BenchRow]:
    """Returns the cost of an SDU for each size, beside that of the first, which is 1."""
    results = await runs_in_turn(RUNS, *(partial(lab.cost, effort.of(SDUS)) for lab in labs))
    (least,), *others = results
    more = zip(sizes[1:], others, strict=True)
    return [
        BenchRow(f"one SDU with 1 {what}", "µs", least),
        *(BenchRow(f"one SDU with {size} {what}s", "µs", runs, f"1 {what}", least, FLAT) for size, (runs,) in more),
    ]
