"""What the person sees of the rows."""

from pathlib import Path

import pytest

from tests.bench.machine import Machine
from tests.bench.runner import BenchRow, Goal
from tests.bench.table import conclude, header, show, summary, value_text
from tests.demo.display import Display

ROWS = [
    BenchRow("fast", "µs", [10.0] * 5, "Bumble", [100.0] * 5, Goal(0.2)),
    BenchRow("slow", "µs", [50.0] * 5, "Bumble", [100.0] * 5, Goal(0.2)),
    BenchRow("wild", "µs", [10.0, 10.0, 10.0, 30.0, 10.0], "Bumble", [100.0] * 5, Goal(0.2)),
    BenchRow("alone", "s", [0.1] * 5, target=Goal(0.5), doubt="alone is slow"),
    BenchRow("no goal", "s", [0.1] * 5),
    BenchRow("missing", "µs", (), "Bumble", target=Goal(0.2), missing="no Bumble here"),
]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.345, "µs", "12.3 µs"),
        (1234.5, "µs", "1,234 µs"),
        (182.04, "µs/SDU", "182.0 µs/SDU"),
        (0.456, "s", "0.46 s"),
        (2.845, "%", "2.85 %"),
        (32_686_080, "bytes", "32.69 MB"),
        (2_111_341.4, "bytes/s", "2.11 MB/s"),
    ],
)
def test_values_have_few_digits_and_their_unit(value: float, unit: str, text: str) -> None:
    assert value_text(value, unit) == text


def test_a_group_names_its_peer_and_judges_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    show(Display(), "One SDU", ROWS)
    _, heads, _, *lines, _, missing, note = capsys.readouterr().out.splitlines()
    assert heads.split() == ["One", "SDU", "ours", "Bumble", "ratio", "range", "goal"]
    assert [" ".join(line.split()) for line in lines] == [
        "fast 10.0 µs 100.0 µs 0.10 0.10–0.10 ≤ 0.2 ✓ met",
        "slow 50.0 µs 100.0 µs 0.50 0.50–0.50 ≤ 0.2 ✗ missed",
        "wild 10.0 µs 100.0 µs 0.10 0.10–0.30 ≤ 0.2 too noisy to say",
        "alone 0.10 s 0.10–0.10 s ≤ 0.50 s too noisy to say",
        "no goal 0.10 s 0.10–0.10 s",
        "missing ≤ 0.2 not run",
    ]
    assert missing.strip() == "NOT RUN: no Bumble here."
    assert note.strip() == "alone is slow."


def test_several_peers_are_not_named_in_the_header() -> None:
    rows = [*ROWS, BenchRow("other", "µs", [1.0], "libxenvchan", [1.0])]
    assert header("title", rows) == ("title", "ours", "peer", "ratio", "range", "goal", "")


def test_the_end_says_how_many_goals_and_which_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert summary(ROWS) == "Of 5 goals: 1 met, 1 missed, 2 too noisy to say, 1 not run."
    machine = Machine("a processor", 2, "6.1", "CPython 3.11.2", 0, "abcdef", "2026-01-02", 0.4, 0.01)
    conclude(Display(), ROWS, machine, 12.3, Path("build/bench.json"))
    text = capsys.readouterr().out
    assert f"{summary(ROWS)} 12 s; figures in build/bench.json" in text
    for sentence in machine.sentences():
        assert sentence in text
