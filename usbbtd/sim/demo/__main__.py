"""``python -m usbbtd.sim.demo``: guests, usbbtd, a dongle and remote peers, each a process, on a simulated Xen."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from usbbtd.sim.demo.display import Display
from usbbtd.sim.demo.process import DemoError
from usbbtd.sim.demo.scenario import Load, Scenario
from usbbtd.sim.world import World

FULL = Load(pings=200, sdus=800, window=8)
SHORT = Load(pings=20, sdus=48, window=8)
TIME_LIMIT_S = 120


async def run(display: Display, load: Load, output: Path) -> None:
    """Raises DemoError, and what else goes wrong."""
    start = time.monotonic()
    logs = output / "demo"
    logs.mkdir(parents=True, exist_ok=True)
    path = output / "demo.json"
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="usbbtd-") as directory:
        scenario = Scenario(display, load, Path(directory), logs)
        async with asyncio.timeout(TIME_LIMIT_S):
            with display.step("a simulated Xen: hypervisor and xenstored"):
                world = scenario.stack.enter_context(World.start(Path(directory)))
            async with scenario.stack:
                await scenario.run(world)
    seconds = round(time.monotonic() - start, 2)
    display.text()
    scenario.show()
    figures = scenario.figures() | {"seconds": seconds}
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    display.text(f"\n  Every SDU arrived as it was sent. {seconds:.1f} s; figures in {path}, logs in {logs}/")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m usbbtd.sim.demo", description=__doc__)
    parser.add_argument("--short", action="store_true", help="little traffic: to see that everything works")
    parser.add_argument("--output", type=Path, default=Path("build"), help="folder for demo.json and logs")
    arguments = parser.parse_args()
    display = Display()
    display.text("\n  usbbtd on a simulated Xen: guests reach Bluetooth peers through a driver domain\n")
    try:
        asyncio.run(run(display, SHORT if arguments.short else FULL, arguments.output))
    except DemoError as error:
        display.text(f"\n  Failed: {error}")
    except TimeoutError:
        display.text(f"\n  Failed: not done after {TIME_LIMIT_S} s; logs in {arguments.output}/demo/")
    except OSError as error:
        display.text(f"\n  Failed: {error}")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
