"""When a dongle that failed, or that its driver gave up, is tried again."""

#: After so long, doubled each time.
RETRY_S, MAX_RETRY_S = 1.0, 60.0


class Retry:
    """The pauses between the attempts with one dongle. One that lasted for long begins anew."""

    def __init__(self) -> None:
        self._pause_s = RETRY_S

    def next_pause_s(self, lasted_s: float) -> float:
        """After an attempt that lasted so long."""
        pause_s = RETRY_S if lasted_s > MAX_RETRY_S else self._pause_s
        self._pause_s = min(2 * pause_s, MAX_RETRY_S)
        return pause_s
