"""The rules of the policy. The first rule that matches a request decides it; a request that none matches is denied.

Addresses are 6 octets, least significant first. Their types are numbers of l2capif.h, and levels of security those of
``bluetooth``, which are l2capif.h's, too.
"""

from typing import Literal, NamedTuple

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import BREDR, LEVEL_ENCRYPTED, LEVEL_NONE, SECURITY_LEVELS, psm_is_legal

Action = Literal["connect", "listen", "scan", "advertise", "agent", "echo"]
ACTIONS: tuple[Action, ...] = ("connect", "listen", "scan", "advertise", "agent", "echo")
#: Actions on a link that has to be as secure as the rule says.
SECURED: frozenset[Action] = frozenset({"connect", "listen", "agent"})

#: How a rule names a channel's other end: by a PSM on BR/EDR, an SPSM on LE, or the CID of a fixed channel on either.
Naming = Literal["psm", "spsm", "cid"]

#: Numbers of l2capif.h, by the names that the files have for them.
ADDRESS_TYPES: dict[str, int] = {
    "bredr": constants.L2CAPIF_ADDR_BREDR,
    "public": constants.L2CAPIF_ADDR_LE_PUBLIC,
    "random": constants.L2CAPIF_ADDR_LE_RANDOM,
}
ALL_TYPES = frozenset(ADDRESS_TYPES.values())
#: The types of addresses of the peers that can reach such a service.
_TYPES_OF: dict[Naming, frozenset[int]] = {
    "psm": frozenset({ADDRESS_TYPES["bredr"]}),
    "spsm": frozenset({ADDRESS_TYPES["public"], ADDRESS_TYPES["random"]}),
    "cid": ALL_TYPES,
}
_ALL_PSMS = range(0x0001, 0x10000)

Peer = tuple[bytes, int]


class Identity(NamedTuple):
    """Says who a guest is, as dom0's toolstack has told. ``name``: None if the toolstack has not told it.

    ``carried``: whether the domain serves the device for this guest, as over a serial line: rules for the domain's own
    number are not for it.
    """

    domid: int
    name: str | None = None
    tags: frozenset[str] = frozenset()
    carried: bool = False

    def labels(self) -> frozenset[str | int]:
        """Returns all that a rule may call the guest: domid, name, tags. A name that reads like a tag is left out."""
        labels: set[str | int] = {f"tag:{tag}" for tag in self.tags}
        if not self.carried:
            labels.add(self.domid)
        if self.name is not None and not self.name.startswith("tag:"):
            labels.add(self.name)
        return frozenset(labels)


class PeerService(NamedTuple):
    """The service that a channel leads to, on one side or the other."""

    naming: Naming
    number: int


class AccessRequest(NamedTuple):
    """Says what a guest wants to do. A scan and an advertisement have neither ``peer`` nor ``service``.

    ``peer``: None if a guest wants to listen, or to be an agent, for whoever comes. ``bonded``: whether there is a bond
    with the peer that has the guest among its guests. ``security``: the level that the guest itself wants of the link.
    """

    action: Action
    peer: Peer | None = None
    service: PeerService | None = None
    bonded: bool = False
    security: int = LEVEL_NONE


class RuleLimits(NamedTuple):
    """Limits of a rule or a table; those that it does not set are None."""

    channels: int | None = None
    unread_bytes: int | None = None
    connects_per_minute: int | None = None


