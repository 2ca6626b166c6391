"""The very service, in its driver domain of the simulated Xen, and what happens to it in a host's life.

Guests run functions of this file, with the guest library, and tell what they have done by ``data/done`` in their home.
"""

import asyncio
import contextlib
import hmac
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.demo import plan
from tests.sim.world import World
from tests.support import stack as stack_module
from tests.support.domain import Domain, NewDomain
from tests.support.stack import Process, Stack
from tests.support.unread import unread
from usbbtd.guest import Adapter, AdapterGone, AddressType, ChannelClosed, L2capRefused, NoController, open_adapter
from usbbtd.service.run import failure_of_loop
from usbbtd.xen.store import Store

C_FRONTEND = ROOT / "tests/l2capif/c_frontend/c_frontend.c"
SIZES = (1, 2, 48, 251, 1000, 1021, 2048)
TYPES: dict[plan.Transport, AddressType] = {"bredr": "bredr", "le": "random"}


@pytest.fixture(scope="module")
def stack(world: World, domids: Iterator[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_module.Stack(world, tmp_path_factory.mktemp("stack"), domids) as running:
        yield running


def connect(adapter: Adapter, transport: plan.Transport) -> Any:
    return adapter.connect(
        plan.ECHO.address_on(transport), plan.ECHO_PSM[transport], address_type=TYPES[transport], mtu=2048
    )


async def check_echoes(adapter: Adapter, transport: plan.Transport) -> None:
    async with await connect(adapter, transport) as channel:
        sent = [bytes([number]) * size for number, size in enumerate(SIZES * 3)]
        sending = asyncio.create_task(channel.send_many(sent))
        assert [await channel.recv() for _ in sent] == sent
        await sending


async def done(what: str) -> None:
    store = await Store.open()
    await store.write("data/done", what)
    await store.close()


def done_path(guest: Domain) -> str:
    return f"{guest.home}/data/done"


# What guests do


async def round_trips() -> bool:
    async with open_adapter() as adapter:
        for transport in plan.TRANSPORTS:
            await check_echoes(adapter, transport)
        assert await adapter.echo(plan.ECHO.address_on("bredr"), b"there?") == b"there?"
        return adapter.info.powered


async def traffic_for_ever() -> None:
    async with open_adapter() as adapter, await connect(adapter, "bredr") as channel:
        for number in itertools.count():
            await channel.send(bytes(2048))
            if number >= 8:
                assert await channel.recv() == bytes(2048)
            if number == 20:
                await done("flowing")


async def outlive_a_restart() -> list[object]:
    """Returns what the channel said when the service went, and goes on when it is back."""
    async with open_adapter() as adapter:
        channel = await connect(adapter, "le")
        await done("open")
        try:
            await channel.recv()
        except ChannelClosed as error:
            reason = [type(error).__name__, isinstance(error, AdapterGone)]
        await adapter.wait_ready(10)
        await check_echoes(adapter, "le")
        return reason


async def outlive_a_replug() -> str:
    async with open_adapter() as adapter:
        channel = await connect(adapter, "bredr")
        listener = await adapter.listen(0x1077)
        await done("open")
        try:
            await channel.recv()
        except ChannelClosed as error:
            reason = error.reason
        try:
            await connect(adapter, "bredr")
        except NoController:
            reason += ", no controller"
        await done("lost")
        await adapter.wait_ready(10)
        await listener.close()
        return reason


async def be_refused(times: int) -> None:
    """By a peer that is there, at a PSM that nobody has."""
    async with open_adapter() as adapter:
        for _ in range(times):
            with contextlib.suppress(L2capRefused):
                await adapter.connect(plan.ECHO.address, 0x1099)


# Tests


def test_a_guest_comes_and_goes_and_leaves_nothing(stack: Stack, new_domain: NewDomain) -> None:
    before = stack.held()
    guest = stack.new_guest(new_domain)
    assert guest.run(round_trips) is True
    stack.detach(guest)
    stack.wait_held(before)
    stack.daemon.wait_logged("guest detached", f"domid={guest.domid}")
    assert stack.world.read(stack.backend(guest)) is None


def test_a_device_that_the_script_of_a_page_has_made_works(stack: Stack, new_domain: NewDomain) -> None:
    guest = new_domain()
    page = (ROOT / "docs/xcp-ng.md").read_text()
    script = page.partition("```sh\n")[2].partition("```\n")[0]
    command = ["sh", "-c", script, "attach-vl2cap", str(guest.domid), str(stack.driver), f"guest-{guest.domid}"]
    environment = os.environ | stack.world.environment(plan.DOM0)
    left = f"{guest.home}/device/vl2cap/0/state", "6", None  # of a driver domain that is no more
    stack.world.change_store(write=[left])
    for status in (0, 6):  # the second finds that it is there
        assert subprocess.run(command, env=environment, timeout=20, check=False).returncode == status
    assert guest.run(round_trips) is True
    stack.detach(guest)


@pytest.fixture(scope="module")
def c_frontend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("c_frontend") / "c_frontend"
    libraries = ["-lxenstore", "-lxenevtchn", "-lxengnttab"]
    include = ROOT / "usbbtd/abi/include"
    subprocess.run(["cc", "-std=c11", "-O2", f"-I{include}", "-o", program, C_FRONTEND, *libraries], check=True)
    return program


@pytest.mark.parametrize(("transport", "address_type"), [("bredr", 0), ("le", 2)])
def test_a_frontend_in_c_gets_all_its_echoes(
    stack: Stack, new_domain: NewDomain, c_frontend: Path, transport: plan.Transport, address_type: int
) -> None:
    guest = stack.new_guest(new_domain)
    peer = plan.ECHO.address_on(transport), address_type, plan.ECHO_PSM[transport]
    command: list[str | Path] = [c_frontend, "0", *map(str, peer), "200", "700"]
    environment = os.environ | stack.world.environment(guest.domid)
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    stack.detach(guest)


def test_a_guest_that_hides_its_state_or_removes_it_is_not_taken_for_dead(stack: Stack, new_domain: NewDomain) -> None:
    guest, since = stack.new_guest(new_domain), len(stack.daemon.log)
    own, backend = f"{guest.home}/device/vl2cap/0/state", f"{stack.backend(guest)}/state"
    stack.world.wait_value(backend, "2")
    hidden, shown = ([f"n{guest.domid}", f"{access}{stack.driver}"] for access in "nr")
    for change in ({"write": [(own, "1", hidden)]}, {"remove": [own]}):
        stack.world.change_store(**change)
        stack.world.wait_value(backend, "6")
        other = stack.new_guest(new_domain)  # everything is looked at again
        stack.world.wait_value(f"{stack.backend(other)}/state", "2")
        stack.detach(other)
        assert stack.world.read(f"{stack.backend(guest)}/online") == "1"
        stack.world.change_store(write=[(own, "1", shown)])
        stack.world.wait_value(backend, "2")
    assert not [line for line in stack.daemon.log[since:] if f"domid={guest.domid}" in line and "dead" in line]
    assert guest.run(round_trips) is True
    stack.detach(guest)


def test_a_guest_that_is_killed_leaves_nothing_and_nobody_else_notices(stack: Stack, new_domain: NewDomain) -> None:
    before = stack.held()
    victim, other = stack.new_guest(new_domain), stack.new_guest(new_domain)
    victim.start(traffic_for_ever)
    stack.world.wait_value(done_path(victim), "flowing")
    running = other.start(round_trips)
    victim.destroy()
    assert running.result() is True
    stack.daemon.wait_logged("guest disconnected", f"domid={victim.domid}")
    stack.world.wait_value(stack.backend(victim), None)
    stack.detach(other)
    stack.wait_held(before)


def test_a_dongle_that_goes_away_and_comes_back_is_taken_up_again(stack: Stack, new_domain: NewDomain) -> None:
    guest = stack.new_guest(new_domain)
    running = guest.start(outlive_a_replug)
    stack.world.wait_value(done_path(guest), "open")
    since = len(stack.daemon.log)
    stack.kill_air()
    stack.world.change_store(write=[(f"{stack.qusb}/state", "6", None)])  # as a kernel does for its dead driver
    stack.daemon.wait_logged("adapter down", since=since)
    stack.world.wait_value(done_path(guest), "lost")
    stack.start_air()
    stack.daemon.wait_logged("adapter up", since=since)
    assert running.result() == "the Bluetooth controller is gone, no controller"
    assert guest.run(round_trips) is True
    stack.detach(guest)


def test_a_service_that_crashes_is_started_again_with_the_same_address_and_guests_go_on(
    stack: Stack, new_domain: NewDomain
) -> None:
    guests = [stack.new_guest(new_domain) for _ in range(2)]
    running = [guest.start(outlive_a_restart) for guest in guests]
    for guest in guests:
        stack.world.wait_value(done_path(guest), "open")
    stack.daemon.kill()
    stack.start_daemon()
    stack.daemon.wait_logged("adapter up")
    assert [each.result() for each in running] == [["ChannelLost", True]] * 2
    addresses = [line for line in stack.peer.log if line.startswith("LE ")]
    assert len(addresses) >= 2
    assert len(set(addresses)) == 1
    for guest in guests:
        stack.detach(guest)


def test_a_guest_cannot_flood_the_log_nor_does_it_show_peers_where_it_must_not(
    stack: Stack, new_domain: NewDomain
) -> None:
    assert stack.daemon.terminate() == 0
    stack.start_daemon(addresses="hashed")
    stack.daemon.wait_logged("adapter up")
    guest = stack.new_guest(new_domain)
    assert guest.run(round_trips) is True
    guest.run(be_refused, 60)
    stack.detach(guest)
    assert stack.daemon.terminate() == 0
    log = stack.daemon.log
    told = [
        int(match[1])
        for line in log
        if (match := re.search(r"count=(\d+)", line)) and "suppressed='channel not opened'" in line
    ]
    assert told
    assert sum("] channel not opened " in line for line in log) + sum(told) == 60
    hidden = re.sub(r"[:\-_ ]|\\x", "", "\n".join(log)).lower()
    for address in (plan.ECHO.address, plan.ECHO.le_address):
        octets = address.lower().split(":")
        assert "".join(octets) not in hidden
        assert "".join(reversed(octets)) not in hidden
    key = bytes.fromhex(json.loads((stack.state / "log-key").read_text().splitlines()[1]))
    digits = {hmac.digest(key, address.encode(), "sha256").hex()[:12] for address in plan.ECHO[1:]}
    for phrase in ("link up", "link down", "channel open"):
        assert set(re.findall(r" addr=(\w+)", "\n".join(line for line in log if f"] {phrase} " in line))) == digits
    stack.start_daemon()
    stack.daemon.wait_logged("adapter up")


@pytest.fixture
def notifications() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        yield receiver


def test_it_says_when_it_is_ready_and_ends_in_order(
    stack: Stack, new_domain: NewDomain, tmp_path: Path, notifications: socket.socket
) -> None:
    assert stack.daemon.terminate() == 0
    notifications.settimeout(2 * stack_module.TIME_LIMIT_S)
    notifications.bind(str(tmp_path / "notify"))
    stack.start_daemon(NOTIFY_SOCKET=str(tmp_path / "notify"))
    assert notifications.recv(4096) == b"READY=1\nSTATUS=0 guests, 0 channels, hci up"
    guest = stack.new_guest(new_domain)
    victim = guest.start(traffic_for_ever)
    stack.world.wait_value(done_path(guest), "flowing")
    while notifications.recv(4096) != b"STATUS=1 guests, 1 channels, hci up":
        pass
    assert stack.daemon.terminate() == 0
    while not (last := notifications.recv(4096)).startswith(b"STOPPING=1\n"):
        pass
    assert re.fullmatch(rb"EXTEND_TIMEOUT_USEC=[0-9]{8}", last.splitlines()[1])
    assert not [line for line in stack.daemon.log if "[error" in line]
    assert stack.daemon.log[-1].split("]")[1].strip() == "usbbtd stopped"
    assert stack.world.read(f"{stack.backend(guest)}/state") == "6"
    assert stack.world.read(f"/local/domain/{stack.driver}/device/vusb/0/state") == "6"
    assert stack.held() == {"shared": 0, "mapped": 0, "ports": 0}
    victim.kill()
    stack.start_daemon()
    stack.daemon.wait_logged("adapter up")
    stack.detach(guest)


@pytest.fixture
def start_managed(world: World, tmp_path: Path, notifications: socket.socket) -> Iterator[Callable[..., Any]]:
    """Starts usbbtd in a domain, without a dongle, for a service manager that listens to ``notifications``."""
    notifications.settimeout(stack_module.TIME_LIMIT_S)
    notifications.bind(str(tmp_path / "notify"))
    with contextlib.ExitStack() as running:

        def start(domain: Domain, **environment: Any) -> Process:
            command = ("-m", "usbbtd", "run", "--config", "/dev/null")
            environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
            daemon = stack_module.Process(world, domain.domid, *command, **environment)
            running.callback(daemon.kill)
            return daemon

        yield start


def test_a_dongle_that_does_not_come_delays_readiness_only(
    world: World, new_domain: NewDomain, start_managed: Callable[..., Any], notifications: socket.socket
) -> None:
    driver = new_domain()
    world.attach_vusb(driver.domid, plan.DOM0)
    daemon = start_managed(driver)
    assert notifications.recv(4096) == b"READY=1\nSTATUS=0 guests, 0 channels, hci down"
    assert daemon.terminate() == 0


def test_the_watchdog_is_fed_while_the_service_and_xenstored_go_on(
    world: World, new_domain: NewDomain, start_managed: Callable[..., Any], notifications: socket.socket
) -> None:
    daemon = start_managed(new_domain(), WATCHDOG_USEC="100000")

    def wait_fed() -> None:
        notifications.settimeout(stack_module.TIME_LIMIT_S)
        while notifications.recv(4096) != b"WATCHDOG=1":
            pass

    def fed_for_ever() -> bool:
        notifications.settimeout(0.5)  # five periods
        with contextlib.suppress(TimeoutError):
            for _ in range(100):  # some had been sent before
                notifications.recv(4096)
            return True
        return False

    wait_fed()
    for pid in (daemon.pid, world.pid):
        os.kill(pid, signal.SIGSTOP)
        try:
            assert not fed_for_ever()
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_fed()
    assert daemon.terminate() == 0


@pytest.mark.parametrize("usb", ["usbif", "libusb"])
def test_a_signal_before_there_is_anything_to_do(world: World, new_domain: NewDomain, tmp_path: Path, usb: str) -> None:
    domain = new_domain()
    config = tmp_path / "usbbtd.toml"
    config.write_text(f'adapter.usb = "{usb}"')
    daemon = stack_module.Process(world, domain.domid, "-m", "usbbtd", "run", "--config", config)
    daemon.wait_logged("usbbtd starts")
    assert daemon.terminate(signal.SIGINT) == 0


@contextlib.contextmanager
def ended(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.kill()


def test_a_signal_ends_what_has_lost_xenstored_for_good() -> None:
    with tempfile.TemporaryDirectory() as directory, World.start(Path(directory)) as world:
        for domid, name in ((1, "sys-bt"), (2, "guest")):
            world.create_domain(domid, name)
        world.attach_vl2cap(2, 1)
        module = ("-m", "usbbtd.cli.guest", "listen", "0x1001", "--wait", "600")
        with (
            ended(stack_module.Process(world, 1, "-m", "usbbtd", "run", "--config", "/dev/null")) as service,
            ended(stack_module.Process(world, 2, *module)) as guest,
        ):
            world.wait_value("/local/domain/2/device/vl2cap/0/state", "4", timeout_s=30)
            os.kill(world.pid, signal.SIGKILL)
            assert guest.terminate() == 128 + signal.SIGTERM
            assert service.terminate() == 0


def test_a_log_that_nobody_reads_keeps_the_service_from_nothing(world: World, new_domain: NewDomain) -> None:
    driver, guest = new_domain(), new_domain()
    command = [sys.executable, "-m", "usbbtd", "run", "--config", "/dev/null"]
    environment = os.environ | world.environment(driver.domid)
    with unread("pipe") as (_, writing), subprocess.Popen(command, env=environment, stderr=writing) as daemon:
        try:
            world.attach_vl2cap(guest.domid, driver.domid)
            world.wait_value(f"{driver.home}/backend/vl2cap/{guest.domid}/0/state", "2")
            daemon.terminate()
            assert daemon.wait(stack_module.TIME_LIMIT_S) == 0
        finally:
            daemon.kill()


@pytest.mark.parametrize("missing", ["xenstore", "evtchn"])
def test_no_xen_is_told_in_a_line(world: World, tmp_path: Path, missing: str) -> None:
    environment = os.environ | {"XENSTORED_PATH": str(tmp_path / "none")}
    if missing == "evtchn":
        environment = os.environ | world.environment(0) | {"XENSIM_DIR": str(tmp_path / "none")}
    command = [sys.executable, "-m", "usbbtd", "run", "--config", "/dev/null"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 3
    (line,) = result.stderr.splitlines()
    assert line.startswith("usbbtd: ")
    assert ("/none" if missing == "xenstore" else "/dev/xen/evtchn") in line


def test_two_services_of_one_domain_do_not_take_its_devices_from_each_other(
    world: World, new_domain: NewDomain, tmp_path: Path
) -> None:
    domain, config = new_domain(), tmp_path / "usbbtd.toml"
    config.write_text('control.socket = ""')
    command = ("-m", "usbbtd", "run", "--config")
    first = stack_module.Process(world, domain.domid, *command, "/dev/null")
    first.wait_logged("usbbtd starts")
    environment = os.environ | world.environment(domain.domid)
    second = subprocess.run(
        [sys.executable, *command, config], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert second.returncode == 1
    assert second.stderr.startswith("usbbtd: another usbbtd runs in this domain")
    assert len(second.stderr.splitlines()) == 1
    first.kill()
    third = stack_module.Process(world, domain.domid, *command, config)
    third.wait_logged("usbbtd starts")
    assert third.terminate() == 0


def test_libusb_is_loaded_only_where_it_is_asked_for() -> None:
    code = "import sys, usbbtd.cli.daemon; sys.exit('usb1' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], timeout=20, check=True)


def test_a_missing_libusb_is_told_in_a_line(world: World, new_domain: NewDomain, tmp_path: Path) -> None:
    (tmp_path / "libusb-1.0.so.0").write_text("no library")
    (tmp_path / "libusb-1.0.so").write_text("no library")
    (tmp_path / "usbbtd.toml").write_text('adapter.usb = "libusb"')
    environment = world.environment(new_domain().domid)
    libraries = os.pathsep.join([str(tmp_path), *filter(None, [environment.get("LD_LIBRARY_PATH")])])
    command = [sys.executable, "-m", "usbbtd", "run", "--config", str(tmp_path / "usbbtd.toml")]
    result = subprocess.run(
        command, env=os.environ | environment | {"LD_LIBRARY_PATH": libraries}, capture_output=True, text=True,
        timeout=20, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("usbbtd: libusb cannot be used")


def raise_bug() -> None:
    raise LookupError("a bug")


async def raise_bug_later() -> None:
    raise_bug()


@pytest.mark.parametrize("where", ["callback", "timer", "reader", "forgotten task"])
async def test_what_nobody_hears_of_ends_the_service(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """The exception ends ``Service.run``, and systemd starts the service anew."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near, far, failure_of_loop() as failure:
        if where == "callback":
            loop.call_soon(raise_bug)
        elif where == "timer":
            loop.call_later(0, raise_bug)
        elif where == "reader":
            loop.add_reader(near, raise_bug)
            far.send(b"x")
        else:
            task = loop.create_task(raise_bug_later())
            await asyncio.wait([task])
            del task
        with pytest.raises(LookupError, match="a bug"):
            async with asyncio.timeout(10):
                await failure
        loop.remove_reader(near)


async def test_what_a_transport_complains_of_is_its_clients_alone(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    with failure_of_loop() as failure:
        loop.call_exception_handler({"message": "Fatal error", "exception": OSError("gone"), "transport": None})
        await asyncio.sleep(0)
        assert not failure.done()
