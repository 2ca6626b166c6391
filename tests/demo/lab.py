"""What demo and play share: dom0 with a dongle, remote devices and usbbtd, each a process, on a simulated Xen."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from tests.demo import plan
from tests.demo.display import Display
from tests.demo.process import DemoError, Process
from tests.sim.configuration import write_configuration
from tests.sim.world import World

SERVICE_END_TIMEOUT_S = 0.5
LEAK_CHECKS, LEAK_INTERVAL_S = 100, 0.03

#: Of usbbtd; ``control``: the path of its control socket, or nothing.
CONFIGURATION = f"""\
[adapter]
address = "{plan.ADAPTER_LE_ADDRESS}"

[log]
target = "stderr"

[control]
socket = "{{control}}"
"""


class DemoLab:
    """The simulated Xen and whatever runs on it, until the block ends. ``logs``: a folder, for one file a process.

    ``directory`` is the world's, ``configuration`` and ``control`` usbbtd's file and socket; all are gone afterwards.
    """

    def __init__(self, display: Display, logs: Path) -> None:
        self.logs = logs
        self._display = display
        self._stack = AsyncExitStack()
        self._services: list[Process] = []
        self._watching: list[asyncio.Task[None]] = []
        self._capture: Process | None = None
        #: How the first service ended that did before it was to.
        self.service_ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        async with self._stack:
            self.directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="usbbtd-")))
            self.control = self.directory / "control"
            with self._display.step("a simulated Xen: hypervisor and xenstored"):
                self.world = self._stack.enter_context(World.start(self.directory))
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_watching()
        await self._stack.aclose()

    async def start_driver_domain(self, policy: str, *, capture: Path | None = None) -> None:
        """Runs usbbtd and then plugs its dongle in: ``capture``, a file, has all from the first HCI command on."""
        with self._display.step("usbbtd in its driver domain, which has a virtual USB controller"):
            self.world.create_domain(plan.DRIVER_DOMAIN, "sys-bluetooth")
            self.world.attach_vusb(plan.DRIVER_DOMAIN, plan.DOM0)
            state = self.directory / "state"
            state.mkdir(mode=0o700)
            text = CONFIGURATION.format(control=self.control) + f'\n[state]\ndirectory = "{state}"\n'
            self.configuration = write_configuration(self.directory, text, policy)
            arguments = ["run", "--config", str(self.configuration)]
            self.daemon = await self._start_service(plan.DRIVER_DOMAIN, "usbbtd", "usbbtd", *arguments)
            await self.daemon.wait_logged("usbbtd starts")
            if capture is not None:
                arguments = ["--socket", str(self.control), "capture", str(capture)]
                self._capture = await self._start_service(plan.DRIVER_DOMAIN, "usbbtctl", "usbbtd.cli.ctl", *arguments)
                await self.daemon.wait_logged("capture started")
        with self._display.step("dom0 plugs in a Bluetooth dongle, driven by usbif"):
            peers = [word for peer in plan.PEERS for word in ("--peer", peer.address, self.air_socket(peer))]
            arguments = ["--frontend", str(plan.DRIVER_DOMAIN), "--address", plan.DONGLE_ADDRESS, *peers]
            self._air = await self._start_service(plan.DOM0, "air", "tests.sim.air", *arguments)
            await self._air.take_report()
            await self.daemon.wait_logged("adapter up")

    async def start_peers(self, *peers: plan.PlannedPeer) -> None:
        """The remote devices: the one that echoes and, when named too, the others."""
        with self._display.step("remote Bluetooth devices on the same air, with Bumble's stack"):
            named = {peer: self.air_socket(peer) for peer in peers}
            arguments = [named[peer] for peer in (plan.ECHO, plan.CALLER) if peer in named]
            for peer in (plan.LOCK, plan.SENSOR):
                if peer in named:
                    arguments += [f"--{peer.name}", named[peer]]
            self.peers = await self._start_service(None, "peers", "tests.demo.peers", *arguments)
            await self.peers.take_report()

    def air_socket(self, peer: plan.PlannedPeer) -> str:
        """Where this remote device finds its controller, by H4."""
        return str(self.directory / f"{peer.name}.h4")

    def attach(self, domid: int) -> None:
        """Makes the domain of a guest, with a Bluetooth adapter."""
        self.world.create_domain(domid, f"guest-{domid}")
        self.world.attach_vl2cap(domid, plan.DRIVER_DOMAIN)

    async def detach(self, domid: int) -> None:
        """Takes the adapter away."""
        await asyncio.to_thread(self.world.detach_vl2cap, domid, plan.DRIVER_DOMAIN)

    async def start(self, domid: int | None, name: str, module: str, *arguments: str) -> Process:
        """A process of this domain, or of none."""
        environment = {} if domid is None else self.world.environment(domid)
        process = await Process.start(name, self.logs / f"{name}.log", module, *arguments, environment=environment)
        self._stack.push_async_callback(process.kill)
        return process

    async def guard(self, *tasks: asyncio.Task[Any]) -> None:
        """Until one of these tasks has ended, which ends the others. DemoError: it failed, or a service ended."""
        try:
            done, _ = await asyncio.wait((*tasks, self.service_ended), return_when=asyncio.FIRST_COMPLETED)
            if any(task.exception() for task in done):
                # A service that ended explains more than the guest that noticed first.
                await asyncio.wait([self.service_ended], timeout=SERVICE_END_TIMEOUT_S)
            if self.service_ended.done():
                raise DemoError(self.service_ended.result())
            for task in done:
                task.result()
        except DemoError as error:
            raise DemoError("\n    ".join([str(error), *self.errors_logged()[:1]])) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> str:
        """Ends all services in order, the capture first: what it says of itself, "" without one.

        DemoError when one does not end as it has to, or the driver domain holds on to something.
        """
        self._stop_watching()
        with self._display.step("usbbtd stops in order"):
            if self._capture is not None:
                await self.expect_end(self._capture, self._capture.stop())
            await self.expect_end(self.daemon, self.daemon.stop())
            await self.daemon.wait_logged("usbbtd stopped")
            await self.expect_end(self.peers, self.peers.finish())
            await self.expect_end(self._air, self._air.stop())
            await self.wait_held(dict.fromkeys(self.held(), 0))
        return self._capture.log[-1] if self._capture is not None else ""

    async def expect_end(self, process: Process, ending: Awaitable[int]) -> None:
        """DemoError: its status is not 0."""
        if (status := await ending) != 0:
            raise DemoError(f"{process.name} ended with status {status}; see {process.log_path}")

    def errors_logged(self) -> list[str]:
        """What the services have logged as errors."""
        return [
            f"{process.name} logged: {line}" for process in self._services for line in process.log if "[error" in line
        ]

    def held(self) -> dict[str, int]:
        """What the driver domain has of the simulated Xen: pages shared and mapped, event channels."""
        statistics = self.world.statistics()[plan.DRIVER_DOMAIN]
        return {name: statistics[name] for name in ("shared", "mapped", "ports")}

    async def wait_held(self, expected: dict[str, int]) -> None:
        """A moment for what is on its way; then anything more than expected is a leak, a DemoError."""
        for _ in range(LEAK_CHECKS):
            if (held := self.held()) == expected:
                return
            await asyncio.sleep(LEAK_INTERVAL_S)
        raise DemoError(f"the driver domain leaks: it holds {held}, expected is {expected}")

    def _stop_watching(self) -> None:
        for watching in self._watching:
            watching.cancel()

    async def _start_service(self, domid: int | None, name: str, module: str, *arguments: str) -> Process:
        """A process whose end, before ``stop``, is the end of everything."""
        process = await self.start(domid, name, module, *arguments)

        async def watch() -> None:
            how = await process.wait_end()
            if not self.service_ended.done():
                self.service_ended.set_result(how)

        self._services.append(process)
        self._watching.append(asyncio.create_task(watch()))
        return process
