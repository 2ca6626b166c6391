"""Checks a guest's requests against policy before they are carried out, and counts what was granted.

Each decision is logged as an audit record: "access granted" or "access denied". No check is made per SDU.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import BREDR, LEVEL_NONE, SECURITY_LEVELS, format_address, transport_of
from usbbtd.policy.rules import AccessRequest, Action, Decision, GuestPolicy, Peer, PeerService, Rule, RuleLimits
from usbbtd.radio.errors import Exhausted, RadioError

MINUTE_S = 60.0

#: Actions that open a channel, if they have a peer.
CHANNELS: frozenset[Action] = frozenset({"connect", "listen"})


#: Why a guest may not have what is secured by a bond of other guests.
BOND_OF_OTHERS = "the peer is bonded, but not for this guest: a rule has to name its address"


class Denied(RadioError):
    """Policy does not let the guest do that."""


class TooOften(RadioError):
    """The guest has connected as often in the last minute as it may."""


#: How many grants are open, by rule and whether they are for channels.
GrantCounts: TypeAlias = "Counter[tuple[Rule | None, bool]]"


class Grant:
    """A request that was granted. It belongs to the object that was made for it, and is closed with that."""

    __slots__ = ("_access", "_counts", "_decision", "_link", "open", "request")

    def __init__(self, access: "Access", counts: GrantCounts, request: AccessRequest, decision: Decision) -> None:
        self._access = access
        self._counts = counts
        self._decision = decision  # the one that allows it
        self._link: tuple[int, bool] | None = None  # the level of its link, and whether that has the bond's key
        self.request = request
        self.open = True
        self._count(1)

    @property
    def rule(self) -> Rule | None:
        """Returns the rule that allows it."""
        return self._decision.rule

    @property
    def security(self) -> int:
        """Returns the least level that the link must have before ``admit``."""
        return self._decision.security

    @property
    def needs_bond(self) -> bool:
        """Returns whether the link must be encrypted with the key of a bond."""
        return self._decision.needs_bond

    @property
    def is_channel(self) -> bool:
        return self.request.peer is not None and self.request.action in CHANNELS

    @property
    def unread_bytes(self) -> int:
        """Returns how many bytes of the channel's data may wait for the guest to read them."""
        own = self.rule.limits.unread_bytes if self.rule is not None else None
        return self._access.unread_bytes if own is None else own

    def admit(self, level: int, *, is_bonded: bool) -> None:
        """Takes note of the security that the link has: its level, and whether it is encrypted with a bond's key.

        Must be called before the guest gets anything of the link. Raises Denied, with a record, if that is less than
        was granted, or if others have paired with the peer meanwhile; the grant is closed then.
        """
        self._link = level, is_bonded
        missing = self.missing_in(self._decision)
        if missing is None and self._access.is_barred(self.request, self._decision):
            missing = BOND_OF_OTHERS
        if missing is not None:
            self.close()
            raise self._access.deny(self.request, self._decision, missing)

    def missing_in(self, decision: Decision) -> str | None:
        """Returns what the link lacks for a decision, as a reason; None if nothing, or if there is no link yet."""
        if self._link is None:
            return None
        level, is_bonded = self._link
        if level < decision.security:
            has, wants = SECURITY_LEVELS[level], SECURITY_LEVELS[decision.security]
            return f"this rule wants security {wants!r}, and the link has {has!r}"
        if decision.needs_bond and not is_bonded:
            return "this rule wants the key of the bond, and the link is not encrypted with it"
        return None

    def close(self) -> None:
        """Gives the grant back: it counts no more. Idempotent."""
        if self.open:
            self.open = False
            self._count(-1)

    def change_decision(self, decision: Decision) -> None:
        """Counts by the rule of another decision from now on."""
        self._count(-1)
        self._decision = decision
        self._count(1)

    def _count(self, by: int) -> None:
        key = self.rule, self.is_channel
        self._counts[key] += by
        if not self._counts[key]:
            del self._counts[key]  # the rule may be one of a policy that is gone


