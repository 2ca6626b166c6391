"""A simulated Xen for every test that wants one, and domains to run code in.

The Xen libraries and the domain of a process are chosen by its environment when it starts, so that code that opens
a Xen device runs in a process of its own, as on a real Xen. Such code is a coroutine function beside its test:

    async def own_domid() -> int:
        store = await Store.open()
        ...

    def test_domid(new_domain: NewDomain) -> None:
        domain = new_domain()
        assert domain.run(own_domid) == domain.domid

Arguments and result are JSON. ``start`` runs the function beside the test; its ``result`` waits for the end. What a
function wants to tell before its end it writes to xenstore, where ``world.read`` and ``world.wait_value`` find it.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from usbbtd.sim.hypervisor import LIBRARIES
from usbbtd.sim.world import World

HERE = Path(__file__).parent
_RUNNER = HERE / "run_in_domain.py"
_TIME_LIMIT_S = 30

DomainCode = Callable[..., Coroutine[Any, Any, Any]]


class DomainProcess:
    """A function that runs in a domain."""

    def __init__(self, world: World, domid: int, function: DomainCode, arguments: tuple[object, ...]) -> None:
        command = [sys.executable, "-W", "error", str(_RUNNER), function.__code__.co_filename, function.__name__]
        self.process = subprocess.Popen(
            [*command, json.dumps(arguments)],
            env=os.environ | world.environment(domid),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self) -> Any:
        """What the function returned; when it raised, the test fails with its traceback."""
        output, errors = self.process.communicate(timeout=_TIME_LIMIT_S)
        if self.process.returncode or errors:
            pytest.fail(f"in the domain (status {self.process.returncode}):\n{errors}", pytrace=False)
        return json.loads(output)

    def kill(self) -> None:
        """As a crash: nothing is closed or said. Also when it has ended."""
        self.process.kill()
        self.process.communicate()


class Domain:
    """A domain of the simulated Xen."""

    def __init__(self, world: World, domid: int) -> None:
        self.domid = domid
        self.world = world
        self.home = f"/local/domain/{domid}"
        self._processes: list[DomainProcess] = []

    def start(self, function: DomainCode, *arguments: object) -> DomainProcess:
        process = DomainProcess(self.world, self.domid, function, arguments)
        self._processes.append(process)
        return process

    def run(self, function: DomainCode, *arguments: object) -> Any:
        return self.start(function, *arguments).result()

    def destroy(self) -> None:
        """Kills its processes. Idempotent."""
        for process in self._processes:
            process.kill()
        with contextlib.suppress(ProcessLookupError):
            self.world.destroy_domain(self.domid)


NewDomain = Callable[[], Domain]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One simulated Xen for all tests, with dom0."""
    subprocess.run(["make", "-s", "-C", str(HERE.parent / "usbbtd/sim/lib"), f"OUT={LIBRARIES}"], check=True)
    with World.start(tmp_path_factory.mktemp("xen")) as running:
        yield running


@pytest.fixture(scope="session")
def domids() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def new_domain(world: World, domids: Iterator[int]) -> Iterator[NewDomain]:
    """Makes domains; they and their processes end with the test."""
    domains: list[Domain] = []

    def create() -> Domain:
        domid = next(domids)
        world.create_domain(domid, f"guest-{domid}")
        domains.append(Domain(world, domid))
        return domains[-1]

    yield create
    for domain in domains:
        domain.destroy()
