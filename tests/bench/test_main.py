"""The whole bench, in small: every group runs, and the rows are written as promised."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.bench.before import PEER
from tests.bench.groups import GROUPS, selected
from tests.bench.main import main


def test_the_bench_writes_rows_and_prints_tables(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "--short", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["machine"]["processors"] >= 1
    rows = written["rows"]
    assert {"Bumble", "libxenvchan, C", "Bumble, without Xen", PEER, None} <= {row["peer"] for row in rows}
    for row in rows:
        assert row["name"] in done.stdout
        assert row.get("verdict") in (None, "too noisy to say", "not run")  # one run says nothing
        assert "missing" in row or row["ours"] > 0
    assert (tmp_path / "bench-profile.txt").exists()
    assert ET.parse(tmp_path / "bench.svg").getroot().tag.endswith("svg")
    assert "too noisy to say" in done.stdout


def test_rows_are_selected_by_name() -> None:
    assert selected([]) == list(GROUPS)
    assert selected(["ring", "host"]) == ["host", "ring"]
    with pytest.raises(ValueError, match="no such rows: hosts; there are host, ring"):
        selected(["hosts"])


@pytest.mark.parametrize(("arguments", "said"), [(["nothing"], "no such rows"), (["host", "--docs"], "needs all rows")])
def test_what_cannot_be_asked_for(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err
