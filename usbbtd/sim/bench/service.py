"""What the service costs before it does anything: time to start, memory."""

from collections.abc import AsyncIterator
from pathlib import Path

from usbbtd.sim.bench.lab import Lab, memory_of
from usbbtd.sim.bench.runner import Effort, Row, Target, medians_in_turn
from usbbtd.sim.demo import plan

TITLE = "usbbtd as a service"

GUESTS, CHANNELS = 3, 4
READY_S = Target(0.5)
IDLE_BYTES = Target(40e6)


async def rows(effort: Effort, directory: Path, logs: Path) -> AsyncIterator[Row]:
    async with Lab(directory, logs) as lab:

        async def start() -> tuple[float, ...]:
            await lab.stop_usbbtd()
            started = await lab.start_usbbtd()
            return started.ready_s, started.adapter_up_s, *memory_of(lab.usbbtd_pid())

        ((ready_s, up_s, idle_rss, idle_pss),) = await medians_in_turn(effort.runs, start)
        yield Row("from its start to READY=1", "s", ready_s, target=READY_S)
        yield Row("from its start to an adapter that is up", "s", up_s)
        yield Row("memory, idle: RSS", "bytes", idle_rss)
        yield Row("memory, idle: Pss", "bytes", idle_pss, target=IDLE_BYTES)

        guests = effort.of(GUESTS)
        for _ in range(guests):
            guest = await lab.start_guest()
            for number in range(CHANNELS):
                await guest.ask(do="open", transport=plan.TRANSPORTS[number % 2])

        async def serve() -> tuple[float, ...]:
            return memory_of(lab.usbbtd_pid())

        ((rss, pss),) = await medians_in_turn(effort.runs, serve)
        yield Row(f"memory, {guests} guests with {CHANNELS} channels each: RSS", "bytes", rss)
        yield Row(f"memory, {guests} guests with {CHANNELS} channels each: Pss", "bytes", pss)
