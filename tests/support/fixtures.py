"""The two ends of usbif, each in a process of its own domain: usbif_agent.py. An adapter on a virtual air: air.py."""

import asyncio
import contextlib
import json
import os
import signal
import sys

import pytest
import structlog
from bumble.link import LocalLink

from tests.support import air
from tests.support.plain_xen import PlainXen
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.adapter import SharedAdapter

LINE_LIMIT = 1 << 22
TIME_LIMIT_S = 20


class Receiver:
    """A dongle's driver that takes note."""

    def __init__(self):
        self.received = []
        self.lost = []
        self.ready = 0
        self.on_receive = lambda: None

    def receive(self, interrupts, bulks):
        self.received.append((interrupts, bulks))
        self.on_receive()

    def dongle_ready_to_send(self):
        self.ready += 1

    def dongle_lost(self, reason):
        self.lost.append(reason)


class End:
    """One end in its process."""

    def __init__(self, process):
        self._process = process

    @classmethod
    async def start(cls, world, domid, role, other, *arguments):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.usbif_agent", role, str(other), *arguments,
            env=os.environ | world.environment(domid), limit=LINE_LIMIT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return cls(process)

    def do(self, *command):
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def see(self, *expected):
        """The first event that begins so, and what it goes on with; others before it are passed over."""
        async with asyncio.timeout(TIME_LIMIT_S):
            while line := await self._process.stdout.readline():
                event = json.loads(line)
                if event[: len(expected)] == list(expected):
                    return event[len(expected) :]
        raise EOFError(f"the process ended before {expected}")

    async def collect(self, interrupts, bulks):
        """The transfers of as many bytes, and of any number of calls."""
        received = b"", b""
        while len(received[0]) < interrupts or len(received[1]) < bulks:
            more = await self.see("receive")
            received = tuple(old + bytes.fromhex("".join(new)) for old, new in zip(received, more, strict=True))
        return received

    async def stop(self, number=signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        self._process.stdin.close()
        await self._process.stdout.read()
        await self._process.wait()


@pytest.fixture
def usb_domain(world, new_domain):
    """The id of a domain that has a virtual USB controller, with its backend in dom0."""
    domid = new_domain().domid
    world.attach_vusb(domid, 0)
    return domid


@pytest.fixture
async def start_usbif(world, new_domain):
    """Starts an end: (domid, role, other domain, what else the role wants). They end before their domains do."""
    ends = []

    async def start(domid, role, other, *arguments):
        ends.append(await End.start(world, domid, role, other, *arguments))
        return ends[-1]

    yield start
    for end in ends:
        await end.stop()


@pytest.fixture
def start_backend(start_usbif, usb_domain):
    """Starts the backend of ``usb_domain``: ("backend") or another role."""
    return lambda role="backend", *arguments: start_usbif(0, role, usb_domain, *arguments)


@pytest.fixture
def start_frontend(start_usbif, usb_domain):
    return lambda role="frontend", *arguments: start_usbif(usb_domain, role, 0, *arguments)


@pytest.fixture
async def radio():
    """A virtual air. What waits in vain on it is cancelled."""
    loop = asyncio.get_running_loop()
    timer = loop.call_later(TIME_LIMIT_S, lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    yield LocalLink()
    timer.cancel()


@pytest.fixture
async def peer(radio):
    """A remote device that is connectable and advertises."""
    return await air.Remote.start(radio)


@pytest.fixture
def new_dongle(radio):
    return lambda *arguments: air.DirectDongle(radio, *arguments)


@pytest.fixture
async def adapter():
    """An adapter without a dongle."""
    random_address = air.octets(air.OUR_LE_ADDRESS)
    limits = L2capLimits(mps=1021, rtx_s=0.2, drain_s=0.5)
    made = SharedAdapter(
        random_address=random_address, command_timeout_s=0.2, limits=limits, log=structlog.get_logger()
    )
    yield made
    made.close()


@pytest.fixture
async def dongle(adapter, new_dongle):
    """The dongle of ``adapter``, up."""
    plugged = new_dongle()
    await adapter.take_dongle(H2Dongle(plugged))
    await adapter.wait_powered()
    return plugged


@pytest.fixture(scope="session")
def plain_xen():
    """Both domains of a device in one process: see plain_xen.py."""
    return PlainXen


@pytest.fixture
def receiver():
    return Receiver()
