"""``python -m tests.play``: the demo's world with a prompt in a guest, until ``exit``.

Standard input may also be a pipe or a file of commands. What the last of them ends with says nothing of the world: the
exit status is 0 unless that has failed.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.demo import plan, program
from tests.demo.display import Display
from tests.demo.lab import DemoLab
from tests.demo.process import DemoError
from tests.play.commands import write_commands
from tests.play.greeting import GUEST, greeting
from tests.play.shell import run_shell
from tests.sim.configuration import ALLOW_ALL
from usbbtd.cli.program import OutputError

START_TIME_LIMIT_S = 60


async def run(display: Display, output: Path) -> int:
    """Raises DemoError, and what else goes wrong."""
    logs = output / "play"
    async with DemoLab(display, logs) as lab:
        try:
            async with asyncio.timeout(START_TIME_LIMIT_S):
                await lab.guard(asyncio.create_task(_start(lab)))
        except TimeoutError:
            raise DemoError(f"not ready after {START_TIME_LIMIT_S} s; logs in {logs}/") from None
        lab.service_ended.add_done_callback(partial(_tell_end, display))
        display.text(greeting(output))
        telling = asyncio.create_task(_stand_at_the_lock(display, lab))
        await run_shell(_environment(lab))
        telling.cancel()
        if lab.service_ended.done():
            return 1
        display.text()
        await lab.detach(GUEST)
        await lab.stop()
    return 0


def _tell_end(display: Display, how: asyncio.Future[str]) -> None:
    with suppress(OutputError):  # nobody reads any more; the exit status says it, too
        display.text(f"\n  {how.result()}\n  What is left is: exit")


async def _stand_at_the_lock(display: Display, lab: DemoLab) -> None:
    """Says what the lock shows, and yes to it there, as somebody who has just made it pair does."""
    with suppress(DemoError, OutputError):  # the device has ended, which is told as all ends; nobody reads any more
        while True:
            if (digits := (await lab.peers.take_report()).get("shows")) is not None:
                display.text(f"\n  The lock shows {digits}, and somebody there says yes.")
                await lab.peers.tell(do="confirm", accept=True)


async def _start(lab: DemoLab) -> None:
    await lab.start_driver_domain(ALLOW_ALL)
    await lab.start_peers(plan.ECHO, plan.LOCK, plan.SENSOR)
    lab.attach(GUEST)


def _environment(lab: DemoLab) -> dict[str, str]:
    """What the shell has besides ours: it is a process of the guest, with all commands in PATH."""
    path = [str(write_commands(lab)), os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
    return lab.world.environment(GUEST) | {"PATH": ":".join(path), "PS1": f"guest-{GUEST}$ ", "HISTFILE": ""}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.play", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build"), help="folder for logs, and for a capture")
    arguments = parser.parse_args(argv)
    display = Display()
    display.text("\n  usbbtd on a simulated Xen, with a prompt in a guest\n")
    return program.run(partial(run, display, arguments.output), display)
