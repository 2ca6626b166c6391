"""A guest of the demo: a program that uses ``usbbtd.guest``. ``python -m tests.demo.guest DOMID``.

Commands, each answered by one report:
``{"do": "open"}`` connects to the echoing peer over both transports, and listens on both;
``{"do": "trespass"}`` connects to a PSM that policy does not let it have;
``{"do": "pair"}`` connects to the lock, which refuses it, then with authentication, and reports the number to compare;
``{"do": "confirm", "accept": true}`` answers that, and tells how secure the channel is then;
``{"do": "ping", "count": n}`` sends streams of small SDUs, one at a time, on channels of their own;
``{"do": "traffic", "count": n, "window": n}`` sends streams on the channels of ``open``, reporting progress;
``{"do": "close"}`` ends everything and tells what was seen of incoming streams.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from tests.demo import lines, plan
from tests.demo.traffic import MTU, Counts, Sender, echo
from usbbtd.config import LogSettings
from usbbtd.guest import Adapter, AdapterError, Channel, L2capRefused, PermissionDenied, Prompt, open_adapter
from usbbtd.guest.channel import Listener
from usbbtd.log.setup import configure as configure_log

Command = Callable[..., Awaitable[lines.Message]]

PING_LENGTH = 64
PROGRESS_INTERVAL_S = 0.1


class Guest:
    """What this guest has open."""

    def __init__(self, domid: int, adapter: Adapter) -> None:
        self._domid = domid
        self.adapter = adapter
        self._stack = AsyncExitStack()
        self._channels: dict[plan.Transport, Channel] = {}
        self._lock: Channel | None = None
        self._opening: asyncio.Task[Channel] | None = None  # of the lock's channel, while its number is compared
        self._prompts: asyncio.Queue[Prompt] = asyncio.Queue()
        self._answers: asyncio.Queue[bool] = asyncio.Queue()
        self._incoming: list[Counts] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._clock = asyncio.get_running_loop().time

    async def open(self) -> lines.Message:
        for transport in plan.TRANSPORTS:
            self._channels[transport] = await self._stack.enter_async_context(await self._connect(transport))
            listener = await self.adapter.listen(
                plan.listener_psm(self._domid, transport), transport=transport, security="none", mtu=MTU
            )
            await self._stack.enter_async_context(listener)
            self._accepting.append(asyncio.create_task(self._accept(listener)))
        if self._domid == plan.GUESTS[0]:
            await self._stack.enter_async_context(self.adapter.advertise(interval_ms=20, connectable=True))
        return {"channels": len(self._channels)}

    async def trespass(self) -> lines.Message:
        try:
            await self.adapter.connect(plan.ECHO.address, plan.FORBIDDEN_PSM)
        except PermissionDenied:
            return {"denied": True}
        return {"denied": False}

    async def pair(self) -> lines.Message:
        refused = ""
        try:
            await self.adapter.connect(plan.LOCK.address, plan.LOCK_PSM, mtu=MTU)
        except L2capRefused as error:
            refused = error.name
        await self._stack.enter_async_context(self.adapter.agent(self._ask))
        opening = self._opening = asyncio.create_task(
            self.adapter.connect(plan.LOCK.address, plan.LOCK_PSM, security="authenticated", mtu=MTU)
        )
        prompting = asyncio.create_task(self._prompts.get())
        await asyncio.wait([opening, prompting], return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()  # raises why nobody was asked
        prompt = await prompting
        return {"refused": refused, "asked": prompt.kind, "digits": prompt.digits}

    async def confirm(self, accept: bool) -> lines.Message:
        assert self._opening is not None  # it was asked to pair before
        self._answers.put_nowait(accept)
        self._lock = await self._stack.enter_async_context(await self._opening)
        return {"security": self._lock.security}

    async def ping(self, count: int) -> lines.Message:
        rtt_us: dict[str, list[float]] = {}
        for transport in plan.TRANSPORTS:
            async with await self._connect(transport) as channel:
                stream = plan.stream_of(self._domid, transport, "ping")
                sender = Sender(channel, stream, clock=self._clock, length=PING_LENGTH)
                await sender.run(count, window=1)
                rtt_us[transport] = sender.rtt_us
                self._incoming.append(sender.counts)
        return {"rtt_us": rtt_us}

    async def traffic(self, count: int, window: int) -> lines.Message:
        senders = [
            Sender(channel, plan.stream_of(self._domid, transport, "out"), clock=self._clock)
            for transport, channel in self._channels.items()
        ]
        if self._lock is not None:
            senders.append(Sender(self._lock, plan.stream_of(self._domid, "bredr", "lock"), clock=self._clock))
        progress = asyncio.create_task(self._report_progress([sender.counts for sender in senders]))
        self._stack.callback(progress.cancel)  # incoming streams may last longer
        await asyncio.gather(*(sender.run(count, window) for sender in senders))
        return {"counts": [each.counts.as_json() for each in senders]}

    async def close(self) -> lines.Message:
        for task in self._accepting:
            await task
        await self._stack.aclose()
        return {"counts": [each.as_json() for each in self._incoming]}

    async def _connect(self, transport: plan.Transport) -> Channel:
        return await self.adapter.connect(
            plan.ECHO.address_on(transport),
            psm=plan.ECHO_PSM[transport],
            address_type="bredr" if transport == "bredr" else "random",
            mtu=MTU,
        )

    async def _ask(self, prompt: Prompt) -> bool:
        """Has the demo answer what pairing asks: it sees both numbers, as a person does."""
        self._prompts.put_nowait(prompt)
        return await self._answers.get()

    async def _accept(self, listener: Listener) -> None:
        """One channel, echoed until the remote side closes it."""
        async with await listener.accept() as channel:
            await echo(channel, self._incoming)

    async def _report_progress(self, mine: list[Counts]) -> None:
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            seen = [*mine, *self._incoming]
            lines.report(progress=sum(each.received for each in seen), bytes=sum(each.bytes for each in seen))

    def commands(self) -> dict[str, Command]:
        return {
            "open": self.open, "trespass": self.trespass, "ping": self.ping, "pair": self.pair,
            "confirm": self.confirm, "traffic": self.traffic, "close": self.close,
        }  # fmt: skip


async def run(guest_type: type[Guest], domid: int) -> None:
    async with open_adapter() as adapter:
        does = guest_type(domid, adapter).commands()
        reader = await lines.commands()
        lines.report(up=True, address=adapter.info.address)
        while (command := await lines.take(reader)) is not None:
            lines.report(**await does[command.pop("do")](**command))


def main(guest_type: type[Guest]) -> None:
    """Runs the program of a guest until its commands end. Exits with a sentence if its adapter fails."""
    configure_log(LogSettings(level="warning", target="stderr"))
    failure = None
    try:
        asyncio.run(run(guest_type, int(sys.argv[1])))
    except* AdapterError as group:
        failure = str(group.exceptions[0])
    sys.exit(failure)


if __name__ == "__main__":
    main(Guest)