class Rule(NamedTuple):
    """A table ``[[rule]]``, which is at ``where``: file:line.

    ``guests``, ``peers`` and ``services`` are None if the rule is about all of them. ``bonded``: whether it is about
    all peers with which the guest has a bond, besides ``peers``. ``security``: the least level of the links on which
    it allows anything. ``legacy_pin``: whether pairing by a PIN is allowed, too, as before Bluetooth 2.1.
    """

    where: str
    guests: frozenset[str | int] | None
    actions: frozenset[Action]
    peers: frozenset[Peer] | None
    bonded: bool
    services: tuple[tuple[Naming, range], ...] | None
    allows: bool
    security: int = LEVEL_NONE
    limits: RuleLimits = RuleLimits()
    legacy_pin: bool = False

    def concerns(self, labels: frozenset[str | int]) -> bool:
        """Tells whether the rule is about a guest with these labels."""
        return self.guests is None or not self.guests.isdisjoint(labels)

    def covers(self, action: Action, service: PeerService | None) -> bool:
        """Tells whether the rule is about this action on this service, with any peer or only some."""
        return action in self.actions and (self.services is None or self._leads_to(service))

    def matches(self, request: AccessRequest) -> bool:
        return self.covers(request.action, request.service) and self.concerns_peer(request)

    def concerns_peer(self, request: AccessRequest) -> bool:
        """Tells whether the rule is about the peer of this request, whatever is asked of the peer."""
        return self.peers is None or request.peer in self.peers or (self.bonded and request.bonded)

    def psms(self) -> list[range]:
        """Returns the PSMs that the rule allows or denies connections to; none if it is not about connections."""
        if "connect" not in self.actions:
            return []
        if self.services is None:
            return [_ALL_PSMS]
        return [numbers for naming, numbers in self.services if naming == "psm"]

    def decide(self, request: AccessRequest) -> "Decision":
        """Returns the decision on a request that the rule matches."""
        names_peer = self.peers is not None and request.peer in self.peers
        by_bond = self.peers is not None and not names_peer and request.bonded
        return self.decide_for(request.action, by_bond=by_bond)._replace(names_peer=names_peer)

    def decide_for(self, action: Action, *, by_bond: bool) -> "Decision":
        """Returns the decision on an action. ``by_bond``: the rule is about the peer because of its bond alone.

        An address can be forged, so what is allowed because of a bond needs a link that is encrypted with its key.
        """
        if not self.allows:
            return Decision(False, self, "this rule denies it")
        if action not in SECURED:
            return Decision(True, self, "this rule allows it")
        security = max(self.security, LEVEL_ENCRYPTED) if by_bond else self.security
        reason = "this rule allows it"
        if security > LEVEL_NONE:
            key = "the bond's key and " if by_bond else ""
            reason = f"{reason} with {key}security {SECURITY_LEVELS[security]!r} at least"
        return Decision(True, self, reason, security, by_bond)

    def _leads_to(self, service: PeerService | None) -> bool:
        return service is not None and any(
            naming == service.naming and service.number in numbers for naming, numbers in self.services or ()
        )


class Decision(NamedTuple):
    """Says whether a request is allowed, by which rule, and why. ``rule``: None if no rule matches.

    ``security``: the least level of the link on which it is allowed. ``needs_bond``: whether the link has to be
    encrypted with the key of a bond that has the guest among its guests. ``names_peer``: whether the rule names the
    peer by its address.
    """

    allowed: bool
    rule: Rule | None
    reason: str
    security: int = LEVEL_NONE
    needs_bond: bool = False
    names_peer: bool = False

    @property
    def allows_pin(self) -> bool:
        """Returns whether pairing by a PIN is allowed."""
        return self.allowed and self.rule is not None and self.rule.legacy_pin

    def bars_bond_of_others(self, request: AccessRequest) -> bool:
        """Tells whether a bond with the peer that is of other guests alone keeps what is allowed from this guest.

        It does from pairing, which would take the bond away from them, and from channels for which the link has to be
        encrypted: the bond's key would do that. A rule that names the peer lets the guest have both.
        """
        if not self.allowed or self.names_peer or request.action not in SECURED:
            return False
        return request.action == "agent" or max(self.security, request.security) >= LEVEL_ENCRYPTED

    @property
    def where(self) -> str:
        """Returns the place of the rule that decided, as file:line; "default" if no rule matches."""
        return self.rule.where if self.rule is not None else "default"


