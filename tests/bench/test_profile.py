"""Where the time goes."""

import cProfile

import pytest

from tests.bench import profile
from tests.bench.machine import compiled_modules
from tests.bench.runner import Effort
from usbbtd.identifiers import parse_u32


def test_built_in_time_counts_where_it_is_called_from() -> None:
    profiler = cProfile.Profile()
    with profiler:
        for _ in range(100):
            parse_u32("123456")
    ((name, share),) = profile.shares_of(profiler)
    assert name == "identifiers.py"
    assert share == pytest.approx(1)


async def test_the_report_names_cases_and_files() -> None:
    text = await profile.report(Effort(runs=1, part=0.02))
    assert "LE CoC 2048/1024, ACL 1021, RX: " in text
    assert ("hci/acl.py" in text) == (not compiled_modules())
    assert "sim/" not in text
