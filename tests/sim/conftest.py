import contextlib
import itertools
import json
import os
import subprocess
import sys

import pytest

from tests import ROOT
from tests.sim.hypervisor import LIBRARIES
from tests.sim.world import World


@pytest.fixture(scope="session")
def libraries():
    subprocess.run(["make", "-s", "-C", ROOT / "tests/sim/lib", f"OUT={LIBRARIES}"], check=True)
    return LIBRARIES


@pytest.fixture(scope="session")
def world(libraries, tmp_path_factory):
    with World.start(tmp_path_factory.mktemp("xen")) as running:
        yield running


class Guest:
    """A process of a domain: guest.share(3, 1) calls Agent.share(3, 1) there. Failures are OSError with its errno."""

    def __init__(self, world, domid):
        self.domid = domid
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-m", "tests.sim.agent"],
            env=os.environ | world.environment(domid),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._read()

    def __getattr__(self, name):
        def call(*arguments):
            self.start(name, *arguments)
            return self._read()

        return call

    def start(self, name, *arguments):
        """Without waiting for the answer."""
        self._process.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self):
        answer = json.loads(self._process.stdout.readline())
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        return answer["result"]

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


_domids = itertools.count(1)


@pytest.fixture
def new_domain(world):
    """Domains that are destroyed afterwards."""
    created = []

    def create(name="guest"):
        domid = next(_domids)
        world.create_domain(domid, name)
        created.append(domid)
        return domid

    yield create
    for domid in created:
        with contextlib.suppress(ProcessLookupError):  # the test destroyed it
            world.destroy_domain(domid)


@pytest.fixture
def start_guest(world, new_domain):
    """Processes, each in a new domain unless told which."""
    started = []

    def start(domid=None):
        guest = Guest(world, new_domain() if domid is None else domid)
        started.append(guest)
        return guest

    yield start
    for guest in started:
        guest.kill()


@pytest.fixture
def pair(start_guest):
    return start_guest(), start_guest()


@pytest.fixture
def until(world):
    """Waits for the daemon to count so: it notices a killed process a moment later."""

    def wait(domid, **counts):
        for _ in range(20_000):
            if world.statistics()[domid].items() >= counts.items():
                return
        pytest.fail(f"domain {domid} has {world.statistics()[domid]}, not {counts}")

    return wait
