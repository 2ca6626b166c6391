"""The rows at the radio's rate, of figures that were not measured."""

from tests.bench.radio import CASES, rows_of
from tests.bench.runner import Judgement

CASE = CASES[1]  # BR/EDR, 800 SDUs of 64 bytes a second
FAST, SLOW = [(100.0,) * 5, (800.0,) * 5], [(200.0,) * 5, (800.0,) * 5]


def test_a_case_has_its_cost_beside_the_peers_and_its_share() -> None:
    cost, share = rows_of(CASE, [FAST, SLOW], "")
    assert cost.judged.median == 0.5
    assert cost.verdict is Judgement.MET
    assert share.ours == 8.0  # percent: 800 times 100 µs
    assert share.verdict is Judgement.MET
    assert not share.doubt


def test_without_the_peer_the_share_is_measured_all_the_same() -> None:
    cost, share = rows_of(CASE, [FAST], "no such commit")
    assert (cost.verdict, cost.missing) == (Judgement.NOT_RUN, "no such commit")
    assert share.ours == 8.0


def test_a_machine_that_is_too_slow_does_not_say() -> None:
    for results in ([[(100.0,) * 5, (600.0,) * 5], SLOW], [FAST, [(200.0,) * 5, (600.0,) * 5]]):
        cost, share = rows_of(CASE, results, "")
        assert (cost.verdict, share.verdict) == (Judgement.NOISY, Judgement.NOISY)
        assert share.doubt.endswith("reached 75%")
