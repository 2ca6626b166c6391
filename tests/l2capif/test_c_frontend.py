"""c_frontend: a frontend written from the header and the text only, against our backend on the simulated Xen."""

import errno
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.domain import Domain, NewDomain
from usbbtd.abi import layout
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.l2capif import calls, wire
from usbbtd.l2capif.backend import Backend
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.ring import BackRing
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action

HEADERS = Path(layout.__file__).parent / "include"
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", f"-I{HEADERS}"]
PEER = "C0:FF:EE:00:00:01"
ECHOING_PSM, SILENT_PSM, REFUSED_PSM = 0x81, 0x82, 0x83
TX_MTU = 4000


class EchoBackend:
    """A vl2cap backend with one peer: it echoes, or disconnects at the first SDU, or refuses, by the PSM."""

    def __init__(self, xen: Xen, device: XenbusDevice) -> None:
        self.xen = xen
        self.device = device
        self.core = Backend(FrontendLimits())
        self.streams: dict[int, GuestStream] = {}

    async def perform(self, action: Action) -> Mapping[str, str] | None:
        match action:
            case Action.PUBLISH:
                return {"versions": "1", "max-page-order": str(self.core.limits.max_page_order), "max-channels": "64"}
            case Action.ATTACH:
                self.core = Backend(FrontendLimits())  # a frontend that comes back knows nothing of its last objects
                ref, port = [
                    await self.device.read_other_int(node, 1, 1 << 31) for node in ("ring-ref", "event-channel")
                ]
                self.page = self.xen.grants.map(self.device.other_domid, [ref])
                self.ring = BackRing(self.page.memory, wire.REQUEST_SIZE, wire.RESPONSE_SIZE)
                self.channel = self.xen.evtchn.bind_interdomain(self.device.other_domid, port, self.serve)
            case Action.DETACH if hasattr(self, "page"):
                while self.streams:
                    self.streams.popitem()[1].close()
                self.channel.close()
                self.ring.close()
                self.page.close()
        return None

    def serve(self) -> None:
        self.core.receive_requests(self.ring.take())
        for call in self.core.take_calls():
            match call:
                case calls.InfoCall(req_id):
                    self.core.complete_info(req_id, bytes(6), 0, powered=True, features=3)
                case calls.ConnectCall(psm=psm) if psm == REFUSED_PSM:
                    self.core.fail(call.req_id, errno.ECONNREFUSED, result=4)
                case calls.ConnectCall(req_id, number, address, address_type, psm, mtu):
                    self.connect(number, call.ref, call.evtchn, psm)
                    self.core.complete_channel(req_id, address, address_type, psm, TX_MTU, mtu)
                case calls.ReleaseCall(req_id, number):
                    self.streams.pop(number).close()
                    self.core.complete(req_id)
        if (responses := self.core.take_responses()) and self.ring.put(responses):
            self.channel.notify()

    def connect(self, number: int, ref: int, port: int, psm: int) -> None:
        def receive() -> None:
            stream.take_consumed()
            while stream.queued == 0 and (sdus := stream.read(8192)):
                if psm == SILENT_PSM:
                    stream.end(-errno.ENOTCONN)
                    return
                stream.write(sdus)

        domid, max_order = self.device.other_domid, self.core.limits.max_page_order
        stream = self.streams[number] = GuestStream(self.xen, domid, ref, port, max_order, receive)


async def serve_echo(guest: int) -> str:
    async with Xen.open() as xen:
        device = XenbusDevice(xen.store, "backend", f"backend/vl2cap/{guest}/0")
        await device.run(EchoBackend(xen, device).perform)
        return device.reason


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled without a warning."""
    target = tmp_path_factory.mktemp("c_frontend") / "c_frontend"
    libraries = ["-lxenstore", "-lxenevtchn", "-lxengnttab"]
    source = Path(__file__).parent / "c_frontend" / "c_frontend.c"
    done = subprocess.run(["cc", *FLAGS, "-o", target, source, *libraries], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return target


def start(program: Path, guest: "Domain", psm: int, count: int, size: int) -> subprocess.Popen[str]:
    arguments = [str(program), "0", PEER, "2", hex(psm), str(count), str(size)]
    environment = os.environ | guest.world.environment(guest.domid)
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(program: Path, guest: "Domain", psm: int, count: int, size: int) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    process = start(program, guest, psm, count, size)
    output, errors = process.communicate(timeout=20)
    return process.returncode, output, errors


@pytest.fixture
def guest(new_domain: "NewDomain") -> "Domain":
    """A guest with device 0 and a backend that serves it."""
    guest, driver = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(serve_echo, guest.domid)
    return guest


def test_every_echo_comes_back_and_again_after_reconnecting(program: Path, guest: "Domain") -> None:
    for count, size in ((1, 0), (40, 1), (2000, 100), (300, 4000)):
        done = run(program, guest, ECHOING_PSM, count, size)
        assert done == (0, f"{count} SDUs of {size} octets echoed by {PEER}\n", "")
    assert guest.world.statistics()[guest.domid]["shared"] == 0


@pytest.mark.parametrize(
    ("psm", "size", "reason"),
    [
        (REFUSED_PSM, 100, "CONNECT: error -111, L2CAP result 0x0004, HCI status 0x00"),
        (0x100, 100, "CONNECT: error -22, L2CAP result 0x0000, HCI status 0x00"),
        (ECHOING_PSM, TX_MTU + 1, f"the peer takes SDUs of {TX_MTU} octets at most"),
        (ECHOING_PSM, 65533, "SDUs may have 65532 octets at most"),
        (SILENT_PSM, 100, "the channel has ended: error -107"),
    ],
)
def test_failures_are_told_and_the_device_is_closed(
    program: Path, guest: "Domain", psm: int, size: int, reason: str
) -> None:
    assert run(program, guest, psm, 10, size) == (1, "", f"c_frontend: {reason}\n")
    assert guest.world.read(f"{guest.home}/device/vl2cap/0/state") == "6"


def test_it_comes_back_after_it_was_killed(program: Path, guest: "Domain") -> None:
    process = start(program, guest, ECHOING_PSM, 1 << 30, 100)
    guest.world.wait_value(f"{guest.home}/device/vl2cap/0/state", "4")
    process.kill()
    process.communicate()
    status, _, errors = run(program, guest, ECHOING_PSM, 10, 100)
    assert (status, errors) == (0, "")


def test_wrong_arguments_are_told(program: Path) -> None:
    done = subprocess.run([program, "0", "C0:FF:EE"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "c_frontend: usage: c_frontend DEVID ADDRESS ADDR_TYPE PSM COUNT SIZE\n"


def test_no_xen_is_told(program: Path, tmp_path: Path) -> None:
    arguments = [str(program), "0", PEER, "2", "0x81", "1", "1"]
    environment = {"XENSTORED_PATH": str(tmp_path / "none")}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("c_frontend: cannot open xenstore: ")
