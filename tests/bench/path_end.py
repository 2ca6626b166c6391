"""A guest at the end of the whole path: ``python -m tests.bench.path_end [precise]``. And what all ends share.

With ``precise`` its pauses end in time, to less than a millisecond.


Commands, each answered by one report; a first one, ``{"up": true}``, comes unasked:
``{"do": "open", "transport": …}`` opens a channel, on which the following ones work;
``{"do": "echo", "transport": …, "count": n}`` sends small SDUs one at a time: microseconds of each round trip;
``{"do": "send" | "receive", "transport": …, "count": n}`` carries large ones: seconds;
``{"do": "pace", "transport": …, "count": n, "size": …, "rate": …}`` sends SDUs at a rate, to be echoed: seconds.
"""

import asyncio
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Literal

from tests.demo import lines, plan
from tests.demo.traffic import MTU, AnyChannel
from tests.sim.precise import new_precise_loop
from usbbtd.config import LogSettings
from usbbtd.guest import open_adapter
from usbbtd.log.setup import configure as configure_log

#: Large SDUs that may be on their way: BR/EDR has no flow control of its own. Half of them are acknowledged at a time.
WINDOW = 32
HALF = WINDOW // 2
SMALL, LARGE = 64, MTU

#: Whom the guest connects to, and whom the direct host connects to; more for guests with many channels.
PEERS = (
    plan.ECHO,
    *(
        plan.PlannedPeer(f"echo {number}", f"C0:FF:EE:00:00:{0x20 + number:X}", f"F0:F1:F2:00:00:{0x20 + number:X}")
        for number in range(2, 9)
    ),
)
DIRECT = plan.CALLER

Kind = Literal["echo", "send", "receive"]
KINDS: tuple[Kind, ...] = ("echo", "send", "receive")
_task = struct.Struct("<BI")  # index of the kind, count

Open = Callable[[plan.Transport], Awaitable[AnyChannel]]


def task_of(kind: Kind, count: int) -> bytes:
    """Returns the SDU that tells a peer what comes."""
    return _task.pack(KINDS.index(kind), count)


async def send(channel: AnyChannel, count: int) -> None:
    """``count`` is a multiple of HALF."""
    sdu = bytes(LARGE)
    under_way = 0
    for _ in range(count):
        if under_way == WINDOW:
            await channel.recv()
            under_way -= HALF
        await channel.send(sdu)
        under_way += 1
    for _ in range(0, under_way, HALF):
        await channel.recv()


async def receive(channel: AnyChannel, count: int) -> None:
    for number in range(1, count + 1):
        await channel.recv()
        if number % HALF == 0:
            await channel.send(b"\0")


async def ping(channel: AnyChannel, count: int) -> list[float]:
    """Microseconds of each round trip."""
    sdu = bytes(SMALL)
    times = []
    for _ in range(count):
        start = perf_counter()
        await channel.send(sdu)
        await channel.recv()
        times.append((perf_counter() - start) * 1e6)
    return times


async def pace(channel: AnyChannel, count: int, size: int, rate: float) -> None:
    """Sends an SDU whenever its time has come, and waits for all echoes. Those that are late are not made up for."""

    async def take_echoes() -> None:
        for _ in range(count):
            await channel.recv()

    sdu, clock = bytes(size), asyncio.get_running_loop().time
    echoes = asyncio.create_task(take_echoes())
    due = clock()
    for _ in range(count):
        if (pause_s := due - clock()) > 0:
            await asyncio.sleep(pause_s)
        await channel.send(sdu)
        due = max(due + 1 / rate, clock())
    await echoes


async def serve(channel: AnyChannel) -> None:
    """The peer's side, until the channel ends."""
    try:
        while True:
            index, count = _task.unpack(await channel.recv())
            match KINDS[index]:
                case "echo":
                    for _ in range(count):
                        await channel.send(await channel.recv())
                case "send":
                    await receive(channel, count)
                case "receive":
                    await send(channel, count)
    except ConnectionError:
        return


async def obey(connect: Open) -> None:
    """Commands until there are no more."""
    channels: dict[plan.Transport, AnyChannel] = {}
    reader = await lines.commands()
    lines.report(up=True)
    while (command := await lines.take(reader)) is not None:
        transport, kind = command["transport"], command["do"]
        if kind == "open":
            channels[transport] = await connect(transport)
            lines.report(open=True)
            continue
        channel, count = channels[transport], command["count"]
        await channel.send(task_of("echo" if kind == "pace" else kind, count))
        start = perf_counter()
        match kind:
            case "echo":
                lines.report(times_us=await ping(channel, count))
            case "send":
                await send(channel, count)
                lines.report(seconds=perf_counter() - start)
            case "receive":
                await receive(channel, count)
                lines.report(seconds=perf_counter() - start)
            case "pace":
                await pace(channel, count, command["size"], command["rate"])
                lines.report(seconds=perf_counter() - start)


async def guest() -> None:
    async with open_adapter() as adapter, AsyncExitStack() as stack:

        async def connect(transport: plan.Transport) -> AnyChannel:
            channel = await adapter.connect(
                PEERS[0].address_on(transport),
                psm=plan.ECHO_PSM[transport],
                address_type="bredr" if transport == "bredr" else "random",
                mtu=MTU,
            )
            return await stack.enter_async_context(channel)

        await obey(connect)


if __name__ == "__main__":
    configure_log(LogSettings(level="warning", target="stderr"))
    with asyncio.Runner(loop_factory=new_precise_loop if sys.argv[1:] == ["precise"] else None) as runner:
        runner.run(guest())
