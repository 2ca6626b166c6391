"""What share of a processor the service takes while a guest uses the whole radio, and its cost for each SDU.

A guest sends SDUs as fast as the radio could carry them, each when its time has come, and a peer echoes them: so the
service sleeps between two SDUs, as it does on real hardware, and finds its caches cold. The peer of each row is the
service of an older commit, on a simulated Xen of its own; the two take turns.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench.before import PEER, NoTreeError, build_tree, environment_of
from tests.bench.lab import BenchLab
from tests.bench.path import NAMES
from tests.bench.runner import BenchRow, Effort, Goal, Runs, runs_in_turn
from tests.demo import plan
from tests.demo.outcome import RADIO_LIMITS
from tests.demo.process import Process
from tests.sim.paced import air_time_s

TITLE = "The service at the radio's full rate, echoes, on the simulation"

COST = Goal(0.55)
#: Of one processor, in percent.
SHARES = {2048: Goal(3), 64: Goal(10)}

#: How long one run takes.
RUN_S = 0.4
RUNS = 1
#: What part of the rate a machine has to reach: one that does not never sleeps, and its caches are warm.
REACHED = 0.9


class RadioCase(NamedTuple):
    """SDUs of one size on one transport. ``rate``: how many the radio carries a second.

    ``paced``: the simulated radio takes its time for each fragment, so that the service hears of them one by one, as of
    real ones. Otherwise it hands over an SDU's fragments together.
    """

    transport: plan.Transport
    size: int
    rate: float
    paced: bool = False

    @property
    def name(self) -> str:
        how = ", fragment by fragment" if self.paced else ""
        return f"{NAMES[self.transport]}, {self.rate:.0f} × {self.size} bytes a second{how}"


#: Large SDUs are carried at the radio's limit; small ones are one fragment, with headers of 4 and 6 octets.
CASES = (
    RadioCase("bredr", 2048, RADIO_LIMITS["bredr"] / 2048),
    RadioCase("bredr", 64, 1 / air_time_s(68, over_le=False)),
    RadioCase("le", 2048, RADIO_LIMITS["le"] / 2048),
    RadioCase("le", 64, 1 / air_time_s(70, over_le=True)),
)
#: A little slower than the sum of the fragments' air times.
PACED_CASES = (RadioCase("bredr", 2048, 108, paced=True), RadioCase("le", 2048, 76, paced=True))


async def cost(lab: BenchLab, guest: Process, case: RadioCase, effort: Effort) -> tuple[float, float]:
    """Returns microseconds of the service's processor time for an echoed SDU, and the rate that was reached."""
    count = effort.of(round(case.rate * RUN_S))
    start = lab.processor_s()
    report = await guest.ask(do="pace", transport=case.transport, count=count, size=case.size, rate=case.rate)
    return (lab.processor_s() - start) / count * 1e6, count / report["seconds"]


async def start(lab: BenchLab) -> Process:
    """Starts the service and a guest with open channels."""
    await lab.start_usbbtd()
    guest = await lab.start_guest("precise")
    for transport in plan.TRANSPORTS:
        await guest.ask(do="open", transport=transport)
    return guest


async def rows(effort: Effort, directory: Path, logs: Path) -> AsyncIterator[BenchRow]:
    trees: dict[str, dict[str, str]] = {"ours": {}}
    missing = ""
    try:
        trees["before"] = environment_of(build_tree())
    except NoTreeError as error:
        missing = str(error)
    for where, cases in (("at-once", CASES), ("paced", PACED_CASES)):
        async with AsyncExitStack() as stack:
            labs = []
            for name, tree in trees.items():
                paths = directory / where / name, logs / where / name
                lab = await stack.enter_async_context(BenchLab(*paths, tree=tree, paced=cases is PACED_CASES))
                labs.append((lab, await start(lab)))
            for case in cases:
                results = await runs_in_turn(RUNS, *(partial(cost, *lab, case, effort) for lab in labs))
                for row in rows_of(case, results, missing):
                    yield row


def rows_of(case: RadioCase, results: Sequence[Sequence[Runs]], missing: str) -> list[BenchRow]:
    """Returns the rows of a case: the cost beside the peer's, where there is one, and the share at the full rate."""
    our_us = results[0][0]
    reached = min(median(rates) for _, rates in results) / case.rate
    doubt = (
        "" if reached >= REACHED else f"{case.name}: this machine is too slow or too busy, and reached {reached:.0%}"
    )
    goal, share_goal = (None, None) if case.paced else (COST, SHARES[case.size])
    peer_us = () if missing else results[1][0]
    shares = [us * case.rate / 1e6 * 100 for us in our_us]
    return [
        BenchRow(f"{case.name}: one SDU", "µs", () if missing else our_us, PEER, peer_us, goal, missing, doubt),
        BenchRow(f"{case.name}: share of a processor", "%", shares, target=share_goal, doubt=doubt),
    ]
