"""Our data ring beside libxenvchan, each between two processes of two domains of the same Xen.

All carry the same messages, with their lengths in front, through rings of 64 KiB each way. Ours goes through Python
and asyncio at both ends, or is libvl2cap's, of clients/c; libxenvchan's programs are C, and block, as libvl2cap's do.
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

from tests import ROOT
from tests.bench.ring_end import RING_ORDER
from tests.bench.runner import BenchRow, Effort, Goal, Runs, runs_in_turn
from tests.sim.world import World
from usbbtd.xen.ring import PAGE_SIZE

TITLE = "Rings between two domains, on the simulation"
PEER = "libxenvchan, C"

ROUND_TRIP = Goal(1.3)
ROUND_TRIP_C = Goal(1)
THROUGHPUT = Goal(1, at_least=True)

ROUND_TRIPS = 2000
STREAMS = ((2048, 40_000), (64, 100_000))  # size and number of messages

SOURCE = Path(__file__).with_name("vchan.c")
C_SOURCE = Path(__file__).with_name("c_ring.c")
LIBRARY, PROTOCOL = ROOT / "clients/c", ROOT / "usbbtd/abi/include"
#: The order of these in the header is what makes an end that of the frontend.
IN = "    struct l2capif_half in;     /* backend produces                            */\n"
OUT = "    struct l2capif_half out;    /* frontend produces                           */\n"
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
    c_ring: tuple[str, str] | None = None  # the client's program and the server's

    def start_ours(self) -> End:
        """The client, connected."""
        return self._start_ring([*self.ring_end, "client"], [*self.ring_end, "server"])

    def start_ours_in_c(self) -> End:
        """The client, connected."""
        assert self.c_ring
        client, server = self.c_ring
        return self._start_ring([client], [server])

    def _start_ring(self, ours: list[str], theirs: list[str]) -> End:
        client = self.start(self.client, [*ours, str(self.server)])
        server = self.start(self.server, [*theirs, str(self.client)])
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


def build_c_ring(directory: Path) -> tuple[str, str]:
    """The two ends, by libvl2cap. For the server's the halves in the header have each other's names."""
    header = (PROTOCOL / "l2capif.h").read_text()
    swapped = directory / "swapped"
    swapped.mkdir()
    assert IN + OUT in header
    (swapped / "l2capif.h").write_text(header.replace(IN + OUT, OUT + IN))
    libraries = ("-lxengnttab", "-lxenevtchn")
    programs: list[str] = []
    for name, protocol, parts, flags in (
        ("client", PROTOCOL, [path for path in LIBRARY.glob("src/*.c") if path.name != "os_windows.c"], []),
        ("server", swapped, [LIBRARY / "src/ring.c"], ["-DSERVER"]),
    ):
        programs.append(str(directory / f"c_ring_{name}"))
        includes = [f"-I{each}" for each in (protocol, LIBRARY / "include", LIBRARY / "src")]
        options = ["-O2", "-DL2CAPIF_WITHOUT_XEN", *flags, *includes]
        subprocess.run(["cc", *options, "-o", programs[-1], *map(str, (C_SOURCE, *parts)), *libraries], check=True)
    return programs[0], programs[1]


async def compare(domains: Domains, effort: Effort, *, in_c: bool = False) -> AsyncIterator[BenchRow]:
    """Both rings are open at a time, and are measured in turn. ``in_c``: ours is that of libvl2cap."""
    ends = (domains.start_ours_in_c() if in_c else domains.start_ours(), domains.start_theirs())
    ours_is, round_trip = (", C", ROUND_TRIP_C) if in_c else ("", ROUND_TRIP)

    async def measure(task: str, size: int, count: int) -> tuple[Runs, Runs]:
        """Seconds of ours and of theirs."""
        (ours,), (theirs,) = await runs_in_turn(effort.runs, *(partial(run, end, task, size, count) for end in ends))
        return ours, theirs

    count = effort.of(ROUND_TRIPS)
    ours, theirs = await measure("pingpong", 64, count)
    us = 1e6 / count
    yield BenchRow(
        f"round trip of a 64-byte message{ours_is}", "µs", [us * each for each in ours], PEER,
        [us * each for each in theirs], round_trip,
    )  # fmt: skip
    for size, number in STREAMS:
        count = effort.of(number)
        ours, theirs = await measure("stream", size, count)
        octets = count * size
        yield BenchRow(
            f"stream of {size}-byte messages{ours_is}", "bytes/s", [octets / each for each in ours], PEER,
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
        start = partial(SimulatedEnd, world, stack)
        domains = Domains(client, server, start, ring_end, str(vchan), build_c_ring(directory))
        for in_c in (False, True):
            async for row in compare(domains, effort, in_c=in_c):
                yield row
