"""Says what a bond is in its file: the name of the record, and its value, which JSON can carry.

Nothing that is raised here shows what is in a file.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from usbbtd.bluetooth import format_address, parse_address
from usbbtd.security.bonds import Bond, BredrKey, LeKeys, LongTermKey, keys_refused

#: The words for types of addresses, by their numbers.
TYPES: tuple[Literal["bredr", "public", "random"], ...] = ("bredr", "public", "random")

#: The longest name of a peer, in characters.
MAX_NAME = 248

_NAME = re.compile(r"[0-9a-f]{12}-(bredr|public|random)")


def name_of(bond: Bond) -> str:
    """Returns the name of a bond's record: the peer's address, the first octet first, and its type."""
    return f"{bond.address[::-1].hex()}-{TYPES[bond.address_type]}"


def is_name(name: str) -> bool:
    """Tells whether a file of this name is a bond's."""
    return _NAME.fullmatch(name) is not None


def _from_hexadecimal(value: object) -> object:
    return bytes.fromhex(value) if isinstance(value, str) else value


def _hexadecimal(value: bytes) -> str:
    return value.hex()


#: Sixteen octets, in hexadecimal, in the order in which HCI has them.
_Key = Annotated[
    bytes,
    BeforeValidator(_from_hexadecimal),
    PlainSerializer(_hexadecimal),
    Field(min_length=16, max_length=16),
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    def __repr_args__(self) -> list[tuple[str, str]]:
        """Returns nothing of the content: there are keys in it."""
        return []


class _BredrPart(_Strict):
    key: _Key
    key_type: int


class _LongTermPart(_Strict):
    key: _Key
    diversifier: int = Field(ge=0, lt=1 << 16)
    random: int = Field(ge=0, lt=1 << 64)


class _LePart(_Strict):
    ours: _LongTermPart | None
    theirs: _LongTermPart | None
    key_size: int
    authenticated: bool
    secure_connections: bool
    irk: _Key | None


class _BondPart(_Strict):
    address: str
    type: Literal["bredr", "public", "random"]
    keys: _BredrPart | _LePart
    guests: list[str]
    made: float
    seen: float | None
    name: str
    own_address: str | None = None  # files of before have none


def encode(bond: Bond) -> object:
    """Returns the value of a bond's record."""
    keys = bond.keys
    part = _BondPart(
        address=format_address(bond.address),
        type=TYPES[bond.address_type],
        keys=_BredrPart(**keys._asdict()) if isinstance(keys, BredrKey) else _le_part(keys),
        guests=sorted(bond.guests),
        made=bond.made,
        seen=bond.seen,
        name=bond.name[:MAX_NAME],
        own_address=None if bond.own_address is None else format_address(bond.own_address),
    )
    return part.model_dump()


def _le_part(keys: LeKeys) -> _LePart:
    ours, theirs = (None if key is None else _LongTermPart(**key._asdict()) for key in (keys.ours, keys.theirs))
    return _LePart(**keys._asdict() | {"ours": ours, "theirs": theirs})


def decode(value: object) -> Bond:
    """Returns the bond of a record's value. Raises ValueError if it is none, or has keys that may not be kept."""
    try:
        part = _BondPart.model_validate(value)
        address = parse_address(part.address)
        own_address = None if part.own_address is None else parse_address(part.own_address)
    except (ValidationError, ValueError):
        raise ValueError("not a bond") from None
    keys = _bredr_keys(part.keys) if isinstance(part.keys, _BredrPart) else _le_keys(part.keys)
    if isinstance(keys, BredrKey) is not (part.type == "bredr"):
        raise ValueError("a bond with keys of another transport")
    if (reason := keys_refused(keys)) is not None:
        raise ValueError(reason)
    owner = frozenset(part.guests), part.made, part.seen, part.name
    return Bond(address, TYPES.index(part.type), keys, *owner, own_address)


def _bredr_keys(part: _BredrPart) -> BredrKey:
    return BredrKey(part.key, part.key_type)


def _le_keys(part: _LePart) -> LeKeys:
    ours, theirs = (
        None if key is None else LongTermKey(key.key, key.diversifier, key.random) for key in (part.ours, part.theirs)
    )
    return LeKeys(ours, theirs, part.key_size, part.authenticated, part.secure_connections, part.irk)
