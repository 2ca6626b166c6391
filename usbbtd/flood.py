"""How often events may be logged that somebody else can cause: a token bucket for each kind of event and each guest."""

from collections.abc import Callable

#: So many at once, then one each ``1 / RATE`` seconds.
BURST = 20
RATE = 1.0

_SWEEP = 1024


#: A kind of event, and the guest, or None for what is no guest's.
Key = tuple[str, int | None]


class _Bucket:
    def __init__(self, now: float) -> None:
        self.tokens: float = BURST
        self.at = now
        self.suppressed = 0

    def refill(self, now: float) -> None:
        self.tokens = min(BURST, self.tokens + (now - self.at) * RATE)
        self.at = now


class Flood:
    """Counts events. ``is_limited`` says of a kind, when it has come too often, whether it may be suppressed at all."""

    def __init__(self, is_limited: Callable[[str], bool]) -> None:
        self._is_limited = is_limited
        self._buckets: dict[Key, _Bucket] = {}
        self._suppressing: set[Key] = set()

    @property
    def suppressing(self) -> bool:
        """Whether there is something that ``take_suppressed`` has not told yet."""
        return bool(self._suppressing)

    def admits(self, phrase: str, domid: int | None, now: float) -> bool:
        """Whether this event is to be logged. ``now`` never goes back."""
        key = phrase, domid
        bucket = self._buckets.get(key)
        if bucket is None:
            self._sweep(now)
            bucket = self._buckets[key] = _Bucket(now)
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
        """How many were suppressed, of those that may be logged again by now; of all, where there is no ``now``."""
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
        """Forgets what has been quiet for so long that it makes no difference: guests that have gone, for one."""
        if len(self._buckets) < _SWEEP:
            return
        quiet = BURST / RATE
        self._buckets = {k: b for k, b in self._buckets.items() if b.suppressed or now - b.at < quiet}
