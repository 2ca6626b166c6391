"""Our data ring beside libxenvchan, each between two processes of two domains of the same Xen.

Both carry the same messages, with their lengths in front, through rings of 64 KiB each way. Ours goes through Python
and asyncio at both ends; libxenvchan's programs are C, and block.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.bench.ring_end import RING_ORDER
from tests.bench.runner import BenchRow, Effort, Goal, Runs, runs_in_turn
from tests.sim.world import World
from usbbtd.xen.ring import PAGE_SIZE

TITLE = "Rings between two domains, on the simulation"
PEER = "libxenvchan, C"

ROUND_TRIP = Goal(1.3)
THROUGHPUT = Goal(1, at_least=True)

ROUND_TRIPS = 2000
STREAMS = ((2048, 40_000), (64, 100_000))  # size and number of messages

SOURCE = Path(__file__).with_name("vchan.c")
HALF_BYTES = (PAGE_SIZE << RING_ORDER) // 2


class End(Protocol):
    """A process at one end of a ring."""

    def tell(self, line: str) -> None:
        """To its standard input."""

    def hear(self) -> str:
        """The next line that it prints. Raises when it has ended."""


class Domains(NamedTuple):
    """Two domains, and the programs of the bench that are in each."""

    client: int
    server: int
    start: Callable[[int, list[str]], End]
    ring_end: list[str]
    vchan: str

    def start_ours(self) -> End:
        """The client, connected."""
        client = self.start(self.client, [*self.ring_end, "client", str(self.server)])
        server = self.start(self.server, [*self.ring_end, "server", str(self.client)])
        server.tell(client.hear())
        server.hear()
        return client

    def start_theirs(self) -> End:
        """The client, connected."""
        arguments = [f"/local/domain/{self.server}/data/vchan", str(HALF_BYTES)]
        self.start(self.server, [self.vchan, "server", str(self.client), *arguments]).hear()
        client = self.start(self.client, [self.vchan, "client", str(self.server), *arguments])
        client.hear()
        return client


class SimulatedEnd:
    """A process in a domain of the simulation. It is killed when the ``stack`` unwinds.

    Where there are two processors each end has its own, as running domains have: on a shared one the scheduler of this
    machine, not an event channel, would carry the messages.
    """

    def __init__(self, world: World, stack: ExitStack, domid: int, command: list[str]) -> None:
        pipe = subprocess.PIPE
        environment = os.environ | world.environment(domid)
        self._process = stack.enter_context(
            subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        )
        stack.callback(self._process.kill)
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(self._process.pid, {processors[domid % len(processors)]})

    def tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise ChildProcessError(f"{self._process.args!r} ended with status {self._process.wait()}")
        return line.rstrip()


def build_vchan(program: Path) -> None:
    """With libxenvchan itself in it: only the libraries that usbbtd needs too have to be where it runs."""
    compiler = shutil.which("cc") or "cc"
    libraries = ("-l:libxenvchan.a", "-lxenstore", "-lxengnttab", "-lxenevtchn")
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE), *libraries], check=True)


async def compare(domains: Domains, effort: Effort) -> AsyncIterator[BenchRow]:
    """Both rings are open at a time, and are measured in turn."""
    ends = (domains.start_ours(), domains.start_theirs())

    async def measure(task: str, size: int, count: int) -> tuple[Runs, Runs]:
        """Seconds of ours and of theirs."""
        (ours,), (theirs,) = await runs_in_turn(effort.runs, *(partial(run, end, task, size, count) for end in ends))
        return ours, theirs

    count = effort.of(ROUND_TRIPS)
    ours, theirs = await measure("pingpong", 64, count)
    us = 1e6 / count
    yield BenchRow(
        "round trip of a 64-byte message", "µs", [us * each for each in ours], PEER, [us * each for each in theirs],
        ROUND_TRIP,
    )  # fmt: skip
    for size, number in STREAMS:
        count = effort.of(number)
        ours, theirs = await measure("stream", size, count)
        octets = count * size
        yield BenchRow(
            f"stream of {size}-byte messages", "bytes/s", [octets / each for each in ours], PEER,
            [octets / each for each in theirs], THROUGHPUT,
        )  # fmt: skip


async def run(end: End, task: str, size: int, count: int) -> tuple[float]:
    """The seconds that a client needs for a task. It answers when all messages have reached the other end."""
    end.tell(f"{task} {count} {size}")
    return (float(end.hear()),)


async def rows(effort: Effort, directory: Path, _logs: Path) -> AsyncIterator[BenchRow]:
    vchan = directory / "vchan"
    build_vchan(vchan)
    with World.start(directory) as world, ExitStack() as stack:
        client, server = 1, 2
        for domid in (client, server):
            world.create_domain(domid, f"guest-{domid}")
        ring_end = [sys.executable, "-m", "tests.bench.ring_end"]
        domains = Domains(client, server, partial(SimulatedEnd, world, stack), ring_end, str(vchan))
        async for row in compare(domains, effort):
            yield row
