"""libvl2cap as a program uses it: uses.c, with tests/support/echo_backend.py, and at the end with the very service."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.clients.programs import Vl2cap
from tests.demo import plan
from tests.sim.world import World
from tests.support.domain import Domain, DomainProcess, NewDomain
from tests.support.echo_backend import serve
from tests.support.stack import Stack
from usbbtd.cli.ctl import main as usbbtctl
from usbbtd.l2capif.nodes import VL2CAP

PEER = "C0:FF:EE:00:00:01"
ADVERTISER = "F0:F1:F2:00:00:11"

Run = Callable[..., tuple[str, str]]


class Pair:
    """A guest, and its backend, which can be started again."""

    def __init__(self, new_domain: NewDomain) -> None:
        self.driver, self.guest = new_domain(), new_domain()
        self.guest.world.attach_vl2cap(self.guest.domid, self.driver.domid)
        self.backend: DomainProcess | None = None

    def start_backend(self, *how: bool) -> None:
        if self.backend is not None:
            self.backend.kill()
        self.backend = self.driver.start(serve, self.guest.domid, *how)

    def shared(self) -> int:
        return self.guest.world.statistics()[self.guest.domid]["shared"]


@pytest.fixture
def pair(new_domain: NewDomain) -> Pair:
    return Pair(new_domain)


@pytest.fixture
def guest(pair: Pair) -> Domain:
    pair.start_backend()
    return pair.guest


@pytest.fixture
def run(guest: Domain, vl2cap: Vl2cap) -> Run:
    return partial(vl2cap.run, guest, program="uses")


@pytest.mark.parametrize("how", ["echo", "loop", "turns"])
@pytest.mark.parametrize("size", [0, 1, 4, 1000, 4090, 4096])
def test_every_octet_comes_back(run: Run, pair: Pair, how: str, size: int) -> None:
    assert run(how, "0", PEER, "0x1001", "500", str(size)) == ("echoed\n", "")
    assert pair.shared() == 0


@pytest.mark.parametrize(("address_type", "psm"), [("1", "0x80"), ("2", "0xff")])
def test_every_octet_comes_back_on_le(run: Run, address_type: str, psm: str) -> None:
    assert run("echo", address_type, PEER, psm, "100", "300") == ("echoed\n", "")


@pytest.mark.parametrize("backend", [{"powered": False, "tells": True}, {"powered": True, "tells": True}])
def test_what_a_backend_tells_by_itself_is_waited_for(pair: Pair, vl2cap: Vl2cap, backend: dict[str, bool]) -> None:
    pair.start_backend(*backend.values())
    if not backend["powered"]:
        _, errors = vl2cap.run(pair.guest, "scan", "--wait", "0.2", status=3)
        assert errors == "vl2cap: the driver domain has no Bluetooth controller now\n"
        return
    assert vl2cap.run(pair.guest, "echo", "0", PEER, "0x1001", "10", "10", program="uses") == ("echoed\n", "")


def test_what_came_before_the_service_went_can_be_read(pair: Pair, vl2cap: Vl2cap) -> None:
    pair.start_backend()
    process = vl2cap.start(pair.guest, "unread", "0", PEER, "0x1001", program="uses")
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    pair.start_backend()
    output, errors = process.communicate(timeout=20)
    assert (output, errors) == ("unread\n1 SDU, then -4097\n", "")


def test_a_loop_learns_once_of_what_was_left(pair: Pair, vl2cap: Vl2cap) -> None:
    pair.start_backend(True, True)  # which does not have to be asked now and then, for which there is a timeout, too
    output, errors = vl2cap.run(pair.guest, "unseen", "0", PEER, "0x1001", program="uses")
    assert errors == ""
    assert output.splitlines() == [
        "after a call that waited: 0",
        "left on purpose: -1",
        "one taken: 0",
        "no more: -4096",
        "all taken: -1",
    ]


@pytest.mark.parametrize("vl2cap", ["linux"], indirect=True)
def test_a_service_that_went_while_the_program_was_in_no_call_is_not_ready(pair: Pair, vl2cap: Vl2cap) -> None:
    """In Wine a thread of the stand-in brings the news, at any time."""
    pair.start_backend()
    process = vl2cap.start(pair.guest, "stale", program="uses")
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    state = f"{pair.driver.home}/{VL2CAP.backend_path(pair.guest.domid, 0)}/state"
    assert pair.backend
    pair.backend.kill()
    pair.guest.world.change_store(write=[(state, "6", [f"n{pair.driver.domid}", f"r{pair.guest.domid}"])])
    assert process.communicate("\n", timeout=20) == ("then -4096\n", "")


def test_the_library_has_no_thread(pair: Pair, sanitized: Path) -> None:
    """Nor has what it uses on Linux: libxenstore would."""
    pair.start_backend()
    with contextlib.closing(Vl2cap(sanitized)) as programs:
        process = programs.start(pair.guest, "unread", "0", PEER, "0x1001", program="uses")
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        assert len([*Path(f"/proc/{process.pid}/task").iterdir()]) == 1


@pytest.mark.parametrize("length", [0, 31, 32, 1650])
def test_advertising_of_every_length(run: Run, pair: Pair, length: int) -> None:
    assert run("advertise", str(length)) == ("advertised\n", "")
    assert pair.shared() == 0


def test_pairing_asks_the_agent(run: Run, pair: Pair) -> None:
    output, errors = run("agent", "0", PEER, "3")
    assert errors == ""
    assert output.splitlines()[-1] == "paired: level 3, a key of 16 octets, bonded"
    assert "prompt 1000 of kind 2, 042193" in output  # CONFIRM, of the pairing
    assert "prompt 1 of kind 1, 000000" in output  # CONSENT, of a peer that comes
    assert pair.shared() == 0


def test_limits_and_what_is_not_legal(run: Run) -> None:
    output, errors = run("limits")
    assert errors == ""
    assert output.splitlines() == [
        "one more: -24",
        "after a release: 0",
        "an SDU that is too long: -90",
        "a buffer that is too small: -90",
        "the same SDU: 48",
        "no more: -4096",
        "what is no echo: -95",
        "what is no scan: -95",
        "what is no listener: -95",
        "what is reserved: -22",
        "shut down: 0",
        "and then sent: -107",
        "and received: -107",
        "which says: the channel has ended: it was shut down here",
    ]


def test_a_backend_that_knows_only_what_was_there_first(pair: Pair, vl2cap: Vl2cap) -> None:
    pair.start_backend(True, False, False)
    run = partial(vl2cap.run, pair.guest)
    assert run("echo", "2", PEER, "0x80", "20", "20", program="uses") == ("echoed\n", "")
    assert run("scan", "--seconds", "0.3")[1] == "vl2cap: 3 devices, 4 reports\n"
    for arguments, what in (
        (("connect", PEER, "1", "--security", "sc"), "levels of security"),
        (("connect", PEER, "4", "--fixed", "--le", "random"), "fixed channels"),
        (("ping", PEER), "echoes"),
    ):
        _, errors = run(*arguments, status=1)
        assert errors == f"vl2cap: usbbtd in the driver domain is too old for {what}\n"
    _, errors = run("advertise", "32", status=1, program="uses")
    assert errors.endswith("too old for so much advertising data\n")


# The very service


@pytest.fixture(scope="module")
def stack(world: World, domids: Iterator[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(world, tmp_path_factory.mktemp("stack"), domids) as running:
        yield running


def test_att(stack: Stack, new_domain: NewDomain, vl2cap: Vl2cap) -> None:
    guest = stack.new_guest(new_domain)
    output, errors = vl2cap.run(guest, "att", plan.ECHO.le_address, program="uses")
    assert (output, errors) == ("CID 4, the peer's MTU 517\n", "")


@pytest.mark.parametrize(("address_type", "address"), [("0", plan.ECHO.address), ("2", plan.ECHO.le_address)])
def test_pairing(stack: Stack, new_domain: NewDomain, vl2cap: Vl2cap, address_type: str, address: str) -> None:
    guest = stack.new_guest(new_domain)
    output, errors = vl2cap.run(guest, "agent", address_type, address, "2", program="uses")
    assert errors == ""
    assert output == "paired: level 2, a key of 16 octets, bonded\n"
    assert usbbtctl(["--socket", str(stack.socket), "forget", address]) == 0  # the bond is this guest's alone
