"""objects.py: every (state, state) pair."""

from itertools import product

import pytest

from usbbtd.errors import LocalProtocolError
from usbbtd.l2capif.calls import Kind
from usbbtd.l2capif.objects import NEXT, Object, State
from usbbtd.l2capif.wire import PlainRequest


@pytest.mark.parametrize(("now", "then"), list(product(State, State)))
def test_transitions(now: State, then: State) -> None:
    thing = Object(Kind.CHANNEL, now, PlainRequest(1, 1, 2))
    if then in NEXT[now]:
        thing.enter(then)
        assert thing.state is then
    else:
        with pytest.raises(LocalProtocolError, match=f"channel 2 cannot go from {now} to {then}"):
            thing.enter(then)
        assert thing.state is now


def test_every_state_is_left_or_last() -> None:
    assert set(NEXT) == set(State)
    assert [state for state in State if not NEXT[state]] == [State.RELEASING]


@pytest.mark.parametrize(("kind", "state"), list(product(Kind, State)))
def test_listens(kind: Kind, state: State) -> None:
    assert Object(kind, state, PlainRequest(1, 2, 3)).listens() is (kind is Kind.LISTENER and state is State.OPEN)
