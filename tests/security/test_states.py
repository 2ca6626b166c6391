"""The tables of links' states."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import pytest

from usbbtd.security.states import BREDR_SECURITY, LE_SECURITY

State = TypeVar("State", bound=StrEnum)


@pytest.mark.parametrize("table", [BREDR_SECURITY, LE_SECURITY], ids=["BR/EDR", "LE"])
def test_every_state_is_reached_and_left(table: Mapping[tuple[State, StrEnum], State]) -> None:
    states = {state for state, _ in table}
    assert states == set(table.values())
    assert states == set(type(next(iter(states))))
    for begin in states:
        reached = {begin}
        while more := {target for (state, _), target in table.items() if state in reached} - reached:
            reached |= more
        assert reached == states