class Access:
    """Decides what one guest's device may do, and counts the grants that are open.

    ``defaults``: the limits that hold where the guest's policy sets none; none of them is None. ``is_bonded`` tells
    whether the bond with a peer has this guest among its guests; None if there is no bond with the peer.
    """

    def __init__(
        self, policy: GuestPolicy, defaults: RuleLimits, log: FilteringBoundLogger,
        is_bonded: Callable[[Peer], bool | None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._is_bonded = is_bonded
        self._policy = policy
        self._defaults = defaults
        self._log = log
        self._open: GrantCounts = Counter()
        self._echoed: dict[tuple[Peer, Rule | None], float] = {}  # when it was last logged and counted
        self._connects: dict[Rule | None, deque[float]] = {}  # their times, by rule; under None, all
        self._counts = {"access_granted": 0, "access_denied": 0, "access_revoked": 0}

    @property
    def channels(self) -> int:
        """Returns how many channels the guest may have at a time."""
        return self._limit("channels")

    @property
    def unread_bytes(self) -> int:
        """Returns how many bytes of a channel's data may wait for the guest, unless its rule says."""
        return self._limit("unread_bytes")

    @property
    def open_grants(self) -> int:
        return self._open.total()

    def statistics(self) -> dict[str, int]:
        return self._counts.copy()

    # Requests. Each raises Denied, Exhausted or TooOften. ``security``: the level that the guest itself wants.

    def connect(self, peer: Peer, psm: int, now: float, security: int = LEVEL_NONE) -> Grant:
        """Grants a channel to a PSM of a peer, or to an SPSM on LE."""
        return self._connect(self._request("connect", peer, _service(transport_of(peer[1]), psm), security), now)

    def connect_fixed(self, peer: Peer, cid: int, now: float, security: int = LEVEL_NONE) -> Grant:
        """Grants a fixed channel to a peer."""
        return self._connect(self._request("connect", peer, PeerService("cid", cid), security), now)

    def pair(self, peer: Peer, now: float) -> Grant:
        """Grants pairing with a peer, which is to reach the grant's level. It counts as a connect.

        A bond of other guests is not the guest's to replace, unless a rule names the peer.
        """
        return self._connect(self._request("agent", peer), now)

    def echo(self, peer: Peer, now: float) -> Grant:
        """Grants an echo. Of those to one peer by one rule, only one a minute is logged, and counts as a connect."""
        request = AccessRequest("echo", peer)
        decision = self._policy.decide(request)
        key = peer, decision.rule
        if not decision.allowed or self._echoed.get(key, now - MINUTE_S) <= now - MINUTE_S:
            self._record(request, decision, self._too_often(decision, now))
            self._count_connect(decision, now)
            self._echoed = {known: at for known, at in self._echoed.items() if at > now - MINUTE_S} | {key: now}
        return self._give(request, decision)

    def listen(self, transport: int, psm: int) -> Grant:
        """Grants a listener, provided that policy would let some peer connect to it."""
        return self._grant(AccessRequest("listen", None, _service(transport, psm)))

    def agent(self) -> Grant:
        """Grants an agent, provided that policy would let the guest pair with some peer."""
        return self._grant(AccessRequest("agent"))

    def scan(self) -> Grant:
        return self._grant(AccessRequest("scan"))

    def advertise(self) -> Grant:
        return self._grant(AccessRequest("advertise"))

    def offer(self, peer: Peer, psm: int, security: int = LEVEL_NONE) -> Grant:
        """Grants a channel of a listener to a peer, from when the peer begins to wait for the guest to accept it."""
        request = self._request("listen", peer, _service(transport_of(peer[1]), psm), security)
        decision = self._decide(request)
        self._record(request, decision, self._exhausted(decision))
        return self._give(request, decision)

    # Questions, which grant nothing.

    def may_offer(self, peer: Peer, psm: int, security: int = LEVEL_NONE) -> int:
        """Returns the level that the link of a peer needs before ``offer``.

        Raises Denied, with a record, if no ``offer`` would be granted, however secure the link was made.
        """
        request = self._request("listen", peer, _service(transport_of(peer[1]), psm), security)
        decision = self._decide(request)
        if not decision.allowed:
            raise self.deny(request, decision, decision.reason)
        return decision.security

    def pairing(self, peer: Peer) -> Decision:
        """Returns whether the guest's agent may pair with a peer that has asked for it, and how. Leaves no record."""
        return self._decide(self._request("agent", peer))

    def identify(self, grant: Grant, peer: Peer) -> None:
        """Takes note of who a grant's peer is: one with a private address is known only when its link is there.

        Raises Denied, and closes the grant, if policy does not allow that peer.
        """
        if grant.request.peer != peer:
            grant.request = grant.request._replace(peer=peer)
            if not self.review(grant):
                raise Denied("policy does not allow the peer that has this private address")

    def clear(self) -> None:
        """Forgets the grants that are open. How often the guest has connected is not forgotten."""
        self._open = Counter()

    # Another policy.

    def change(self, policy: GuestPolicy) -> None:
        """Takes a new policy, by which each grant has to be reviewed."""
        self._policy = policy
        self._connects = {rule: times for rule, times in self._connects.items() if rule is None or rule in policy.rules}

    def review(self, grant: Grant) -> bool:
        """Returns whether policy still allows what was granted; takes the grant back if not."""
        if not grant.open:
            return True
        request = grant.request
        if request.peer is not None:
            request = request._replace(bonded=bool(self._is_bonded(request.peer)))
        decision = self._decide(request)
        grant.change_decision(decision)
        reason = grant.missing_in(decision) if decision.allowed else decision.reason
        if reason is not None:
            grant.close()
            self._counts["access_revoked"] += 1
            self._log.warning("access revoked", **_facts(request, decision), reason=reason)
        return reason is None

    # A grant calls these.

    def is_barred(self, request: AccessRequest, decision: Decision) -> bool:
        """Returns whether a bond of other guests keeps from this guest what policy allows."""
        peer = request.peer
        return peer is not None and decision.bars_bond_of_others(request) and self._is_bonded(peer) is False

    def deny(self, request: AccessRequest, decision: Decision, reason: str) -> Denied:
        """Records that a request is denied after all, and returns the error."""
        self._counts["access_denied"] += 1
        self._log.warning("access denied", **_facts(request, decision), reason=reason)
        return Denied(reason)

    # Inside.

    def _request(
        self, action: Action, peer: Peer, service: PeerService | None = None, security: int = LEVEL_NONE
    ) -> AccessRequest:
        return AccessRequest(action, peer, service, bool(self._is_bonded(peer)), security)

    def _decide(self, request: AccessRequest) -> Decision:
        """Returns policy's decision, or that a bond of other guests keeps from this guest what policy allows."""
        decision = self._policy.decide(request)
        if self.is_barred(request, decision):
            return decision._replace(allowed=False, reason=BOND_OF_OTHERS)
        return decision

    def _connect(self, request: AccessRequest, now: float) -> Grant:
        decision = self._decide(request)
        exhausted = self._exhausted(decision) if request.action in CHANNELS else None
        self._record(request, decision, exhausted or self._too_often(decision, now))
        self._count_connect(decision, now)
        return self._give(request, decision)

    def _grant(self, request: AccessRequest) -> Grant:
        decision = self._decide(request)
        self._record(request, decision)
        return self._give(request, decision)

    def _give(self, request: AccessRequest, decision: Decision) -> Grant:
        return Grant(self, self._open, request, decision)

    def _record(self, request: AccessRequest, decision: Decision, limit: RadioError | None = None) -> None:
        """Logs and counts a decision. Raises Denied if policy denies the request, and ``limit`` if it is given."""
        if not decision.allowed:
            raise self.deny(request, decision, decision.reason)
        if limit is not None:
            self.deny(request, decision, str(limit))
            raise limit
        self._counts["access_granted"] += 1
        self._log.info("access granted", **_facts(request, decision), reason=decision.reason)

    def _exhausted(self, decision: Decision) -> Exhausted | None:
        """Returns an error if the rule's limit of channels is reached. The protocol core checks the guest's limit."""
        rule = decision.rule
        if rule is None or (limit := rule.limits.channels) is None:
            return None
        if self._open[rule, True] < limit:
            return None
        return Exhausted(f"the guest has {limit} channels by this rule, which is its limit")

    def _too_often(self, decision: Decision, now: float) -> TooOften | None:
        for counted, limit in self._connect_limits(decision):
            times = self._connects.get(counted, deque())
            while times and times[0] <= now - MINUTE_S:
                times.popleft()
            if limit is not None and len(times) >= limit:
                by = " by this rule" if counted else ""
                return TooOften(f"the guest may connect {limit} times in a minute{by}, and has")
        return None

    def _count_connect(self, decision: Decision, now: float) -> None:
        for counted, limit in self._connect_limits(decision):
            if limit is not None:
                self._connects.setdefault(counted, deque()).append(now)

    def _connect_limits(self, decision: Decision) -> Iterator[tuple[Rule | None, int | None]]:
        """Yields the limits on connects a minute: (None, limit of all), and (rule, its limit) if a rule decided."""
        yield None, self._limit("connects_per_minute")
        if decision.rule is not None:
            yield decision.rule, decision.rule.limits.connects_per_minute

    def _limit(self, name: str) -> int:
        value = getattr(self._policy.limits, name)
        limit: int = getattr(self._defaults, name) if value is None else value
        return limit


def _service(transport: int, psm: int) -> PeerService:
    return PeerService("psm" if transport == BREDR else "spsm", psm)


def request_facts(request: AccessRequest) -> dict[str, object]:
    """Returns a request's facts for the log: its action, and its peer's address and service where it has them."""
    facts: dict[str, object] = {"action": request.action}
    if request.peer is not None:
        facts["addr"] = format_address(request.peer[0])
    if request.service is not None:
        facts["cid" if request.service.naming == "cid" else "psm"] = request.service.number
    return facts


def _facts(request: AccessRequest, decision: Decision) -> dict[str, object]:
    """Returns a decision's facts for the log: those of the request, and the rule."""
    return request_facts(request) | {"rule": decision.where}
