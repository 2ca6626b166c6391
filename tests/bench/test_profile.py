"""Where the time goes."""

import cProfile

import pytest

from tests.bench import profile
from tests.bench.runner import Effort
from usbbtd.hci.h2 import AclReassembler


def test_built_in_time_counts_where_it_is_called_from() -> None:
    reassembler = AclReassembler()
    profiler = cProfile.Profile()
    with profiler:
        for _ in range(100):
            reassembler.receive(b"\x40\x20\x01\x00\x00")
    ((name, share),) = profile.shares_of(profiler)
    assert name == "hci/h2.py"
    assert share == pytest.approx(1)


async def test_the_report_names_cases_and_files() -> None:
    text = await profile.report(Effort(runs=1, part=0.02))
    assert "LE CoC 2048/1024, ACL 1021, RX: " in text
    assert "hci/acl.py" in text
    assert "sim/" not in text
