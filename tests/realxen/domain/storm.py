"""In a guest: writes the state of its own vl2cap device for so many seconds, as fast as it can.

Prints how often. The state stays what it is: Connected.
"""

import asyncio
import sys
import time

from usbbtd.xen.store import Store


async def main(seconds: float) -> None:
    store = await Store.open()
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        await store.write("device/vl2cap/0/state", "4")
        count += 1
    await store.close()
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
