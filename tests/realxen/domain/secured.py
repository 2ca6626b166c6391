"""In a guest: pairs with remote devices, and exchanges SDUs over secure channels. Its user confirms every number.

Speaks lines of JSON. ``address_type``: "bredr" or "public". All channels are "authenticated".

{"do": "connect", "address": text, "address_type": text, "psm": n, "lengths": [octets, ...]}: {"security": text,
    "echoed": SDUs that came back as they were sent}
{"do": "listen", "transport": text, "psm": n}: {"listening": psm}; and when one peer has come, whose SDUs are echoed
    until it ends, {"security": text, "from": address}

Unasked: {"ready": true} at start, and {"confirmed": the number of six digits} for each.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any

from tests.demo import lines
from usbbtd.guest import Adapter, AdapterError, AddressType, Channel, Prompt, Transport, open_adapter

PATIENCE_S = 60.0


async def confirm(prompt: Prompt) -> bool:
    lines.report(confirmed=prompt.number)
    return prompt.kind == "confirm"


async def connect(adapter: Adapter, address: str, address_type: AddressType, psm: int, lengths: list[int]) -> None:
    async with await adapter.connect(
        address, psm, address_type=address_type, security="authenticated", timeout=PATIENCE_S
    ) as channel:
        echoed = 0
        for length in lengths:
            sdu = os.urandom(length)
            await channel.send(sdu)
            echoed += await channel.recv() == sdu
        lines.report(security=channel.security, echoed=echoed)


async def listen(adapter: Adapter, transport: Transport, psm: int) -> None:
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(
            await adapter.listen(psm, transport=transport, security="authenticated")
        )
        if transport == "le":
            await stack.enter_async_context(adapter.advertise())
        lines.report(listening=psm)
        channel = await stack.enter_async_context(await listener.accept())
        lines.report(**{"from": channel.peer.address}, security=channel.security)
        await echo(channel)


async def echo(channel: Channel) -> None:
    """Until the peer ends it."""
    try:
        while True:
            await channel.send(await channel.recv())
    except AdapterError:
        pass


async def main() -> None:
    reader = await lines.commands()
    does: dict[str, Any] = {"connect": connect, "listen": listen}
    async with open_adapter(timeout=PATIENCE_S) as adapter, adapter.agent(confirm, io_capability="display_yes_no"):
        lines.report(ready=True)
        while (command := await lines.take(reader)) is not None:
            try:
                await does[command.pop("do")](adapter, **command)
            except AdapterError as error:
                lines.report(error=type(error).__name__, reason=str(error))


if __name__ == "__main__":
    asyncio.run(main())
