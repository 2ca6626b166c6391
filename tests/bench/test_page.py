"""The table of docs/performance.md."""

import pytest

from tests import ROOT
from tests.bench.machine import Machine
from tests.bench.page import BEGIN, END, with_rows
from tests.bench.runner import BenchRow, Goal

MACHINE = Machine("a processor", 2, "6.1", "CPython 3.11.2", 0, "abcdef", "2026-01-02", 0.4, 0.01)
GROUPS = {"One SDU": [BenchRow("fast", "µs", [10.0] * 5, "Bumble", [100.0] * 5, Goal(0.2))]}


def test_only_what_is_between_the_marks_is_replaced() -> None:
    text = with_rows(f"before\n{BEGIN}\nold\n{END}\nafter\n", GROUPS, MACHINE)
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| One SDU | ours | Bumble | ratio | range | goal |  |" in text
    assert "| fast | 10.0 µs | 100.0 µs | 0.10 | 0.10–0.10 | ≤ 0.2 | ✓ met |" in text
    assert with_rows(text, GROUPS, MACHINE) == text


def test_why_rows_are_missing_is_said_once() -> None:
    rows = [BenchRow(name, "µs", (), "peer", target=Goal(1), missing="no peer") for name in ("a", "b")]
    text = with_rows(f"{BEGIN}{END}", {"title": rows}, MACHINE)
    assert text.count("NOT RUN: no peer.") == 1


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_marks_is_left_alone(page: str) -> None:
    with pytest.raises(ValueError, match="the page has no"):
        with_rows(page, GROUPS, MACHINE)


def test_the_page_of_the_tree_has_marks() -> None:
    with_rows((ROOT / "docs/performance.md").read_text(), GROUPS, MACHINE)
