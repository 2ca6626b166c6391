"""What the service manager is told of a service: sd_notify(3)."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable

from systemd import daemon

#: Parts of a watchdog's period after which somebody who could not prove progress is asked again.
_RETRY = 1 / 20


def notify(state: str) -> None:
    """Tells the service manager, if there is one that listens."""
    with contextlib.suppress(OSError):
        daemon.notify(state)


def notify_reloading() -> None:
    """Tells it that the files are read anew; ``notify("READY=1")`` is to follow."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


async def feed_watchdog(goes_on: Callable[[], Awaitable[bool]]) -> None:
    """Tells the manager twice in each period of its watchdog that the service goes on; returns where it has none.

    Only after ``goes_on`` has said so, which may take its time, for ever if something hangs: the manager acts then.
    """
    period_s = watchdog_period_s()
    while period_s:
        if await goes_on():
            notify("WATCHDOG=1")
            await asyncio.sleep(period_s / 2)
        else:
            await asyncio.sleep(period_s * _RETRY)


def watchdog_period_s() -> float:
    """After how much silence the manager ends this process; 0 where it does not: sd_watchdog_enabled(3)."""
    period_us, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not period_us.isdecimal() or pid not in (None, str(os.getpid())):
        return 0
    return int(period_us) / 1e6
