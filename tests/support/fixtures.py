"""The two ends of usbif, each in a process of its own domain: usbif_agent.py. An adapter on a virtual air: air.py."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from bumble.link import LocalLink

from tests.sim.airs import MAKES, open_air
from tests.sim.virtual_air import VirtualAir
from tests.sim.world import World
from tests.support import air
from tests.support.domain import NewDomain
from tests.support.plain_xen import PlainXen
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.adapter import SharedAdapter

LINE_LIMIT = 1 << 22
TIME_LIMIT_S = 20


class Receiver:
    """A dongle's driver that takes note."""

    def __init__(self) -> None:
        self.received: list[tuple[Sequence[bytes | None], Sequence[bytes | None]]] = []
        self.lost: list[str] = []
        self.ready = 0
        self.on_receive: Callable[[], object] = lambda: None

    def receive(self, interrupts: Sequence[bytes | None], bulks: Sequence[bytes | None]) -> None:
        self.received.append((interrupts, bulks))
        self.on_receive()

    def dongle_ready_to_send(self) -> None:
        self.ready += 1

    def dongle_lost(self, reason: str) -> None:
        self.lost.append(reason)


class End:
    """One end in its process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._process, self._commands, self._events = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, world: World, domid: int, role: str, other: int, *arguments: str) -> "End":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.usbif_agent", role, str(other), *arguments,
            env=os.environ | world.environment(domid), limit=LINE_LIMIT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return cls(process)

    def do(self, *command: object) -> None:
        self._commands.write(json.dumps(command).encode() + b"\n")

    async def see(self, *expected: object) -> list[Any]:
        """The first event that begins so, and what it goes on with; others before it are passed over."""
        async with asyncio.timeout(TIME_LIMIT_S):
            while line := await self._events.readline():
                event: list[Any] = json.loads(line)
                if event[: len(expected)] == list(expected):
                    return event[len(expected) :]
        raise EOFError(f"the process ended before {expected}")

    async def collect(self, interrupts: int, bulks: int) -> tuple[bytes, bytes]:
        """The transfers of as many bytes, and of any number of calls."""
        came = [b"", b""]
        while len(came[0]) < interrupts or len(came[1]) < bulks:
            more = await self.see("receive")
            came = [old + bytes.fromhex("".join(new)) for old, new in zip(came, more, strict=True)]
        return came[0], came[1]

    async def stop(self, number: int = signal.SIGTERM) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        self._commands.close()
        await self._events.read()
        await self._process.wait()


#: Arguments are those of the fixture of that name.
StartEnd = Callable[..., Coroutine[Any, Any, End]]
NewDongle = Callable[..., air.DirectDongle]


@pytest.fixture
def usb_domain(world: World, new_domain: "NewDomain") -> int:
    """The id of a domain that has a virtual USB controller, with its backend in dom0."""
    domid = new_domain().domid
    world.attach_vusb(domid, 0)
    return domid


@pytest.fixture
async def start_usbif(world: World, new_domain: "NewDomain") -> AsyncIterator[StartEnd]:
    """Starts an end: (domid, role, other domain, what else the role wants). They end before their domains do."""
    ends: list[End] = []

    async def start(domid: int, role: str, other: int, *arguments: str) -> End:
        ends.append(await End.start(world, domid, role, other, *arguments))
        return ends[-1]

    yield start
    for end in ends:
        await end.stop()


@pytest.fixture
def start_backend(start_usbif: StartEnd, usb_domain: int) -> StartEnd:
    """Starts the backend of ``usb_domain``: ("backend") or another role."""
    return lambda role="backend", *arguments: start_usbif(0, role, usb_domain, *arguments)


@pytest.fixture
def start_frontend(start_usbif: StartEnd, usb_domain: int) -> StartEnd:
    return lambda role="frontend", *arguments: start_usbif(usb_domain, role, 0, *arguments)


@pytest.fixture
async def radio() -> AsyncIterator[LocalLink]:
    """A virtual air. What waits in vain on it is cancelled."""
    async with in_time():
        yield LocalLink()


@pytest.fixture(params=MAKES)
async def virtual_air(request: pytest.FixtureRequest, libraries: Path) -> AsyncIterator[VirtualAir]:
    """An air of each make of controllers."""
    async with open_air(request.param) as opened, in_time():
        yield opened


@pytest.fixture
async def peer(radio: LocalLink) -> air.Remote:
    """A remote device that is connectable and advertises."""
    return await air.Remote.start(radio)


@pytest.fixture
def new_dongle(radio: LocalLink) -> NewDongle:
    return lambda *arguments: air.DirectDongle(radio, *arguments)


@pytest.fixture
async def adapter() -> AsyncIterator[SharedAdapter]:
    """An adapter without a dongle."""
    random_address = air.octets(air.OUR_LE_ADDRESS)
    limits = L2capLimits(mps=1021, rtx_s=0.2, drain_s=0.5)
    made = SharedAdapter(
        random_address=random_address, command_timeout_s=0.2, limits=limits, log=structlog.get_logger()
    )
    yield made
    made.close()


@pytest.fixture
async def dongle(adapter: SharedAdapter, new_dongle: NewDongle) -> air.DirectDongle:
    """The dongle of ``adapter``, up."""
    plugged = new_dongle()
    await adapter.take_dongle(H2Dongle(plugged))
    await adapter.wait_powered()
    return plugged


@contextlib.asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Cancels everything that a test waits for too long."""
    loop = asyncio.get_running_loop()
    timer = loop.call_later(TIME_LIMIT_S, lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    yield
    timer.cancel()


@pytest.fixture(scope="session")
def plain_xen() -> Callable[[], Any]:
    """Both domains of a device in one process: see plain_xen.py."""
    return PlainXen


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()
