import pytest
from bumble.core import Appearance

from usbbtd.guest.kinds import _CATEGORIES, kind_of


@pytest.mark.parametrize(
    ("class_of_device", "appearance", "kind"),
    [
        (None, None, None),
        (0, None, None),
        (0x240404, None, "headset"),
        (0x002540, None, "keyboard"),
        (0x002580, None, "mouse"),
        (0x0025C0, None, "keyboard and mouse"),
        (0x002508, None, "gamepad"),
        (0x5A020C, None, "smartphone"),
        (0x000200, None, "phone"),
        (0x001F00, None, None),
        (0x240404, 0x03C2, "mouse"),
        (None, 0x0341, "heart rate sensor"),
        (None, 0xFFC0, None),
        (0x000100, 0, "computer"),
    ],
)
def test_kinds(class_of_device: int | None, appearance: int | None, kind: str | None) -> None:
    assert kind_of(class_of_device, appearance) == kind


def test_categories_are_those_that_others_know() -> None:
    assert _CATEGORIES.keys() <= {int(category) for category in Appearance.Category}
