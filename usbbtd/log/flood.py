"""Limits how often events are logged that somebody else can cause: a token bucket for each kind of event and guest."""

from collections.abc import Callable

#: BURST events are logged at once, then RATE a second.
BURST = 20
RATE = 1.0

_SWEEP = 1024  # the number of buckets from which on quiet ones are looked for

#: The phrase of a kind of event, and the guest's domid, or None for an event that is not about a guest.
Key = tuple[str, int | None]


class _TokenBucket:
    def __init__(self, now: float) -> None:
        self.tokens: float = BURST
        self.at = now
        self.suppressed = 0

    def refill(self, now: float) -> None:
        self.tokens = min(BURST, self.tokens + (now - self.at) * RATE)
        self.at = now


class Flood:
    """Decides which events are logged, and counts the others.

    ``is_limited`` tells of an event's phrase whether such events may be suppressed. Times are in seconds, of a clock
    that never goes back.
    """

    def __init__(self, is_limited: Callable[[str], bool]) -> None:
        self._is_limited = is_limited
        self._buckets: dict[Key, _TokenBucket] = {}
        self._suppressing: set[Key] = set()

    @property
    def suppressing(self) -> bool:
        """Tells whether there are events that ``take_suppressed`` has not returned yet."""
        return bool(self._suppressing)

    def admits(self, phrase: str, domid: int | None, now: float) -> bool:
        """Tells whether this event is to be logged; counts it if it is not."""
        key = phrase, domid
        bucket = self._buckets.get(key)
        if bucket is None:
            self._sweep(now)
            bucket = self._buckets[key] = _TokenBucket(now)
        bucket.refill(now)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return True
        if not self._is_limited(phrase):
            return True
        bucket.suppressed += 1
        self._suppressing.add(key)
        return False

    def take_suppressed(self, now: float | None) -> list[tuple[Key, int]]:
        """Hands over (kind, number of suppressed events) of kinds that may be logged by ``now``, or of all for None."""
        taken = []
        for key in tuple(self._suppressing):
            bucket = self._buckets[key]
            if now is not None:
                bucket.refill(now)
                if bucket.tokens < 1:
                    continue
            taken.append((key, bucket.suppressed))
            bucket.suppressed = 0
            self._suppressing.discard(key)
        return taken

    def _sweep(self, now: float) -> None:
        """Forgets buckets that are full again, such as those of guests that have gone."""
        if len(self._buckets) < _SWEEP:
            return
        quiet = BURST / RATE
        self._buckets = {k: b for k, b in self._buckets.items() if b.suppressed or now - b.at < quiet}
