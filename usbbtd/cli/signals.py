"""How commands end by signals."""

import asyncio
from collections.abc import Coroutine
from signal import SIGINT, SIGTERM


def run(work: Coroutine[object, object, None]) -> int:
    """Runs a command in an event loop: the exit status. SIGINT and SIGTERM cancel it, so that it ends in order."""
    try:
        asyncio.run(_cancel_by_sigterm(work))
    except KeyboardInterrupt:
        return 128 + SIGINT
    except asyncio.CancelledError:
        return 128 + SIGTERM
    return 0


async def _cancel_by_sigterm(work: Coroutine[object, object, None]) -> None:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(SIGTERM, this.cancel)
    await work
