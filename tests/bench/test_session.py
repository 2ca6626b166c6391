"""A session in a process of its own."""

from pathlib import Path

import pytest

from tests.bench.runner import Effort
from tests.bench.session import rows_of_session
from tests.demo.process import DemoError

LITTLE = Effort(runs=1, part=0.02)


async def test_it_reports_the_rows_of_its_group(tmp_path: Path) -> None:
    rows = [row async for row in rows_of_session("ring", LITTLE, tmp_path)]
    assert [len(row.our_runs) for row in rows] == [1] * 6
    assert all(row.target for row in rows)


async def test_a_session_that_fails_ends_the_bench_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 100)))
    (tmp_path / ("x" * 100)).mkdir()
    with pytest.raises(DemoError, match=r"ring: .*sockets need a path of at most"):
        async for _ in rows_of_session("ring", LITTLE, tmp_path):
            pass


async def test_a_session_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"session of nothing ended with status 1.*(?s:.*)KeyError"):
        async for _ in rows_of_session("nothing", LITTLE, tmp_path):
            pass
