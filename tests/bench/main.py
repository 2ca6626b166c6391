"""``python -m tests.bench``: our figures beside Bumble's and libxenvchan's, measured in turn."""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import hosts, path, profile, rings, service, table
from tests.bench.runner import BenchRow, Effort, write_rows
from tests.demo.display import Display
from tests.demo.process import DemoError

FULL, SHORT = Effort(), Effort(runs=1, part=0.02)


class Group(NamedTuple):
    """``rows`` gets a directory for a simulated Xen, and one for logs."""

    title: str
    rows: Callable[[Effort, Path, Path], AsyncIterator[BenchRow]]


GROUPS = {
    "hosts": Group(hosts.TITLE, hosts.rows),
    "rings": Group(rings.TITLE, rings.rows),
    "path": Group(path.TITLE, path.rows),
    "service": Group(service.TITLE, service.rows),
}


async def measure(display: Display, group: Group, effort: Effort, logs: Path) -> list[BenchRow]:
    rows: list[BenchRow] = []
    with display.step(group.title), tempfile.TemporaryDirectory(prefix="usbbtd-") as directory:
        async for row in group.rows(effort, Path(directory), logs):
            rows.append(row)
            display.update(row.name)
    return rows


async def run(display: Display, names: list[str], effort: Effort, output: Path) -> None:
    """Raises DemoError, and what else goes wrong."""
    start = time.monotonic()
    logs = output / "bench"
    logs.mkdir(parents=True, exist_ok=True)
    results = {name: await measure(display, GROUPS[name], effort, logs) for name in names}
    rows = [row for each in results.values() for row in each]
    figures = output / "bench.json"
    write_rows(rows, figures)
    for name, each in results.items():
        display.text()
        table.show(display, GROUPS[name].title, each)
    if "hosts" in names:
        with display.step("where our time goes"):
            text = await profile.report(effort)
        (output / "bench-profile.txt").write_text(text, encoding="utf-8")
    table.conclude(display, rows, effort, time.monotonic() - start, figures)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="one little run of each: to see that everything works")
    parser.add_argument("--output", type=Path, default=Path("build"), help="folder for bench.json, profile and logs")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    display = Display()
    display.text("\n  usbbtd beside others who do the same work\n")
    try:
        names = arguments.groups or list(GROUPS)
        asyncio.run(run(display, names, SHORT if arguments.short else FULL, arguments.output))
    except (DemoError, OSError, TimeoutError) as error:
        display.text(f"\n  Failed: {error or type(error).__name__}")
        return 1
    return 0
