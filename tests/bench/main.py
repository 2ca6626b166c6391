"""``python -m tests.bench``: our figures beside Bumble's and libxenvchan's, measured in turn."""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import ROOT
from tests.bench import hosts, page, path, picture, profile, radio, rings, service, table
from tests.bench.before import current_commit
from tests.bench.machine import Machine, ProcessorTime
from tests.bench.runner import BenchRow, Effort, write_rows
from tests.demo.display import Display
from tests.demo.process import DemoError

FULL, SHORT = Effort(), Effort(runs=1, part=0.02)


class Group(NamedTuple):
    """``rows`` gets a directory for a simulated Xen, and one for logs."""

    title: str
    rows: Callable[[Effort, Path, Path], AsyncIterator[BenchRow]]


GROUPS = {
    "host": Group(hosts.TITLE, hosts.rows),
    "ring": Group(rings.TITLE, rings.rows),
    "path": Group(path.TITLE, path.rows),
    "radio": Group(radio.TITLE, radio.rows),
    "service": Group(service.TITLE, service.rows),
}

PAGE, PICTURE = Path("performance.md"), Path("performance.svg")


async def measure(display: Display, group: Group, effort: Effort, logs: Path) -> list[BenchRow]:
    rows: list[BenchRow] = []
    with display.step(group.title), tempfile.TemporaryDirectory(prefix="usbbtd-") as directory:
        async for row in group.rows(effort, Path(directory), logs):
            rows.append(row)
            display.update(row.name)
    return rows


async def run(display: Display, names: Sequence[str], effort: Effort, output: Path, docs: Path | None) -> None:
    """Measures groups, shows their rows and writes them. Raises DemoError, and what else goes wrong."""
    logs = output / "bench"
    logs.mkdir(parents=True, exist_ok=True)
    machine, start = Machine.describe(current_commit()), ProcessorTime.now()
    groups = {GROUPS[name].title: await measure(display, GROUPS[name], effort, logs) for name in names}
    end = ProcessorTime.now()
    machine = machine._replace(others=end.others_since(start))
    rows = [row for each in groups.values() for row in each]
    for title, each in groups.items():
        display.text()
        table.show(display, title, each)
    if "host" in names:
        with display.step("where our time goes"):
            text = await profile.report(effort)
        (output / "bench-profile.txt").write_text(text, encoding="utf-8")
    figures = output / "bench.json"
    write_rows(rows, figures, machine=machine._asdict())
    drawn = picture.draw(groups, machine.sentences())
    figures.with_suffix(".svg").write_text(drawn, encoding="utf-8")
    if docs is not None:
        (docs / PICTURE).write_text(drawn, encoding="utf-8")
        text = (docs / PAGE).read_text(encoding="utf-8")
        (docs / PAGE).write_text(page.with_rows(text, groups, machine), encoding="utf-8")
    table.conclude(display, rows, machine, end.at - start.at, figures)


def selected(words: Sequence[str]) -> list[str]:
    """Returns the groups that are named, in their usual order; all if none is. Raises ValueError for another name."""
    if unknown := set(words) - set(GROUPS):
        raise ValueError(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return [name for name in GROUPS if name in words or not words]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROWS", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="one little run of each: to see that everything works")
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
    try:
        docs = ROOT / "docs" if arguments.docs else None
        asyncio.run(run(display, names, SHORT if arguments.short else FULL, arguments.output, docs))
    except (DemoError, OSError, TimeoutError) as error:
        display.text(f"\n  Failed: {error or type(error).__name__}")
        return 1
    return 0
