"""Prompts: each ends once, and only by an answer that makes sense, by withdrawal, or by its time limit."""

from typing import Any

import pytest

from tests.security.conftest import Typed
from usbbtd.security.deadlines import Deadlines
from usbbtd.security.events import Prompted, PromptWithdrawn, SecurityEvent
from usbbtd.security.limits import SecurityLimits
from usbbtd.security.prompts import Prompts, PromptValue
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, ENTER_PIN


class Table:
    def __init__(self) -> None:
        self.deadlines: Deadlines = {}
        self.events: list[SecurityEvent] = []
        self.prompts = Prompts(SecurityLimits(prompt_s=30.0), self.deadlines, self.events)
        self.answers: list[tuple[bool, PromptValue]] = []

    def ask(self, kind: int, value: int | None = None) -> int:
        return self.prompts.ask(5, kind, value, lambda accept, value, now: self.answers.append((accept, value)), 0.0)

    def expire(self) -> None:
        for deadline, at in tuple(self.deadlines.items()):
            assert at == 30.0
            deadline.stop()
            deadline.expire(at)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (CONSENT, [None], [0, b""]),
        (CONFIRM, [None], [427193]),
        (ENTER_PASSKEY, [0, 999_999], [None, -1, 1_000_000, True, b"123456", "1"]),
        (ENTER_PIN, [b"0", b"1" * 16], [None, b"", b"1" * 17, 1234, "1234"]),
    ],
)
def test_answers(kind: int, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        table = Table()
        number = table.ask(kind)
        for nonsense in bad:
            assert not table.prompts.answer(number, True, nonsense, 1.0)
        assert not table.prompts.answer(number + 1, True, value, 1.0)
        assert table.answers == []
        assert table.prompts.answer(number, True, value, 1.0)
        assert not table.prompts.answer(number, True, value, 1.0)
        assert table.answers == [(True, value)]
        assert (table.deadlines, len(table.prompts)) == ({}, 0)
        assert Typed(table.events) == [Prompted(number, 5, kind, None)]


@pytest.mark.parametrize("kind", [CONSENT, CONFIRM, ENTER_PASSKEY, ENTER_PIN])
def test_a_refusal_needs_no_value_and_none_is_taken(kind: int) -> None:
    table = Table()
    assert table.prompts.answer(table.ask(kind), False, 5, 1.0)
    assert table.answers == [(False, None)]


def test_what_is_shown_stays_until_it_is_withdrawn() -> None:
    table = Table()
    number = table.ask(DISPLAY, 1234)
    assert table.prompts.answer(number, True, None, 1.0)
    assert table.answers == []
    table.prompts.withdraw(number)
    table.prompts.withdraw(number)
    table.prompts.withdraw(None)
    assert Typed(table.events)[1:] == [PromptWithdrawn(number)]
    number = table.ask(DISPLAY, 1234)
    assert table.prompts.answer(number, False, None, 1.0)
    assert table.answers == [(False, None)]
    assert Typed(table.events)[-1:] == [PromptWithdrawn(number)]


def test_time_is_a_refusal() -> None:
    table = Table()
    number = table.ask(CONFIRM, 1)
    table.expire()
    assert table.answers == [(False, None)]
    assert Typed(table.events)[1:] == [PromptWithdrawn(number)]
    assert not table.prompts.answer(number, True, None, 31.0)
    table.prompts.withdraw(table.ask(CONFIRM, 1))
    assert table.deadlines == {}


def test_a_number_is_not_shown_in_a_repr() -> None:
    assert repr(Prompted(1, 2, CONFIRM, 427193)) == "Prompted(number=1, handle=2, kind=1, value=…)"
