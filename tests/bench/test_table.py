"""What the person sees of the rows."""

import pytest

from tests.bench.runner import BenchRow, Goal
from tests.bench.table import show, value_text
from tests.demo.display import Display


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.345, "µs", "12.3 µs"),
        (1234.5, "µs", "1,234 µs"),
        (182.04, "µs/SDU", "182.0 µs/SDU"),
        (0.456, "s", "0.46 s"),
        (32_686_080, "bytes", "32.69 MB"),
        (2_111_341.4, "bytes/s", "2.11 MB/s"),
    ],
)
def test_values_have_few_digits_and_their_unit(value: float, unit: str, text: str) -> None:
    assert value_text(value, unit) == text


def test_a_group_names_its_peer_and_marks_its_targets(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        BenchRow("fast", "µs", 10.0, "Bumble", 100.0, Goal(0.2)),
        BenchRow("slow", "µs", 50.0, "Bumble", 100.0, Goal(0.2)),
        BenchRow("alone", "s", 0.1, target=Goal(0.5)),
        BenchRow("no target", "s", 0.1),
    ]
    show(Display(), "One SDU", rows)
    _, header, _, *lines, _ = capsys.readouterr().out.splitlines()
    assert header.split() == ["One", "SDU", "ours", "Bumble", "ratio", "target"]
    assert [line.split() for line in lines] == [
        ["fast", "10.0", "µs", "100.0", "µs", "0.10", "≤", "0.2", "✓"],
        ["slow", "50.0", "µs", "100.0", "µs", "0.50", "≤", "0.2", "✗"],
        ["alone", "0.10", "s", "≤", "0.50", "s", "✓"],
        ["no", "target", "0.10", "s"],
    ]
