"""An event loop whose pauses end in time."""

import asyncio
import selectors


def new_precise_loop() -> asyncio.SelectorEventLoop:
    """Returns a loop on select(2), which counts microseconds: asyncio's usual epoll counts milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
