"""In a guest: exchanges SDUs with a device that echoes, over both transports, and begins again whenever that ends.

``steady.py DEVICE ADDRESS PSM LE_ADDRESS SPSM``. Reports {"lost": transport, "error": class, "reason": text} each
time, and to {"do": "count"} answers {"counts": {transport: SDUs that came back}}. Ends with standard input; an echo
that differs ends it at once.
"""

import asyncio
import sys

from tests.demo import lines
from tests.demo.traffic import sdu_of
from usbbtd.guest import Adapter, AdapterError, AddressType, open_adapter

PAUSE_S = 0.2  # between SDUs: others want the processor too
RETRY_S = 0.5
PATIENCE_S = 60.0
STREAM = 1

counts = {"bredr": 0, "le": 0}


async def exchange(adapter: Adapter, transport: str, address: str, psm: int) -> None:
    kind: AddressType = "random" if transport == "le" else "bredr"
    number = 0
    while True:
        try:
            await adapter.wait_ready()
            async with await adapter.connect(address, psm, address_type=kind, timeout=PATIENCE_S) as channel:
                while True:
                    sdu = sdu_of(STREAM, number)
                    await channel.send(sdu)
                    if (echo := await channel.recv()) != sdu:
                        raise ValueError(
                            f"{transport}: SDU {number} of {len(sdu)} bytes came back as {len(echo)} others"
                        )
                    number += 1
                    counts[transport] = number
                    await asyncio.sleep(PAUSE_S)
        except AdapterError as error:
            lines.report(lost=transport, error=type(error).__name__, reason=str(error))
            await asyncio.sleep(RETRY_S)


async def obey() -> None:
    reader = await lines.commands()
    while await lines.take(reader):
        lines.report(counts=counts)


async def main(device: str, address: str, psm: str, le_address: str, spsm: str) -> None:
    async with open_adapter(int(device), timeout=PATIENCE_S) as adapter:
        tasks = [
            asyncio.create_task(exchange(adapter, "bredr", address, int(psm, 0))),
            asyncio.create_task(exchange(adapter, "le", le_address, int(spsm, 0))),
        ]
        obeying = asyncio.create_task(obey())
        await asyncio.wait((*tasks, obeying), return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, obeying):
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*tasks, obeying, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
