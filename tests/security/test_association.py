"""Which two devices can rule out somebody in the middle: Vol 3, Part C, table 5.7."""

from itertools import product

import pytest

from usbbtd.bluetooth import DISPLAY_ONLY, DISPLAY_YES_NO, KEYBOARD_DISPLAY, KEYBOARD_ONLY, NO_INPUT_NO_OUTPUT
from usbbtd.security.association import (
    DEDICATED_BONDING,
    GENERAL_BONDING,
    MITM,
    NO_BONDING,
    bonds,
    bredr_capability,
    can_authenticate,
    compares_numbers,
)

BREDR = (DISPLAY_ONLY, DISPLAY_YES_NO, KEYBOARD_ONLY, NO_INPUT_NO_OUTPUT)
AUTHENTICATED = {
    (DISPLAY_YES_NO, DISPLAY_YES_NO), (DISPLAY_ONLY, KEYBOARD_ONLY), (DISPLAY_YES_NO, KEYBOARD_ONLY),
    (KEYBOARD_ONLY, DISPLAY_ONLY), (KEYBOARD_ONLY, DISPLAY_YES_NO), (KEYBOARD_ONLY, KEYBOARD_ONLY),
}  # fmt: skip


@pytest.mark.parametrize(("ours", "peers"), list(product(BREDR, BREDR)))
def test_the_table(ours: int, peers: int) -> None:
    assert can_authenticate(ours, peers) is ((ours, peers) in AUTHENTICATED)
    assert compares_numbers(ours, peers) is (ours == peers == DISPLAY_YES_NO)


def test_a_keyboard_with_a_display_is_one_of_le() -> None:
    assert [bredr_capability(each) for each in (*BREDR, KEYBOARD_DISPLAY)] == [*BREDR, DISPLAY_YES_NO]


@pytest.mark.parametrize("mitm", [0, MITM])
def test_requirements(mitm: int) -> None:
    assert not bonds(NO_BONDING | mitm)
    assert bonds(DEDICATED_BONDING | mitm)
    assert bonds(GENERAL_BONDING | mitm)
