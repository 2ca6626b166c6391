"""What the rows about the whole service need: a simulated Xen with a dongle, peers on its air, and usbbtd."""

import asyncio
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import NamedTuple, Self

from tests.bench.path_end import DIRECT, PEERS
from tests.demo import plan
from tests.demo.lab import CONFIGURATION
from tests.demo.process import Process
from tests.sim.configuration import write_configuration
from tests.sim.world import World

_GUEST, _GUESTS, _BUMBLE = "tests.bench.path_end", "tests.bench.scale_end", "tests.bench.path_bumble"
READY_TIMEOUT_S = 20
_CPUCLOCK_SCHED = 2  # clock_getcpuclockid(3), which Python does not have: the pid's complement, and what is counted


class Started(NamedTuple):
    """After how many seconds usbbtd was how far."""

    ready_s: float
    adapter_up_s: float


class BenchLab:
    """``directory`` is the world's; ``logs`` gets one file a process. All processes end with the block.

    ``tree``: what has usbbtd run from another tree, in its environment. ``configuration``: more of usbbtd's.
    ``paced``: whether the dongle's radio takes the time that a real one does. ``command``: what starts usbbtd.
    """

    def __init__(
        self, directory: Path, logs: Path, *, tree: Mapping[str, str] | None = None,
        peers: Sequence[plan.PlannedPeer] = PEERS[:2], configuration: str = "", paced: bool = False,
        command: Sequence[str] = (sys.executable, "-m", "usbbtd"),
    ) -> None:  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        logs.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._logs = logs
        self._tree = tree or {}
        self._command = command
        self._peers = peers
        self._pace = ["--paced"] if paced else []
        self._more_configuration = configuration
        self._stack = AsyncExitStack()
        self._guests = 0
        self._usbbtd: Process | None = None
        self._ready = asyncio.Event()  # what was started last has notified READY=1

    async def __aenter__(self) -> Self:
        async with self._stack:
            self._world = self._stack.enter_context(World.start(self._directory))
            # As systemd's: it is there as long as the services are.
            self._notified = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._notified.bind(str(self._directory / "notify"))
            loop = asyncio.get_running_loop()
            loop.add_reader(self._notified, self._receive_notification)
            self._stack.callback(loop.remove_reader, self._notified)
            self._world.create_domain(plan.DRIVER_DOMAIN, "sys-bluetooth")
            self._world.attach_vusb(plan.DRIVER_DOMAIN, plan.DOM0)
            self._configuration = write_configuration(
                self._directory, CONFIGURATION.format(control="") + self._more_configuration
            )
            on_air = [word for peer in (*self._peers, DIRECT) for word in ("--peer", peer.address, self._socket(peer))]
            arguments = ["--frontend", str(plan.DRIVER_DOMAIN), "--address", plan.DONGLE_ADDRESS, *on_air, *self._pace]
            await self._start("air", "tests.sim.air", *arguments, domid=plan.DOM0)
            await self._start("peers", _BUMBLE, "peers", *map(self._socket, self._peers))
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def start_usbbtd(self) -> Started:
        """Waits until it is ready and its adapter is up."""
        environment = self._world.environment(plan.DRIVER_DOMAIN) | {"NOTIFY_SOCKET": self._notified.getsockname()}
        environment |= self._tree
        self._ready.clear()
        start = perf_counter()
        process = await Process.start_command(
            "usbbtd", self._logs / "usbbtd.log", *self._command, "run", "--config", str(self._configuration),
            environment=environment,
        )  # fmt: skip
        self._stack.push_async_callback(process.kill)
        self._usbbtd = process

        async def ready() -> float:
            await self._ready.wait()
            return perf_counter() - start

        async def adapter_up() -> float:
            await process.wait_logged("adapter up")
            return perf_counter() - start

        async with asyncio.timeout(READY_TIMEOUT_S):
            return Started(*await asyncio.gather(ready(), adapter_up()))

    def usbbtd_pid(self) -> int:
        assert self._usbbtd is not None
        return self._usbbtd.pid

    def processor_s(self) -> float:
        """Returns the seconds of processor time that usbbtd has taken so far."""
        return time.clock_gettime(~self.usbbtd_pid() << 3 | _CPUCLOCK_SCHED)

    async def stop_usbbtd(self) -> None:
        """In order. Does nothing when none has been started."""
        if self._usbbtd is not None:
            await self._usbbtd.stop()

    async def start_guest(self, *arguments: str) -> Process:
        """A guest of its own, which waits for commands."""
        return await self._start_domain(1, _GUEST, *arguments)

    async def start_guests(self, devices: int) -> Process:
        """A domain with many devices, which waits for commands."""
        return await self._start_domain(devices, _GUESTS)

    async def _start_domain(self, devices: int, module: str, *arguments: str) -> Process:
        domid = plan.GUESTS[0] + self._guests
        self._guests += 1
        self._world.create_domain(domid, f"guest-{domid}")
        for number in range(devices):
            self._world.attach_vl2cap(domid, plan.DRIVER_DOMAIN, number)
        return await self._start(f"guest-{domid}", module, *arguments, domid=domid)

    async def start_direct(self) -> Process:
        """The Bumble host to compare with, which waits for commands."""
        return await self._start("direct", _BUMBLE, "direct", self._socket(DIRECT))

    def _receive_notification(self) -> None:
        if b"READY=1" in self._notified.recv(4096):
            self._ready.set()

    async def _start(self, name: str, module: str, *arguments: str, domid: int | None = None) -> Process:
        """Waits for its first report."""
        environment = {} if domid is None else self._world.environment(domid)
        process = await Process.start(name, self._logs / f"{name}.log", module, *arguments, environment=environment)
        self._stack.push_async_callback(process.kill)
        await process.take_report()
        return process

    def _socket(self, peer: plan.PlannedPeer) -> str:
        return str(self._directory / f"{peer.address.replace(':', '')}.h4")


def memory_of(pid: int) -> tuple[float, float]:
    """Bytes: of all that the process has in memory (RSS), and with only its share of what several have (Pss)."""
    found = _read_memory(pid)
    return found["Rss"], found["Pss"]


def private_bytes(pid: int) -> float:
    """Returns how much memory the process has that no other has too."""
    found = _read_memory(pid)
    return found["Private_Clean"] + found["Private_Dirty"]


def _read_memory(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    return {name.rstrip(":"): float(kilobytes) * 1024 for name, kilobytes, _ in map(str.split, lines)}
