"""Where the processor time of our host goes, by source file."""

import cProfile
from collections import defaultdict
from pathlib import Path

import usbbtd
from tests.bench.host import Ours
from tests.bench.hosts import CASES, SDUS, Bench, quiet_collector
from tests.bench.runner import Effort

PACKAGE = Path(usbbtd.__file__).resolve().parent


async def report(effort: Effort) -> str:
    """Returns microseconds per SDU for each file that is not compiled: the profiler does not see into others.

    The profiler costs time at every call, so that these are shares of what was measured without it.
    """
    lines = ["Where the time goes: µs per SDU by source file, of what was measured without the profiler\n"]
    for case in CASES:
        bench = Bench(case, Ours, effort.of(SDUS))
        await bench.open()
        for direction, measure in (("TX", bench.transmit), ("RX", bench.receive)):
            profile = cProfile.Profile()
            with quiet_collector():
                await measure()
                (measured_us,) = await measure()
                with profile:
                    await measure()
            shares = shares_of(profile)
            lines.append(f"\n{case.name}, ACL {case.acl_size}, {direction}: {measured_us:.1f} µs\n")
            lines += [f"  {share * measured_us:6.2f}  {name}\n" for name, share in shares if share > 0.01]
    return "".join(lines)


def shares_of(profile: cProfile.Profile) -> list[tuple[str, float]]:
    """Parts of the time that was spent in our package, largest first. What is built into Python counts where it is
    called from; what the bench itself does does not count."""
    spent: defaultdict[Path, float] = defaultdict(float)
    for entry in profile.getstats():
        if isinstance(entry.code, str):
            continue
        built_in = (call.inlinetime for call in entry.calls or () if isinstance(call.code, str))
        spent[Path(entry.code.co_filename)] += entry.inlinetime + sum(built_in)
    inside = [
        (path.relative_to(PACKAGE), seconds)
        for path, seconds in sorted(spent.items(), key=lambda item: -item[1])
        if path.is_relative_to(PACKAGE)
    ]
    total = sum(seconds for _, seconds in inside)
    return [(str(path), seconds / total) for path, seconds in inside]
