"""What the demo makes of the counts."""

from dataclasses import asdict

from tests.demo import plan
from tests.demo.outcome import DemoOutcome
from tests.demo.traffic import Counts

OUT = plan.stream_of(2, "bredr", "out")
LE_IN = plan.stream_of(2, "le", "in")


def outcome_of(*counts: Counts) -> DemoOutcome:
    outcome = DemoOutcome()
    outcome.seconds = 2.0
    outcome.rtt_us = {"bredr": [100.0, 200.0, 300.0], "le": [400.0, 500.0]}
    outcome.add(asdict(each) for each in counts)
    return outcome


def test_sums_over_both_directions() -> None:
    outcome = outcome_of(Counts(OUT, "sender", 10, 10, 0, 1000), Counts(OUT, "echo", 10, 10, 0, 1000))
    assert outcome.problems({OUT}) == []
    assert outcome.figures() == {
        "sdus_sent": 20,
        "sdus_received": 20,
        "sdus_lost": 0,
        "sdus_corrupted": 0,
        "bytes": 2000,
        "rtt_us_p50": 300,
        "rtt_us_p99": 496,
        "throughput_bytes_per_s": 1000,
    }
    assert outcome.figures(["le"])["sdus_sent"] == 0


def test_a_lost_sdu_is_a_problem() -> None:
    outcome = outcome_of(Counts(OUT, "sender", 10, 9), Counts(OUT, "echo", 9, 9))
    assert outcome.figures()["sdus_lost"] == 1
    assert outcome.problems({OUT}) == [f"stream {OUT}: 10 sent by the sender end, 9 received"]


def test_corruption_at_either_end_is_a_problem() -> None:
    outcome = outcome_of(Counts(OUT, "sender", 9, 9, 1), Counts(OUT, "echo", 9, 9, 2))
    assert outcome.figures()["sdus_corrupted"] == 3
    assert len(outcome.problems({OUT})) == 2


def test_a_stream_without_a_report_is_a_problem() -> None:
    outcome = outcome_of(Counts(OUT, "sender", 9, 9), Counts(OUT, "echo", 9, 9), Counts(LE_IN, "sender", 1, 1))
    assert outcome.problems({OUT, LE_IN}) == [f"guest 2, LE, stream {LE_IN}: an end has reported nothing"]


def test_the_killed_guest_counts_for_nothing() -> None:
    stream = plan.stream_of(plan.KILLED, "le", "out")
    outcome = outcome_of(Counts(stream, "echo", 9, 10))
    assert outcome.problems(set()) == []
    assert outcome.figures()["sdus_sent"] == 0
