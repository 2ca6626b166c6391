"""Tests on a real Xen. ``make xen-test`` runs them; a plain pytest does not, as they take minutes."""

import time
from collections.abc import Generator, Iterator

import pytest

from tests.realxen.base import ROOT
from tests.realxen.image import image
from tests.realxen.lab import Lab

Reporting = Generator[None, pytest.TestReport, pytest.TestReport]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """One machine for all tests."""
    logs = ROOT / "build" / "xen-test" / time.strftime("%Y%m%d-%H%M%S")
    with Lab(image(), logs) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Reporting:
    """Keeps the logs of a test that fails, and says where they are."""
    report = yield
    running = item.funcargs.get("lab") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(running, Lab):
        report.sections.append(("logs", f"in {running.collect_logs()}"))
    return report
