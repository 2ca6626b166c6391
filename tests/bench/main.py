"""``python -m tests.bench``: our figures beside Bumble's and libxenvchan's, measured in turn."""

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests import ROOT
from tests.bench import page, picture, profile, table
from tests.bench.before import current_commit
from tests.bench.groups import GROUPS, selected
from tests.bench.machine import Machine, ProcessorTime, compiled_modules
from tests.bench.runner import FEWEST_RUNS, BenchRow, Effort, join_sessions, write_rows
from tests.bench.session import rows_of_session
from tests.demo import program
from tests.demo.display import Display

#: When no other session begins, if there are enough to judge rows.
ENOUGH_S = 300
FULL, SHORT = Effort(), Effort(runs=1, part=0.02)

PAGE, PICTURE = Path("performance.md"), Path("performance.svg")


class BenchPlan(NamedTuple):
    """What to measure, how often, and where to write it.

    ``sessions``: how often each group is measured; None if as often as is usual for it. ``docs``: a folder whose page
    is to be renewed.
    """

    names: Sequence[str]
    sessions: int | None
    effort: Effort
    output: Path
    docs: Path | None


async def measure(display: Display, plan: BenchPlan) -> dict[str, list[BenchRow]]:
    """Returns the rows of each group. Sessions of all groups take turns, so that a busy moment hits one of each."""
    found: dict[str, dict[str, list[BenchRow]]] = {name: defaultdict(list) for name in plan.names}
    start = time.monotonic()
    sessions = {name: plan.sessions or GROUPS[name].sessions for name in plan.names}
    most = max(sessions.values())
    for number in range(1, most + 1):
        if number > FEWEST_RUNS and time.monotonic() - start > ENOUGH_S:
            display.text(f"  No more sessions after {number - 1}: the machine is slow or busy.")
            break
        due = [name for name in plan.names if number <= sessions[name]]
        with display.step(f"session {number} of {most}: {', '.join(due)}"):
            for name in due:
                display.update(name)
                async for row in rows_of_session(name, plan.effort, plan.output / "bench" / name):
                    found[name][row.name].append(row)
                    display.update(f"{name}: {row.name}")
    return {name: [join_sessions(each) for each in rows.values()] for name, rows in found.items()}


async def run(display: Display, plan: BenchPlan) -> int:
    """Measures groups, shows their rows and writes them; returns 0. Raises DemoError, and what else goes wrong."""
    (plan.output / "bench").mkdir(parents=True, exist_ok=True)
    machine, start = Machine.describe(current_commit()), ProcessorTime.now()
    groups = {GROUPS[name].title: rows for name, rows in (await measure(display, plan)).items()}
    end = ProcessorTime.now()
    machine = machine._replace(others=end.others_since(start))
    for title, rows in groups.items():
        display.text()
        table.show(display, title, rows)
    if "host" in plan.names:
        if compiled := compiled_modules():
            unseen = f"the profiler does not see into {len(compiled)} compiled modules, but with PURE=1"
            display.text(f"\n  Where our time goes: {unseen}")
        else:
            with display.step("where our time goes"):
                text = await profile.report(plan.effort)
            (plan.output / "bench-profile.txt").write_text(text, encoding="utf-8")
    all_rows = [row for rows in groups.values() for row in rows]
    figures = plan.output / "bench.json"
    write_rows(all_rows, figures, machine=machine._asdict())
    write_picture(groups, machine, figures.with_suffix(".svg"))
    if plan.docs is not None:
        write_picture(groups, machine, plan.docs / PICTURE)
        text = (plan.docs / PAGE).read_text(encoding="utf-8")
        (plan.docs / PAGE).write_text(page.with_rows(text, groups, machine), encoding="utf-8")
    table.conclude(display, all_rows, machine, end.at - start.at, figures)
    return 0


def write_picture(groups: Mapping[str, Sequence[BenchRow]], machine: Machine, path: Path) -> None:
    path.write_text(picture.draw(groups, machine.sentences()), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROWS", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="one little run of each: to see that everything works")
    parser.add_argument("--sessions", type=int, help="how often each row is measured (default: 5 to 8 times)")
    parser.add_argument("--output", type=Path, default=Path("build"), help="folder for bench.json, bench.svg and logs")
    parser.add_argument("--docs", action="store_true", help="renew docs/performance.md and its picture, too")
    arguments = parser.parse_args(argv)
    try:
        names = selected(arguments.rows)
    except ValueError as error:
        parser.error(str(error))
    if arguments.docs and len(names) < len(GROUPS):
        parser.error("--docs needs all rows")
    display = Display()
    display.text("\n  usbbtd beside others who do the same work\n")
    docs = ROOT / "docs" if arguments.docs else None
    sessions, effort = (1, SHORT) if arguments.short else (arguments.sessions, FULL)
    return program.run(partial(run, display, BenchPlan(names, sessions, effort, arguments.output, docs)), display)
