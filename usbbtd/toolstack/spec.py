"""Reads an administrator's description of a device: an element of ``vl2cap`` in a domain's configuration file."""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from usbbtd.tags import parse_tags
from usbbtd.toolstack.errors import BadSpec

#: The most devices of a guest. All are made in one transaction, and all other guests wait for it.
MAX_DEVICES = 64

_DEVID = re.compile("[0-9]{1,4}")
_DOM0 = "0"


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
    values = read_items(text, _KEYS)
    devid = int(values["devid"]) if "devid" in values else None
    return Spec(values.get("backend", _DOM0), devid, values.get("tags", ""), values.get("for", ""))


def read_items(text: str, keys: Mapping[str, Callable[[str], str]]) -> dict[str, str]:
    """Reads ``KEY=VALUE,KEY=VALUE``. ``keys``: what makes of a value its normal form, or raises ValueError.

    Parts may be missing, and have blanks around them. Raises BadSpec, which tells the position of the mistake.
    """
    values: dict[str, str] = {}
    position = 1
    for item in text.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if key or equals:
            try:
                if key in values:
                    raise ValueError(f"{key} is given twice")
                values[key] = _read_value(key, equals, value, keys)
            except ValueError as error:
                place = position + len(item) - len(item.lstrip())
                raise BadSpec(f"{text!r}, character {place}: {error}") from None
        position += len(item) + 1
    return values


def _read_value(key: str, equals: str, value: str, keys: Mapping[str, Callable[[str], str]]) -> str:
    """Returns the normal form of a value. Raises ValueError."""
    if not equals:
        raise ValueError(f"{key!r} is not of the form KEY=VALUE")
    if key not in keys:
        *first, last = keys
        raise ValueError(f"there is no key {key!r}, only {', '.join(first)} and {last}")
    if not value:
        raise ValueError(f"{key} has no value")
    return keys[key](value)


def _check_devid(text: str) -> str:
    if not _DEVID.fullmatch(text):
        raise ValueError(f"devid is a number from 0 to 9999, not {text!r}")
    return text


def _normal_tags(text: str) -> str:
    return " ".join(sorted(parse_tags(text)))


_KEYS: Mapping[str, Callable[[str], str]] = {"backend": str, "devid": _check_devid, "for": str, "tags": _normal_tags}


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


def parse_specs(name: str, texts: Iterable[str]) -> dict[int, Spec]:
    """Reads the devices that the configuration of the domain ``name`` lists, by devid. Raises BadSpec."""
    return number_specs(_not_itself(name, text) for text in texts)


def _not_itself(name: str, text: str) -> Spec:
    spec = parse_spec(text)
    if spec.backend == name:
        raise BadSpec(f"{text!r}: a domain cannot be its own backend")
    return spec


def lowest_free(taken: Iterable[int]) -> int:
    """Returns the lowest number, from 0, that is not taken."""
    taken = set(taken)
    return next(number for number in range(len(taken) + 1) if number not in taken)
