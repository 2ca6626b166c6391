"""The whole bench, in small: every group runs, and the rows are written as promised."""

import json
import subprocess
import sys
from pathlib import Path

KEYS = ("name", "unit", "ours", "peer", "peer_value", "ratio")


def test_the_bench_writes_rows_and_prints_tables(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "--short", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert {row["peer"] for row in rows} == {"Bumble", "libxenvchan, C", "Bumble, without Xen", None}
    for row in rows:
        assert tuple(row) == KEYS
        assert row["ours"] > 0
        assert row["name"] in done.stdout
        assert row["ratio"] == (None if row["peer"] is None else row["ours"] / row["peer_value"])
    assert (tmp_path / "bench-profile.txt").exists()
    assert "targets met" in done.stdout
