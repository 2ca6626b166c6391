"""Time limits, which one table of a Security has."""

from collections.abc import Callable

Deadlines = dict["Deadline", float]


class Deadline:
    """A time limit, which may run or not. ``call``: what is called with the time when it has passed."""

    __slots__ = ("_call", "_deadlines")

    def __init__(self, deadlines: Deadlines, call: Callable[[float], None]) -> None:
        self._deadlines = deadlines
        self._call = call

    def start(self, at: float) -> None:
        """Lets it pass at a time, and no sooner."""
        self._deadlines[self] = at

    def stop(self) -> None:
        self._deadlines.pop(self, None)

    def expire(self, now: float) -> None:
        """Acts on its time, which has passed and is no longer in the table."""
        self._call(now)
