"""Checks a guest's requests against policy before they are carried out, and remembers what was granted.

Each decision is logged as an audit record: "access granted" or "access denied". No check is made per SDU.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import BREDR, LE, BredrResult, LeResult, format_address
from usbbtd.policy.rules import ADDRESS_TYPES, AccessRequest, Decision, GuestPolicy, Peer, PeerService, Rule, RuleLimits
from usbbtd.radio.errors import Exhausted, RadioError

MINUTE_S = 60.0

#: The L2CAP result with which a peer is refused that policy does not let connect, by transport.
REFUSED_BY_POLICY = (BredrResult.SECURITY_BLOCK, LeResult.INSUFFICIENT_AUTHORIZATION)


class Denied(RadioError):
    """Policy does not let the guest do that."""


class TooOften(RadioError):
    """The guest has connected as often in the last minute as it may."""


class Grant(NamedTuple):
    """A request that was granted, and the rule that allows it."""

    request: AccessRequest
    rule: Rule | None

    @property
    def is_channel(self) -> bool:
        return self.request.peer is not None


class Revoked(NamedTuple):
    """Lists what a new policy does not allow any more: ids of objects, numbers of offers, ids of echoes."""

    objects: list[int]
    offers: list[int]
    echoes: list[int]


class Access:
    """Decides what one guest's device may do, and keeps each grant until the caller releases it.

    Objects and echoes have the ids that the guest gave them; an offer, which is a peer that waits at a listener, has a
    number of its own. ``defaults``: the limits that hold where the guest's policy sets none; none of them is None.
    """

    def __init__(self, policy: GuestPolicy, defaults: RuleLimits, log: FilteringBoundLogger) -> None:
        self._policy = policy
        self._defaults = defaults
        self._log = log
        self._objects: dict[int, Grant] = {}
        self._offers: dict[int, Grant] = {}
        self._echoes: dict[int, Grant] = {}
        self._echoed: dict[tuple[Peer, Rule | None], float] = {}  # when it was last logged and counted
        self._connects: dict[Rule | None, deque[float]] = {}  # their times, by rule; under None, all
        self._counts = {"access_granted": 0, "access_denied": 0, "access_revoked": 0}

    @property
    def channels(self) -> int:
        """Returns how many channels the guest may have at a time."""
        return self._limit("channels")

    def statistics(self) -> dict[str, int]:
        return self._counts.copy()

    # Requests. Each raises Denied, Exhausted or TooOften.

    def connect(self, number: int, peer: Peer, psm: int, now: float) -> None:
        request = AccessRequest("connect", peer, _service(_transport(peer), psm))
        decision = self._policy.decide(request)
        self._record(request, decision, self._exhausted(decision) or self._too_often(decision, now))
        self._count_connect(decision, now)
        self._objects[number] = Grant(request, decision.rule)

    def echo(self, number: int, peer: Peer, now: float) -> None:
        """Grants an echo. Of those to one peer by one rule, only one a minute is logged, and counts as a connect."""
        request = AccessRequest("echo", peer)
        decision = self._policy.decide(request)
        key = peer, decision.rule
        if not decision.allowed or self._echoed.get(key, now - MINUTE_S) <= now - MINUTE_S:
            self._record(request, decision, self._too_often(decision, now))
            self._count_connect(decision, now)
            self._echoed = {known: at for known, at in self._echoed.items() if at > now - MINUTE_S} | {key: now}
        self._echoes[number] = Grant(request, decision.rule)

    def listen(self, number: int, transport: int, psm: int) -> None:
        """Grants a listener, provided that policy would let some peer connect to it."""
        self._grant(number, AccessRequest("listen", None, _service(transport, psm)))

    def scan(self, number: int) -> None:
        self._grant(number, AccessRequest("scan"))

    def advertise(self, number: int) -> None:
        self._grant(number, AccessRequest("advertise"))

    # Peers that come.

    def offer(self, number: int, peer: Peer, psm: int) -> None:
        """Lets a peer that asks for a listener's channel wait for the guest. Raises Denied or Exhausted."""
        request = AccessRequest("listen", peer, _service(_transport(peer), psm))
        decision = self._policy.decide(request)
        self._record(request, decision, self._exhausted(decision))
        self._offers[number] = Grant(request, decision.rule)

    def accept(self, offer: int, number: int) -> None:
        """Turns the grant of an offer into that of the channel which the guest has accepted."""
        self._objects[number] = self._offers.pop(offer)

    # The end.

    def release(self, number: int) -> None:
        """Releases the grant of an object. Idempotent."""
        self._objects.pop(number, None)

    def release_offer(self, offer: int) -> None:
        """Releases the grant of an offer. Idempotent."""
        self._offers.pop(offer, None)

    def release_echo(self, number: int) -> None:
        """Releases the grant of an echo. Idempotent."""
        self._echoes.pop(number, None)

    def clear(self) -> None:
        """Releases all grants. How often the guest has connected is not forgotten."""
        for grants in (self._objects, self._offers, self._echoes):
            grants.clear()

    # Another policy.

    def change(self, policy: GuestPolicy) -> Revoked:
        """Takes a new policy. Releases and returns what it does not allow any more, which the caller has to end."""
        self._policy = policy
        self._connects = {rule: times for rule, times in self._connects.items() if rule is None or rule in policy.rules}
        return Revoked(*map(self._revoke, (self._objects, self._offers, self._echoes)))

    def unread_bytes(self, number: int) -> int:
        """Returns how many bytes of a channel's data may wait for the guest to read them."""
        rule = self._objects[number].rule
        own = rule.limits.unread_bytes if rule is not None else None
        return self._limit("unread_bytes") if own is None else own

    # Inside.

    def _revoke(self, grants: dict[int, Grant]) -> list[int]:
        revoked = []
        for number, grant in list(grants.items()):
            decision = self._policy.decide(grant.request)
            grants[number] = grant._replace(rule=decision.rule)
            if not decision.allowed:
                del grants[number]
                revoked.append(number)
                self._counts["access_revoked"] += 1
                self._log.warning("access revoked", **_facts(grant.request, decision), reason=decision.reason)
        return revoked

    def _grant(self, number: int, request: AccessRequest) -> None:
        decision = self._policy.decide(request)
        self._record(request, decision)
        self._objects[number] = Grant(request, decision.rule)

    def _record(self, request: AccessRequest, decision: Decision, limit: RadioError | None = None) -> None:
        """Logs and counts a decision. Raises Denied if policy denies the request, and ``limit`` if it is given."""
        facts = _facts(request, decision)
        refusal = limit if decision.allowed else Denied(decision.reason)
        self._counts["access_granted" if refusal is None else "access_denied"] += 1
        if refusal is not None:
            self._log.warning("access denied", **facts, reason=str(refusal))
            raise refusal
        self._log.info("access granted", **facts, reason=decision.reason)

    def _exhausted(self, decision: Decision) -> Exhausted | None:
        """Returns an error if the rule's limit of channels is reached. The protocol core checks the guest's limit."""
        rule = decision.rule
        if rule is None or (limit := rule.limits.channels) is None:
            return None
        grants = (*self._objects.values(), *self._offers.values())
        if sum(grant.is_channel and grant.rule == rule for grant in grants) < limit:
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
        """Yields how often the guest may connect in a minute: (None, in all), then (rule, by this rule)."""
        yield None, self._limit("connects_per_minute")
        if decision.rule is not None:
            yield decision.rule, decision.rule.limits.connects_per_minute

    def _limit(self, name: str) -> int:
        value = getattr(self._policy.limits, name)
        limit: int = getattr(self._defaults, name) if value is None else value
        return limit


def _transport(peer: Peer) -> int:
    return BREDR if peer[1] == ADDRESS_TYPES["bredr"] else LE


def _service(transport: int, psm: int) -> PeerService:
    return PeerService("psm" if transport == BREDR else "spsm", psm)


def _facts(request: AccessRequest, decision: Decision) -> dict[str, object]:
    """Returns a decision's facts for the log: the rule, the action, and the address and PSM that the request has."""
    facts: dict[str, object] = {"action": request.action}
    if request.peer is not None:
        facts["addr"] = format_address(request.peer[0])
    if request.service is not None:
        facts["psm"] = request.service.number
    return facts | {"rule": decision.where}
