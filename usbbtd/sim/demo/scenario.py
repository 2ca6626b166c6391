"""The story of the demo, step by step."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from usbbtd.sim.configuration import write_configuration
from usbbtd.sim.demo import plan
from usbbtd.sim.demo.display import Display, bytes_text
from usbbtd.sim.demo.lines import Message
from usbbtd.sim.demo.outcome import Outcome
from usbbtd.sim.demo.process import DemoError, Process
from usbbtd.sim.world import World

#: More than the guest that is killed can send before it is.
ENDLESS = 1_000_000
SERVICE_END_TIMEOUT_S = 0.5
STALL_S = 10.0
LEAK_CHECKS, LEAK_INTERVAL_S = 100, 0.03

CONFIGURATION = f"""\
[adapter]
address = "{plan.ADAPTER_LE_ADDRESS}"

[log]
target = "stderr"

[control]
socket = ""
"""

POLICY = f"""\
[[rule]]
guest = {[f"guest-{domid}" for domid in plan.GUESTS]}
action = "connect"
psm = {plan.ECHO_PSM["bredr"]}
spsm = {plan.ECHO_PSM["le"]}
verdict = "allow"

[[rule]]
guest = "any"
action = ["listen", "advertise"]
verdict = "allow"
"""


class Load(NamedTuple):
    """SDUs of a stream, and how many of them may be on their way."""

    pings: int
    sdus: int
    window: int


class Scenario:
    """Everything that runs is ended by ``stack``. ``directory``: the world's; ``logs``: one file a process."""

    def __init__(self, display: Display, load: Load, directory: Path, logs: Path) -> None:
        self.stack = AsyncExitStack()
        self._display = display
        self._load = load
        self._directory = directory
        self._logs = logs
        self._outcome = Outcome()
        self._guests: dict[int, Process] = {}
        self._progress: dict[int, Message] = {}
        self._traffic = asyncio.Event()
        self._middle = asyncio.Event()
        self._service_ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._services: list[Process] = []
        self._watching: list[asyncio.Task[None]] = []

    async def run(self, world: World) -> None:
        """Raises DemoError as soon as something is not as it has to be."""
        self._world = world
        story = asyncio.create_task(self._tell())
        stalled = asyncio.create_task(self._wait_stalled())
        first: tuple[asyncio.Future[Any], ...] = (story, stalled, self._service_ended)
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if story.done() and story.exception() is not None:
                # A service that ended explains more than the guest that noticed first.
                await asyncio.wait([self._service_ended], timeout=SERVICE_END_TIMEOUT_S)
            if self._service_ended.done():
                raise DemoError(self._service_ended.result())
            await (stalled if stalled.done() else story)
        except DemoError as error:
            raise DemoError("\n    ".join([str(error), *self._errors_logged()[:1]])) from None
        finally:
            story.cancel()
            stalled.cancel()
            await asyncio.gather(story, stalled, return_exceptions=True)

    async def _wait_stalled(self) -> None:
        """DemoError when no guest has received anything for STALL_S while there is traffic."""
        await self._traffic.wait()
        while True:
            before = dict(self._progress)
            await asyncio.sleep(STALL_S)
            if self._traffic.is_set() and self._progress == before:
                raise DemoError(f"no SDU arrives any more, after {self._received()[0]:,}; see {self._daemon.log_path}")

    async def _tell(self) -> None:
        await self._start_driver_domain()
        held_before = self._held()
        await self._start_guests()
        await self._ping()
        await self._exchange()
        await self._end(held_before)

    def show(self) -> None:
        self._outcome.show(self._display, dict.fromkeys(plan.TRANSPORTS, self._channels() // 2))

    def figures(self) -> dict[str, int | float]:
        return {"guests": len(plan.GUESTS), "channels": self._channels()} | self._outcome.figures()

    def _channels(self) -> int:
        return len(self._streams()) + len(plan.TRANSPORTS)  # of the killed guest too

    def _streams(self) -> set[int]:
        """Those that have to be whole."""
        survivors = [guest for guest in plan.GUESTS if guest != plan.KILLED]
        pings = {plan.stream_of(plan.GUESTS[0], transport, "ping") for transport in plan.TRANSPORTS}
        return pings | {
            plan.stream_of(guest, transport, kind)
            for guest in survivors
            for transport in plan.TRANSPORTS
            for kind in ("out", "in")
        }

    async def _start_driver_domain(self) -> None:
        world, display = self._world, self._display
        sockets = {peer: str(self._directory / f"{peer.name}.h4") for peer in (plan.ECHO, plan.CALLER)}
        with display.step("dom0 has a virtual USB controller with a Bluetooth dongle"):
            world.create_domain(plan.DRIVER_DOMAIN, "sys-bluetooth")
            world.attach_vusb(plan.DRIVER_DOMAIN, plan.DOM0)
            peers = [word for peer, path in sockets.items() for word in ("--peer", peer.address, path)]
            arguments = ["--frontend", str(plan.DRIVER_DOMAIN), "--address", plan.DONGLE_ADDRESS, *peers]
            self._air = await self._start_service(plan.DOM0, "air", "usbbtd.sim.air", *arguments)
            await self._air.take_report()
        with display.step("remote Bluetooth devices on the same air, with Bumble's stack"):
            arguments = [sockets[plan.ECHO], sockets[plan.CALLER]]
            self._peers = await self._start_service(None, "peers", "usbbtd.sim.demo.peers", *arguments)
            await self._peers.take_report()
        with display.step("usbbtd in its driver domain, the dongle driven by usbif"):
            configuration = write_configuration(self._directory, CONFIGURATION, POLICY)
            arguments = ["run", "--config", str(configuration)]
            self._daemon = await self._start_service(plan.DRIVER_DOMAIN, "usbbtd", "usbbtd", *arguments)
            await self._daemon.wait_logged("adapter up")

    async def _start_guests(self) -> None:
        with self._display.step(f"{len(plan.GUESTS)} guests attached by xenstore, vl2cap rings connected"):
            for domid in plan.GUESTS:
                self._world.create_domain(domid, f"guest-{domid}")
                self._world.attach_vl2cap(domid, plan.DRIVER_DOMAIN)
                name, module = f"guest-{domid}", "usbbtd.sim.demo.guest"
                guest = self._guests[domid] = await self._start(domid, name, module, str(domid))
                guest.on_progress = partial(self._receive_progress, domid)
            for guest in self._guests.values():
                await guest.take_report()
        with self._display.step("channels to the remote side: BR/EDR to a PSM, LE to an SPSM"):
            await asyncio.gather(*(guest.ask(do="open") for guest in self._guests.values()))
        with self._display.step("a PSM that policy does not allow is refused to a guest"):
            report = await self._guests[plan.GUESTS[0]].ask(do="trespass")
            if not report["denied"]:
                raise DemoError("policy did not refuse a PSM that no rule allows")
            await self._daemon.wait_logged("access denied", "rule=default")

    async def _ping(self) -> None:
        with self._display.step(f"{self._load.pings} round trips of 64 bytes, one at a time, over each transport"):
            report = await self._guests[plan.GUESTS[0]].ask(do="ping", count=self._load.pings)
            self._outcome.rtt_us = report["rtt_us"]

    async def _exchange(self) -> None:
        """All streams at once; one guest is killed in the middle."""
        traffic = {"count": self._load.sdus, "window": self._load.window}
        survivors = [domid for domid in plan.GUESTS if domid != plan.KILLED]
        with self._display.step("SDUs of 1 to 2048 bytes on all channels, checked at both ends"):
            clock = asyncio.get_running_loop().time
            start = clock()
            self._traffic.set()
            killing = asyncio.create_task(self._kill_in_the_middle())
            try:
                reports = await asyncio.gather(
                    *(self._guests[domid].ask(do="traffic", **traffic) for domid in survivors),
                    self._peers.ask(do="call", guests=survivors, **traffic),
                )
                self._outcome.seconds = clock() - start
                if not self._middle.is_set():
                    raise DemoError("the traffic was over before it was in its middle")
                killed = await killing
            finally:
                killing.cancel()
                self._traffic.clear()
        self._display.text(f"    {killed}")
        for report in reports:
            self._outcome.add(report["counts"])

    async def _kill_in_the_middle(self) -> str:
        """Returns what is to be told of it. DemoError when the driver domain holds on to what was the dead guest's."""
        guest = self._guests[plan.KILLED]
        endless = asyncio.create_task(guest.ask(do="traffic", count=ENDLESS, window=self._load.window))
        try:
            await self._middle.wait()
        finally:
            endless.cancel()
        held = self._held()
        received = self._progress[plan.KILLED]["progress"]
        await guest.kill()
        self._world.destroy_domain(plan.KILLED)
        await self._daemon.wait_logged("guest disconnected", f"domid={plan.KILLED}")
        freed = {name: count - self._held()[name] for name, count in held.items()}
        if freed["mapped"] <= 0 or freed["ports"] <= 0:
            raise DemoError(f"usbbtd gave back nothing of the guest that was killed: {freed}")
        return (
            f"guest {plan.KILLED} was killed after {received:,} SDUs: "
            f"usbbtd gave back {freed['mapped']} mapped pages and {freed['ports']} event channels"
        )

    def _receive_progress(self, domid: int, message: Message) -> None:
        self._progress[domid] = message
        survivors = [each["progress"] for guest, each in self._progress.items() if guest != plan.KILLED]
        if plan.KILLED in self._progress and sum(survivors) > self._load.sdus * (len(self._streams()) - 2) // 3:
            self._middle.set()
        sdus, octets = self._received()
        self._display.update(f"{sdus:,} SDUs, {bytes_text(octets)}")

    def _received(self) -> tuple[int, int]:
        """SDUs and bytes that the guests have received, as far as they have told."""
        progress = self._progress.values()
        return sum(each["progress"] for each in progress), sum(each["bytes"] for each in progress)

    async def _end(self, held_before: dict[str, int]) -> None:
        with self._display.step("guests leave, and the driver domain holds nothing of them"):
            for domid, guest in self._guests.items():
                if domid != plan.KILLED:
                    self._outcome.add((await guest.ask(do="close"))["counts"])
                    await self._expect_end(guest, guest.finish())
                await asyncio.to_thread(self._world.detach_vl2cap, domid, plan.DRIVER_DOMAIN)
            self._outcome.add((await self._peers.ask(do="counts"))["counts"])
            await self._wait_held(held_before)
        for watching in self._watching:
            watching.cancel()
        with self._display.step("usbbtd stops in order"):
            await self._expect_end(self._daemon, self._daemon.stop())
            await self._daemon.wait_logged("usbbtd stopped")
            await self._expect_end(self._peers, self._peers.finish())
            await self._expect_end(self._air, self._air.stop())
            await self._wait_held(dict.fromkeys(held_before, 0))
        if problems := [*self._daemon_troubles(), *self._outcome.problems(self._streams())]:
            raise DemoError("\n    ".join(problems))

    def _daemon_troubles(self) -> list[str]:
        """What the daemon may not have logged."""
        troubles = self._errors_logged()
        for domid in plan.GUESTS:
            attached = sum("guest attached" in line and f"domid={domid}" in line.split() for line in self._daemon.log)
            if attached != 1:
                troubles.append(f"usbbtd attached guest {domid} {attached} times")
        return troubles

    def _errors_logged(self) -> list[str]:
        return [
            f"{process.name} logged: {line}" for process in self._services for line in process.log if "[error" in line
        ]

    async def _wait_held(self, expected: dict[str, int]) -> None:
        """A moment for what is on its way; then anything more than expected is a leak."""
        for _ in range(LEAK_CHECKS):
            if (held := self._held()) == expected:
                return
            await asyncio.sleep(LEAK_INTERVAL_S)
        raise DemoError(f"the driver domain leaks: it holds {held}, expected is {expected}")

    def _held(self) -> dict[str, int]:
        """What the driver domain has of the simulated Xen: pages shared and mapped, event channels."""
        statistics = self._world.statistics()[plan.DRIVER_DOMAIN]
        return {name: statistics[name] for name in ("shared", "mapped", "ports")}

    async def _start(self, domid: int | None, name: str, module: str, *arguments: str) -> Process:
        environment = {} if domid is None else self._world.environment(domid)
        process = await Process.start(name, self._logs / f"{name}.log", module, *arguments, environment=environment)
        self.stack.push_async_callback(process.kill)
        return process

    async def _start_service(self, domid: int | None, name: str, module: str, *arguments: str) -> Process:
        """A process whose end, before everything ends, is the end of the demo."""
        process = await self._start(domid, name, module, *arguments)

        async def watch() -> None:
            how = await process.wait_end()
            if not self._service_ended.done():
                self._service_ended.set_result(how)

        self._services.append(process)
        self._watching.append(asyncio.create_task(watch()))
        return process

    async def _expect_end(self, process: Process, ending: Awaitable[int]) -> None:
        if (status := await ending) != 0:
            raise DemoError(f"{process.name} ended with status {status}; see {self._logs}/{process.name}.log")
