"""A guest's program that keeps on exchanging SDUs, see domain/steady.py, from the test's side."""

import time
from collections.abc import Callable

from tests.demo import plan
from tests.realxen.agents import PERIOD_S, Domain, Failed
from tests.realxen.air import MIRROR

#: SDUs that have to come back on each transport before it counts as exchanging.
_SOME = 3


class Steady:
    """Exchanges with the mirror, over the domain's vl2cap device of that number.

    ``lost``: (transport, class of the error, its text) of each channel that ended.
    """

    def __init__(self, domain: Domain, device: int = 0) -> None:
        self.domain = domain
        self.lost: list[tuple[str, str, str]] = []
        remotes = [MIRROR.address, hex(plan.ECHO_PSM["bredr"]), MIRROR.le_address, hex(plan.ECHO_PSM["le"])]
        command = ["python3", "-m", "tests.realxen.domain.steady", str(device), *remotes]
        self._program = domain.start(*command, log="/var/log/steady")

    def counts(self) -> dict[str, int]:
        """SDUs that came back so far, by transport."""
        self._program.tell({"do": "count"})
        while True:
            report = self._program.report(timeout_s=120)
            if "counts" in report:
                return dict(report["counts"])
            self.lost.append((report["lost"], report["error"], report["reason"]))

    def wait_exchanging(self, more: int = _SOME, *, timeout_s: float = 120.0) -> None:
        """Until so many more have come back on both transports."""
        begin = self.counts()
        self._wait(lambda now: all(now[each] >= begin[each] + more for each in begin), f"not {more} back", timeout_s)

    def wait_lost(self, *, timeout_s: float = 60.0) -> None:
        """Until both channels have ended since ``lost`` was last cleared."""
        self._wait(lambda _: {each[0] for each in self.lost} == set(plan.TRANSPORTS), "the channels stay", timeout_s)

    def finish(self) -> None:
        """Ends its standard input, and with that itself, in order."""
        assert self._program.finish() == 0, self._program.last_words()

    def _wait(self, condition: Callable[[dict[str, int]], bool], what: str, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while not condition(now := self.counts()):
            if time.monotonic() > end:
                words = self._program.last_words()
                raise Failed(f"{self.domain.name}: {what} within {timeout_s:g} s: {now}, {self.lost}\n{words}")
            time.sleep(PERIOD_S)
