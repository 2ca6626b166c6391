"""Reads which USB devices a domain is to have: the list ``vusb`` in its configuration file."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from usbbtd.toolstack.errors import BadSpec
from usbbtd.toolstack.spec import read_items
from usbbtd.toolstack.sysfs import PluggedDevice

_IDENTITY = re.compile("[0-9a-f]{4}:[0-9a-f]{4}")


class DongleRule(NamedTuple):
    """Names devices that have all that it says; what is "" or False it does not ask for."""

    identity: str = ""
    serial: str = ""
    bluetooth: bool = False

    def matches(self, device: PluggedDevice) -> bool:
        return (
            self.identity in ("", device.identity)
            and self.serial in ("", device.serial)
            and (device.is_bluetooth or not self.bluetooth)
        )


def parse_rule(text: str) -> DongleRule:
    """Reads ``id=0a12:0001,serial=0123,class=bluetooth``. Parts may be missing. Raises BadSpec."""
    values = read_items(text, {"id": _check_identity, "serial": str, "class": _check_class})
    if not values:
        raise BadSpec(f"{text!r} names no device: it takes id, serial or class")
    return DongleRule(values.get("id", ""), values.get("serial", ""), "class" in values)


def parse_rules(_name: str, texts: Iterable[str]) -> tuple[DongleRule, ...]:
    """Reads the list of a domain. Raises BadSpec."""
    return tuple(map(parse_rule, texts))


def _check_identity(text: str) -> str:
    if not _IDENTITY.fullmatch(text.lower()):
        raise ValueError(f"id is vendor and product as lsusb shows them, such as 0a12:0001, not {text!r}")
    return text.lower()


def _check_class(text: str) -> str:
    if text != "bluetooth":
        raise ValueError(f"there is no class {text!r}, only bluetooth")
    return text
