"""Tests on a real Xen. ``make xen-test`` runs them; a plain pytest does not, as they take minutes."""

import time
from collections.abc import Generator, Iterator

import pytest

from tests import ROOT
from tests.realxen.lab import Lab
from tests.realxen.snapshot import new_lab
from tests.realxen.steady import Steady

Reporting = Generator[None, pytest.TestReport, pytest.TestReport]


#: The files that take longest, in this order: no worker is to begin one of them when the other has nothing left.
_LONGEST = ("test_toolstack", "test_systemd", "test_many")
LOGS = ROOT / "build" / "xen-test" / time.strftime("%Y%m%d-%H%M%S")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A machine for each file of tests, with nothing in it of other files' doings: see snapshot.py."""
    with new_lab(LOGS / request.module.__name__.rpartition(".")[2]) as running:
        yield running


@pytest.fixture(scope="module")
def work(lab: Lab) -> Iterator[Steady]:
    """The guest ``work`` with channels over both transports, from here to the end."""
    lab.give_dongle()
    steady = Steady(lab.domains["work"])
    steady.wait_exchanging()
    yield steady
    steady.finish()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For workers that share the files: one of ours comes first, which sets the lab up, and the others come last, so
    that nobody waits for that, the longest before the others.
    """
    ours = [item for item in items if "lab" in getattr(item, "fixturenames", ())]
    first = [item for item in ours if item.path == ours[0].path]
    last = sorted((item for item in ours if item.path != ours[0].path), key=_rank)
    items[:] = [*first, *(item for item in items if item not in ours), *last]


def _rank(item: pytest.Item) -> int:
    return _LONGEST.index(item.path.stem) if item.path.stem in _LONGEST else len(_LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Reporting:
    """Keeps the logs of a test that fails, and says where they are."""
    report = yield
    running = item.funcargs.get("lab") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(running, Lab):
        report.sections.append(("logs", f"in {running.collect_logs()}"))
    return report
