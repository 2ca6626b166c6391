"""Tells each problem once, for as long as it lasts."""

from collections.abc import Iterable

from structlog.typing import FilteringBoundLogger


class Problems:
    """The problems that there were at the last look: sentences for people."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._told: frozenset[str] = frozenset()

    def tell(self, problems: Iterable[str]) -> None:
        """Logs those that are new. One that has gone is new when it is back."""
        problems = dict.fromkeys(problems)
        for problem in problems:
            if problem not in self._told:
                self._log.warning("passed over", reason=problem)
        self._told = frozenset(problems)
