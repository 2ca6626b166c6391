"""The rows as a picture: an SVG that reads well on light and dark pages."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from tests.bench.runner import BenchRow, Judgement
from tests.bench.table import goal_text, value_text

WIDTH = 980
LEFT, RIGHT = 400, 700  # of the bars
ROW, TITLE, MARGIN = 20, 34, 20
#: How far the axis goes, in parts of the goal. What is beyond is drawn at its end.
AXIS = 2.0

_STYLE = """\
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .back { fill: #ffffff } .title { font-weight: 600 } .faint { fill: #59636e } .name { text-anchor: end }
  .goal { stroke: #1f2328; stroke-dasharray: 3 3 } .range { stroke: #1f2328; stroke-width: 1.5 }
  .met { fill: #4ac26b } .missed { fill: #ff8182 } .noisy { fill: #d4a72c }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .back { fill: #0d1117 } .faint { fill: #9198a1 }
    .goal, .range { stroke: #e6edf3 } .met { fill: #2ea043 } .missed { fill: #da3633 } .noisy { fill: #9e6a03 }
  }
"""
_LEGEND = "✓ met, ✗ missed, ? too noisy to say. A bar is what is used of the goal, a thin line the range of its median."
_SIGNS = {Judgement.MET: "✓", Judgement.MISSED: "✗", Judgement.NOISY: "?"}
_CLASSES = {Judgement.MET: "met", Judgement.MISSED: "missed", Judgement.NOISY: "noisy"}


def draw(groups: Mapping[str, Sequence[BenchRow]], caption: Sequence[str]) -> str:
    """Returns the picture of the rows with goals, by the title of their group.

    A bar is the part that is used of what the goal leaves: it ends left of the line if the goal is met.
    """
    shown = {title: [row for row in rows if row.target is not None] for title, rows in groups.items()}
    parts: list[str] = []
    y = MARGIN
    for title, rows in shown.items():
        if rows:
            y += TITLE
            parts.append(_text(MARGIN, y - 12, title, "title"))
            for row in rows:
                parts += _row(row, y)
                y += ROW
    line = _x(1)
    parts.append(f'<line class="goal" x1="{line}" x2="{line}" y1="{MARGIN + TITLE - 6}" y2="{y}"/>')
    parts.append(_text(line, MARGIN + 12, "goal", "faint"))
    parts.append(_text(RIGHT, MARGIN + 12, "twice", "faint"))
    for sentence in (_LEGEND, *caption):
        y += ROW
        parts.append(_text(MARGIN, y, sentence, "faint"))
    height = y + MARGIN
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{height}">',
            "<title>How much of each goal is used</title>",
            f"<style>\n{_STYLE}</style>",
            f'<rect class="back" width="{WIDTH}" height="{height}" rx="8"/>',
            *parts,
            "</svg>\n",
        )
    )


def _row(row: BenchRow, y: int) -> Iterator[str]:
    assert row.target is not None
    assert row.verdict is not None
    middle, base = y + ROW // 2, y + ROW - 6
    yield _text(LEFT - 10, base, row.name, "name")
    if row.missing:
        yield _text(LEFT, base, row.verdict.value, "faint")
        return
    median, low, high = (_x(row.target.used(value)) for value in row.judged)
    kind, width, height = _CLASSES[row.verdict], median - LEFT, ROW - 8
    yield f'<rect class="{kind}" x="{LEFT}" y="{y + 4}" width="{width:.1f}" height="{height}"/>'
    yield f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
    yield _text(RIGHT + 10, base, f"{_judged_text(row)} ({goal_text(row)}) {_SIGNS[row.verdict]}", "")


def _judged_text(row: BenchRow) -> str:
    return f"{row.judged.median:.2f} of {row.peer}" if row.ratios else value_text(row.ours, row.unit)


def _x(used: float) -> float:
    return LEFT + (RIGHT - LEFT) * min(used, AXIS) / AXIS


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>'
