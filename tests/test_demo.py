"""The demo, with little traffic: the whole path as a user sees it."""

import json
import subprocess
import sys
from pathlib import Path

KEYS = (
    "guests", "channels", "sdus_sent", "sdus_received", "sdus_lost", "sdus_corrupted", "bytes", "rtt_us_p50",
    "rtt_us_p99", "throughput_bytes_per_s", "seconds",
)  # fmt: skip


def test_the_demo_succeeds_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "usbbtd.sim.demo", "--short", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=130, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "✗" not in done.stdout
    assert "\x1b" not in done.stdout
    figures = json.loads((tmp_path / "demo.json").read_text())
    assert tuple(figures) == KEYS
    assert figures["guests"] == 3
    assert figures["sdus_sent"] == figures["sdus_received"] > 0
    assert figures["sdus_lost"] == figures["sdus_corrupted"] == 0
    assert f"{figures['sdus_sent']:,}" in done.stdout
    assert "guest disconnected" in (tmp_path / "demo" / "usbbtd.log").read_text()
