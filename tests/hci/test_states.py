"""The tables, and machines that take what they like in any order."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hci.test_initiator import Desk
from usbbtd.hci.initiator import Target
from usbbtd.hci.states import HOST, INITIATOR, NAMING

State = TypeVar("State", bound=StrEnum)
TARGETS = [Target(name * 6, 2) for name in (b"A", b"B")]
#: What may happen to an initiator, with the time.
CALLS: dict[str, Callable[[Desk, Target, float], object]] = {
    "connect": lambda desk, target, now: desk.connect(target, now),
    "cancel": lambda desk, target, now: desk.initiator.cancel(target),
    "link up": lambda desk, target, now: desk.initiator.receive_connected(target, now),
    "failed": lambda desk, target, now: desk.initiator.receive_failed(0x3E, now),
    "none to cancel": lambda desk, target, now: desk.initiator.receive_failed(0x02, now),
    "obstacle": lambda desk, target, now: desk.initiator.receive_failed(0x0C, now),
    "accepted": lambda desk, target, now: desk.answer(0, now) if desk.done else None,
    "refused": lambda desk, target, now: desk.answer(0x0C, now) if desk.done else None,
    "later": lambda desk, target, now: desk.initiator.handle_timeout(now),
    "gone": lambda desk, target, now: desk.initiator.abandon(0x03),
}


@pytest.mark.parametrize("table", [HOST, INITIATOR, NAMING], ids=["host", "initiator", "remote names"])
def test_every_state_is_reached_and_left(table: Mapping[tuple[State, StrEnum], State]) -> None:
    states = {state for state, _ in table}
    assert states >= set(table.values())
    begin = next(iter(type(next(iter(states)))))
    reached = {begin}
    while more := {target for (state, _), target in table.items() if state in reached} - reached:
        reached |= more
    assert reached == set(type(begin))


@given(
    calls=st.lists(st.tuples(st.sampled_from(list(CALLS)), st.sampled_from(TARGETS), st.sampled_from([0, 1, 10]))),
    takes_turns=st.booleans(),
)
def test_an_initiator_makes_legal_transitions_only(calls: list[tuple[str, Target, int]], takes_turns: bool) -> None:
    desk, now = Desk(takes_turns=takes_turns), 0.0
    for name, target, pause in calls:
        now += pause
        CALLS[name](desk, target, now)
        wanted = [target for target in TARGETS if desk.initiator.wants(target)]
        assert not wanted or desk.initiator.current is not None
