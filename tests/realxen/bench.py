"""``make xen-bench``: our data ring beside libxenvchan as in tests.bench, between two domains of a real Xen.

The machine is emulated, so that only the ratios say something.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from functools import partial

from tests import ROOT
from tests.bench import rings, table
from tests.bench.before import current_commit
from tests.bench.machine import Machine, ProcessorTime
from tests.bench.runner import BenchRow, Effort, write_rows
from tests.demo.display import Display
from tests.realxen.agents import Domain, Failed
from tests.realxen.image import VCHAN
from tests.realxen.lab import Lab
from tests.realxen.machine import MachineError
from tests.realxen.snapshot import new_lab

TITLE = "Rings between two domains, on Xen 4.17 (emulated)"
EFFORT = Effort(runs=5, part=0.1)

#: Longer than Python needs to start, and longer than any run.
_PATIENCE_S = 120.0


class EmulatedEnd:
    """A process in a domain. It is killed when the ``stack`` unwinds."""

    def __init__(self, domains: Mapping[int, Domain], stack: ExitStack, domid: int, command: list[str]) -> None:
        self._program = domains[domid].start(*command, log="/var/log/ring")
        stack.callback(self._program.signal, signal.SIGKILL)

    def tell(self, line: str) -> None:
        self._program.write(f"{line}\n")

    def hear(self) -> str:
        return self._program.line(timeout_s=_PATIENCE_S)


async def rows(effort: Effort, client: Domain, server: Domain) -> AsyncIterator[BenchRow]:
    with ExitStack() as stack:
        start = partial(EmulatedEnd, {domain.domid: domain for domain in (client, server)}, stack)
        domains = rings.Domains(client.domid, server.domid, start, ["python3", "-m", "tests.bench.ring_end"], VCHAN)
        async for row in rings.compare(domains, effort):
            yield row


async def measure(display: Display, lab: Lab) -> None:
    results: list[BenchRow] = []
    machine, begun = Machine.describe(current_commit()), ProcessorTime.now()
    with display.step(TITLE):
        async for row in rows(EFFORT, *lab.guests):
            results.append(row)
            display.update(row.name)
    ended = ProcessorTime.now()
    machine = machine._replace(others=ended.others_since(begun))
    figures = ROOT / "build" / "xen-bench.json"
    write_rows(results, figures, machine=machine._asdict())
    display.text()
    table.show(display, TITLE, results)
    table.conclude(display, results, machine, ended.at - begun.at, figures.relative_to(ROOT))


def main() -> int:
    display = Display()
    logs = ROOT / "build" / "xen-bench" / time.strftime("%Y%m%d-%H%M%S")
    try:
        with ExitStack() as stack:
            with display.step("Xen, dom0 and two domains"):
                lab = stack.enter_context(new_lab(logs))
            asyncio.run(measure(display, lab))
    except (Failed, MachineError) as error:
        display.text(f"\n  Failed: {error}\n  Logs are in {logs}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
