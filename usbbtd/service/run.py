"""The service: finds its devices in xenstore, keeps each served, and ends them in order."""

import asyncio
import contextlib
import errno
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from usbbtd import xenbus
from usbbtd.backends.access import Access
from usbbtd.backends.identity import read_identity
from usbbtd.backends.vl2cap.device import GuestDevice
from usbbtd.config import Config, ConfigError
from usbbtd.control.answers import Answers
from usbbtd.control.server import serve
from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.usbif_frontend import serve_usbif
from usbbtd.identifiers import parse_domid, parse_u32
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.log.setup import RecentEvents
from usbbtd.log.setup import configure as configure_log
from usbbtd.nodes import BACKEND, DOMID, FRONTEND, ONLINE, STATE
from usbbtd.policy.files import load as load_policy
from usbbtd.policy.rules import Policy, RuleLimits
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.retry import Trouble
from usbbtd.sd_notify import feed_watchdog, notify, notify_reloading
from usbbtd.service.state import State
from usbbtd.signals import handled
from usbbtd.usb.nodes import VUSB
from usbbtd.xen.claim import claim_domain
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.error import XenError
from usbbtd.xen.watch import Watch
from usbbtd.xen.xen import Xen

#: How long peers have to hear that their links end when the service stops.
DRAIN_S = 2.0

#: How long devices have to close.
STOP_S = 5.0

#: How long a start waits at most for a dongle to be up or given up: a little more than two commands without an answer.
READY_S = 5.0

#: The most mistakes in the files of policy that a reload logs one by one.
MOST_MISTAKES = 20

#: How often the status is compared with what the manager was told last.
STATUS_S = 1.0

#: The tasks that serve devices, by the path of each device in xenstore.
Tasks = dict[str, asyncio.Task[None]]

ServeDongle = Callable[[Callable[[Dongle], Awaitable[None]], FilteringBoundLogger], Coroutine[Any, Any, None]]


