"""The service from its first moment to its last: it keeps its devices served, and ends them in order."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from usbbtd.backends.access import Access
from usbbtd.backends.identity import read_identity
from usbbtd.backends.vl2cap.device import GuestDevice
from usbbtd.config import Config, ConfigError
from usbbtd.control.acts import Acts
from usbbtd.control.answers import Answers
from usbbtd.control.server import serve
from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.usbif_frontend import serve_usbif
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.log.processors import RecentEvents
from usbbtd.log.setup import configure as configure_log
from usbbtd.nodes import DOMID
from usbbtd.policy.files import load as load_policy
from usbbtd.policy.rules import Peer, Policy, RuleLimits
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.sd_notify import feed_watchdog, notify, notify_reloading
from usbbtd.service.bond_record import decode
from usbbtd.service.bonds import BondFiles, directory_of
from usbbtd.service.devices import STOP_S, Devices, cancel_all
from usbbtd.service.state import State
from usbbtd.signals import handled
from usbbtd.usb.nodes import VUSB
from usbbtd.xen.claim import claim_domain
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.xen import Xen

#: How long peers have to hear that their links end when the service stops.
DRAIN_S = 2.0

#: How long a start waits at most for a dongle to be up or given up: a little more than two commands without an answer.
READY_S = 5.0

#: The most mistakes in the files of policy that a reload logs one by one.
MOST_MISTAKES = 20

#: How often the status is compared with what the manager was told last.
STATUS_S = 1.0

FindDongles = Callable[[Callable[[Dongle], Awaitable[None]], FilteringBoundLogger], Coroutine[Any, Any, None]]


async def run(config: Config, policy: Policy, recent: RecentEvents) -> None:
    """Serves dongles and guests until SIGTERM or SIGINT; reads the policy again at SIGHUP.

    ``recent``: keeps the last log events for usbbtctl. Raises XenError if Xen's devices cannot be used, DongleError if
    libusb is configured and cannot be used, ControlError if the control socket is taken, ClaimError if the domain is.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(claim_domain())
        xen = await stack.enter_async_context(Xen.open())
        find_dongles = None
        if config.adapter.usb == "libusb":
            from usbbtd.dongles.libusb_context import LibusbContext  # only here: otherwise libusb need not be there
            from usbbtd.dongles.libusb_source import serve_libusb

            libusb = LibusbContext()
            stack.callback(libusb.close)
            find_dongles = partial(serve_libusb, libusb, config.adapter.selects)
        state = State(config.state.directory, structlog.get_logger())
        stack.callback(state.close)
        if config.log.addresses == "hashed":
            configure_log(config.log, recent=recent, address_key=state.log_key())
        domid = await xen.store.domid()
        service = Service(config, policy, state, xen, domid, find_dongles)
        stack.callback(service.bonds.close)
        answers = Answers(
            adapter=service.adapter, guests=service.guests, config=config, store=xen.store, domid=domid, recent=recent,
            acts=Acts(adapter=service.adapter, decode_bond=decode),
        )  # fmt: skip
        await stack.enter_async_context(serve(config.control, answers, structlog.get_logger()))
        await service.run()


class Service:
    """Serves all devices of our domain ``domid``: dongles on one side, guests on the other.

    ``find_dongles(on_dongle, log)`` finds dongles; without it they are found through usbif.
    """

    def __init__(
        self, config: Config, policy: Policy, state: State, xen: Xen, domid: int,
        find_dongles: FindDongles | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._policy = policy
        self._xen = xen
        self._store = xen.store
        self._domid = domid
        self._find_dongles = find_dongles
        self._finding: asyncio.Task[None] | None = None  # the task that it runs in
        self._log: FilteringBoundLogger = structlog.get_logger()
        guests = config.guests
        self._limits = FrontendLimits(**guests.model_dump(exclude={"unread_bytes", "connects_per_minute"}))
        self._access_limits = RuleLimits(guests.channels, guests.unread_bytes, guests.connects_per_minute)
        serve_usbif = self._serve_usbif if find_dongles is None else None
        self._devices = Devices(xen, self._serve_guest, serve_usbif, self._log)
        self._guests: dict[str, GuestDevice] = {}  # the guests' devices that are served, by path
        self._ready = asyncio.Event()
        identity = config.adapter.address or state.adapter_address()
        self.bonds = BondFiles(directory_of(config.state.directory, identity), self._log)
        self.adapter = SharedAdapter(
            random_address=identity,
            command_timeout_s=config.adapter.command_timeout_s,
            limits=L2capLimits(unread_bytes=guests.unread_bytes),
            log=self._log,
            call_soon=xen.evtchn.call_soon,
            bonds=self.bonds,
        )

    def guests(self) -> list[GuestDevice]:
        """Returns the guests' devices that are served now."""
        return list(self._guests.values())

    async def run(self) -> None:
        stop, reload = asyncio.Event(), asyncio.Event()
        with handled(stop.set, reload.set):
            await self._serve(stop, reload)

    async def _serve(self, stop: asyncio.Event, reload: asyncio.Event) -> None:
        self._log.info("usbbtd starts", domid=self._domid)
        self._log_policy()
        stopping = asyncio.create_task(stop.wait())
        work = (self._devices.watch(), self._report(), self._reload_whenever(reload))
        own = [asyncio.create_task(each) for each in work]
        needed = list(own)
        if self._find_dongles is not None:
            self._finding = asyncio.create_task(self._find_dongles(self.adapter.take_dongle, self._log))
            needed.append(self._finding)
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

    async def _report(self) -> None:
        """Tells the manager that we are ready, then our status whenever it has changed.

        We are ready when all devices were looked at and no dongle is waited for: it is up or given up, or took READY_S.
        """
        await self._devices.scanned.wait()
        if self._finding or self._devices.has_dongles:
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
        return f"{len(self._guests)} guests, {channels} channels, hci {'up' if self.adapter.powered else 'down'}"

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
        is_bonded = partial(self._is_bonded, identity.name)
        served = GuestDevice(
            device, xen=self._xen, identity=identity, adapter=self.adapter, limits=self._limits, log=log,
            access=Access(self._policy.for_guest(identity), self._access_limits, log, is_bonded),
        )  # fmt: skip
        log.info("guest attached", path=path, tags=" ".join(sorted(identity.tags)))
        self._guests[path] = served
        try:
            await device.run(served.perform)
        finally:
            del self._guests[path]
        log.info("guest detached", path=path)

    def _is_bonded(self, guest: str | None, peer: Peer) -> bool | None:
        """Returns whether the bond with a peer is a guest's, who needs a name for that; None if there is no bond."""
        return self.adapter.security.is_bonded_for(*peer, guest or "")

    async def _stop(self) -> None:
        """Ends the guests first, so that nobody asks for more; then the links to peers; then the dongles."""
        limit_s = 2 * (STOP_S + DRAIN_S + STOP_S)  # twice our own limits: the machine may be busy
        notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(limit_s * 1e6)}")
        self._log.info("usbbtd stops", guests=len(self._guests))
        await self._devices.stop_guests()
        await self.adapter.disconnect_all(DRAIN_S)
        self.adapter.close()
        await self._devices.stop_dongles()
        if self._finding:
            await cancel_all([self._finding])
        self._log.info("usbbtd stopped")


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
