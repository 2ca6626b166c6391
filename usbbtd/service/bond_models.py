"""The models of a bond's record: what pydantic checks when a file is read, and makes JSON of."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

#: The word for a type of addresses; the one of BR/EDR tells the transport.
AddressType = Literal["bredr", "public", "random"]


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


#: Seconds of Unix time, up to the year 9999: later ones are no dates to whoever shows them.
_Time = Annotated[float, Field(ge=0, lt=253_402_300_800)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    def __repr_args__(self) -> list[tuple[str, str]]:
        """Returns nothing of the content: there are keys in it."""
        return []


class BredrPart(_Strict):
    key: _Key
    key_type: int


class LongTermPart(_Strict):
    key: _Key
    diversifier: int = Field(ge=0, lt=1 << 16)
    random: int = Field(ge=0, lt=1 << 64)


class LePart(_Strict):
    ours: LongTermPart | None
    theirs: LongTermPart | None
    key_size: int
    authenticated: bool
    secure_connections: bool
    irk: _Key | None


class BondPart(_Strict):
    address: str
    type: AddressType
    keys: BredrPart | LePart
    guests: list[str]
    made: _Time
    seen: _Time | None
    name: str
    own_address: str | None = None  # files of before have none
