"""The rules of the policy. The first rule that matches a request decides it; a request that none matches is denied.

Addresses are 6 octets, least significant first. Their types and the levels of security are numbers of l2capif.h.
"""

from typing import Literal, NamedTuple

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import BREDR, psm_is_legal

Action = Literal["connect", "listen", "scan", "advertise", "agent", "echo"]
ACTIONS: tuple[Action, ...] = ("connect", "listen", "scan", "advertise", "agent", "echo")

#: How a rule names a channel's other end: by a PSM on BR/EDR, an SPSM on LE, or the CID of a fixed channel on either.
Naming = Literal["psm", "spsm", "cid"]

#: Numbers of l2capif.h, by the names that the files have for them.
ADDRESS_TYPES: dict[str, int] = {
    "bredr": constants.L2CAPIF_ADDR_BREDR,
    "public": constants.L2CAPIF_ADDR_LE_PUBLIC,
    "random": constants.L2CAPIF_ADDR_LE_RANDOM,
}
SECURITY_LEVELS: dict[str, int] = {
    "none": constants.L2CAPIF_SECURITY_NONE,
    "encrypted": constants.L2CAPIF_SECURITY_ENCRYPTED,
    "authenticated": constants.L2CAPIF_SECURITY_MITM,
    "secure": constants.L2CAPIF_SECURITY_SC,
}
#: The types of addresses of the peers that can reach such a service.
_TYPES_OF: dict[Naming, frozenset[int]] = {
    "psm": frozenset({ADDRESS_TYPES["bredr"]}),
    "spsm": frozenset({ADDRESS_TYPES["public"], ADDRESS_TYPES["random"]}),
    "cid": frozenset(ADDRESS_TYPES.values()),
}
_ALL_PSMS = range(0x0001, 0x10000)
#: The highest level of security that a link can have here: there is no pairing yet.
HIGHEST_SECURITY = "none"

Peer = tuple[bytes, int]


class Identity(NamedTuple):
    """Says who a guest is, as dom0's toolstack has told. ``name``: None if the toolstack has not told it."""

    domid: int
    name: str | None = None
    tags: frozenset[str] = frozenset()

    def labels(self) -> frozenset[str | int]:
        """Returns all that a rule may call the guest: domid, name, tags. A name that reads like a tag is left out."""
        labels: set[str | int] = {self.domid, *(f"tag:{tag}" for tag in self.tags)}
        if self.name is not None and not self.name.startswith("tag:"):
            labels.add(self.name)
        return frozenset(labels)


class PeerService(NamedTuple):
    """The service that a channel leads to, on one side or the other."""

    naming: Naming
    number: int


class AccessRequest(NamedTuple):
    """Says what a guest wants to do. A scan and an advertisement have neither ``peer`` nor ``service``.

    ``peer``: None if a guest wants to listen, for whoever comes. ``bonded``: whether the peer is.
    """

    action: Action
    peer: Peer | None = None
    service: PeerService | None = None
    bonded: bool = False


class RuleLimits(NamedTuple):
    """Limits of a rule or a table; those that it does not set are None."""

    channels: int | None = None
    unread_bytes: int | None = None
    connects_per_minute: int | None = None


class Rule(NamedTuple):
    """A table ``[[rule]]``, which is at ``where``: file:line.

    ``guests``, ``peers`` and ``services`` are None if the rule is about all of them. ``bonded``: whether it is about
    all bonded peers, besides ``peers``. ``security``: the level that a link must have for the rule to allow anything.
    """

    where: str
    guests: frozenset[str | int] | None
    actions: frozenset[Action]
    peers: frozenset[Peer] | None
    bonded: bool
    services: tuple[tuple[Naming, range], ...] | None
    allows: bool
    security: str = "none"
    limits: RuleLimits = RuleLimits()

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

    def decide(self) -> "Decision":
        """Returns the decision on a request that the rule matches."""
        if not self.allows:
            return Decision(False, self, "this rule denies it")
        if SECURITY_LEVELS[self.security] > SECURITY_LEVELS[HIGHEST_SECURITY]:
            return Decision(False, self, f"this rule wants security {self.security!r}, and there is no pairing yet")
        return Decision(True, self, "this rule allows it")

    def _leads_to(self, service: PeerService | None) -> bool:
        return service is not None and any(
            naming == service.naming and service.number in numbers for naming, numbers in self.services or ()
        )


class Decision(NamedTuple):
    """Says whether a request is allowed, by which rule, and why. ``rule``: None if no rule matches."""

    allowed: bool
    rule: Rule | None
    reason: str

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

        To listen is allowed, too, if the channel of some peer would be; an echo if some channel to the peer would be.
        """
        if request.action == "listen" and request.peer is None and request.service is not None:
            return self._decide_listen(request.service)
        if request.action == "echo":
            return self._decide_echo(request)
        for rule in self.rules:
            if rule.matches(request):
                return rule.decide()
        return DEFAULT

    def _decide_listen(self, service: PeerService) -> Decision:
        """Follows the first rule about all peers, unless a rule before it allows the channel of some peer."""
        decided: set[Peer | str] = set()  # peers of earlier rules: a later rule has no say about them
        refusal = DEFAULT
        for rule in self.rules:
            if not rule.covers("listen", service):
                continue
            decision = rule.decide()
            if rule.peers is None:
                return decision  # it is about all other peers
            matched: set[Peer | str] = {
                peer for peer in rule.peers if peer[1] in _TYPES_OF[service.naming] and peer not in decided
            }
            if rule.bonded and "bonded" not in decided:
                matched.add("bonded")
            if matched and decision.allowed:
                return decision
            if matched and refusal is DEFAULT:
                refusal = decision
            decided |= matched
        return refusal

    def _decide_echo(self, request: AccessRequest) -> Decision:
        """Follows the first rule about echoes, unless a rule before it lets the guest connect to a PSM of the peer."""
        decided: list[range] = []  # PSMs of earlier rules: a later rule has no say about them
        refusal = DEFAULT
        for rule in self.rules:
            if not rule.concerns_peer(request):
                continue
            decision = rule.decide()
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
