"""The whole bench, in small: every group runs, and the rows are written as promised."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.bench.before import PEER
from tests.bench.groups import GROUPS, selected
from tests.bench.machine import compiled_modules
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
    assert (tmp_path / "bench-profile.txt").exists() == (not compiled_modules())
    assert ET.parse(tmp_path / "bench.svg").getroot().tag.endswith("svg")
    assert "too noisy to say" in done.stdout


def commands_with(word: str) -> Iterator[bytes]:
    """Of all processes that run now."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if word.encode() in (command := path.read_bytes()):
                yield command


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_that_was_started(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "path", "--output", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as running:
        log = tmp_path / "bench/path/usbbtd.log"
        while not log.exists():
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(number)
        assert running.wait(timeout=60) == 130
    assert not list(commands_with(str(tmp_path)))
