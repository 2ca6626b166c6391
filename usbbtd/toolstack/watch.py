"""The service of dom0: attaches the devices in the configuration files, and cleans up after domains that are gone."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import structlog
from structlog.typing import FilteringBoundLogger

from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.nodes import DOMAINS, FRONTEND, NAME, home
from usbbtd.retry import Retry, Trouble
from usbbtd.sd_notify import notify
from usbbtd.signals import handled
from usbbtd.toolstack.devices import Vl2capDevice
from usbbtd.toolstack.domains import Domain, read_names
from usbbtd.toolstack.files import ConfigFiles
from usbbtd.toolstack.hotplug import Hotplug, dongle_files
from usbbtd.toolstack.ports import Ports
from usbbtd.toolstack.problems import Problems
from usbbtd.toolstack.settle import dead_guests, reap, settle_guest
from usbbtd.toolstack.spec import Spec, parse_specs
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store
from usbbtd.xen.watch import Watch

#: xenstored's special watches: a domain has come; a domain has ended.
_EVENTS = ("@introduceDomain", "@releaseDomain")
#: Our own event in the same queue: the administrator wants a look, or a pause is over.
_AGAIN = "again"
#: The least time between two looks because of one node: a driver domain can write to its nodes as often as it likes.
_PAUSE_S = 0.5


async def run(store: Store, directories: Iterable[Path], sysfs: Path) -> None:
    """Serves until SIGTERM or SIGINT; looks again at SIGHUP. Raises XenError if this is not dom0.

    ``sysfs``: the directory in which Linux shows USB devices.
    """
    directories = tuple(directories)
    hotplug = Hotplug(store, dongle_files(directories), sysfs)
    watcher = Watcher(store, ConfigFiles(directories, "vl2cap", parse_specs), hotplug)
    watching = asyncio.create_task(watcher.run())
    with handled(watching.cancel, watcher.look_again):
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        notify("STOPPING=1")


class _RetryPauses:
    """The pauses, each longer than the last, after which work for a domain that xenstore refused is tried again."""

    def __init__(self) -> None:
        self._retry = Retry()
        self._until = 0.0
        self.problem = ""

    def begin(self, now: float, problem: str) -> float:
        """Begins the next pause, because of ``problem``. Returns its length."""
        self.problem = problem
        pause_s = self._retry.next_pause_s(0)
        self._until = now + pause_s
        return pause_s

    def lasts(self, now: float) -> bool:
        return now < self._until


class Watcher:
    """Looks at all domains whenever one comes, goes or changes its name, and when the nodes of a device have gone.

    It keeps no state but that of xenstore and the files, apart from the problems that were told and the pauses.
    """

    def __init__(self, store: Store, files: ConfigFiles[dict[int, Spec]], hotplug: Hotplug) -> None:
        self._store = store
        self._files = files
        self._hotplug = hotplug
        self._log: FilteringBoundLogger = structlog.get_logger()
        self._ports = Ports(store, self._log)
        self._problems = Problems(self._log)
        self._pauses: dict[Domain | None, _RetryPauses] = {}  # None's is for all domains: their names cannot be read
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._devices: list[Vl2capDevice] = []
        self._changes: Watch | None = None

    def look_again(self) -> None:
        """Looks at all domains again now, without waiting for pauses: the administrator wants it."""
        self._pauses.clear()
        self._hotplug.look_again()
        if self._changes is not None:
            self._changes.add(_AGAIN)

    async def run(self) -> None:
        """Runs until it is cancelled. Raises XenError if xenstored does not let this domain watch others."""
        await self._check_dom0()
        async with self._store.watch(*_EVENTS) as changes:
            self._changes = changes  # a new watch fires at once: there is a first look
            self._log.info("usbbt-toolstack watches")
            tasks = [
                asyncio.create_task(work) for work in (self._follow(changes), self._ports.run(), self._hotplug.run())
            ]
            try:
                await asyncio.gather(*tasks)
            finally:
                tasks += self._followed.values()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _check_dom0(self) -> None:
        """Raises XenError if xenstore forbids to list domains. After any other error, the list is tried again later."""
        try:
            await self._store.list(DOMAINS)
        except XenError as error:
            if error.forbidden:
                raise

    async def _follow(self, changes: Watch) -> None:
        told = ""
        async for _ in changes:
            await self._look(changes)
            attached = sum(device.backend is not None for device in self._devices)
            waiting = sum(bool(device.wanted) and device.backend is None for device in self._devices)
            status = f"STATUS={attached} devices attached, {waiting} waiting for their driver domain"
            if status != told:
                notify(status if told else f"READY=1\n{status}")
                told = status

    async def _look(self, changes: Watch) -> None:
        configured, problems = self._files.read()
        names: dict[int, str | None] = {}

        async def list_domains() -> None:
            names.update(await self._store.transaction(read_names))

        async def serve(guest: Domain) -> None:
            await self._settle(guest, configured.get(guest.name, {}), domains)
            await self._reap(guest, domains)

        await self._attempt(None, list_domains, changes, problems)
        if None in self._pauses:
            self._problems.tell(problems)
            return
        domains = {domid: name for domid, name in names.items() if name is not None}
        self._devices = []
        for guest in map(Domain._make, domains.items()):
            await self._attempt(guest, partial(serve, guest), changes, problems)
        self._pauses = {
            guest: pause for guest, pause in self._pauses.items() if guest and domains.get(guest.domid) == guest.name
        }
        wanted = {*configured, *(device.backend_name for device in self._devices)}
        problems += _name_twice({domid: name for domid, name in domains.items() if name in wanted})
        self._problems.tell(problems)
        paths = {f"{home(domid)}/{NAME}" for domid in names}
        paths.update(f"{device.backend_path}/{FRONTEND}" for device in self._devices if device.backend is not None)
        self._follow_nodes(paths, changes)

    async def _attempt(
        self, domain: Domain | None, work: Callable[[], Awaitable[None]], changes: Watch, problems: list[str]
    ) -> None:
        """Does the work of one domain, unless it has failed a short while ago. Raises XenError if this is not dom0."""
        loop = asyncio.get_running_loop()
        now, pause = loop.time(), self._pauses.get(domain)
        if pause is None or not pause.lasts(now):
            try:
                await work()
            except XenError as error:
                if domain is None and error.forbidden:
                    raise
                pause = self._pauses.setdefault(domain, _RetryPauses())
                pause_s = pause.begin(now, f"{domain or 'all domains'}: {error}")
                loop.call_later(pause_s, changes.add, _AGAIN)
            else:
                self._pauses.pop(domain, None)
                return
        problems.append(pause.problem)

    def _follow_nodes(self, paths: set[str], changes: Watch) -> None:
        """Watches each of these nodes, and no other: a change of one causes a look."""
        for path in self._followed.keys() - paths:
            self._followed.pop(path).cancel()
        for path in paths - self._followed.keys():
            self._followed[path] = asyncio.create_task(self._follow_node(path, changes))

    async def _follow_node(self, path: str, changes: Watch) -> None:
        trouble = Trouble()
        while True:
            try:
                async with self._store.watch(path) as own:
                    async for _ in own:  # the first comes at once, for changes before the watch
                        changes.add(path)
                        await asyncio.sleep(_PAUSE_S)
                    return
            except XenError as error:
                if trouble.is_news(error):
                    self._log.warning("passed over", reason=str(error))
                await asyncio.sleep(trouble.next_pause_s(0))

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
                path = f"{driver.home}/{VL2CAP.backends}/{guest}"
                self._log.info("directory of a dead guest removed", domid=guest, path=path, backend=driver.name)


def _name_twice(domains: Mapping[int, str]) -> list[str]:
    """Returns a problem, for people, for each name that several domains have."""
    named: defaultdict[str, list[int]] = defaultdict(list)
    for domid, name in domains.items():
        named[name].append(domid)
    return [
        f"the domains {', '.join(map(str, domids))} are all called {name!r}: each is given the devices of that name, "
        "and no device is attached to any of them as its driver domain"
        for name, domids in named.items()
        if len(domids) > 1
    ]
