"""docs/performance.md: its table is made from the rows, and what is around it is written by hand."""

from collections.abc import Iterator, Mapping, Sequence

from tests.bench.machine import Machine
from tests.bench.runner import BenchRow
from tests.bench.table import cells, header, remarks, summary

BEGIN = "<!-- rows: made by `make performance` -->"
END = "<!-- end of rows -->"


def with_rows(page: str, groups: Mapping[str, Sequence[BenchRow]], machine: Machine) -> str:
    """Returns the page with other rows between its marks. Raises ValueError if it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN if not begin else END}")
    lines = "\n".join(_lines(groups, machine))
    return f"{before}{BEGIN}\n{lines}\n{END}{after}"


def _lines(groups: Mapping[str, Sequence[BenchRow]], machine: Machine) -> Iterator[str]:
    yield from machine.sentences()
    yield summary(row for rows in groups.values() for row in rows)
    for title, rows in groups.items():
        yield ""
        heads = header(title, rows)
        yield _line(heads)
        yield _line(("---", *["---:"] * (len(heads) - 1)))
        yield from (_line(cells(row)) for row in rows)
        yield from (f"\n{remark}" for remark in remarks(rows))


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
