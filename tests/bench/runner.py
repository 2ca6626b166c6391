"""A row of results, and how it is measured: in turn with the peer's, so that what else the machine does hits both."""

import json
import statistics
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

#: One run: the figures that it gives.
Measure = Callable[[], Awaitable[tuple[float, ...]]]


class Effort(NamedTuple):
    """How often each measure runs, and how much one run does, as a part of the usual."""

    runs: int = 7
    part: float = 1.0

    def of(self, count: int) -> int:
        return max(1, int(count * self.part))


class Goal(NamedTuple):
    """What the ratio to the peer has to be; without a peer, our value."""

    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


class BenchRow(NamedTuple):
    """``unit`` is of both values."""

    name: str
    unit: str
    ours: float
    peer: str | None = None
    peer_value: float | None = None
    target: Goal | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.peer_value is None else self.ours / self.peer_value

    @property
    def is_met(self) -> bool | None:
        """None: there is no target."""
        return None if self.target is None else self.target.is_met(self.ours if self.ratio is None else self.ratio)

    def as_json(self) -> dict[str, str | float | None]:
        row: dict[str, str | float | None] = {"name": self.name, "unit": self.unit, "ours": self.ours}
        return row | {"peer": self.peer, "peer_value": self.peer_value, "ratio": self.ratio}


def write_rows(rows: Sequence[BenchRow], path: Path) -> None:
    """As JSON."""
    text = json.dumps([row.as_json() for row in rows], indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


async def medians_in_turn(runs: int, *measures: Measure) -> list[tuple[float, ...]]:
    """Runs all measures one after the other, ``runs`` times: the medians of each one's figures. A first run does not
    count: it fills caches and connects what is connected on first use."""
    for measure in measures:
        await measure()
    results: list[list[tuple[float, ...]]] = [[] for _ in measures]
    for _ in range(runs):
        for measure, figures in zip(measures, results, strict=True):
            figures.append(await measure())
    return [tuple(statistics.median(each) for each in zip(*figures, strict=True)) for figures in results]
