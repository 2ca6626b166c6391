"""Microseconds of processor time that a host takes for an SDU: ours as the service runs it, and Bumble's.

Both sit on the same stub controller and get the same bytes. A wake-up brings as many packets, or takes as many from the
controller, as half of its buffers hold. What was sent and received is compared after the clock has stopped.
"""

import gc
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.host import BenchedHost, Ours, Theirs, connected
from tests.bench.runner import BenchRow, Effort, Goal, runs_in_turn
from tests.bench.stub import ACL_COUNT, StubController, completed
from usbbtd.bluetooth import BREDR, LE

TITLE = "One SDU through the host, processor time"
PEER = "Bumble"
TARGET = Goal(0.1)

#: Runs are short and there are more of them than of others, so that a moment of a busy machine hits both hosts.
SDUS = 128
TURNS = 2
#: SDUs that a guest has ready when it wakes us.
GUEST_BATCH = 8
WAKE_UP = ACL_COUNT // 2

COMPLETED = [completed(count) for count in range(ACL_COUNT + 1)]


class Case(NamedTuple):
    name: str
    transport: int
    sdu_size: int
    acl_size: int


CASES = tuple(
    Case(name, transport, sdu_size, acl_size)
    for name, transport, sdu_size in (
        ("LE CoC 2048/1024", LE, 2048),
        ("LE CoC 64", LE, 64),
        ("classic 2048", BREDR, 2048),
        ("classic 64", BREDR, 64),
    )
    for acl_size in (251, 1021)
)


@contextmanager
def quiet_collector() -> Iterator[None]:
    """The garbage collector runs, but not over what both hosts and the bench have loaded: that would hit either."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Bench:
    """A host with the data of a case. Each run checks what came of it: ValueError."""

    def __init__(self, case: Case, make: type[Ours] | type[Theirs], count: int) -> None:
        self._stub = StubController(case.transport, case.acl_size)
        self._host: BenchedHost = make(self._stub)
        noise = random.Random(count)
        self._sdus = [noise.randbytes(case.sdu_size) for _ in range(count)]

    async def open(self) -> None:
        await connected(self._host, self._stub)
        packets = self._stub.encode(self._sdus)
        self._wake_ups = [packets[start : start + WAKE_UP] for start in range(0, len(packets), WAKE_UP)]

    async def transmit(self) -> tuple[float]:
        """Microseconds per SDU."""
        host, stub, sdus = self._host, self._stub, self._sdus
        batches = [sdus[start : start + GUEST_BATCH] for start in range(0, len(sdus), GUEST_BATCH)]
        host.receive(stub.credits_for(sdus), [])
        done = 0
        start = time.process_time()
        for batch in batches:
            host.send(batch)
            while waiting := len(stub.sent) - done:
                count = min(waiting, WAKE_UP)
                done += count
                host.receive([], [COMPLETED[count]])
        seconds = time.process_time() - start
        if stub.take_sdus() != sdus:
            raise ValueError(f"{type(host).__name__} did not send the SDUs that it was given")
        return (seconds / len(sdus) * 1e6,)

    async def receive(self) -> tuple[float]:
        """Microseconds per SDU, with the credits that the host gives back."""
        host, stub = self._host, self._stub
        host.received.clear()
        done = 0
        start = time.process_time()
        for packets in self._wake_ups:
            host.receive(packets, [])
            if waiting := len(stub.sent) - done:
                done += waiting
                host.receive([], [COMPLETED[waiting]])
        seconds = time.process_time() - start
        stub.sent.clear()
        if host.received != self._sdus:
            raise ValueError(f"{type(host).__name__} did not deliver the SDUs that were sent to it")
        return (seconds / len(self._sdus) * 1e6,)


async def rows(effort: Effort, _directory: Path, _logs: Path) -> AsyncIterator[BenchRow]:
    for case in CASES:
        ours, theirs = (Bench(case, make, effort.of(SDUS)) for make in (Ours, Theirs))
        await ours.open()
        await theirs.open()
        for direction, measures in (
            ("TX", (ours.transmit, theirs.transmit)),
            ("RX", (ours.receive, theirs.receive)),
        ):
            with quiet_collector():
                (our_us,), (their_us,) = await runs_in_turn(effort.runs * TURNS, *measures)
            name = f"{case.name}, ACL {case.acl_size}, {direction}"
            yield BenchRow(name, "µs/SDU", our_us, PEER, their_us, TARGET)
