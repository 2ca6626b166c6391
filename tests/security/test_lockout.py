"""Waiting after failed pairings."""

from hypothesis import given
from hypothesis import strategies as st

from usbbtd.security.limits import SecurityLimits
from usbbtd.security.lockout import Lockout

ONE, OTHER = (b"1" * 6, 0), (b"2" * 6, 0)
LIMITS = SecurityLimits(lockout_s=1.0, lockout_limit_s=8.0, lockout_forget_s=100.0, lockouts=3)


def test_each_failure_doubles_the_wait_up_to_a_limit() -> None:
    lockout, now = Lockout(LIMITS), 0.0
    for wait in (1.0, 2.0, 4.0, 8.0, 8.0):
        lockout.failed(ONE, now)
        assert (lockout.remaining(ONE, now), lockout.remaining(OTHER, now)) == (wait, 0.0)
        now += wait
        assert lockout.remaining(ONE, now) == 0.0


def test_a_failure_while_it_waits_doubles_it_too() -> None:
    lockout = Lockout(LIMITS)
    lockout.failed(ONE, 0.0)
    lockout.failed(ONE, 0.5)
    assert lockout.remaining(ONE, 0.5) == 2.0


def test_success_and_time_forget() -> None:
    lockout = Lockout(LIMITS)
    lockout.failed(ONE, 0.0)
    lockout.failed(ONE, 1.0)
    lockout.succeeded(ONE)
    assert lockout.remaining(ONE, 1.0) == 0.0
    lockout.failed(ONE, 1.0)
    assert lockout.remaining(ONE, 1.0) == 1.0
    lockout.failed(ONE, 102.0)
    assert lockout.remaining(ONE, 102.0) == 1.0


def test_one_that_has_failed_often_is_not_forgotten_for_others() -> None:
    lockout = Lockout(LIMITS)
    for _ in range(4):
        lockout.failed(ONE, 0.0)
    for number in range(100):
        lockout.failed((number.to_bytes(6, "big"), 2), 0.1)
    assert lockout.remaining(ONE, 0.1) > 7
    assert (len(lockout), lockout.forgotten) == (3, 98)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60))))
def test_it_is_bounded(failures: list[tuple[int, int]]) -> None:
    lockout, now = Lockout(LIMITS), 0.0
    for number, pause in failures:
        now += pause
        lockout.failed((bytes(5) + bytes((number,)), 0), now)
        assert len(lockout) <= LIMITS.lockouts
        assert 0 < lockout.remaining((bytes(5) + bytes((number,)), 0), now) <= LIMITS.lockout_limit_s
