"""Ends commands in order when a signal comes."""

import asyncio
from collections.abc import Callable, Coroutine
from signal import SIG_BLOCK, SIG_UNBLOCK, SIGINT, SIGTERM, pthread_sigmask


def run(work: Callable[[], Coroutine[object, object, None]]) -> int:
    """Runs a command in an event loop, and returns its exit status. SIGINT and SIGTERM cancel it: it ends in order."""
    hold_interrupts()
    try:
        asyncio.run(_cancel_by_sigterm(work))
    except KeyboardInterrupt:
        return 128 + SIGINT
    except asyncio.CancelledError:
        return 128 + SIGTERM
    return 0


def run_service(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Runs a service, which handles signals by ``usbbtd.signals``: until it does, SIGTERM ends it at once.

    No handler of the event loop is set here: when it was replaced, a signal could be lost that it has not told yet.
    """

    async def released() -> None:
        release_interrupts()
        await work()

    hold_interrupts()
    asyncio.run(released())


def hold_interrupts() -> None:
    """Holds SIGINT back until there is an event loop to handle it: while one is made, it would end in a traceback."""
    pthread_sigmask(SIG_BLOCK, {SIGINT})


def release_interrupts() -> None:
    """Lets SIGINT come. The first coroutine of an event loop calls it."""
    pthread_sigmask(SIG_UNBLOCK, {SIGINT})


async def _cancel_by_sigterm(work: Callable[[], Coroutine[object, object, None]]) -> None:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(SIGTERM, this.cancel)
    release_interrupts()
    await work()
