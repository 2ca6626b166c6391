"""The story of the demo, step by step."""

import asyncio
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.demo import plan
from tests.demo.display import Display, bytes_text
from tests.demo.lab import DemoLab
from tests.demo.lines import Message
from tests.demo.outcome import DemoOutcome
from tests.demo.process import DemoError, Process

#: More than the guest that is killed can send before it is.
ENDLESS = 1_000_000
STALL_S = 10.0

_THINGS = [plan.LOCK.address, f"{plan.SENSOR.le_address}/random"]
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

[[rule]]
guest = "guest-{plan.GUESTS[0]}"
action = "agent"
peer = {_THINGS}
verdict = "allow"

[[rule]]
guest = "guest-{plan.GUESTS[0]}"
action = "connect"
peer = {_THINGS}
psm = {plan.LOCK_PSM}
cid = 4
verdict = "allow"
"""


class Load(NamedTuple):
    """SDUs of a stream, and how many of them may be on their way."""

    pings: int
    sdus: int
    window: int


class Scenario:
    """What happens in ``lab``. ``capture``: the file that gets all HCI packets."""

    def __init__(self, lab: DemoLab, display: Display, load: Load, capture: Path) -> None:
        self._lab = lab
        self._display = display
        self._load = load
        self._capture = capture
        self._outcome = DemoOutcome()
        self._guests: dict[int, Process] = {}
        self._progress: dict[int, Message] = {}
        self._traffic = asyncio.Event()
        self._middle = asyncio.Event()

    async def run(self) -> str:
        """Raises DemoError as soon as something is not as it has to be. Returns what the capture has."""
        story = asyncio.create_task(self._tell())
        await self._lab.guard(story, asyncio.create_task(self._wait_stalled()))
        return story.result()

    async def _wait_stalled(self) -> None:
        """DemoError when no guest has received anything for STALL_S while there is traffic."""
        await self._traffic.wait()
        while True:
            before = dict(self._progress)
            await asyncio.sleep(STALL_S)
            if self._traffic.is_set() and self._progress == before:
                raise DemoError(
                    f"no SDU arrives any more, after {self._received()[0]:,}; see {self._lab.daemon.log_path}"
                )

    async def _tell(self) -> str:
        await self._lab.start_driver_domain(POLICY, capture=self._capture)
        await self._lab.start_peers(*plan.PEERS)
        held_before = self._lab.held()
        await self._start_guests()
        await self._pair()
        await self._sense()
        await self._ping()
        await self._exchange()
        return await self._end(held_before)

    def show(self) -> None:
        self._outcome.show(self._display, {each: self._channels(each) for each in plan.TRANSPORTS})

    def figures(self) -> dict[str, int | float]:
        channels = sum(self._channels(each) for each in plan.TRANSPORTS)
        return {"guests": len(plan.GUESTS), "channels": channels} | self._outcome.figures()

    def _channels(self, transport: plan.Transport) -> int:
        """How many had streams, with the one of the killed guest."""
        return sum(plan.transport_of(stream) == transport for stream in self._streams()) + 1

    def _streams(self) -> set[int]:
        """Those that have to be whole."""
        survivors = [guest for guest in plan.GUESTS if guest != plan.KILLED]
        pings = {plan.stream_of(plan.GUESTS[0], transport, "ping") for transport in plan.TRANSPORTS}
        lock = plan.stream_of(plan.GUESTS[0], "bredr", "lock")
        return (
            pings
            | {lock}
            | {
                plan.stream_of(guest, transport, kind)
                for guest in survivors
                for transport in plan.TRANSPORTS
                for kind in ("out", "in")
            }
        )

    async def _start_guests(self) -> None:
        with self._display.step(f"{len(plan.GUESTS)} guests attached by xenstore, vl2cap rings connected"):
            for domid in plan.GUESTS:
                self._lab.attach(domid)
                name = f"guest-{domid}"
                module = "tests.demo.sensing_guest" if domid == plan.GUESTS[0] else "tests.demo.guest"
                guest = self._guests[domid] = await self._lab.start(domid, name, module, str(domid))
                guest.on_progress = partial(self._receive_progress, domid)
            for guest in self._guests.values():
                await guest.take_report()
        with self._display.step("channels to the remote side: BR/EDR to a PSM, LE to an SPSM"):
            await asyncio.gather(*(guest.ask(do="open") for guest in self._guests.values()))
        with self._display.step("a PSM that policy does not allow is refused to a guest"):
            report = await self._guests[plan.GUESTS[0]].ask(do="trespass")
            if not report["denied"]:
                raise DemoError("policy did not refuse a PSM that no rule allows")
            await self._lab.daemon.wait_logged("access denied", "rule=default")

    async def _pair(self) -> None:
        """The lock takes nobody who has not compared numbers: here, whoever sees both."""
        guest, peers = self._guests[plan.GUESTS[0]], self._lab.peers
        with self._display.step("a lock pairs by numeric comparison, and its channel is encrypted"):
            here, there = await asyncio.gather(guest.ask(do="pair"), peers.take_report())
            if here["refused"] != "security block":
                raise DemoError("the lock took a channel that is not encrypted")
            same = here["asked"] == "confirm" and here["digits"] == there["shows"]
            self._display.update(f"{there['shows']} on both" if same else "two numbers")
            opened, _ = await asyncio.gather(guest.ask(do="confirm", accept=same), peers.ask(do="confirm", accept=same))
            if opened["security"] not in ("authenticated", "secure"):
                raise DemoError(f"the lock's channel is no more than {opened['security']}")
            await self._lab.daemon.wait_logged("bond made", plan.LOCK.address)

    async def _sense(self) -> None:
        with self._display.step("a guest reads, writes and subscribes to a sensor over ATT"):
            found = await self._guests[plan.GUESTS[0]].ask(do="sense")
            first, *notified = found["temperatures"]
            rising = list(range(notified[0], notified[0] + len(notified)))
            if not found["refused"] or found["security"] == "none":
                raise DemoError("the sensor was read over a link that is not encrypted")
            if notified != rising or notified[0] <= first or found["interval_ms"] != found["wanted_ms"]:
                raise DemoError(f"the sensor is not as it has to be: {found}")

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
                    self._lab.peers.ask(do="call", guests=survivors, **traffic),
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
        held = self._lab.held()
        received = self._progress[plan.KILLED]["progress"]
        await guest.kill()
        self._lab.world.destroy_domain(plan.KILLED)
        await self._lab.daemon.wait_logged("guest disconnected", f"domid={plan.KILLED}")
        freed = {name: count - self._lab.held()[name] for name, count in held.items()}
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

    async def _end(self, held_before: dict[str, int]) -> str:
        with self._display.step("guests leave, and the driver domain holds nothing of them"):
            for domid, guest in self._guests.items():
                if domid != plan.KILLED:
                    self._outcome.add((await guest.ask(do="close"))["counts"])
                    await self._lab.expect_end(guest, guest.finish())
                await self._lab.detach(domid)
            self._outcome.add((await self._lab.peers.ask(do="counts"))["counts"])
            await self._lab.wait_held(held_before)
        captured = await self._lab.stop()
        if problems := [*self._daemon_troubles(), *self._outcome.problems(self._streams())]:
            raise DemoError("\n    ".join(problems))
        return captured

    def _daemon_troubles(self) -> list[str]:
        """What the daemon may not have logged."""
        troubles = self._lab.errors_logged()
        for domid in plan.GUESTS:
            attached = sum(
                "guest attached" in line and f"domid={domid}" in line.split() for line in self._lab.daemon.log
            )
            if attached != 1:
                troubles.append(f"usbbtd attached guest {domid} {attached} times")
        return troubles
