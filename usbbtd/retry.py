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


class Trouble:
    """What stands in the way of one device: told once, and the device tried again after longer and longer pauses."""

    def __init__(self) -> None:
        self._retry = Retry()
        self._told = ""

    def next_pause_s(self, lasted_s: float) -> float:
        """After an attempt that lasted so long. After a long one, the same trouble is news again."""
        if lasted_s > MAX_RETRY_S:
            self._told = ""
        return self._retry.next_pause_s(lasted_s)

    def is_news(self, error: Exception) -> bool:
        """Whether it is another trouble than the last one."""
        told, self._told = self._told, repr(error)
        return told != self._told
