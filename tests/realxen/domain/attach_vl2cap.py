"""In dom0: makes the nodes of a vl2cap device, see docs/l2capif.md. ``attach_vl2cap.py GUEST DRIVER DEVID``, domids."""

import asyncio
import sys

from usbbtd.xen.store import Store
from usbbtd.xen.transaction import Transaction


async def attach(guest: int, driver: int, devid: int) -> None:
    """All at once: the driver domain watches, and half of them looks like what a dead guest has left."""
    front = f"/local/domain/{guest}/device/vl2cap/{devid}"
    back = f"/local/domain/{driver}/backend/vl2cap/{guest}/{devid}"
    nodes = {
        front: {"backend": back, "backend-id": driver, "state": 1},
        back: {"frontend": front, "frontend-id": guest, "online": 1, "state": 1},
    }

    def write(transaction: Transaction) -> None:
        for directory, permissions in ((front, [f"n{guest}", f"r{driver}"]), (back, [f"n{driver}", f"r{guest}"])):
            transaction.write(directory, "")
            transaction.set_permissions(directory, permissions)
            for name, value in nodes[directory].items():
                transaction.write(f"{directory}/{name}", str(value))
                transaction.set_permissions(f"{directory}/{name}", permissions)

    store = await Store.open()
    try:
        await store.transaction(write)
    finally:
        await store.close()


asyncio.run(attach(*map(int, sys.argv[1:])))
