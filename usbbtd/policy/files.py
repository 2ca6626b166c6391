"""Reads the TOML files of ``policy.d`` into a Policy. docs/policy.md is their reference."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from usbbtd.policy.rules import ACTIONS, ADDRESS_TYPES, Action, LimitsTable, Naming, Peer, Policy, Rule, RuleLimits
from usbbtd.policy.selectors import parse_actions, parse_guests, parse_numbers, parse_peers
from usbbtd.sections import ManyTables, Section, choice, integer, key
from usbbtd.tomlfile import ConfigError, Document, key_lines, line_of, read_directory, validate_all

#: Actions that have no peer, actions that have no PSM, and actions that open channels.
_WITHOUT_PEER: frozenset[Action] = frozenset({"scan", "advertise"})
_WITHOUT_SERVICE: frozenset[Action] = _WITHOUT_PEER | {"agent", "echo"}
_OPENS: frozenset[Action] = frozenset({"connect", "listen"})
_NAMINGS: tuple[Naming, ...] = ("psm", "spsm", "cid")
#: Rules and tables of limits, of all files together: more than guests need, and read in about a second.
MAX_TABLES = 4096

_Before = Mapping[str, Any]


# A key that could never matter in its rule is a mistake of the administrator, and refused.


def _takes_the_limits(_: str, actions: frozenset[Action], before: _Before) -> None:
    if before.get("connects_per_minute") is not None and not actions & {"connect", "echo"}:
        raise ValueError("connects_per_minute is a limit of connect and echo")
    if any(before.get(key) is not None for key in ("channels", "unread_bytes")) and not actions & _OPENS:
        raise ValueError("channels and unread_bytes are limits of connect and listen")


def _denies_without_limits(_: str, verdict: str, before: _Before) -> None:
    if verdict == "deny" and (limits := [key for key in RuleLimits._fields if before.get(key) is not None]):
        raise ValueError(f"what is denied has no {' or '.join(limits)}")


def _belongs_to_the_action(name: str, value: object, before: _Before) -> None:
    without = _WITHOUT_PEER if name == "peer" else _WITHOUT_SERVICE
    actions: frozenset[Action] = before.get("action", frozenset())
    if value is not None and actions & without and len(actions) < len(ACTIONS):  # "any" is about the others then
        raise ValueError(f"{' and '.join(sorted(actions & without))} has no {name}")


def _is_of_the_actions_transport(_: str, value: tuple[frozenset[Peer], bool] | None, before: _Before) -> None:
    peers, bonded = value or (frozenset(), True)
    bredr = any(kind == ADDRESS_TYPES["bredr"] for _, kind in peers)
    if before.get("action") == {"echo"} and not bonded and not bredr:
        raise ValueError("echo is of BR/EDR, and this address is of LE")


def _is_of_the_peers_transport(name: str, _: object, before: _Before) -> None:
    peers, bonded = before.get("peer") or (frozenset(), True)
    bredr, other = (True, "an spsm") if name == "psm" else (False, "a psm")
    if not bonded and all((kind == ADDRESS_TYPES["bredr"]) is not bredr for _, kind in peers):
        raise ValueError(f"a peer with an address of this type has {other}")


def _denies_without_security(_: str, security: str, before: _Before) -> None:
    if before.get("verdict") == "deny" and security != "none":
        raise ValueError("what is denied needs none")


_Ranges = tuple[range, ...] | None
_Verdict = Literal["allow", "deny"]
_Security = Literal["none", "encrypted", "authenticated", "secure"]


class _LimitsSection(Section):
    channels: int | None = key(integer(0, 4096), default=None)
    unread_bytes: int | None = key(integer(4096, 1 << 26), default=None)
    connects_per_minute: int | None = key(integer(0, 100_000), default=None)

    def limits(self) -> RuleLimits:
        return RuleLimits(self.channels, self.unread_bytes, self.connects_per_minute)


class _GuestLimits(_LimitsSection):
    guest: frozenset[str | int] | None = key(parse_guests)


class _RuleTable(_LimitsSection):
    guest: frozenset[str | int] | None = key(parse_guests)
    action: frozenset[Action] = key(parse_actions, _takes_the_limits)
    verdict: _Verdict = key(choice("allow", "deny"), _denies_without_limits)
    peer: tuple[frozenset[Peer], bool] | None = key(
        parse_peers, _belongs_to_the_action, _is_of_the_actions_transport, default=None
    )
    psm: _Ranges = key(partial(parse_numbers, "psm"), _belongs_to_the_action, _is_of_the_peers_transport, default=None)
    spsm: _Ranges = key(
        partial(parse_numbers, "spsm"), _belongs_to_the_action, _is_of_the_peers_transport, default=None
    )
    cid: _Ranges = key(partial(parse_numbers, "cid"), _belongs_to_the_action, default=None)
    security: _Security = key(
        choice("none", "encrypted", "authenticated", "secure"), _denies_without_security, default="none"
    )

    def rule(self, where: str) -> Rule:
        services = tuple(
            (naming, numbers) for naming in _NAMINGS for numbers in getattr(self, naming) or ()
        )  # fmt: skip
        peers, bonded = self.peer or (None, False)
        allows = self.verdict == "allow"
        return Rule(
            where, self.guest, self.action, peers, bonded, services or None, allows, self.security, self.limits()
        )


class _PolicyFile(Section):
    rule: list[_RuleTable] = key(ManyTables(_RuleTable), default=())
    limits: list[_GuestLimits] = key(ManyTables(_GuestLimits), default=())


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
        count += sum(len(each) for key in _PolicyFile.keys if isinstance(each := document.content.get(key), list))
        if count > MAX_TABLES:
            raise ConfigError(f"{document.name}: {count} rules and limits with the files before it, over {MAX_TABLES}")
