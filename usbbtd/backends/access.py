"""What policy lets one guest do: asked before every request is carried out, remembered as long as the object is there.

Each answer is an audit record: "access granted" or "access denied". Nothing here is asked for an SDU.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import BREDR, LE, format_address
from usbbtd.policy.rules import ADDRESS_TYPES, AccessRequest, Decision, GuestPolicy, Peer, PeerService, Rule, RuleLimits
from usbbtd.radio.channel import Exhausted, RadioError

MINUTE_S = 60.0

#: What a peer that may not come is told, by transport: "security block" and "insufficient authorization". Vol 3,
#: Part A, 4.3 and 4.23.
REFUSED_BY_POLICY = {BREDR: 0x0003, LE: 0x0006}


class Denied(RadioError):
    """Policy does not let the guest do that."""


class TooOften(RadioError):
    """The guest has connected as often in the last minute as it may."""


class Grant(NamedTuple):
    """``rule``: the one that allows it."""

    request: AccessRequest
    rule: Rule | None

    @property
    def is_channel(self) -> bool:
        return self.request.peer is not None


class Revoked(NamedTuple):
    """What another policy does not allow any more, by the names that it has in Access."""

    objects: list[int]
    offers: list[int]
    echoes: list[int]


class Access:
    """Of one guest's device. An object is named by its id, a peer that waits at a listener by its offer's number, and
    an echo by its id too.

    ``defaults``: the limits where policy says nothing; it says all. What is granted is to be given back.
    """

    def __init__(self, policy: GuestPolicy, defaults: RuleLimits, log: FilteringBoundLogger) -> None:
        self._policy = policy
        self._defaults = defaults
        self._log = log
        self._objects: dict[int, Grant] = {}
        self._offers: dict[int, Grant] = {}
        self._echoes: dict[int, Grant] = {}
        self._echoed: dict[tuple[Peer, Rule | None], float] = {}  # when the log was told, and it counted, last
        self._connects: dict[Rule | None, deque[float]] = {}  # when, by rule; None: all
        self._counts = {"access_granted": 0, "access_denied": 0, "access_revoked": 0}

    @property
    def channels(self) -> int:
        """How many the guest may have at a time."""
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
        """As a connect, but of many to one peer, by one rule, only one a minute is recorded, and counts."""
        request = AccessRequest("echo", peer)
        decision = self._policy.decide(request)
        key = peer, decision.rule
        if not decision.allowed or self._echoed.get(key, now - MINUTE_S) <= now - MINUTE_S:
            self._record(request, decision, self._too_often(decision, now))
            self._count_connect(decision, now)
            self._echoed = {known: at for known, at in self._echoed.items() if at > now - MINUTE_S} | {key: now}
        self._echoes[number] = Grant(request, decision.rule)

    def listen(self, number: int, transport: int, psm: int) -> None:
        """Where no peer could ever come, there is nothing to listen for."""
        self._grant(number, AccessRequest("listen", None, _service(transport, psm)))

    def scan(self, number: int) -> None:
        self._grant(number, AccessRequest("scan"))

    def advertise(self, number: int) -> None:
        self._grant(number, AccessRequest("advertise"))

    # Peers that come.

    def offer(self, number: int, peer: Peer, psm: int) -> None:
        """A peer wants the listener's channel."""
        request = AccessRequest("listen", peer, _service(_transport(peer), psm))
        decision = self._policy.decide(request)
        self._record(request, decision, self._exhausted(decision))
        self._offers[number] = Grant(request, decision.rule)

    def accept(self, offer: int, number: int) -> None:
        """The offer becomes a channel."""
        self._objects[number] = self._offers.pop(offer)

    # The end.

    def release(self, number: int) -> None:
        """An object is no more. Idempotent."""
        self._objects.pop(number, None)

    def release_offer(self, offer: int) -> None:
        """Idempotent."""
        self._offers.pop(offer, None)

    def release_echo(self, number: int) -> None:
        """Idempotent."""
        self._echoes.pop(number, None)

    def clear(self) -> None:
        """All is no more. How often the guest has connected is not forgotten."""
        for grants in (self._objects, self._offers, self._echoes):
            grants.clear()

    # Another policy.

    def change(self, policy: GuestPolicy) -> Revoked:
        """What the new policy does not allow: it is given back, and the caller ends it."""
        self._policy = policy
        self._connects = {rule: times for rule, times in self._connects.items() if rule is None or rule in policy.rules}
        return Revoked(*map(self._revoke, (self._objects, self._offers, self._echoes)))

    def unread_bytes(self, number: int) -> int:
        """How much of a channel's data may wait for the guest."""
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
        """``limit``: which one is reached. Raises where the request is denied."""
        facts = _facts(request, decision)
        refusal = limit if decision.allowed else Denied(decision.reason)
        self._counts["access_granted" if refusal is None else "access_denied"] += 1
        if refusal is not None:
            self._log.warning("access denied", **facts, reason=str(refusal))
            raise refusal
        self._log.info("access granted", **facts, reason=decision.reason)

    def _exhausted(self, decision: Decision) -> Exhausted | None:
        """Whether there cannot be another channel by this rule. The guest's own limit is the protocol's matter."""
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
        """How often the guest may connect in a minute: in all, and by this rule."""
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
    """For the log, without what the request does not have."""
    facts: dict[str, object] = {"action": request.action}
    if request.peer is not None:
        facts["addr"] = format_address(request.peer[0])
    if request.service is not None:
        facts["psm"] = request.service.number
    return facts | {"rule": decision.where}
