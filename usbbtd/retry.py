"""Decides when a dongle or a device that failed is tried again."""

#: The first pause, and the longest: each is twice the one before.
RETRY_S, MAX_RETRY_S = 1.0, 60.0


class Retry:
    """The pauses between attempts, from ``first_s``, each twice the one before, up to ``last_s``.

    After an attempt that lasted longer than ``last_s`` they begin with the first again.
    """

    def __init__(self, first_s: float = RETRY_S, last_s: float = MAX_RETRY_S) -> None:
        self._first_s, self._last_s = first_s, last_s
        self._pause_s = first_s

    def next_pause_s(self, lasted_s: float) -> float:
        """Returns the pause after an attempt that lasted so long."""
        pause_s = self._first_s if lasted_s > self._last_s else self._pause_s
        self._pause_s = min(2 * pause_s, self._last_s)
        return pause_s


class Trouble:
    """The failures of one device: when it is tried again, and which of them are new to the log."""

    def __init__(self) -> None:
        self._retry = Retry()
        self._told = ""

    def next_pause_s(self, lasted_s: float) -> float:
        """Returns the pause after an attempt that lasted so long. After a long one, the same error is news again."""
        if lasted_s > MAX_RETRY_S:
            self._told = ""
        return self._retry.next_pause_s(lasted_s)

    def is_news(self, error: Exception) -> bool:
        """Tells whether this error is another one than the last; it is the last one from now on."""
        told, self._told = self._told, repr(error)
        return told != self._told
