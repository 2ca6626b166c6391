"""Nothing is lost: what is not admitted is counted, and told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.log.flood import BURST, RATE, Flood


@pytest.fixture
def flood() -> Flood:
    """Limits "noise", nothing else."""
    return Flood("noise".__eq__)


def admitted(flood: Flood, phrase: str, domid: int | None, now: float, times: int) -> int:
    return sum(flood.admits(phrase, domid, now) for _ in range(times))


def test_a_burst_then_one_in_its_time(flood: Flood) -> None:
    assert admitted(flood, "noise", 3, 10.0, 100) == BURST
    assert (flood.take_suppressed(10.5 / RATE), flood.suppressing) == ([], True)
    taken = flood.take_suppressed(10.0 + 1 / RATE)
    assert (taken, flood.suppressing) == ([(("noise", 3), 100 - BURST)], False)
    assert admitted(flood, "noise", 3, 10.0 + 1 / RATE, 5) == 1
    assert admitted(flood, "noise", 3, 10.0 + 1000 / RATE, 100) == BURST


def test_each_guest_and_each_kind_has_a_bucket_of_its_own(flood: Flood) -> None:
    assert admitted(flood, "noise", 3, 0.0, 100) == BURST
    assert admitted(flood, "noise", 4, 0.0, 100) == BURST
    assert admitted(flood, "noise", None, 0.0, 100) == BURST


def test_what_is_not_limited_is_always_admitted(flood: Flood) -> None:
    assert admitted(flood, "alarm", 3, 0.0, 1000) == 1000
    assert flood.take_suppressed(None) == []


def test_at_the_end_all_is_told(flood: Flood) -> None:
    admitted(flood, "noise", 3, 0.0, BURST + 7)
    admitted(flood, "noise", None, 0.0, BURST + 1)
    assert sorted(flood.take_suppressed(None), key=str) == [(("noise", 3), 7), (("noise", None), 1)]
    assert flood.take_suppressed(None) == []


def test_guests_that_have_gone_are_forgotten(flood: Flood) -> None:
    for domid in range(5_000):
        admitted(flood, "noise", domid, float(domid), BURST + 1)
        flood.take_suppressed(None)
    assert len(flood._buckets) < 2000


@given(st.lists(st.tuples(st.sampled_from([3, 4, None]), st.floats(0, 5), st.booleans()), max_size=300))
def test_every_event_is_admitted_or_told_once(steps: list[tuple[int | None, float, bool]]) -> None:
    flood, now, seen, told = Flood("noise".__eq__), 0.0, 0, 0
    for domid, pause, takes in steps:
        now += pause if takes else 0
        seen += admitted(flood, "noise", domid, now, 10)
        told += sum(count for _, count in flood.take_suppressed(now)) if takes else 0
    told += sum(count for _, count in flood.take_suppressed(None))
    assert seen + told == 10 * len(steps)
