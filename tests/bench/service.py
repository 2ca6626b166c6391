"""What the service costs before it does anything, as packages install it: time to start, memory."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import bundle
import usbbtd
from tests.bench.lab import BenchLab, memory_of
from tests.bench.runner import BenchRow, Effort, Goal, runs_in_turn
from tests.demo import plan

TITLE = "usbbtd as a service"

GUESTS, CHANNELS = 3, 4
READY_S = Goal(0.3)
IDLE_BYTES = Goal(30e6)


async def rows(effort: Effort, directory: Path, logs: Path) -> AsyncIterator[BenchRow]:
    async with BenchLab(directory, logs, command=[install(directory / "installed")]) as lab:

        async def start() -> tuple[float, ...]:
            await lab.stop_usbbtd()
            started = await lab.start_usbbtd()
            return started.ready_s, started.adapter_up_s, *memory_of(lab.usbbtd_pid())

        ((ready_s, up_s, idle_rss, idle_pss),) = await runs_in_turn(effort.runs, start)
        yield BenchRow("from its start to READY=1", "s", ready_s, target=READY_S)
        yield BenchRow("from its start to an adapter that is up", "s", up_s)
        yield BenchRow("memory, idle: RSS", "bytes", idle_rss)
        yield BenchRow("memory, idle: Pss", "bytes", idle_pss, target=IDLE_BYTES)

        guests = effort.of(GUESTS)
        for _ in range(guests):
            guest = await lab.start_guest()
            for number in range(CHANNELS):
                await guest.ask(do="open", transport=plan.TRANSPORTS[number % 2])

        async def serve() -> tuple[float, ...]:
            return memory_of(lab.usbbtd_pid())

        ((rss, pss),) = await runs_in_turn(effort.runs, serve)
        yield BenchRow(f"memory, {guests} guests with {CHANNELS} channels each: RSS", "bytes", rss)
        yield BenchRow(f"memory, {guests} guests with {CHANNELS} channels each: Pss", "bytes", pss)


def install(directory: Path) -> str:
    """Installs the modules that run now, with the packages that they need and no others. Returns usbbtd's command."""
    root, library, command = Path("/"), str(directory / "lib"), str(directory / "bin" / "usbbtd")
    for part in ("usbbt-common", "usbbtd"):
        bundle.install_part(root, library, part, Path(usbbtd.__file__).parents[1], shared=False)
    bundle.install_command(root, command, sys.executable, library)
    return command
