from usbbtd.l2capif.states import NEXT, ObjectState


def test_every_state_is_left_or_last() -> None:
    assert set(NEXT) == set(ObjectState)
    assert [state for state in ObjectState if not NEXT[state]] == [ObjectState.RELEASING]
