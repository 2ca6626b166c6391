"""Our data ring beside libxenvchan, each between two processes of two domains of the same simulated Xen.

Both carry the same messages, with their lengths in front, through rings of 64 KiB each way. Ours goes through Python
and asyncio at both ends; libxenvchan's programs are C, and block.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from usbbtd.sim.bench.ring_end import RING_ORDER
from usbbtd.sim.bench.runner import Effort, Row, Target, medians_in_turn
from usbbtd.sim.world import World
from usbbtd.xen.ring import PAGE_SIZE

TITLE = "Rings between two domains, on the simulation"
PEER = "libxenvchan, C"

ROUND_TRIP = Target(3)
THROUGHPUT = Target(1, at_least=True)

ROUND_TRIPS = 2000
STREAMS = ((2048, 40_000), (64, 100_000))  # size and number of messages

SOURCE = Path(__file__).with_name("vchan.c")
OUR_END = (sys.executable, "-m", "usbbtd.sim.bench.ring_end")
HALF_BYTES = (PAGE_SIZE << RING_ORDER) // 2
CLIENT, SERVER = 1, 2


class End:
    """A process at one end of a ring. It is killed when the ``stack`` unwinds.

    Where there are two processors each end has its own, as running domains have: on a shared one the scheduler of this
    machine, not an event channel, would carry the messages.
    """

    def __init__(self, world: World, stack: ExitStack, domid: int, *command: str) -> None:
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
        """The next line. ChildProcessError: it has ended."""
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise ChildProcessError(f"{self._process.args!r} ended with status {self._process.wait()}")
        return line.rstrip()

    async def run(self, task: str, size: int, count: int) -> tuple[float]:
        """Seconds."""
        self.tell(f"{task} {count} {size}")
        return (float(self.hear()),)


def start_ours(world: World, stack: ExitStack) -> End:
    """The client, connected."""
    client = End(world, stack, CLIENT, *OUR_END, "client", str(SERVER))
    server = End(world, stack, SERVER, *OUR_END, "server", str(CLIENT))
    server.tell(client.hear())
    server.hear()
    return client


def start_theirs(world: World, stack: ExitStack, directory: Path) -> End:
    """The client, connected."""
    program = str(directory / "vchan")
    compiler = shutil.which("cc") or "cc"
    subprocess.run([compiler, "-O2", "-o", program, str(SOURCE), "-lxenvchan"], check=True)
    arguments = (f"/local/domain/{SERVER}/data/vchan", str(HALF_BYTES))
    End(world, stack, SERVER, program, "server", str(CLIENT), *arguments).hear()
    client = End(world, stack, CLIENT, program, "client", str(SERVER), *arguments)
    client.hear()
    return client


async def rows(effort: Effort, directory: Path, _logs: Path) -> AsyncIterator[Row]:
    with World.start(directory) as world, ExitStack() as stack:
        for domid in (CLIENT, SERVER):
            world.create_domain(domid, f"guest-{domid}")
        ends = (start_ours(world, stack), start_theirs(world, stack, directory))
        count = effort.of(ROUND_TRIPS)
        (ours,), (theirs,) = await medians_in_turn(
            effort.runs, *(partial(end.run, "pingpong", 64, count) for end in ends)
        )
        yield Row(
            "round trip of a 64-byte message", "µs", ours / count * 1e6, PEER, theirs / count * 1e6, target=ROUND_TRIP
        )
        for size, number in STREAMS:
            count = effort.of(number)
            measures = [partial(end.run, "stream", size, count) for end in ends]
            (ours,), (theirs,) = await medians_in_turn(effort.runs, *measures)
            octets = count * size
            yield Row(
                f"stream of {size}-byte messages", "bytes/s", octets / ours, PEER, octets / theirs, target=THROUGHPUT
            )
