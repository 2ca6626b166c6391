from usbbtd.abi.layout import constants
from usbbtd.guest.security import LEVELS, level_name, missing


def test_levels_there_and_back() -> None:
    assert {name: level_name(number) for name, number in LEVELS.items()} == {
        "none": "none",
        "encrypted": "encrypted",
        "authenticated": "authenticated",
        "secure": "secure",
        "mitm": "authenticated",
        "sc": "secure",
    }
    assert level_name(1) == "none"


def test_everything_that_can_be_missing_has_a_name_and_words() -> None:
    whys = {name: getattr(constants, name) for name in dir(constants) if name.startswith("L2CAPIF_WHY_")}
    assert len(whys) == 14
    for name, number in whys.items():
        found, words = missing(number)
        assert name == f"L2CAPIF_WHY_{found.upper()}"
        assert words
    assert missing(255) == missing(0)
