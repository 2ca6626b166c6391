"""``python -m tests.demo``: guests, usbbtd, a dongle and remote peers, each a process, on a simulated Xen."""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.demo import program
from tests.demo.display import Display
from tests.demo.lab import DemoLab
from tests.demo.process import DemoError
from tests.demo.scenario import Load, Scenario

FULL = Load(pings=200, sdus=800, window=8)
SHORT = Load(pings=20, sdus=48, window=8)
TIME_LIMIT_S = 120


async def run(display: Display, load: Load, output: Path) -> int:
    """Raises DemoError, and what else goes wrong."""
    start = time.monotonic()
    path, capture, logs = output / "demo.json", output / "demo.btsnoop", output / "demo"
    for old in (path, capture):
        old.unlink(missing_ok=True)
    try:
        async with asyncio.timeout(TIME_LIMIT_S), DemoLab(display, logs) as lab:
            scenario = Scenario(lab, display, load, capture)
            captured = await scenario.run()
    except TimeoutError:
        raise DemoError(f"not done after {TIME_LIMIT_S} s; logs in {logs}/") from None
    seconds = round(time.monotonic() - start, 2)
    display.text()
    scenario.show()
    path.write_text(json.dumps(scenario.figures() | {"seconds": seconds}, indent=2) + "\n", encoding="utf-8")
    display.text(f"\n  Every SDU arrived as it was sent. {seconds:.1f} s; figures in {path}, logs in {logs}/")
    display.text(f"  All that went over the dongle's USB, {captured}: wireshark {capture}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--short", action="store_true", help="little traffic: to see that everything works")
    parser.add_argument(
        "--output", type=Path, default=Path("build"), help="folder for demo.json, demo.btsnoop and logs"
    )
    arguments = parser.parse_args(argv)
    display = Display()
    display.text("\n  usbbtd on a simulated Xen: guests reach Bluetooth peers through a driver domain\n")
    return program.run(partial(run, display, SHORT if arguments.short else FULL, arguments.output), display)
