"""When what failed is tried again: a dongle, a device."""

#: After so long, doubled each time.
RETRY_S, MAX_RETRY_S = 1.0, 60.0


class Retry:
    """The pauses between attempts, from the first to the last. One attempt that lasted for long begins anew."""

    def __init__(self, first_s: float = RETRY_S, last_s: float = MAX_RETRY_S) -> None:
        self._first_s, self._last_s = first_s, last_s
        self._pause_s = first_s

    def next_pause_s(self, lasted_s: float) -> float:
        """After an attempt that lasted so long."""
        pause_s = self._first_s if lasted_s > self._last_s else self._pause_s
        self._pause_s = min(2 * pause_s, self._last_s)
        return pause_s
