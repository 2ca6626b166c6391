"""How commands end by signals."""

import asyncio
from collections.abc import Callable, Coroutine
from signal import SIG_BLOCK, SIG_UNBLOCK, SIGINT, SIGTERM, pthread_sigmask


def run(work: Callable[[], Coroutine[object, object, None]]) -> int:
    """Runs a command in an event loop: the exit status. SIGINT and SIGTERM cancel it, so that it ends in order."""
    hold_interrupts()
    try:
        asyncio.run(_cancel_by_sigterm(work))
    except KeyboardInterrupt:
        return 128 + SIGINT
    except asyncio.CancelledError:
        return 128 + SIGTERM
    return 0


def run_service(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Runs a service, which has ``usbbtd.signals`` handle them: until then SIGTERM ends it at once.

    No handler of the loop's here: one that is replaced loses the signal that it has not told of yet.
    """

    async def released() -> None:
        release_interrupts()
        await work()

    hold_interrupts()
    asyncio.run(released())


def hold_interrupts() -> None:
    """Keeps SIGINT back until there is an event loop, which handles it: in the making of one it has a traceback."""
    pthread_sigmask(SIG_BLOCK, {SIGINT})


def release_interrupts() -> None:
    """Lets SIGINT come, for the first coroutine of an event loop."""
    pthread_sigmask(SIG_UNBLOCK, {SIGINT})


async def _cancel_by_sigterm(work: Callable[[], Coroutine[object, object, None]]) -> None:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(SIGTERM, this.cancel)
    release_interrupts()
    await work()
