"""Objects, in every state: each step to each other, and what listens."""

from itertools import product

import pytest

from usbbtd.errors import LocalProtocolError
from usbbtd.l2capif.calls import Kind
from usbbtd.l2capif.objects import Object
from usbbtd.l2capif.states import NEXT, ObjectState
from usbbtd.l2capif.wire import PlainRequest


@pytest.mark.parametrize(("now", "then"), list(product(ObjectState, ObjectState)))
def test_transitions(now: ObjectState, then: ObjectState) -> None:
    thing = Object(Kind.CHANNEL, now, PlainRequest(1, 1, 2))
    if then in NEXT[now]:
        thing.enter(then)
        assert thing.state is then
    else:
        with pytest.raises(LocalProtocolError, match=f"channel 2 cannot go from {now} to {then}"):
            thing.enter(then)
        assert thing.state is now


@pytest.mark.parametrize(("kind", "state"), list(product(Kind, ObjectState)))
def test_listens(kind: Kind, state: ObjectState) -> None:
    assert Object(kind, state, PlainRequest(1, 2, 3)).listens() is (kind is Kind.LISTENER and state is ObjectState.OPEN)
