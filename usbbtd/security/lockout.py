"""Makes a peer wait after a failed pairing, twice as long each time (Vol 3, Part H, 2.3.6; Vol 2, Part H, 5.1).

So nobody tries passkeys one after the other. Whoever changes the address with each try finds that the table is bounded,
but a passkey is another in each pairing, too.
"""

from typing import NamedTuple

from usbbtd.security.limits import SecurityLimits

#: An address and its type.
Peer = tuple[bytes, int]


class _Entry(NamedTuple):
    wait_s: float
    until: float
    forget_at: float


class Lockout:
    """The peers that have to wait. ``forgotten``: how many were forgotten before their time, for want of room."""

    def __init__(self, limits: SecurityLimits) -> None:
        self._limits = limits
        self._entries: dict[Peer, _Entry] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._entries)

    def remaining(self, peer: Peer, now: float) -> float:
        """Returns how many seconds a peer has to wait; 0.0 if it may pair."""
        entry = self._entries.get(peer)
        return 0.0 if entry is None else max(0.0, entry.until - now)

    def failed(self, peer: Peer, now: float) -> None:
        """Notes a pairing that has failed."""
        limits = self._limits
        before = self._entries.pop(peer, None)
        if before is None or before.forget_at <= now:
            wait_s = limits.lockout_s
            self._make_room(now)
        else:
            wait_s = min(before.wait_s * 2, limits.lockout_limit_s)
        self._entries[peer] = _Entry(wait_s, now + wait_s, now + wait_s + limits.lockout_forget_s)

    def succeeded(self, peer: Peer) -> None:
        """Forgets the failures of a peer that has paired."""
        self._entries.pop(peer, None)

    def _make_room(self, now: float) -> None:
        entries = self._entries
        if len(entries) < self._limits.lockouts:
            return
        for peer in [peer for peer, entry in entries.items() if entry.forget_at <= now]:
            del entries[peer]
        if len(entries) >= self._limits.lockouts:
            # who waits longest has tried most often
            del entries[min(entries, key=lambda peer: entries[peer].until)]
            self.forgotten += 1
