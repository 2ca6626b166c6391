"""The first rule that matches decides, and "no" where none does: beside a naive reading of the same rules."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from usbbtd.bluetooth import LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, LEVEL_NONE
from usbbtd.policy.rules import (
    ACTIONS,
    ADDRESS_TYPES,
    DEFAULT,
    AccessRequest,
    Action,
    Identity,
    LimitsTable,
    PeerService,
    Policy,
    Rule,
    RuleLimits,
)

ADDRESSES = [bytes([number] * 6) for number in range(3)]
PEERS = list(itertools.product(ADDRESSES, ADDRESS_TYPES.values()))
STRANGER = bytes([99] * 6)
NAMES, TAGS = ["work", "home"], ["a", "b"]
SERVICES = [
    PeerService("psm", 1),
    PeerService("psm", 3),
    PeerService("spsm", 1),
    PeerService("spsm", 2),
    PeerService("cid", 4),
]
BREDR, LE = {"bredr"}, {"public", "random"}
TRANSPORT = {"psm": BREDR, "spsm": LE, "cid": BREDR | LE}


def subsets(values: list[Any]) -> st.SearchStrategy:
    return st.none() | st.frozensets(st.sampled_from(values), min_size=1, max_size=3)


rules = st.builds(
    Rule,
    where=st.integers(0, 10**6).map(lambda number: f"x.toml:{number}"),
    guests=subsets([*NAMES, 3, 4, "tag:a", "tag:b"]),
    actions=st.frozensets(st.sampled_from(ACTIONS), min_size=1),
    peers=subsets(PEERS),
    bonded=st.booleans(),
    services=st.none()
    | st.lists(
        st.tuples(st.sampled_from(["psm", "spsm", "cid"]), st.builds(range, st.integers(1, 2), st.integers(2, 5))),
        min_size=1, max_size=2,
    ).map(tuple),
    allows=st.booleans(),
    security=st.sampled_from([LEVEL_NONE, LEVEL_ENCRYPTED, LEVEL_AUTHENTICATED]),
).map(lambda rule: rule if rule.allows else rule._replace(security=LEVEL_NONE))  # fmt: skip

guests = st.builds(
    Identity, st.sampled_from([3, 4, 5]), st.none() | st.sampled_from(NAMES), st.frozensets(st.sampled_from(TAGS))
)


def naive(policy: Policy, guest: Identity, request: AccessRequest) -> tuple[bool, str, int]:
    """As docs/policy.md says it, in as many words: allowed, where, the level of the link."""
    for rule in policy.rules:
        if rule.guests is not None and not any(
            label == guest.name
            or (label == guest.domid and not guest.carried)
            or (isinstance(label, str) and label[4:] in guest.tags)
            for label in rule.guests
        ):
            continue
        if request.action not in rule.actions:
            continue
        if rule.peers is not None and request.peer not in rule.peers and not (rule.bonded and request.bonded):
            continue
        if rule.services is not None and not any(
            request.service is not None and request.service == PeerService(naming, number)
            for naming, numbers in rule.services
            for number in numbers
        ):
            continue
        level = rule.security if request.action in ("connect", "listen", "agent") and rule.allows else LEVEL_NONE
        if rule.allows and rule.peers is not None and request.peer not in rule.peers and level < LEVEL_ENCRYPTED:
            level = LEVEL_ENCRYPTED  # by its bond
        return rule.allows, rule.where, level
    return False, "default", LEVEL_NONE


@st.composite
def requests(draw: st.DrawFn) -> AccessRequest:
    action = draw(st.sampled_from([action for action in ACTIONS if action != "echo"]))
    if action in ("scan", "advertise"):
        return AccessRequest(action)
    peer = draw(st.sampled_from([*PEERS, (STRANGER, 0)]))
    service = draw(st.sampled_from(SERVICES)) if action != "agent" else None
    return AccessRequest(action, peer, service, draw(st.booleans()))


policies = st.lists(rules, max_size=6).map(lambda made: Policy(tuple(made)))


@given(policies, guests, requests())
def test_the_first_match_decides(policy: Policy, guest: Identity, request: AccessRequest) -> None:
    decision = policy.for_guest(guest).decide(request)
    assert (decision.allowed, decision.where, decision.security) == naive(policy, guest, request)
    assert decision.reason


@given(policies, guests, st.sampled_from([*SERVICES, None]))
def test_listening_and_pairing_are_allowed_where_some_peer_could_come(
    policy: Policy, guest: Identity, service: PeerService | None
) -> None:
    """At the lowest level of those that could."""
    action: Action = "agent" if service is None else "listen"
    types = ADDRESS_TYPES.values() if service is None else [ADDRESS_TYPES[name] for name in TRANSPORT[service.naming]]
    peers = [(address, kind) for address in (*ADDRESSES, STRANGER) for kind in types]
    could = [
        level
        for peer in peers
        for bonded in (False, True)
        for allowed, _, level in [naive(policy, guest, AccessRequest(action, peer, service, bonded))]
        if allowed
    ]
    decision = policy.for_guest(guest).decide(AccessRequest(action, None, service))
    assert (decision.allowed, decision.security) == (bool(could), min(could, default=LEVEL_NONE))


@given(policies, guests, st.sampled_from(ADDRESSES), st.booleans())
def test_an_echo_is_allowed_where_some_psm_could_be_connected_to(
    policy: Policy, guest: Identity, address: bytes, bonded: bool
) -> None:
    """Until a rule about echoes says what it says."""
    request = AccessRequest("echo", (address, ADDRESS_TYPES["bredr"]), None, bonded)
    about = next(
        (n for n, rule in enumerate(policy.rules) if naive(Policy((rule,)), guest, request)[1] != "default"), None
    )
    psms = [PeerService("psm", number) for number in (1, 3, 5, 0x1001)]  # 5 and above: of no rule that names a PSM
    could = any(
        naive(Policy(policy.rules[:about]), guest, request._replace(action="connect", service=psm))[0] for psm in psms
    )
    said = about is not None and naive(Policy(policy.rules[about:]), guest, request)[0]
    assert policy.for_guest(guest).decide(request).allowed == (could or said)


def test_who_may_connect_may_ping_but_for_what_is_said_before() -> None:
    def rule(action: str, allows: bool, psms: range | None = None) -> Rule:
        services = psms and (("psm", psms),)
        return Rule("x.toml:1", None, frozenset({action}), None, False, services, allows)  # type: ignore[arg-type]

    def allowed(*rules: Rule) -> bool:
        return Policy(rules).for_guest(Identity(3)).decide(AccessRequest("echo", PEERS[0])).allowed

    connect, some = rule("connect", True, range(0x1001, 0x1002)), range(0x1001, 0x1100)
    assert allowed(connect)
    assert allowed(rule("echo", True))
    assert allowed(rule("connect", False), rule("echo", True))
    assert allowed(rule("connect", False, some), rule("connect", True))
    assert not allowed(rule("connect", False, some), connect)
    assert not allowed(rule("echo", False), connect)
    assert allowed(connect, rule("echo", False))
    assert not allowed(rule("listen", True))


def test_what_no_rule_allows_is_denied() -> None:
    assert Policy().for_guest(Identity(3)).decide(AccessRequest("scan")) == DEFAULT
    assert (DEFAULT.allowed, DEFAULT.where) == (False, "default")


def test_what_a_bond_allows_needs_its_key() -> None:
    rule = Rule("x.toml:1", None, frozenset(ACTIONS), frozenset(PEERS[:1]), True, None, True, LEVEL_AUTHENTICATED)
    bond = rule._replace(security=LEVEL_NONE, legacy_pin=True)

    def decide(rule: Rule, request: AccessRequest) -> tuple[bool, int, bool, str]:
        decision = Policy((rule,)).for_guest(Identity(3)).decide(request)
        assert decision.allows_pin == rule.legacy_pin
        return decision.allowed, decision.security, decision.needs_bond, decision.reason

    by_address = AccessRequest("connect", PEERS[0], SERVICES[0], bonded=True)
    by_bond = by_address._replace(peer=PEERS[1])
    least = "this rule allows it with security 'authenticated' at least"
    assert decide(rule, by_address) == (True, LEVEL_AUTHENTICATED, False, least)
    assert decide(bond, by_address) == (True, LEVEL_NONE, False, "this rule allows it")
    with_key = "this rule allows it with the bond's key and security {!r} at least"
    assert decide(rule, by_bond) == (True, LEVEL_AUTHENTICATED, True, with_key.format("authenticated"))
    assert decide(bond, by_bond) == (True, LEVEL_ENCRYPTED, True, with_key.format("encrypted"))
    unsecured = AccessRequest("scan")
    assert decide(rule._replace(peers=None), unsecured) == (True, LEVEL_NONE, False, "this rule allows it")


def test_a_name_that_reads_like_a_tag_is_none() -> None:
    rule = Rule("x.toml:1", frozenset({"tag:a"}), frozenset({"scan"}), None, False, None, True)
    policy = Policy((rule,))
    assert not policy.for_guest(Identity(3, "tag:a")).decide(AccessRequest("scan")).allowed
    assert policy.for_guest(Identity(3, None, frozenset({"a"}))).decide(AccessRequest("scan")).allowed


def test_a_rule_for_a_domain_is_not_for_whom_it_carries() -> None:
    def allows(guest: str | int, identity: Identity) -> bool:
        rule = Rule("x.toml:1", frozenset({guest}), frozenset({"scan"}), None, False, None, True)
        return Policy((rule,)).for_guest(identity).decide(AccessRequest("scan")).allowed

    carried = Identity(0, "minix", carried=True)
    assert not allows(0, carried)
    assert allows("minix", carried)
    assert allows(0, Identity(0, "Domain-0"))


def test_each_limit_is_that_of_the_first_table_that_has_it() -> None:
    tables = (
        LimitsTable(frozenset({"home"}), RuleLimits(channels=9)),
        LimitsTable(frozenset({"work"}), RuleLimits(channels=1)),
        LimitsTable(None, RuleLimits(2, None, 0)),
    )
    policy = Policy((), tables)
    assert policy.for_guest(Identity(3, "work")).limits == RuleLimits(1, None, 0)
    assert policy.for_guest(Identity(3)).limits == RuleLimits(2, None, 0)
    assert Policy().for_guest(Identity(3)).limits == RuleLimits()
