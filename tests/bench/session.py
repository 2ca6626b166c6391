"""One session of a group of rows, in a process of its own: ``python -m tests.bench.session GROUP LOGS RUNS PART``.

Where a process happens to have its memory makes it up to a quarter faster or slower, for all its life, so that many
runs of one process say less than they seem to. Each session has new processes, and gives each row one figure.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.bench.groups import GROUPS
from tests.bench.runner import BenchRow, Effort
from tests.demo import lines, program
from tests.demo.display import Display
from tests.demo.process import DemoError, Process

_MODULE = "tests.bench.session"
#: How long a session may take until its next row.
LONGEST_S = 120
_FAILED = "Failed: "


async def rows_of_session(name: str, effort: Effort, logs: Path) -> AsyncIterator[BenchRow]:
    """Has a new process measure a group. Raises DemoError if it fails, or takes too long for one row."""
    arguments = (name, str(logs), str(effort.runs), str(effort.part))
    process = await Process.start(f"session of {name}", logs.with_suffix(".log"), _MODULE, *arguments)
    try:
        while not (report := await asyncio.wait_for(process.take_report(), LONGEST_S)).get("done"):
            if "row" in report:
                yield BenchRow.from_json(report["row"])
            elif _FAILED in report.get("line", ""):
                raise DemoError(f"{name}: {report['line'].partition(_FAILED)[2]}")
    except TimeoutError:
        raise DemoError(f"{name}: nothing was measured for {LONGEST_S} s; logs are in {logs}") from None
    finally:
        await process.stop()


async def measure(name: str, logs: Path, runs: str, part: str) -> int:
    """Reports all rows of a group, then that it is done."""
    with tempfile.TemporaryDirectory(prefix="usbbtd-") as directory:
        rows = GROUPS[name].rows(Effort(int(runs), float(part)), Path(directory), logs)
        async for row in rows:
            lines.report(row=row)
    lines.report(done=True)
    return 0


if __name__ == "__main__":
    name, logs, runs, part = sys.argv[1:]
    sys.exit(program.run(lambda: measure(name, Path(logs), runs, part), Display()))