async def run(config: Config, policy: Policy, recent: RecentEvents) -> None:
    """Serves dongles and guests until SIGTERM or SIGINT; reads the policy again at SIGHUP.

    ``recent``: keeps the last log events for usbbtctl. Raises XenError if Xen's devices cannot be used, DongleError if
    libusb is configured and cannot be used, ControlError if the control socket is taken, ClaimError if the domain is.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(claim_domain())
        xen = await stack.enter_async_context(Xen.open())
        serve_dongle = None
        if config.adapter.usb == "libusb":
            from usbbtd.dongles.libusb_context import LibusbContext  # only here: otherwise libusb need not be there
            from usbbtd.dongles.libusb_source import serve_libusb

            libusb = LibusbContext()
            stack.callback(libusb.close)
            serve_dongle = partial(serve_libusb, libusb, config.adapter.selects)
        state = State(config.state.directory, structlog.get_logger())
        stack.callback(state.close)
        if config.log.addresses == "hashed":
            configure_log(config.log, recent=recent, address_key=state.log_key())
        domid = await xen.store.domid()
        service = Service(config, policy, state, xen, domid, serve_dongle)
        answers = Answers(
            adapter=service.adapter, guests=service.guests, config=config, store=xen.store, domid=domid, recent=recent
        )
        await stack.enter_async_context(serve(config.control, answers, structlog.get_logger()))
        await service.run()


class Service:
    """Serves all devices of our domain ``domid``: USB controllers on one side, guests on the other.

    ``serve_dongle(on_dongle, log)`` finds dongles; without it they are found through usbif.
    """

    def __init__(
        self, config: Config, policy: Policy, state: State, xen: Xen, domid: int,
        serve_dongle: ServeDongle | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._policy = policy
        self._xen = xen
        self._store = xen.store
        self._domid = domid
        self._serve_dongle = serve_dongle
        self._log: FilteringBoundLogger = structlog.get_logger()
        guests = config.guests
        self._limits = FrontendLimits(**guests.model_dump(exclude={"unread_bytes", "connects_per_minute"}))
        self._access_limits = RuleLimits(guests.channels, guests.unread_bytes, guests.connects_per_minute)
        self._guests: Tasks = {}
        self._devices: dict[str, GuestDevice] = {}  # the guests' devices that are served, by path
        self._ready = asyncio.Event()
        self._dongles: Tasks = {}
        self._troubles: dict[str, Trouble] = {}  # why a device was not served, by its path
        self._changes: Watch | None = None
        self._scanned = asyncio.Event()
        self.adapter = SharedAdapter(
            random_address=config.adapter.address or state.adapter_address(),
            command_timeout_s=config.adapter.command_timeout_s,
            limits=L2capLimits(unread_bytes=guests.unread_bytes),
            log=self._log,
            call_soon=xen.evtchn.call_soon,
        )

    def guests(self) -> list[GuestDevice]:
        """Returns the guests' devices that are served now."""
        return list(self._devices.values())

    async def run(self) -> None:
        stop, reload = asyncio.Event(), asyncio.Event()
        with handled(stop.set, reload.set):
            await self._serve(stop, reload)

    async def _serve(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        self._log.info("usbbtd starts", domid=self._domid)
        self._log_policy()
        stopping = asyncio.create_task(stop.wait())
        work = (self._watch(), self._report(), self._reload_whenever(reload))
        own = [asyncio.create_task(each) for each in work]
        needed = list(own)
        if self._serve_dongle is not None:
            needed.append(asyncio.create_task(self._serve_dongle(self.adapter.take_dongle, self._log)))
            self._dongles["libusb"] = needed[-1]
        feeding = asyncio.create_task(feed_watchdog(partial(self._goes_on, needed)))
        with failure_of_loop() as failure:
            ends: set[asyncio.Future[Any]] = {*needed, stopping, failure}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in (*own, stopping, feeding):
                task.cancel()
            await self._stop()
        for done in (failure, *needed, feeding):
            if done.done() and not done.cancelled():
                done.result()  # raises: the store or libusb is lost for good, or we have failed

    async def _watch(self) -> None:
        """Scans xenstore whenever a watch fires, whatever path it names: one event may stand for several changes."""
        async with self._store.watch(VUSB.frontends, VL2CAP.backends) as self._changes:
            async for _ in self._changes:
                await self._scan()
                self._scanned.set()

    async def _report(self) -> None:
        """Tells the manager that we are ready, then our status whenever it has changed.

        We are ready when all devices were looked at and no dongle is waited for: it is up or given up, or took READY_S.
        """
        await self._scanned.wait()
        if self._dongles:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.adapter.wait_tried(), READY_S)
        told = ""
        while True:
            status = f"STATUS={self._status()}"
            if status != told:  # only then: notify() waits for a manager that is slow
                notify(status if told else f"READY=1\n{status}")
                told = status
                self._ready.set()
            await asyncio.sleep(STATUS_S)

    def _status(self) -> str:
        channels = self.adapter.statistics()["channels"]
        return f"{len(self._devices)} guests, {channels} channels, hci {'up' if self.adapter.powered else 'down'}"

    async def _goes_on(self, needed: list[asyncio.Task[None]]) -> bool:
        """Returns whether all that must run does and the controller is not stuck. Waits for xenstored's answer."""
        await self._store.read(DOMID)
        dead = self._xen.evtchn.failure.done() or any(task.done() for task in needed)
        return not dead and not self.adapter.is_stuck()

    async def _reload_whenever(self, signalled: asyncio.Event) -> None:
        await self._ready.wait()
        while True:
            await signalled.wait()
            signalled.clear()
            notify_reloading()
            await self._reload()
            notify("READY=1")

    async def _reload(self) -> None:
        """Replaces the policy by what its files say now; a mistake in any of them leaves it as it is."""
        stopped = threading.Event()

        def proceed() -> None:
            if stopped.is_set():
                raise ConfigError("the service stops")  # ends the reading thread, for the process to end

        try:
            policy = await asyncio.to_thread(load_policy, self._config.policy.directory, proceed)
        except ConfigError as error:
            for mistake in error.mistakes[:MOST_MISTAKES]:
                self._log.error("policy refused", reason=mistake)
            if (more := len(error.mistakes) - MOST_MISTAKES) > 0:
                self._log.error("policy refused", reason=f"{more} more mistakes: usbbtctl policy check")
            return
        finally:
            stopped.set()
        self._policy = policy
        self._log_policy()
        for device in self.guests():
            device.change_policy(policy.for_guest(device.identity))

    def _log_policy(self) -> None:
        directory = str(self._config.policy.directory)
        self._log.info("policy loaded", directory=directory, rules=len(self._policy.rules))
        if not any(rule.allows for rule in self._policy.rules):
            self._log.warning("no guest may do anything", reason=f"no rule in {directory} allows it")

    async def _scan(self) -> None:
        """Starts to serve each device that is not served yet; one that cannot be read does not hold up the others."""
        looked_at = {VUSB.frontends, VL2CAP.backends}
        for devid in await self._numbers(VUSB.frontends, parse_u32) if self._serve_dongle is None else ():
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
        if self._xen.evtchn.is_gone(guest):
            await self._store.remove(path)
            self._log.info("directory of a dead guest removed", domid=guest, path=path)
            return False
        online, own = await read(f"{path}/{ONLINE}"), await read(f"{path}/{STATE}")
        return online != "0" or own != str(xenbus.CLOSED)

    def _keep(self, tasks: Tasks, path: str, link: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
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

    async def _try(self, path: str, link: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
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

    async def _serve_usbif(self, devid: int) -> None:
        log = self._log.bind(devid=devid, path=VUSB.frontend_path(devid))
        await serve_usbif(self._xen, devid, self._take_dongle, log)

    async def _take_dongle(self, dongle: Dongle) -> None:
        if self._config.adapter.selects(dongle.vendor_id, dongle.product_id, dongle.serial):
            await self.adapter.take_dongle(dongle)
        else:
            self._log.info("dongle left alone", dongle=dongle.name, reason="adapter.select names another")
            dongle.close()

    async def _serve_guest(self, guest: int, devid: int) -> None:
        path = VL2CAP.backend_path(guest, devid)
        log = self._log.bind(domid=guest, devid=devid)
        identity = await read_identity(self._store, path, guest, log)
        log = log.bind(guest=identity.name)
        device = XenbusDevice(self._store, "backend", path, is_gone=self._xen.evtchn.is_gone)
        served = GuestDevice(
            device, xen=self._xen, identity=identity, adapter=self.adapter,
            access=Access(self._policy.for_guest(identity), self._access_limits, log), limits=self._limits, log=log,
        )  # fmt: skip
        log.info("guest attached", path=path, tags=" ".join(sorted(identity.tags)))
        self._devices[path] = served
        try:
            await device.run(served.perform)
        finally:
            del self._devices[path]
        log.info("guest detached", path=path)

    async def _stop(self) -> None:
        """Ends the guests first, so that nobody asks for more; then the links to peers; then the dongles."""
        limit_s = 2 * (STOP_S + DRAIN_S + STOP_S)  # twice our own limits: the machine may be busy
        notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(limit_s * 1e6)}")
        self._log.info("usbbtd stops", guests=len(self._devices))
        await cancel_all(self._guests)
        await self.adapter.disconnect_all(DRAIN_S)
        self.adapter.close()
        await cancel_all(self._dongles)
        self._log.info("usbbtd stopped")


def _reason(error: Exception) -> str:
    if isinstance(error, XenError) and error.errno == errno.ENOSPC:
        return f"{error}: this domain's quota of xenstored is used up"
    return str(error)


@contextlib.contextmanager
def failure_of_loop() -> Iterator[asyncio.Future[None]]:
    """Yields a future that fails with what a callback or a forgotten task raises, which asyncio would only log.

    Errors of transports are left out: they concern one client of the control socket.
    """
    loop = asyncio.get_running_loop()
    failure: asyncio.Future[None] = loop.create_future()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        error = context.get("exception")
        if isinstance(error, Exception) and "transport" not in context and not failure.done():
            failure.set_exception(error)

    loop.set_exception_handler(handle)
    try:
        yield failure
    finally:
        loop.set_exception_handler(None)
        failure.cancel()


async def cancel_all(tasks: Tasks) -> None:
    """Cancels tasks and waits until they have closed their devices, STOP_S at most: xenstored may be gone."""
    ending = list(tasks.values())
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending, timeout=STOP_S)
