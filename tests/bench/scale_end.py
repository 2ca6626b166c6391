"""Guests by the dozen: ``python -m tests.bench.scale_end``, a process that is the guest of many devices.

Commands, each answered by one report; a first one, ``{"up": true}``, comes unasked:
``{"do": "connect", "guests": n}`` connects the first devices;
``{"do": "open", "channels": n, "first": k}`` opens BR/EDR channels, one a device in turn: seconds; ``first``: how many
other guests have, which decides about the peers;
``{"do": "echo", "count": n, "window": w}`` has SDUs echoed on all channels, ``window`` of them on their way at a time;
``{"do": "disconnect"}`` ends it all.
"""

import asyncio
from contextlib import AsyncExitStack
from time import perf_counter

from tests.bench.path_end import PEERS, SMALL, task_of
from tests.demo import lines, plan
from usbbtd.config import LogSettings
from usbbtd.guest import Adapter, Channel, open_adapter
from usbbtd.log.setup import configure as configure_log

#: Channels of one link.
CHANNELS_A_PEER = 64
#: How many SDUs a peer is asked to echo.
ENDLESS = (1 << 32) - 1
#: Channels that are being opened at a time.
OPENING = 8


class ManyGuests:
    """What they have open."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._adapters: list[Adapter] = []
        self._channels: list[Channel] = []

    async def connect(self, count: int) -> None:
        new = range(len(self._adapters), count)
        # One after the other: that many at a time would wait for each other's nodes of xenstore.
        self._adapters += [await self._stack.enter_async_context(open_adapter(number)) for number in new]

    async def open(self, count: int, first: int) -> None:
        room = asyncio.Semaphore(OPENING)

        async def open_one(number: int) -> None:
            async with room:
                peer = PEERS[(first + number) // CHANNELS_A_PEER]
                adapter = self._adapters[number % len(self._adapters)]
                channel = await adapter.connect(peer.address, plan.ECHO_PSM["bredr"], mtu=SMALL)
                await channel.send(task_of("echo", ENDLESS))
                self._channels.append(channel)

        await asyncio.gather(*map(open_one, range(count)))

    async def echo(self, count: int, window: int) -> None:
        each = count // len(self._channels)
        room = asyncio.Semaphore(window)
        sdu = bytes(SMALL)

        async def send(channel: Channel) -> None:
            for _ in range(each):
                await room.acquire()
                await channel.send(sdu)

        async def take(channel: Channel) -> None:
            for _ in range(each):
                await channel.recv()
                room.release()

        await asyncio.gather(*(act(channel) for channel in self._channels for act in (send, take)))


async def run() -> None:
    async with AsyncExitStack() as stack:
        guests = ManyGuests(stack)
        reader = await lines.commands()
        lines.report(up=True)
        while (command := await lines.take(reader)) is not None:
            start = perf_counter()
            match command["do"]:
                case "connect":
                    await guests.connect(command["guests"])
                case "open":
                    await guests.open(command["channels"], command["first"])
                case "echo":
                    await guests.echo(command["count"], command["window"])
                case "disconnect":
                    await stack.aclose()
            lines.report(seconds=perf_counter() - start)


if __name__ == "__main__":
    configure_log(LogSettings(level="warning", target="stderr"))
    asyncio.run(run())
