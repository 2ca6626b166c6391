"""Reads the TOML files of ``policy.d`` into a Policy. docs/policy.md is their reference."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from usbbtd.bluetooth import LEVEL_NONE, SECURITY_LEVELS
from usbbtd.policy.rules import (
    ACTIONS,
    ADDRESS_TYPES,
    SECURED,
    Action,
    LimitsTable,
    Naming,
    Peer,
    Policy,
    Rule,
    RuleLimits,
)
from usbbtd.policy.selectors import parse_actions, parse_guests, parse_numbers, parse_peers
from usbbtd.tomlfile import ConfigError, Document, Section, key_lines, line_of, read_directory, validate_all

#: Actions that have no peer, actions that have no PSM, and actions that open channels.
_WITHOUT_PEER: frozenset[Action] = frozenset({"scan", "advertise"})
_WITHOUT_SERVICE: frozenset[Action] = _WITHOUT_PEER | {"agent", "echo"}
_OPENS: frozenset[Action] = frozenset({"connect", "listen"})
_GOES_ON_AIR: frozenset[Action] = frozenset({"connect", "echo", "agent"})
_NAMINGS: tuple[Naming, ...] = ("psm", "spsm", "cid")
#: Rules and tables of limits, of all files together: more than guests need, and read in about a second.
MAX_TABLES = 4096

_Guests = Annotated[frozenset[str | int] | None, PlainValidator(parse_guests)]
_Ranges = tuple[range, ...] | None


class _LimitsSection(Section):
    channels: int | None = Field(default=None, ge=0, le=4096)
    unread_bytes: int | None = Field(default=None, ge=4096, le=1 << 26)
    connects_per_minute: int | None = Field(default=None, ge=0, le=100_000)

    def limits(self) -> RuleLimits:
        return RuleLimits(self.channels, self.unread_bytes, self.connects_per_minute)


class _GuestLimits(_LimitsSection):
    guest: _Guests


class _RuleTable(_LimitsSection):
    guest: _Guests
    action: Annotated[frozenset[Action], PlainValidator(parse_actions)]
    verdict: Literal["allow", "deny"]
    peer: Annotated[tuple[frozenset[Peer], bool] | None, PlainValidator(parse_peers)] = None
    psm: Annotated[_Ranges, PlainValidator(partial(parse_numbers, "psm"))] = None
    spsm: Annotated[_Ranges, PlainValidator(partial(parse_numbers, "spsm"))] = None
    cid: Annotated[_Ranges, PlainValidator(partial(parse_numbers, "cid"))] = None
    security: Literal["none", "encrypted", "authenticated", "secure"] = "none"
    legacy_pin: bool = False

    # A key that could never matter in its rule is a mistake of the administrator, and refused.

    @field_validator("action")
    @classmethod
    def _takes_the_limits(cls, actions: frozenset[Action], info: ValidationInfo) -> frozenset[Action]:
        if info.data.get("connects_per_minute") is not None and not actions & _GOES_ON_AIR:
            raise ValueError("connects_per_minute is a limit of connect, echo and agent")
        if any(info.data.get(key) is not None for key in ("channels", "unread_bytes")) and not actions & _OPENS:
            raise ValueError("channels and unread_bytes are limits of connect and listen")
        return actions

    @field_validator("verdict")
    @classmethod
    def _denies_without_limits(cls, verdict: str, info: ValidationInfo) -> str:
        if verdict == "deny" and (limits := [key for key in RuleLimits._fields if info.data.get(key) is not None]):
            raise ValueError(f"what is denied has no {' or '.join(limits)}")
        return verdict

    @field_validator("peer", *_NAMINGS)
    @classmethod
    def _belongs_to_the_action(cls, value: Any, info: ValidationInfo) -> Any:
        without = _WITHOUT_PEER if info.field_name == "peer" else _WITHOUT_SERVICE
        actions: frozenset[Action] = info.data.get("action", frozenset())
        if value is not None and actions & without and len(actions) < len(ACTIONS):  # "any" is about the others then
            raise ValueError(f"{' and '.join(sorted(actions & without))} has no {info.field_name}")
        return value

    @field_validator("peer")
    @classmethod
    def _is_of_the_actions_transport(
        cls, value: tuple[frozenset[Peer], bool] | None, info: ValidationInfo
    ) -> tuple[frozenset[Peer], bool] | None:
        peers, bonded = value or (frozenset(), True)
        bredr = any(kind == ADDRESS_TYPES["bredr"] for _, kind in peers)
        if info.data.get("action") == {"echo"} and not bonded and not bredr:
            raise ValueError("echo is of BR/EDR, and this address is of LE")
        return value

    @field_validator("psm", "spsm")
    @classmethod
    def _is_of_the_peers_transport(cls, value: _Ranges, info: ValidationInfo) -> _Ranges:
        peers, bonded = info.data.get("peer") or (frozenset(), True)
        bredr, other = (True, "an spsm") if info.field_name == "psm" else (False, "a psm")
        if not bonded and all((kind == ADDRESS_TYPES["bredr"]) is not bredr for _, kind in peers):
            raise ValueError(f"a peer with an address of this type has {other}")
        return value

    @field_validator("cid")
    @classmethod
    def _is_connected_to(cls, value: _Ranges, info: ValidationInfo) -> _Ranges:
        if value is not None and info.data.get("action") == {"listen"}:
            raise ValueError("nobody listens on a fixed channel: connect opens it")
        return value

    @field_validator("security")
    @classmethod
    def _has_what_to_secure(cls, security: str, info: ValidationInfo) -> str:
        if security == "none":
            return security
        if info.data.get("verdict") == "deny":
            raise ValueError("what is denied needs none")
        if not info.data.get("action", SECURED) & SECURED:
            raise ValueError("it is of connect, listen and agent")
        return security

    @field_validator("legacy_pin")
    @classmethod
    def _is_of_agents(cls, legacy_pin: bool, info: ValidationInfo) -> bool:
        if legacy_pin and "agent" not in info.data.get("action", {"agent"}):
            raise ValueError("it is of agent")
        if legacy_pin and info.data.get("verdict") == "deny":
            raise ValueError("what is denied needs none")
        if legacy_pin and info.data.get("security") == "secure":
            raise ValueError("a PIN does not reach this security")
        return legacy_pin

    def rule(self, where: str) -> Rule:
        services = tuple(
            (naming, numbers) for naming in _NAMINGS for numbers in getattr(self, naming) or ()
        )  # fmt: skip
        peers, bonded = self.peer or (None, False)
        return Rule(
            where, self.guest, self.action, peers, bonded, services or None, self.verdict == "allow",
            SECURITY_LEVELS.index(self.security, LEVEL_NONE), self.limits(), self.legacy_pin,
        )  # fmt: skip


class _PolicyFile(Section):
    rule: list[_RuleTable] = Field(default_factory=list)
    limits: list[_GuestLimits] = Field(default_factory=list)


def load(directory: Path, proceed: Callable[[], object] = lambda: None) -> Policy:
    """Reads all files of a directory, which need not exist, into one policy.

    ``proceed`` is called before each step: what it raises ends the reading. Raises ConfigError with every mistake in
    every file.
    """
    return compile_policy(read_directory(directory, proceed), proceed)


def compile_policy(documents: list[Document], proceed: Callable[[], object] = lambda: None) -> Policy:
    """Makes a policy of files that were read. ``proceed``: as of ``load``. Raises ConfigError as ``load`` does."""
    _check_count(documents)
    rules: list[Rule] = []
    tables: list[LimitsTable] = []
    for document, file in zip(documents, validate_all(documents, _PolicyFile, proceed), strict=True):
        proceed()
        lines = key_lines(document.text)
        rules += (
            table.rule(f"{document.name}:{line_of(lines, ('rule', number))}") for number, table in enumerate(file.rule)
        )
        tables += (LimitsTable(table.guest, table.limits()) for table in file.limits)
    return Policy(tuple(rules), tuple(tables))


def _check_count(documents: list[Document]) -> None:
    """Raises ConfigError, which names the file with which there are too many tables, if there are."""
    count = 0
    for document in documents:
        count += sum(
            len(each) for key in _PolicyFile.model_fields if isinstance(each := document.content.get(key), list)
        )
        if count > MAX_TABLES:
            raise ConfigError(f"{document.name}: {count} rules and limits with the files before it, over {MAX_TABLES}")
