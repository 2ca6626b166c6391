"""Rows, targets, and medians of runs that take turns."""

import pytest

from tests.bench.runner import BenchRow, Effort, Goal, medians_in_turn


async def test_measures_take_turns_and_the_first_runs_do_not_count() -> None:
    order: list[str] = []
    figures = {"a": iter((1000.0, 5.0, 1.0, 3.0)), "b": iter((1000.0, 20.0, 10.0, 30.0))}

    async def run(name: str) -> tuple[float, ...]:
        order.append(name)
        figure = next(figures[name])
        return figure, -figure

    medians = await medians_in_turn(3, lambda: run("a"), lambda: run("b"))
    assert medians == [(3.0, -3.0), (20.0, -20.0)]
    assert order == ["a", "b"] * 4


def test_effort_is_a_part_of_the_usual_and_never_nothing() -> None:
    assert Effort().of(500) == 500
    assert Effort(part=0.1).of(500) == 50
    assert Effort(part=0.001).of(500) == 1


@pytest.mark.parametrize(
    ("ours", "peer_value", "target", "is_met"),
    [
        (1.0, 5.0, Goal(0.2), True),
        (1.1, 5.0, Goal(0.2), False),
        (5.0, 5.0, Goal(1, at_least=True), True),
        (4.9, 5.0, Goal(1, at_least=True), False),
        (0.4, None, Goal(0.5), True),
        (0.6, None, Goal(0.5), False),
        (0.6, 1.0, None, None),
    ],
)
def test_a_target_is_for_the_ratio_or_for_our_value(
    ours: float, peer_value: float | None, target: Goal | None, is_met: bool | None
) -> None:
    peer = None if peer_value is None else "peer"
    assert BenchRow("name", "s", ours, peer, peer_value, target).is_met is is_met


def test_json_of_a_row() -> None:
    with_peer = BenchRow("name", "µs", 2.0, "peer", 8.0, Goal(0.2))
    assert with_peer.as_json() == {
        "name": "name", "unit": "µs", "ours": 2.0, "peer": "peer", "peer_value": 8.0, "ratio": 0.25,
    }  # fmt: skip
    alone = BenchRow("name", "s", 2.0)
    assert alone.as_json() == {
        "name": "name", "unit": "s", "ours": 2.0, "peer": None, "peer_value": None, "ratio": None,
    }  # fmt: skip
