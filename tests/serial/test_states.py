from usbbtd.serial.states import TRANSITIONS, SerialInput, SerialState


def test_every_state_is_left_or_last() -> None:
    left = {state for state, _ in TRANSITIONS}
    assert set(SerialState) - left == {SerialState.GONE}
    assert {event for _, event in TRANSITIONS} == set(SerialInput)


def test_every_object_can_be_forgotten() -> None:
    """As its session may end at any time."""
    assert all(
        TRANSITIONS[state, SerialInput.FORGET] is SerialState.GONE
        for state in SerialState
        if state is not SerialState.GONE
    )
