"""Tells the service manager how the service fares, as sd_notify(3) says."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable

from systemd import daemon

#: The part of a watchdog's period after which a service that did not go on is asked again.
_RETRY = 1 / 20


def notify(state: str) -> None:
    """Sends the service manager an assignment such as "READY=1", if there is a manager that listens."""
    with contextlib.suppress(OSError):
        daemon.notify(state)


def notify_reloading() -> None:
    """Tells the manager that the service reads its files again; ``notify("READY=1")`` has to follow."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


async def feed_watchdog(goes_on: Callable[[], Awaitable[bool]]) -> None:
    """Tells the manager twice in each period of its watchdog that the service goes on; returns if it has no watchdog.

    Awaits ``goes_on`` before. If that never returns, the manager hears nothing, and ends the service.
    """
    period_s = watchdog_period_s()
    while period_s:
        if await goes_on():
            notify("WATCHDOG=1")
            await asyncio.sleep(period_s / 2)
        else:
            await asyncio.sleep(period_s * _RETRY)


def watchdog_period_s() -> float:
    """Returns after how much silence the manager ends this process; 0 if it does not. See sd_watchdog_enabled(3)."""
    period_us, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not period_us.isdecimal() or pid not in (None, str(os.getpid())):
        return 0
    return int(period_us) / 1e6
