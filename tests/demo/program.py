"""What the programs of the simulation have in common: how they end when something goes wrong, or somebody ends them."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from tests.demo.display import Display
from tests.demo.process import DemoError
from usbbtd.cli.signals import hold_interrupts, release_interrupts

ENDED_BY_SIGNAL = 128 + signal.SIGINT  # as a shell has it


def run(main: Callable[[], Coroutine[Any, Any, int]], display: Display) -> int:
    """Runs ``main`` and returns the exit status. What went wrong is said on the display.

    SIGTERM and SIGHUP cancel ``main``, as ^C does, so that it ends the processes that it has started; while it does,
    they do nothing.
    """
    hold_interrupts()
    try:
        return asyncio.run(_cancelled_by_signals(main))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return ENDED_BY_SIGNAL
    except (DemoError, OSError) as error:
        display.text(f"\n  Failed: {error}")
        return 1


async def _cancelled_by_signals(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    task = asyncio.current_task()
    assert task is not None

    def cancel_once() -> None:
        if not task.cancelling():
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, cancel_once)
    release_interrupts()
    return await main()
