"""Reads what an administrator writes in a rule: guests, actions, peers, PSMs.

Each is one value or a list; "any", which stands for all, becomes None. All functions raise ValueError with a message
for the administrator.
"""

import re
from collections.abc import Callable
from typing import TypeVar

from usbbtd.bluetooth import BREDR, parse_address, psm_is_legal
from usbbtd.identifiers import LAST_DOMID
from usbbtd.policy.rules import ACTIONS, ADDRESS_TYPES, Action, Naming, Peer
from usbbtd.tags import check_tag

T = TypeVar("T")

_DOMID = re.compile(r"[0-9]{1,5}")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]{1,4}|[0-9]{1,5}")
_LAST = {"psm": 0xFFFF, "spsm": 0xFF, "cid": 0x3F}  # Vol 3, Part A, 4.2, 4.22 and 2.1


def parse_guests(value: object) -> frozenset[str | int] | None:
    """Reads guests: names, domids, ``tag:NAME``. Returns their labels, as ``Identity.labels`` has them."""
    return _any_or_all(value, _parse_guest)


def parse_actions(value: object) -> frozenset[Action]:
    """Reads actions. "any" becomes all of them."""
    return _any_or_all(value, _parse_action) or frozenset(ACTIONS)


def parse_peers(value: object) -> tuple[frozenset[Peer], bool] | None:
    """Reads peers: addresses and "bonded". Returns (addresses, whether bonded peers too)."""
    parsed = _any_or_all(value, _parse_peer)
    if parsed is None:
        return None
    return frozenset(peer for peers in parsed for peer in peers), frozenset() in parsed


def parse_numbers(naming: Naming, value: object) -> tuple[range, ...]:
    """Reads numbers, and ranges that include both their ends: ``0x1001``, ``"0x1001"``, ``"0x1001-0x10ff"``."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("an empty list matches nothing")
    return tuple(_parse_range(naming, each) for each in values)


def parse_peer(text: str) -> frozenset[Peer]:
    """Reads ``C0:FF:EE:00:00:01/random``; without a type, the address stands for those of all types."""
    address, slash, kind = text.partition("/")
    octets = parse_address(address)
    if slash and kind not in ADDRESS_TYPES:
        raise ValueError(f"{kind!r} is no type of address, only {', '.join(ADDRESS_TYPES)}")
    return frozenset((octets, number) for name, number in ADDRESS_TYPES.items() if not slash or name == kind)


def parse_number(naming: Naming, value: object) -> int:
    """Reads one number, an integer or text."""
    number = _parse_end(naming, value)
    if naming == "psm" and not psm_is_legal(BREDR, number):
        meant = "; is spsm meant?" if number <= _LAST["spsm"] else ""
        raise ValueError(f"0x{number:04x} is no PSM: the lowest bit is 1, that of the upper octet is 0{meant}")
    return number


def _any_or_all(value: object, parse: Callable[[object], T]) -> frozenset[T] | None:
    if value == "any":
        return None
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("an empty list matches nothing")
    if "any" in values:
        raise ValueError('"any" stands alone')
    return frozenset(map(parse, values))


def _parse_guest(value: object) -> str | int:
    if isinstance(value, str) and _DOMID.fullmatch(value):
        value = int(value)  # as xl takes it
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= LAST_DOMID:
            raise ValueError(f"{value} is no domid")
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f'{value!r} is no guest: write a name, a domid, or "tag:NAME"')
    if value.startswith("tag:"):
        check_tag(value[4:])
    return value


def _parse_action(value: object) -> Action:
    for action in ACTIONS:
        if value == action:
            return action
    raise ValueError(f"{value!r} is no action, only {', '.join(ACTIONS)}")


def _parse_peer(value: object) -> frozenset[Peer]:
    if value == "bonded":
        return frozenset()
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is no peer: write an address, "bonded" or "any"')
    return parse_peer(value)


def _parse_range(naming: Naming, value: object) -> range:
    if not isinstance(value, str) or "-" not in value:
        number = parse_number(naming, value)
        return range(number, number + 1)
    first, _, last = value.partition("-")
    start, end = _parse_end(naming, first.strip()), _parse_end(naming, last.strip())
    if end < start:
        raise ValueError(f"{value!r} ends before it begins")
    if naming == "psm" and not any(psm_is_legal(BREDR, psm) for psm in range(start, min(end, start + 0x0101) + 1)):
        raise ValueError(f"no number from 0x{start:04x} to 0x{end:04x} is a PSM")
    return range(start, end + 1)


def _parse_end(naming: Naming, value: object) -> int:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value, 16 if value[:2] in ("0x", "0X") else 10)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f'{value!r} is no number: write it like 0x1001, "0x1001" or, for a range, "0x1001-0x10ff"')
    if not 1 <= value <= _LAST[naming]:
        meant = "; is psm meant?" if naming == "spsm" and 1 <= value <= _LAST["psm"] else ""
        raise ValueError(f"0x{value:04x} is not between 0x0001 and 0x{_LAST[naming]:04x}{meant}")
    return value
