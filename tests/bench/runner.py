"""A row of results, and how it is measured: in turn with the peer's, so that what else the machine does hits both."""

import json
import math
import statistics
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, Self

#: One run: the figures that it gives.
Measure = Callable[[], Awaitable[tuple[float, ...]]]

#: The figures of all runs, in their order.
Runs = Sequence[float]

#: How probable it is, at least, that the true median lies in the range that a row shows.
CONFIDENCE = 0.9
#: With fewer runs no range says that much.
FEWEST_RUNS = 5


class Effort(NamedTuple):
    """How often each measure runs, and how much one run does, as a part of the usual."""

    runs: int = 3
    part: float = 1.0

    def of(self, count: int) -> int:
        return max(1, int(count * self.part))

    def some(self, cases: Sequence[int]) -> Sequence[int]:
        """Returns all cases, or the first two where only little is to be done."""
        return cases if self.part >= 1 else cases[:2]


class Goal(NamedTuple):
    """What the ratio to the peer has to be; without a peer, our value."""

    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def used(self, value: float) -> float:
        """Returns which part of what the goal leaves is used; more than 1 if it is missed."""
        return self.limit / value if self.at_least else value / self.limit


class Judgement(Enum):
    """What may be said of a row with a goal."""

    MET = "met"
    MISSED = "missed"
    NOISY = "too noisy to say"
    NOT_RUN = "not run"


class Spread(NamedTuple):
    """The median of some runs, and the range in which the median of endless runs lies with CONFIDENCE."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, runs: Runs) -> Self:
        """Takes order statistics, which need no assumption about how times are distributed."""
        ordered = sorted(runs)
        outside = _outside(len(ordered))
        return cls(statistics.median(ordered), ordered[outside], ordered[-1 - outside])


def _outside(count: int) -> int:
    """Returns how many of the smallest and of the largest runs lie outside the range of CONFIDENCE."""
    outside, beyond = 0, 0.5**count
    while 2 * (beyond := beyond + math.comb(count, outside + 1) * 0.5**count) <= 1 - CONFIDENCE:
        outside += 1
    return outside


class BenchRow(NamedTuple):
    """``unit`` is of both values. ``missing``: why there are no runs. ``doubt``: why they are no good."""

    name: str
    unit: str
    our_runs: Runs
    peer: str | None = None
    peer_runs: Runs = ()
    target: Goal | None = None
    missing: str = ""
    doubt: str = ""

    @property
    def ours(self) -> float:
        return statistics.median(self.our_runs)

    @property
    def peer_value(self) -> float | None:
        return statistics.median(self.peer_runs) if self.peer_runs else None

    @property
    def ratios(self) -> Runs:
        """The ratio in each turn: what the machine did meanwhile has hit both."""
        return [ours / peers for ours, peers in zip(self.our_runs, self.peer_runs, strict=True)] if self.peer else ()

    @property
    def judged(self) -> Spread:
        """What the goal is for: the ratio; without a peer, our value."""
        return Spread.of(self.ratios or self.our_runs)

    @property
    def verdict(self) -> Judgement | None:
        """None if there is no goal."""
        if self.target is None:
            return None
        if self.missing:
            return Judgement.NOT_RUN
        _, low, high = self.judged
        if self.doubt or len(self.our_runs) < FEWEST_RUNS or self.target.is_met(low) != self.target.is_met(high):
            return Judgement.NOISY
        return Judgement.MET if self.target.is_met(low) else Judgement.MISSED

    @classmethod
    def from_json(cls, fields: Sequence[Any]) -> Self:
        """Returns the row that was written as a JSON array."""
        row = cls(*fields)
        return row if row.target is None else row._replace(target=Goal(*row.target))

    def as_json(self) -> dict[str, object]:
        row: dict[str, object] = {"name": self.name, "unit": self.unit, "peer": self.peer}
        if self.missing:
            row["missing"] = self.missing
        else:
            median, low, high = self.judged
            ratio = median if self.ratios else None
            row |= {"ours": self.ours, "peer_value": self.peer_value, "ratio": ratio, "low": low, "high": high}
        if self.target is not None and self.verdict is not None:
            row |= {"limit": self.target.limit, "at_least": self.target.at_least, "verdict": self.verdict.value}
        if self.doubt:
            row["doubt"] = self.doubt
        return row | {"our_runs": list(self.our_runs), "peer_runs": list(self.peer_runs)}


def join_sessions(sessions: Sequence[BenchRow]) -> BenchRow:
    """Returns a row with one run for each session: the median of its runs. It is in doubt if most of them are."""
    last = sessions[-1]
    if last.missing:
        return last
    doubts = [row.doubt for row in sessions if row.doubt]
    return last._replace(
        doubt=doubts[-1] if 2 * len(doubts) > len(sessions) else "",
        our_runs=[row.ours for row in sessions],
        peer_runs=[row.peer_value for row in sessions if row.peer_value is not None],
    )


def count_verdicts(rows: Iterable[BenchRow]) -> dict[Judgement, int]:
    """Returns how many rows with a goal have each verdict."""
    verdicts = [row.verdict for row in rows]
    return {verdict: verdicts.count(verdict) for verdict in Judgement}


def write_rows(rows: Sequence[BenchRow], path: Path, **facts: object) -> None:
    """Writes rows as JSON, with facts about where they were measured."""
    text = json.dumps(facts | {"rows": [row.as_json() for row in rows]}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


async def runs_in_turn(runs: int, *measures: Measure) -> list[list[Runs]]:
    """Runs all measures one after the other, ``runs`` times, and returns for each measure the runs of each figure.

    Every other time their order is reversed, so that none always comes after the same one. A first run does not count:
    it fills caches and connects what is connected on first use.
    """
    for measure in measures:
        await measure()
    results: list[list[tuple[float, ...]]] = [[] for _ in measures]
    pairs = list(zip(measures, results, strict=True))
    for _ in range(runs):
        for measure, figures in pairs:
            figures.append(await measure())
        pairs.reverse()
    return [list(zip(*figures, strict=True)) for figures in results]
