"""Finds the devices of our domain in xenstore, and keeps each served."""

import asyncio
import contextlib
import errno
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from usbbtd import xenbus
from usbbtd.identifiers import parse_domid, parse_u32
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.nodes import BACKEND, FRONTEND, ONLINE, STATE
from usbbtd.retry import Trouble
from usbbtd.usb.nodes import VUSB
from usbbtd.xen.error import XenError
from usbbtd.xen.watch import Watch
from usbbtd.xen.xen import Xen

#: How long devices have to close.
STOP_S = 5.0

#: The tasks that serve devices, by the path of each device in xenstore.
Tasks = dict[str, asyncio.Task[None]]

#: What serves one device.
Serving = Coroutine[Any, Any, None]


class Devices:
    """The devices of our domain: those of guests, and USB controllers.

    ``serve_guest(guest, devid)`` serves a device of a guest, ``serve_usbif(devid)`` a USB controller, until the
    toolstack has taken it away. If they raise, the device is tried again after a pause. For None, USB controllers are
    not looked for.
    """

    def __init__(
        self, xen: Xen, serve_guest: Callable[[int, int], Serving], serve_usbif: Callable[[int], Serving] | None,
        log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self.scanned = asyncio.Event()  # set when all devices were looked at
        self._store = xen.store
        self._evtchn = xen.evtchn
        self._serve_guest = serve_guest
        self._serve_usbif = serve_usbif
        self._log = log
        self._guests: Tasks = {}
        self._dongles: Tasks = {}
        self._troubles: dict[str, Trouble] = {}  # why a device was not served, by its path
        self._changes: Watch | None = None

    async def watch(self) -> None:
        """Scans xenstore whenever a watch fires, whatever path it names: one event may stand for several changes."""
        async with self._store.watch(VUSB.frontends, VL2CAP.backends) as self._changes:
            async for _ in self._changes:
                await self._scan()
                self.scanned.set()

    @property
    def has_dongles(self) -> bool:
        """Tells whether a USB controller is served."""
        return bool(self._dongles)

    async def stop_guests(self) -> None:
        await cancel_all(self._guests.values())

    async def stop_dongles(self) -> None:
        await cancel_all(self._dongles.values())

    async def _scan(self) -> None:
        """Starts to serve each device that is not served yet; one that cannot be read does not hold up the others."""
        looked_at = {VUSB.frontends, VL2CAP.backends}
        if self._serve_usbif is not None:
            for devid in await self._numbers(VUSB.frontends, parse_u32):
                looked_at.add(path := VUSB.frontend_path(devid))
                self._keep(self._dongles, path, f"{path}/{BACKEND}", partial(self._serve_usbif, devid))
        for guest in await self._numbers(VL2CAP.backends, parse_domid):
            looked_at.add(directory := f"{VL2CAP.backends}/{guest}")
            for devid in await self._numbers(directory, parse_u32):
                looked_at.add(path := VL2CAP.backend_path(guest, devid))
                try:
                    wanted = path not in self._guests and await self._is_wanted(guest, path)
                except XenError as error:  # perhaps not readable yet: a watch fires again when that changes
                    self._pass_over(path, error)
                    continue
                if wanted:
                    self._keep(self._guests, path, f"{path}/{FRONTEND}", partial(self._serve_guest, guest, devid))
        self._troubles = {path: trouble for path, trouble in self._troubles.items() if path in looked_at}

    async def _numbers(self, path: str, parse: Callable[[str], int | None]) -> list[int]:
        try:
            return [number for name in await self._store.list(path) or () if (number := parse(name)) is not None]
        except XenError as error:
            self._pass_over(path, error)
            return []

    def _pass_over(self, path: str, error: XenError) -> None:
        if self._trouble(path).is_news(error):
            self._log.warning("device passed over", path=path, reason=str(error))

    async def _is_wanted(self, guest: int, path: str) -> bool:
        """Returns whether a device is to be served: not if the toolstack has taken it away or its guest is dead.

        Removes the directory of a dead guest, since libxl ignores device classes that it does not know. Asks the
        hypervisor whether a guest is dead: a living one may have hidden its nodes in xenstore.
        """
        read = self._store.read
        if await read(f"{path}/{FRONTEND}") is None:
            return False  # being made, or being taken away: a watch fires again
        if self._evtchn.is_gone(guest):
            await self._store.remove(path)
            self._log.info("directory of a dead guest removed", domid=guest, path=path)
            return False
        online, own = await read(f"{path}/{ONLINE}"), await read(f"{path}/{STATE}")
        return online != "0" or own != str(xenbus.CLOSED)

    def _keep(self, tasks: Tasks, path: str, link: str, serve: Callable[[], Serving]) -> None:
        """Starts to serve a device if it is not served yet. ``link``: the toolstack's node that names the other end."""
        if path in tasks:
            return
        task = tasks[path] = asyncio.create_task(self._try(path, link, serve), name=path)

        def ended(task: asyncio.Task[None]) -> None:
            del tasks[path]
            if not task.cancelled():
                task.result()  # raises only where the store is lost for good
                assert self._changes is not None
                self._changes.add(path)  # scans again: another device may be in its place already

        task.add_done_callback(ended)

    async def _try(self, path: str, link: str, serve: Callable[[], Serving]) -> None:
        """Serves a device; after a failure, waits for a while or until the toolstack writes ``link`` again. Otherwise
        it would be tried again whenever any other device changes.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            await serve()
            self._troubles.pop(path, None)
        except Exception as error:
            trouble = self._trouble(path)
            pause_s = trouble.next_pause_s(clock() - began)
            if trouble.is_news(error):
                bug = None if isinstance(error, XenError) else error
                self._log.error("device given up", path=path, reason=_reason(error), exc_info=bug)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s), self._store.watch(link) as changes:
                    await anext(changes)  # a new watch fires at once
                    await anext(changes)

    def _trouble(self, path: str) -> Trouble:
        return self._troubles.setdefault(path, Trouble())


def _reason(error: Exception) -> str:
    if isinstance(error, XenError) and error.errno == errno.ENOSPC:
        return f"{error}: this domain's quota of xenstored is used up"
    return str(error)


async def cancel_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels tasks and waits until they have closed their devices, STOP_S at most: xenstored may be gone."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending, timeout=STOP_S)
