import pytest

from usbbtd.toolstack.dongle_rules import DongleRule, parse_rule
from usbbtd.toolstack.errors import BadSpec
from usbbtd.toolstack.sysfs import PluggedDevice

DEVICE = PluggedDevice("1-2", "5", "0a12:0001", "0123", is_bluetooth=True)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("id=0A12:0001", DongleRule("0a12:0001")),
        ("serial=0123, class=bluetooth", DongleRule(serial="0123", bluetooth=True)),
    ],
)
def test_rules(text: str, rule: DongleRule) -> None:
    assert parse_rule(text) == rule
    assert rule.matches(DEVICE)


@pytest.mark.parametrize("other", [{"identity": "0a12:0002"}, {"serial": ""}, {"is_bluetooth": False}])
def test_a_device_has_all_that_a_rule_says(other: dict[str, str | bool]) -> None:
    rule = parse_rule("id=0a12:0001,serial=0123,class=bluetooth")
    assert rule.matches(DEVICE)
    assert not rule.matches(PluggedDevice(**DEVICE._asdict() | other))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' names no device: it takes id, serial or class"),
        ("id=0a12", "character 1: id is vendor and product as lsusb shows them, such as 0a12:0001, not '0a12'"),
        ("serial=1,class=hid", "character 10: there is no class 'hid', only bluetooth"),
        ("bus=1", "character 1: there is no key 'bus', only id, serial and class"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(BadSpec) as error:
        parse_rule(text)
    assert str(error.value).endswith(said)
