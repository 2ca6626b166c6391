"""The rows for people."""

from collections.abc import Sequence
from pathlib import Path

from tests.bench.runner import BenchRow, Effort
from tests.demo.display import Display, bytes_text

_HEADER = ("ours", "peer", "ratio", "target", "")
_MARKS = {True: "✓", False: "✗", None: ""}


def show(display: Display, title: str, rows: Sequence[BenchRow]) -> None:
    """One group. Its peer, which its rows have in common, is named in the header."""
    peer = next((row.peer for row in rows if row.peer is not None), None)
    header = tuple(peer if word == "peer" and peer else word for word in (title, *_HEADER))
    display.table(header, [_cells(row) for row in rows])


def conclude(display: Display, rows: Sequence[BenchRow], effort: Effort, took_s: float, figures: Path) -> None:
    """The line under all groups."""
    with_target = [row.is_met for row in rows if row.is_met is not None]
    display.text(
        f"\n  {sum(with_target)} of {len(with_target)} targets met. Medians of {effort.runs} runs in turn, "
        f"{took_s:.0f} s; figures in {figures}"
    )


def value_text(value: float, unit: str) -> str:
    """Three significant digits or so, with the unit."""
    match unit:
        case "bytes":
            return bytes_text(value)
        case "bytes/s":
            return f"{bytes_text(value)}/s"
        case "s":
            return f"{value:.2f} s"
        case _:
            return f"{value:.1f} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def _cells(row: BenchRow) -> tuple[str, ...]:
    return (
        row.name,
        value_text(row.ours, row.unit),
        "" if row.peer_value is None else value_text(row.peer_value, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        _target_text(row),
        _MARKS[row.is_met],
    )


def _target_text(row: BenchRow) -> str:
    if row.target is None:
        return ""
    limit = f"{row.target.limit:g}" if row.ratio is not None else value_text(row.target.limit, row.unit)
    return f"{'≥' if row.target.at_least else '≤'} {limit}"
