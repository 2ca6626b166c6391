import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.world import World


@pytest.fixture(scope="session")
def world(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World.start(tmp_path_factory.mktemp("xen")) as running:
        yield running


class Guest:
    """A process of a domain: guest.share(3, 1) calls Agent.share(3, 1) there. Failures are OSError with its errno."""

    def __init__(self, world: World, domid: int) -> None:
        self.domid = domid
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "tests.sim.agent"],
            env=os.environ | world.environment(domid),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin
        assert process.stdout
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._read()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.start(name, *arguments)
            return self._read()

        return call

    def start(self, name: str, *arguments: Any) -> None:
        """Without waiting for the answer."""
        self._stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
        self._stdin.flush()

    def _read(self) -> Any:
        answer = json.loads(self._stdout.readline())
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        return answer["result"]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()


NewDomid = Callable[..., int]
StartGuest = Callable[..., Guest]
Pair = tuple[Guest, Guest]
Until = Callable[..., None]

_domids = itertools.count(1)


@pytest.fixture
def new_domain(world: World) -> Iterator[NewDomid]:
    """Domains that are destroyed afterwards."""
    created: list[int] = []

    def create(name: str = "guest") -> int:
        domid = next(_domids)
        world.create_domain(domid, name)
        created.append(domid)
        return domid

    yield create
    for domid in created:
        with contextlib.suppress(ProcessLookupError):  # the test destroyed it
            world.destroy_domain(domid)


@pytest.fixture
def start_guest(world: World, new_domain: NewDomid) -> Iterator[StartGuest]:
    """Processes, each in a new domain unless told which."""
    started: list[Guest] = []

    def start(domid: int | None = None) -> Guest:
        guest = Guest(world, new_domain() if domid is None else domid)
        started.append(guest)
        return guest

    yield start
    for guest in started:
        guest.kill()


@pytest.fixture
def pair(start_guest: StartGuest) -> Pair:
    return start_guest(), start_guest()


@pytest.fixture
def until(world: World) -> Until:
    """Waits for the daemon to count so: it notices a killed process a moment later."""

    def wait(domid: int, **counts: int) -> None:
        for _ in range(20_000):
            if world.statistics()[domid].items() >= counts.items():
                return
        pytest.fail(f"domain {domid} has {world.statistics()[domid]}, not {counts}")

    return wait
