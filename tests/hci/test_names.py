import pytest
from bumble.company_ids import COMPANY_IDENTIFIERS

from usbbtd.hci import names

#: Who is called otherwise than he is registered: by his former name, or by a shorter one.
CALLED = {
    0x000A: "Qualcomm",
    0x0030: "ST Micro",
    0x0039: "Integrated System Solution",
    0x0045: "Atheros",
    0x02FF: "Silicon Lab",
    0x05F1: "Linux Foundation",
}


def test_companies_are_those_of_the_assigned_numbers() -> None:
    for identifier in range(0x10000):
        name = names.company_name(identifier)
        if name != f"company 0x{identifier:04x}":
            assert CALLED.get(identifier, name).lower() in COMPANY_IDENTIFIERS[identifier].lower()


@pytest.mark.parametrize(
    ("version", "name"), [(0, "1.0b"), (4, "2.1"), (6, "4.0"), (9, "5.0"), (14, "6.0"), (255, "HCI 255")]
)
def test_versions(version: int, name: str) -> None:
    assert names.version_name(version) == name


def test_controllers() -> None:
    assert names.controller_name(0x005D, 10) == "Realtek, Bluetooth 5.1"
    assert names.controller_name(0xFFF0, 99) == "company 0xfff0, Bluetooth HCI 99"
    assert names.controller_name(None, 10) == names.controller_name(0x005D, None) == "unknown"
