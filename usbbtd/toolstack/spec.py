"""Reads an administrator's description of a device: an element of ``vl2cap`` in a domain's configuration file."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from usbbtd.tags import parse_tags
from usbbtd.toolstack.errors import BadSpec

#: The most devices of a guest. All are made in one transaction, and all other guests wait for it.
MAX_DEVICES = 64

_DEVID = re.compile("[0-9]{1,4}")
_DOM0 = "0"
_KEYS = ("backend", "devid", "for", "tags")


class Spec(NamedTuple):
    """A device to attach. ``backend``: the driver domain, by name or domid.

    ``devid``: None for the lowest number that is free. ``tags``: those of the guest for the driver domain's policy, in
    alphabetical order, with a blank between them. ``stands_for``: the name of another guest, which the domain serves by
    this device; "" if the device is its own.
    """

    backend: str = _DOM0
    devid: int | None = None
    tags: str = ""
    stands_for: str = ""


def parse_spec(text: str) -> Spec:
    """Reads ``backend=sys-bt,devid=0,for=minix,tags=headset input``. Parts may be missing, and have blanks around them.

    Raises BadSpec, which tells the position of the mistake.
    """
    values: dict[str, str] = {}
    position = 1
    for item in text.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        problem = None
        if key and not equals:
            problem = f"{key!r} is not of the form KEY=VALUE"
        elif equals and key not in _KEYS:
            problem = f"there is no key {key!r}, only {', '.join(_KEYS[:-1])} and {_KEYS[-1]}"
        elif equals and not value:
            problem = f"{key} has no value"
        elif key in values:
            problem = f"{key} is given twice"
        elif key == "devid" and not _DEVID.fullmatch(value):
            problem = f"devid is a number from 0 to 9999, not {value!r}"
        elif key == "tags":
            value, problem = _normal_tags(value)
        if problem:
            raise BadSpec(f"{text!r}, character {position + len(item) - len(item.lstrip())}: {problem}")
        if key:
            values[key] = value
        position += len(item) + 1
    devid = int(values["devid"]) if "devid" in values else None
    return Spec(values.get("backend", _DOM0), devid, values.get("tags", ""), values.get("for", ""))


def _normal_tags(text: str) -> tuple[str, str | None]:
    """Returns (the tags as Spec has them, what is wrong with them or None)."""
    try:
        return " ".join(sorted(parse_tags(text))), None
    except ValueError as error:
        return text, str(error)


def parse_devid(text: str) -> int:
    """Reads a device's number. Raises BadSpec."""
    if not _DEVID.fullmatch(text):
        raise BadSpec(f"{text!r} is no number from 0 to 9999")
    return int(text)


def number_specs(specs: Iterable[Spec]) -> dict[int, Spec]:
    """Returns the devices of a domain by devid. Those without a number get, in order, the lowest that are free.

    Raises BadSpec if two have one number, or if there are too many.
    """
    specs = list(islice(specs, MAX_DEVICES + 1))
    if len(specs) > MAX_DEVICES:
        raise BadSpec(f"a domain has {MAX_DEVICES} devices at most")
    numbered: dict[int, Spec] = {}
    for spec in specs:
        if spec.devid in numbered:
            raise BadSpec(f"two devices have devid={spec.devid}")
        if spec.devid is not None:
            numbered[spec.devid] = spec
    for spec in specs:
        if spec.devid is None:
            numbered[lowest_free(numbered)] = spec
    return numbered


def lowest_free(taken: Iterable[int]) -> int:
    """Returns the lowest number, from 0, that is not taken."""
    taken = set(taken)
    return next(number for number in range(len(taken) + 1) if number not in taken)
