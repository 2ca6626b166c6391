"""Says what a bond is in its file: the name of the record, and its value, which JSON can carry.

Nothing that is raised here shows what is in a file. The models of a record are imported when there is the first one: a
service without bonds starts without them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from usbbtd.bluetooth import format_address, parse_address
from usbbtd.security.bonds import Bond, BredrKey, LeKeys, LongTermKey, keys_refused

if TYPE_CHECKING:
    from usbbtd.service.bond_models import AddressType, BredrPart, LePart

#: The words for types of addresses, by their numbers.
TYPES: tuple[AddressType, ...] = ("bredr", "public", "random")

#: The longest name of a peer, in characters.
MAX_NAME = 248

_NAME = re.compile(r"[0-9a-f]{12}-(bredr|public|random)")


def name_of(bond: Bond) -> str:
    """Returns the name of a bond's record: the peer's address, the first octet first, and its type."""
    return f"{bond.address[::-1].hex()}-{TYPES[bond.address_type]}"


def is_name(name: str) -> bool:
    """Tells whether a file of this name is a bond's."""
    return _NAME.fullmatch(name) is not None


def encode(bond: Bond) -> object:
    """Returns the value of a bond's record."""
    from usbbtd.service.bond_models import BondPart, BredrPart

    keys = bond.keys
    part = BondPart(
        address=format_address(bond.address),
        type=TYPES[bond.address_type],
        keys=BredrPart(**keys._asdict()) if isinstance(keys, BredrKey) else _le_part(keys),
        guests=sorted(bond.guests),
        made=bond.made,
        seen=bond.seen,
        name=bond.name[:MAX_NAME],
        own_address=None if bond.own_address is None else format_address(bond.own_address),
    )
    return part.model_dump()


def _le_part(keys: LeKeys) -> LePart:
    from usbbtd.service.bond_models import LePart, LongTermPart

    ours, theirs = (None if key is None else LongTermPart(**key._asdict()) for key in (keys.ours, keys.theirs))
    return LePart(**keys._asdict() | {"ours": ours, "theirs": theirs})


def decode(value: object) -> Bond:
    """Returns the bond of a record's value. Raises ValueError if it is none, or has keys that may not be kept."""
    from pydantic import ValidationError

    from usbbtd.service.bond_models import BondPart, BredrPart

    try:
        part = BondPart.model_validate(value)
        address = parse_address(part.address)
        own_address = None if part.own_address is None else parse_address(part.own_address)
    except (ValidationError, ValueError):
        raise ValueError("not a bond") from None
    keys = _bredr_keys(part.keys) if isinstance(part.keys, BredrPart) else _le_keys(part.keys)
    if isinstance(keys, BredrKey) is not (part.type == "bredr"):
        raise ValueError("a bond with keys of another transport")
    if (reason := keys_refused(keys)) is not None:
        raise ValueError(reason)
    owner = frozenset(part.guests), part.made, part.seen, part.name
    return Bond(address, TYPES.index(part.type), keys, *owner, own_address)


def _bredr_keys(part: BredrPart) -> BredrKey:
    return BredrKey(part.key, part.key_type)


def _le_keys(part: LePart) -> LeKeys:
    ours, theirs = (
        None if key is None else LongTermKey(key.key, key.diversifier, key.random) for key in (part.ours, part.theirs)
    )
    return LeKeys(ours, theirs, part.key_size, part.authenticated, part.secure_connections, part.irk)
