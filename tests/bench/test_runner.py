"""Rows, what may be said of them, and runs that take turns."""

import json
from pathlib import Path

import pytest

from tests.bench.runner import (
    BenchRow,
    Effort,
    Goal,
    Judgement,
    Runs,
    Spread,
    count_verdicts,
    join_sessions,
    runs_in_turn,
    write_rows,
)


async def test_measures_take_turns_and_the_first_runs_do_not_count() -> None:
    order: list[str] = []
    figures = {"a": iter((1000.0, 5.0, 1.0, 3.0)), "b": iter((1000.0, 20.0, 10.0, 30.0))}

    async def run(name: str) -> tuple[float, ...]:
        order.append(name)
        figure = next(figures[name])
        return figure, -figure

    runs = await runs_in_turn(3, lambda: run("a"), lambda: run("b"))
    assert runs == [[(5.0, 1.0, 3.0), (-5.0, -1.0, -3.0)], [(20.0, 10.0, 30.0), (-20.0, -10.0, -30.0)]]
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b"]


def test_effort_is_a_part_of_the_usual_and_never_nothing() -> None:
    assert Effort().of(500) == 500
    assert Effort(part=0.1).of(500) == 50
    assert Effort(part=0.001).of(500) == 1
    assert Effort().some((1, 8, 64)) == (1, 8, 64)
    assert Effort(part=0.1).some((1, 8, 64)) == (1, 8)


@pytest.mark.parametrize(
    ("count", "outside"),
    # Twice the chance that so many of a fair coin's throws or fewer are heads is 10 % at most: tables of the sign test.
    [(5, 0), (7, 0), (8, 1), (11, 2), (16, 4), (20, 5), (30, 10), (44, 16)],
)
def test_a_spread_is_of_order_statistics(count: int, outside: int) -> None:
    runs = [float(number) for number in reversed(range(count))]
    assert Spread.of(runs) == ((count - 1) / 2, outside, count - 1 - outside)


def test_a_single_run_has_no_range() -> None:
    assert Spread.of([3.0]) == (3.0, 3.0, 3.0)


STEADY = [10.0] * 11
WIDE = [8.0, 9.0, 10.0, 11.0, 12.0] * 3


@pytest.mark.parametrize(
    ("ours", "peers", "target", "verdict"),
    [
        (STEADY, [50.0] * 11, Goal(0.2), Judgement.MET),
        (STEADY, [49.0] * 11, Goal(0.2), Judgement.MISSED),
        (STEADY, STEADY, Goal(1, at_least=True), Judgement.MET),
        (STEADY, [10.1] * 11, Goal(1, at_least=True), Judgement.MISSED),
        (STEADY, (), Goal(10), Judgement.MET),
        (STEADY, (), Goal(9.9), Judgement.MISSED),
        (WIDE, (), Goal(10.5), Judgement.NOISY),
        (WIDE, (), Goal(9.5), Judgement.NOISY),
        (WIDE, (), Goal(9.5, at_least=True), Judgement.NOISY),
        (WIDE, (), Goal(12), Judgement.MET),
        (WIDE, (), Goal(8), Judgement.MISSED),
        (STEADY[:4], (), Goal(20), Judgement.NOISY),
        (STEADY, STEADY, None, None),
    ],
)
def test_only_a_row_whose_whole_range_is_on_one_side_is_met_or_missed(
    ours: Runs, peers: Runs, target: Goal | None, verdict: Judgement | None
) -> None:
    assert BenchRow("name", "s", ours, "peer" if peers else None, peers, target).verdict is verdict


def test_a_machine_that_slows_down_hits_both_and_the_ratio_stays() -> None:
    slower = [float(number) for number in range(1, 12)]
    row = BenchRow("name", "s", slower, "peer", [2 * each for each in slower], Goal(0.5))
    assert row.judged == (0.5, 0.5, 0.5)
    assert row.verdict is Judgement.MET


def test_what_was_not_run_is_neither_met_nor_missed() -> None:
    row = BenchRow("name", "s", (), "peer", target=Goal(0.5), missing="no peer here")
    assert row.verdict is Judgement.NOT_RUN
    assert row.as_json()["missing"] == "no peer here"
    assert count_verdicts([row, BenchRow("other", "s", STEADY)]) == {
        Judgement.MET: 0, Judgement.MISSED: 0, Judgement.NOISY: 0, Judgement.NOT_RUN: 1,
    }  # fmt: skip


@pytest.mark.parametrize(("goal", "value"), [(Goal(0.5), 0.25), (Goal(2, at_least=True), 4)])
def test_what_is_used_of_a_goal(goal: Goal, value: float) -> None:
    assert goal.used(value) == 0.5


def test_a_session_is_one_run() -> None:
    sessions = [
        BenchRow("name", "s", [1.0, 2.0, 9.0], "peer", [4.0, 5.0, 6.0], Goal(0.5)),
        BenchRow("name", "s", [3.0], "peer", [6.0], Goal(0.5), doubt="slow"),
    ]
    assert join_sessions(sessions) == BenchRow("name", "s", [2.0, 3.0], "peer", [5.0, 6.0], Goal(0.5))


def test_a_row_is_in_doubt_if_most_of_its_sessions_are() -> None:
    sure, doubtful = (
        BenchRow("name", "s", [1.0], target=Goal(2)),
        BenchRow("name", "s", [1.0], target=Goal(2), doubt="slow"),
    )
    assert join_sessions([sure] * 4 + [doubtful] * 4).verdict is Judgement.MET
    joined = join_sessions([doubtful] * 4 + [sure] * 3)
    assert (joined.verdict, joined.doubt) == (Judgement.NOISY, "slow")


def test_sessions_without_a_peer_that_is_not_there() -> None:
    row = BenchRow("name", "s", (), "peer", missing="no peer")
    assert join_sessions([row, row]) == row


@pytest.mark.parametrize(
    "row",
    [BenchRow("name", "s", [1.0], "peer", [4.0], Goal(0.5, at_least=True), doubt="slow"), BenchRow("name", "s", [1.0])],
)
def test_a_row_goes_from_process_to_process(row: BenchRow) -> None:
    assert BenchRow.from_json(json.loads(json.dumps(row))) == row._replace(peer_runs=list(row.peer_runs))


def test_rows_as_json(tmp_path: Path) -> None:
    rows = [BenchRow("both", "µs", [2.0], "peer", [8.0], Goal(0.2)), BenchRow("alone", "s", [2.0], doubt="slow")]
    write_rows(rows, tmp_path / "rows.json", machine={"load": 0.5})
    assert json.loads((tmp_path / "rows.json").read_text()) == {
        "machine": {"load": 0.5},
        "rows": [
            {
                "name": "both", "unit": "µs", "peer": "peer", "ours": 2.0, "peer_value": 8.0, "ratio": 0.25,
                "low": 0.25, "high": 0.25, "limit": 0.2, "at_least": False, "verdict": "too noisy to say",
                "our_runs": [2.0], "peer_runs": [8.0],
            },
            {
                "name": "alone", "unit": "s", "peer": None, "ours": 2.0, "peer_value": None, "ratio": None, "low": 2.0,
                "high": 2.0, "doubt": "slow", "our_runs": [2.0], "peer_runs": [],
            },
        ],
    }  # fmt: skip