DEFAULT = Decision(False, None, "no rule matches, and what no rule allows is denied")


class LimitsTable(NamedTuple):
    """A table ``[[limits]]``, for the guests with one of these labels; None stands for all guests."""

    guests: frozenset[str | int] | None
    limits: RuleLimits

    def concerns(self, labels: frozenset[str | int]) -> bool:
        return self.guests is None or not self.guests.isdisjoint(labels)


class GuestPolicy(NamedTuple):
    """The part of the policy that is about one guest: its rules, in order, and the limits that tables give it."""

    rules: tuple[Rule, ...] = ()
    limits: RuleLimits = RuleLimits()

    def decide(self, request: AccessRequest) -> Decision:
        """Returns the decision of the first rule that matches the request.

        To listen is allowed, too, if the channel of some peer would be, and to be an agent if pairing with some peer
        would be: at the lowest level of those. An echo is, if some channel to the peer would be.
        """
        if request.action in ("listen", "agent") and request.peer is None:
            return self._decide_for_some_peer(request.action, request.service)
        if request.action == "echo":
            return self._decide_echo(request)
        for rule in self.rules:
            if rule.matches(request):
                return rule.decide(request)
        return DEFAULT

    def _decide_for_some_peer(self, action: Action, service: PeerService | None) -> Decision:
        """Follows the first rule about all peers, unless a rule before it allows some peer."""
        types = ALL_TYPES if service is None else _TYPES_OF[service.naming]
        decided: set[Peer | str] = set()  # peers of earlier rules: a later rule has no say about them
        allowing: list[Decision] = []
        refusal = DEFAULT
        for rule in self.rules:
            if not rule.covers(action, service):
                continue
            matched: set[Peer | str] = {
                peer for peer in rule.peers or () if peer[1] in types and peer not in decided
            }  # fmt: skip
            by_bond = rule.peers is not None and not matched
            if rule.bonded and "bonded" not in decided:
                matched.add("bonded")
            if rule.peers is not None and not matched:
                continue
            decision = rule.decide_for(action, by_bond=by_bond)
            if decision.allowed:
                allowing.append(decision)
            elif refusal is DEFAULT or rule.peers is None:
                refusal = decision
            if rule.peers is None:
                break  # it is about all other peers
            decided |= matched
        if not allowing:
            return refusal
        return allowing[0]._replace(security=min(decision.security for decision in allowing), needs_bond=False)

    def _decide_echo(self, request: AccessRequest) -> Decision:
        """Follows the first rule about echoes, unless a rule before it lets the guest connect to a PSM of the peer."""
        decided: list[range] = []  # PSMs of earlier rules: a later rule has no say about them
        refusal = DEFAULT
        for rule in self.rules:
            if not rule.concerns_peer(request):
                continue
            decision = rule.decide(request)
            if rule.covers("echo", None):
                return decision
            psms = rule.psms()
            if decision.allowed and any(_is_undecided(number, decided) for numbers in psms for number in numbers):
                return decision
            if psms and refusal is DEFAULT and not decision.allowed:
                refusal = decision
            decided += psms
        return refusal


def _is_undecided(psm: int, decided: list[range]) -> bool:
    return psm_is_legal(BREDR, psm) and not any(psm in numbers for numbers in decided)


class Policy(NamedTuple):
    """The rules and tables of all files, in order."""

    rules: tuple[Rule, ...] = ()
    tables: tuple[LimitsTable, ...] = ()

    def for_guest(self, guest: Identity) -> GuestPolicy:
        """Returns the part that is about this guest. Each limit is that of the first table that sets it."""
        labels = guest.labels()
        rules = tuple(rule for rule in self.rules if rule.concerns(labels))
        tables = [table.limits for table in self.tables if table.concerns(labels)]
        limits = (next((value for value in values if value is not None), None) for values in zip(*tables, strict=True))
        return GuestPolicy(rules, RuleLimits(*limits) if tables else RuleLimits())
