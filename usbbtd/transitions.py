"""Makes the transitions of state machines, which are tables of the cores: by state and input, the next state."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from usbbtd.errors import LocalProtocolError

__all__ = ["next_state"]

State = TypeVar("State", bound=StrEnum)
Input = TypeVar("Input", bound=StrEnum)


def next_state(machine: object, transitions: Mapping[tuple[State, Input], State], state: State, event: Input) -> State:
    """Returns the state after an input.

    Raises LocalProtocolError, which names ``machine``, if there is no such transition.
    """
    try:
        return transitions[state, event]
    except KeyError:
        raise LocalProtocolError(f"{machine}: {event} in {state}") from None
