"""Empties the ports of virtual USB controllers for a while when the driver domain asks: see dongles/usbif_ports.py.

The device on a port is kept in ``detached/<port>`` of the backend's directory, which is dom0's. A driver domain can do
no more by this than replug the devices that it has.
"""

import asyncio
import re
from typing import Literal

from structlog.typing import FilteringBoundLogger

from usbbtd.nodes import RECORDS, home
from usbbtd.retry import Trouble
from usbbtd.toolstack.domains import devids, domids
from usbbtd.toolstack.usb_controllers import backend_of, records
from usbbtd.usb.nodes import DETACH_PORTS, DETACHED, PORTS, VUSB
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store
from usbbtd.xen.transaction import Transaction

#: The nodes among libxl's records that change when controllers or their domains come or go.
_OF_CONTROLLERS = re.compile(r"/libxl(/[0-9]+(/device(/vusb(/.*)?)?)?)?")

#: The least time between two looks at one controller: its frontend can write as often as it likes.
_PAUSE_S = 0.5


class Ports:
    """Follows the virtual USB controllers of all domains."""

    def __init__(self, store: Store, log: FilteringBoundLogger) -> None:
        self._store = store
        self._log = log
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Runs until it is cancelled.

        Watches libxl's records, because libxl makes controllers after their domain, and at any time later.
        """
        trouble = Trouble()
        try:
            async with self._store.watch(RECORDS) as changes:
                async for path in changes:
                    if not _OF_CONTROLLERS.fullmatch(path):
                        continue
                    try:
                        await self._follow()
                        trouble = Trouble()
                    except XenError as error:
                        if trouble.is_news(error):
                            self._log.warning("passed over", reason=str(error))
                        await asyncio.sleep(trouble.next_pause_s(0))
                        changes.add(RECORDS)
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def _follow(self) -> None:
        """Starts a task for each new controller, and cancels those of controllers that are gone."""
        found: set[tuple[int, int]] = set()
        for domid in domids(await self._store.list(RECORDS)):
            found.update((domid, devid) for devid in devids(await self._store.list(records(domid))))
        for key in self._tasks.keys() - found:
            self._tasks.pop(key).cancel()
        for key in found - self._tasks.keys():
            self._tasks[key] = asyncio.create_task(self._serve(*key))

    async def _serve(self, domid: int, devid: int) -> None:
        trouble = Trouble()
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await self._settle(domid, devid)
                return
            except XenError as error:
                pause_s = trouble.next_pause_s(clock() - began)
                if trouble.is_news(error):
                    self._log.error("usb controller given up", domid=domid, devid=devid, reason=str(error))
                await asyncio.sleep(pause_s)

    async def _settle(self, domid: int, devid: int) -> None:
        async with self._store.watch(f"{home(domid)}/{VUSB.frontend_path(devid)}/{DETACH_PORTS}") as changes:
            async for _ in changes:
                match await self._store.transaction(lambda t: settle_ports(t, domid, devid)):
                    case "emptied":
                        self._log.info("usb ports emptied", domid=domid, devid=devid)
                    case "filled":
                        self._log.info("usb ports filled again", domid=domid, devid=devid)
                await asyncio.sleep(_PAUSE_S)


def settle_ports(transaction: Transaction, domid: int, devid: int) -> Literal["emptied", "filled"] | None:
    """Empties the ports, or puts the devices back, as the frontend asks. Returns what was done, None for nothing."""
    backend = backend_of(transaction, domid, devid)
    if backend is None:
        return None
    asked = transaction.read(f"{home(domid)}/{VUSB.frontend_path(devid)}/{DETACH_PORTS}") == "1"
    done: Literal["emptied", "filled"] | None = None
    for port in transaction.list(f"{backend}/{PORTS}") or ():
        here, aside = f"{backend}/{PORTS}/{port}", f"{backend}/{DETACHED}/{port}"
        if asked and (device := transaction.read(here)):
            transaction.write(aside, device)
            transaction.write(here, "")
            done = "emptied"
        elif not asked and (device := transaction.read(aside)):
            if not transaction.read(here):  # else dom0 has attached a device meanwhile
                transaction.write(here, device)
            transaction.remove(aside)
            done = "filled"
    return done
