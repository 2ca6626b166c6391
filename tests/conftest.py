"""A simulated Xen for every test that wants one, and domains to run code in.

A process is one domain's for life, chosen by its environment, so that code that opens a Xen device runs in a process
of its own, as on a real Xen. Such code is a coroutine function beside its test, and run_in_domain.py runs it:

    async def own_domid() -> int:
        store = await Store.open()
        ...

    def test_domid(new_domain: NewDomain) -> None:
        domain = new_domain()
        assert domain.run(own_domid) == domain.domid

Arguments and result are JSON. ``start`` runs the function beside the test; its ``result`` waits for the end. What a
function wants to tell before its end it writes to xenstore, where ``world.read`` and ``world.wait_value`` find it.
"""

import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

import usbbtd
from tests import ROOT
from tests.sim.hypervisor import LIBRARIES
from tests.sim.world import World
from tests.support.domain import Domain, NewDomain
from tests.support.host import Host

pytest_plugins = ["tests.support.fixtures"]

# The machine may be busy with something else: no example is too late, no strategy too slow. A test that wants more or
# fewer examples than others says so as a multiple of settings().max_examples, so that "make fuzz" has a say in it.
settings.register_profile("normal", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("fuzz", settings.get_profile("normal"), max_examples=5_000)
settings.load_profile("normal")

# A shell that starts a command in the background has it ignore SIGINT, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"usbbtd: {os.path.dirname(usbbtd.__file__)}"


@pytest.fixture(autouse=True)
def _leave_no_configuration() -> Iterator[None]:
    """Takes back what a test has set up of the log: what libraries say would be among the events of the next ones."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def libraries() -> Path:
    """Where those are that stand in for Xen's and the kernel's."""
    subprocess.run(["make", "-s", "-C", ROOT / "tests/sim/lib", f"OUT={LIBRARIES}"], check=True)
    return LIBRARIES


@pytest.fixture(scope="session")
def world(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One simulated Xen for all tests, with dom0."""
    with World.start(tmp_path_factory.mktemp("xen")) as running:
        yield running


@pytest.fixture(scope="session")
def forks(world: World) -> Iterator[socket.socket]:
    """Takes the requests of run_in_domain.py."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-W", "error", "-m", "tests.support.run_in_domain"]
    environment = os.environ | world.environment(0)
    with theirs:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
    with server, ours:
        yield ours


@pytest.fixture(scope="session")
def domids() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def dom0(world: World, forks: socket.socket) -> Iterator[Domain]:
    """The domain of the toolstack; what the test starts there ends with it."""
    domain = Domain(world, 0, forks)
    yield domain
    domain.kill()


@pytest.fixture
def host(world: World, domids: Iterator[int]) -> Iterator[Any]:
    """The Host of host.py: domains with names, and usbbt-toolstack."""
    with Host(world, domids) as host:
        yield host


@pytest.fixture
def new_domain(world: World, domids: Iterator[int], forks: socket.socket) -> Iterator[NewDomain]:
    """Makes domains; they and their processes end with the test."""
    domains: list[Domain] = []

    def create() -> Domain:
        domid = next(domids)
        world.create_domain(domid, f"guest-{domid}")
        domains.append(Domain(world, domid, forks))
        return domains[-1]

    yield create
    for domain in domains:
        domain.destroy()
