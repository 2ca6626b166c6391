"""The rows for people: a table on the terminal, and the same one for docs/performance.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.bench.machine import Machine
from tests.bench.runner import FEWEST_RUNS, BenchRow, Judgement, count_verdicts
from tests.demo.display import Display, bytes_text

_HEADER = ("ours", "peer", "ratio", "range", "goal", "")
_MARKS = {Judgement.MET: "✓ ", Judgement.MISSED: "✗ "}


def header(title: str, rows: Sequence[BenchRow]) -> tuple[str, ...]:
    """The head of a group's table. A peer that all its rows have in common is named there."""
    peers = {row.peer for row in rows if row.peer is not None}
    peer = peers.pop() if len(peers) == 1 else "peer"
    return tuple(peer if word == "peer" else word for word in (title, *_HEADER))


def cells(row: BenchRow) -> tuple[str, ...]:
    verdict = "" if row.verdict is None else _MARKS.get(row.verdict, "") + row.verdict.value
    if row.missing:
        return (row.name, "", "", "", "", goal_text(row), verdict)
    return (
        row.name,
        value_text(row.ours, row.unit),
        "" if row.peer_value is None else value_text(row.peer_value, row.unit),
        f"{row.judged.median:.2f}" if row.ratios else "",
        range_text(row),
        goal_text(row),
        verdict,
    )


def show(display: Display, title: str, rows: Sequence[BenchRow]) -> None:
    """Prints one group, and below it what else is to be said of its rows."""
    display.table(header(title, rows), [cells(row) for row in rows])
    for remark in remarks(rows):
        display.text(f"  {remark}")


def remarks(rows: Sequence[BenchRow]) -> list[str]:
    """Returns why rows are missing, and why others are in doubt."""
    missing = dict.fromkeys(f"NOT RUN: {row.missing}." for row in rows if row.missing)
    return [*missing, *dict.fromkeys(f"{row.doubt}." for row in rows if row.doubt)]


def conclude(display: Display, rows: Sequence[BenchRow], machine: Machine, took_s: float, figures: Path) -> None:
    """Prints the lines under all groups."""
    display.text(f"\n  {summary(rows)} {took_s:.0f} s; figures in {figures}")
    for sentence in machine.sentences():
        display.text(f"  {sentence}")


def summary(rows: Iterable[BenchRow]) -> str:
    counts = count_verdicts(rows)
    words = [f"{count} {verdict.value}" for verdict, count in counts.items() if count]
    return f"Of {sum(counts.values())} goals: {', '.join(words) or 'none to judge'}."


def value_text(value: float, unit: str) -> str:
    """Three significant digits or so, with the unit."""
    match unit:
        case "bytes":
            return bytes_text(value)
        case "bytes/s":
            return f"{bytes_text(value)}/s"
        case "s":
            return f"{value:.2f} s"
        case "a second":
            return f"{value:,.0f} {unit}"
        case "%":
            return f"{value:.2f} %"
        case _:
            return f"{value:.1f} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def goal_text(row: BenchRow) -> str:
    if row.target is None:
        return ""
    limit = f"{row.target.limit:g}" if row.peer is not None else value_text(row.target.limit, row.unit)
    return f"{'≥' if row.target.at_least else '≤'} {limit}"


def range_text(row: BenchRow) -> str:
    """In what range the figure lies that the goal is for; nothing if there are too few runs to know."""
    if len(row.our_runs) < FEWEST_RUNS:
        return ""
    _, low, high = row.judged
    if row.ratios:
        return f"{low:.2f}–{high:.2f}"
    return f"{value_text(low, row.unit).removesuffix(row.unit).rstrip()}–{value_text(high, row.unit)}"
