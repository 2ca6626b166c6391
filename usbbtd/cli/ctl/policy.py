"""usbbtctl policy: what the files of policy say. They are read here, so that a change can be tried before a reload.

Exit status: 0 good, or allowed; 1 denied; 2 wrong usage, or a mistake in a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from usbbtd.bluetooth import LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, LEVEL_NONE, LEVEL_SECURE, SECURITY_LEVELS
from usbbtd.cli.arguments import directory, domid
from usbbtd.cli.ctl.doctor import add_config
from usbbtd.cli.ctl.output import add_command
from usbbtd.cli.table import counted

if TYPE_CHECKING:
    from usbbtd.cli.ctl.output import Subparsers
    from usbbtd.policy.rules import (
        AccessRequest,
        Decision,
        GuestPolicy,
        Identity,
        Naming,
        Peer,
        PeerService,
        Policy,
        Rule,
    )

_DENIED, _USAGE = 1, 2
_ANY = "any"
#: How many of the operands ADDRESS and PSM each action takes.
_OPERANDS = {"connect": 2, "listen": 2, "scan": 0, "advertise": 0, "agent": 1, "echo": 1}
_NEEDED = ("neither ADDRESS nor PSM", "ADDRESS", "ADDRESS and PSM")
#: What each level of security asks of a link.
_MEANINGS = {
    LEVEL_ENCRYPTED: "encrypted",
    LEVEL_AUTHENTICATED: "encrypted, by a pairing that nobody in the middle can have made",
    LEVEL_SECURE: "encrypted, by such a pairing with Secure Connections and a key of 16 octets",
}
_EPILOG = """\
ADDRESS is a BR/EDR peer's, as C0:FF:EE:00:00:11, or an LE peer's with its type, as C0:FF:EE:00:00:12/random. With
listen, "any" and "any/random" ask whether the guest may listen at all. PSM is a PSM, or an SPSM where the peer is of
LE; cid:4 is a fixed channel.
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("policy", help="what the rules say", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    default = "default: as the configuration says"

    check = add_command(commands, "check", _check, "read the files and say what is wrong with them")
    check.add_argument("directory", nargs="?", type=directory, metavar="DIR", help=default)
    add_config(check)

    explain = add_command(commands, "explain", _explain, "whether a guest may do something, by which line, and why")
    explain.formatter_class, explain.epilog = argparse.RawDescriptionHelpFormatter, _EPILOG
    explain.add_argument("guest", metavar="GUEST", help="a domain, by name or number")
    explain.add_argument("action", choices=_OPERANDS, metavar="ACTION", help=", ".join(_OPERANDS))
    explain.add_argument("address", nargs="?", metavar="ADDRESS", help="of the peer")
    explain.add_argument("psm", nargs="?", metavar="PSM", help="that the channel leads to")
    explain.add_argument("--bonded", action="store_true", help="as if the guest had a bond with the peer")
    explain.add_argument("--domid", type=domid, metavar="N", help="the number of the domain that GUEST names")
    explain.add_argument("--tags", nargs="+", default=[], metavar="TAG", help="that the guest has")
    explain.add_argument("--directory", type=directory, metavar="DIR", help=f"where the files are; {default}")
    add_config(explain)


def _check(arguments: argparse.Namespace) -> int:
    if (policy := _load(arguments)) is None:
        return _USAGE
    allow = sum(rule.allows for rule in policy.rules)
    if arguments.json:
        print(json.dumps({"rules": len(policy.rules), "allow": allow, "limits": len(policy.tables)}))
    else:
        rules, tables = counted(len(policy.rules), "rule"), counted(len(policy.tables), "table")
        print(f"{rules}, {allow} of them to allow something; {tables} of limits")
    if not allow:
        _tell("no guest may do anything")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    try:
        guest, request = _identity(arguments), _request(arguments)
    except ValueError as error:
        _tell(str(error))
        return _USAGE
    if (policy := _load(arguments)) is None:
        return _USAGE
    rules = policy.for_guest(guest)
    decision = rules.decide(request)
    if arguments.json:
        print(json.dumps(_facts(decision, rules)))
    else:
        _print(decision, rules, request)
    return 0 if decision.allowed else _DENIED


def _load(arguments: argparse.Namespace) -> Policy | None:
    """Reads the policy. Prints the mistakes in its files and returns None if there are any."""
    from usbbtd.cli.daemon import read_config
    from usbbtd.policy.files import load
    from usbbtd.tomlfile import ConfigError

    try:
        return load(arguments.directory or read_config(arguments.config).policy.directory)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None


def _identity(arguments: argparse.Namespace) -> Identity:
    """Returns the guest that the arguments name. Raises ValueError if a tag is malformed."""
    from usbbtd.policy.rules import Identity
    from usbbtd.tags import parse_tags

    tags = parse_tags(" ".join(arguments.tags))
    if arguments.guest.isdecimal():
        return Identity(int(arguments.guest), None, tags)
    return Identity(-1 if arguments.domid is None else arguments.domid, arguments.guest, tags)


def _request(arguments: argparse.Namespace) -> AccessRequest:
    """Returns the request that the arguments ask about.

    Raises ValueError if the action does not take these operands, or one of them is malformed.
    """
    from usbbtd.policy.rules import AccessRequest

    action = arguments.action
    operands = [operand for operand in (arguments.address, arguments.psm) if operand is not None]
    if len(operands) != _OPERANDS[action]:
        raise ValueError(f"{action} takes {_NEEDED[_OPERANDS[action]]}")
    if not operands:
        return AccessRequest(action)
    peer, le = _peer(operands[0])
    if peer is None and action != "listen":
        raise ValueError(f"{action} takes the address of a peer")
    if action == "echo" and le:
        raise ValueError("echo is of BR/EDR, and this address is of LE")
    service = _service(operands[1], le) if len(operands) > 1 else None
    return AccessRequest(action, peer, service, arguments.bonded)


def _peer(text: str) -> tuple[Peer | None, bool]:
    """Parses ADDRESS. Returns (the peer, or None for any; whether it is of LE). Raises ValueError if malformed."""
    from usbbtd.bluetooth import parse_address
    from usbbtd.policy.rules import ADDRESS_TYPES

    address, _, kind = text.partition("/")
    if (number := ADDRESS_TYPES.get(kind or "bredr")) is None:
        raise ValueError(f"{kind!r} is no type of address, only {', '.join(ADDRESS_TYPES)}")
    return None if address == _ANY else (parse_address(address), number), number != ADDRESS_TYPES["bredr"]


def _service(text: str, le: bool) -> PeerService:
    """Parses PSM: a PSM, an SPSM if ``le``, or ``cid:`` and a number. Raises ValueError if it is malformed."""
    from usbbtd.policy.rules import PeerService
    from usbbtd.policy.selectors import parse_number

    naming: Naming = "cid" if text.startswith("cid:") else "spsm" if le else "psm"
    return PeerService(naming, parse_number(naming, text.removeprefix("cid:")))


def _print(decision: Decision, rules: GuestPolicy, request: AccessRequest) -> None:
    print(f"{'allowed' if decision.allowed else 'denied'} by {decision.where}: {decision.reason}")
    if decision.security > LEVEL_NONE:
        print(f"  the link has to be {_MEANINGS[decision.security]}")
    if request.peer is not None and not request.bonded and decision.bars_bond_of_others(request):
        print("  but not if the peer has a bond that is not this guest's: the rule does not name its address")
    before = rules.rules[: rules.rules.index(decision.rule)] if decision.rule else rules.rules
    for rule in before:
        print(f"  {rule.where} is about this guest, but about another {_other(rule, request)}")
    for whose, limits in _limits(decision, rules).items():
        for name, value in limits.items():
            print(f"  {name} = {value}, a limit of the {whose}")


def _other(rule: Rule, request: AccessRequest) -> str:
    """Returns what a rule of this guest is about that the request is not: another action, peer or PSM."""
    if request.action == "echo" and rule.psms():  # a rule that allows a connect to the peer may allow an echo, too
        return "PSM" if rule.concerns_peer(request) else "peer"
    if request.action not in rule.actions:
        return "action"
    return "peer" if rule.covers(request.action, request.service) else "PSM"


def _facts(decision: Decision, rules: GuestPolicy) -> dict[str, object]:
    where = decision.rule.where if decision.rule else None
    facts = {"allowed": decision.allowed, "rule": where, "reason": decision.reason}
    if decision.allowed:
        facts |= {"security": SECURITY_LEVELS[decision.security], "bond": decision.needs_bond}
        facts["names_peer"] = decision.names_peer
    return facts | {"limits": _limits(decision, rules)}


def _limits(decision: Decision, rules: GuestPolicy) -> dict[str, dict[str, int]]:
    """Returns the limits that policy sets for an allowed request, by whose they are: the guest's, and the rule's.

    The guest's limits hold for all that it has, the rule's for what this rule allows. Empty if the request is denied.
    """
    if not decision.allowed or decision.rule is None:
        return {}
    said = {"guest": rules.limits, "rule": decision.rule.limits}
    return {
        whose: {name: value for name, value in limits._asdict().items() if value is not None}
        for whose, limits in said.items()
    }


def _tell(text: str) -> None:
    print(f"usbbtctl: {text}", file=sys.stderr)
