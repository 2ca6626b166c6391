"""The service of dom0: attaches what the configuration files say, and clears up behind domains that are gone."""

import asyncio
import contextlib
import signal
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import structlog
from structlog.typing import FilteringBoundLogger

from usbbtd.manager import notify
from usbbtd.toolstack.devices import Device
from usbbtd.toolstack.domains import Domain, read_domains
from usbbtd.toolstack.files import ConfigFiles
from usbbtd.toolstack.ports import Ports
from usbbtd.toolstack.settle import dead_guests, reap, settle_guest
from usbbtd.toolstack.spec import Spec
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store
from usbbtd.xen.watch import Watch

#: xenstored's words for "a domain has come", "a domain has ended or its nodes can go".
_EVENTS = ("@introduceDomain", "@releaseDomain")


async def run(store: Store, directories: Iterable[Path]) -> None:
    """Serves until SIGTERM or SIGINT; SIGHUP makes it look again. XenError: this is not dom0."""
    watching = asyncio.create_task(Watcher(store, ConfigFiles(directories)).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    notify("STOPPING=1")


class Watcher:
    """Looks at all domains whenever one comes or goes; nothing is remembered that is not in xenstore or a file."""

    def __init__(self, store: Store, files: ConfigFiles) -> None:
        self._store = store
        self._files = files
        self._log: FilteringBoundLogger = structlog.get_logger()
        self._ports = Ports(store, self._log)
        self._problems: set[str] = set()
        self._devices: list[Device] = []

    async def run(self) -> None:
        """Until it is cancelled. XenError: xenstored does not let this domain hear of others."""
        async with self._store.watch(*_EVENTS) as changes:
            # One more thing that has changed, in the same queue.
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, changes.add, "SIGHUP")
            self._log.info("usbbt-toolstack watches")
            tasks = [asyncio.create_task(work) for work in (self._follow(changes), self._ports.run())]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, changes: Watch) -> None:
        told = ""
        async for _ in changes:
            await self._look()
            attached = sum(device.backend is not None for device in self._devices)
            waiting = sum(bool(device.wanted) and device.backend is None for device in self._devices)
            status = f"STATUS={attached} devices attached, {waiting} waiting for their driver domain"
            if status != told:
                notify(status if told else f"READY=1\n{status}")
                told = status

    async def _look(self) -> None:
        configured, problems = self._files.read()
        domains = await self._store.transaction(read_domains)
        self._devices = []
        for domid, name in domains.items():
            guest = Domain(domid, name)
            try:
                await self._settle(guest, configured.get(name, {}), domains)
                await self._reap(guest, domains)
            except XenError as error:  # of this one: the others shall have theirs
                problems.append(f"{guest}: {error}")
        for problem in problems:
            if problem not in self._problems:
                self._log.warning("passed over", reason=problem)
        self._problems = set(problems)

    async def _settle(self, guest: Domain, configured: Mapping[int, Spec], domains: Mapping[int, str]) -> None:
        work = partial(settle_guest, guest=guest, configured=configured, domains=domains)
        outcome = await self._store.transaction(work)
        self._devices += outcome.devices
        for done, device in outcome.done:
            log = self._log.bind(domid=guest.domid, name=guest.name, devid=device.devid, backend=device.backend_name)
            match done:
                case "attached":
                    log.info("device attached")
                case "waits":
                    log.info("device waits for its driver domain")
                case "removed":
                    log.info("device removed: its driver domain is gone")

    async def _reap(self, driver: Domain, domains: Mapping[int, str]) -> None:
        find = partial(dead_guests, driver=driver.domid, domains=domains)
        for guest in await self._store.transaction(find):
            if await self._store.transaction(partial(reap, driver=driver.domid, guest=guest)):
                path = f"{driver.home}/backend/vl2cap/{guest}"
                self._log.info("directory of a dead guest removed", domid=guest, path=path, backend=driver.name)
