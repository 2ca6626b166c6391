"""The groups of rows, by the name with which they are asked for."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import hosts, path, radio, rings, scale, service
from tests.bench.runner import FEWEST_RUNS, BenchRow, Effort


class RowGroup(NamedTuple):
    """``rows`` gets a directory for a simulated Xen, and one for logs. ``sessions``: how often it is measured."""

    title: str
    rows: Callable[[Effort, Path, Path], AsyncIterator[BenchRow]]
    sessions: int = 8


GROUPS = {
    "host": RowGroup(hosts.TITLE, hosts.rows),
    "ring": RowGroup(rings.TITLE, rings.rows),
    "path": RowGroup(path.TITLE, path.rows),
    "radio": RowGroup(radio.TITLE, radio.rows),
    "scale": RowGroup(scale.TITLE, scale.rows, sessions=FEWEST_RUNS),
    "service": RowGroup(service.TITLE, service.rows),
}


def selected(words: Sequence[str]) -> list[str]:
    """Returns the groups that are named, in their usual order; all if none is. Raises ValueError for another name."""
    if unknown := set(words) - set(GROUPS):
        raise ValueError(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return [name for name in GROUPS if name in words or not words]
