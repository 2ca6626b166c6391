"""A guest with nothing but a serial port: the C client, usbbt-serial, and the very service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.clients import scenario
from tests.clients.client import Client, ClientError, ClientProgram
from tests.clients.serial_programs import FOR_TESTS, compile_lines
from tests.clients.with_the_service import WithTheService
from tests.demo import plan
from tests.serial.c_client import SOURCES
from tests.serial.null_modem import NullModem
from tests.serial.pair import damage
from tests.sim.world import World
from tests.support import stack as stack_module
from tests.support.domain import Domain, NewDomain
from tests.support.installed import require
from tests.support.remote_peer import SILENT
from tests.support.stack import Process, Stack
from usbbtd.serial import wire
from usbbtd.serial.framing import encode

GUEST = "minix"
POLICY = scenario.POLICY.replace('guest = "any"', f'guest = "{GUEST}"')
TIME_LIMIT_S = 30
GCC_32 = Path("/usr/lib/gcc/x86_64-linux-gnu/12/32")


@pytest.fixture(scope="module")
def stack(world: World, domids: Iterator[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its policy allows nothing to anybody but the guest behind the line."""
    with stack_module.Stack(world, tmp_path_factory.mktemp("stack"), domids, POLICY) as running:
        yield running


class Gateway:
    """The domain that runs usbbt-serial, with a device that stands for the guest."""

    def __init__(self, stack: Stack, domain: Domain, line: str) -> None:
        self.stack = stack
        self.domain = domain
        self.line = line
        self.start()

    def start(self) -> None:
        self.bridge = Process(
            self.stack.world, self.domain.domid, "-m", "usbbtd.cli.serial", GUEST, "--line", self.line
        )  # fmt: skip

    def wait_serving(self) -> None:
        self.bridge.wait_logged("serving", self.line)


class Guest:
    """Runs programs in the guest, which has nothing of Xen but its port."""

    def __init__(self, build: Path, gateway: Gateway, port: str) -> None:
        self.build, self.gateway, self.port = build, gateway, port
        self._clients: list[Client] = []

    def lines(self) -> Client:
        self._clients.append(Client(self.gateway.domain, ClientProgram([self.build / "lines", self.port])))
        return self._clients[-1]

    def run(self, *arguments: object, text: str = "", status: int = 0) -> tuple[str, str]:
        """Returns standard output and error of the command."""
        done = subprocess.run(
            [self.build / "vl2cap-serial", "-l", self.port, *map(str, arguments)],
            input=text, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout, done.stderr

    def close(self) -> None:
        for client in self._clients:
            client.__exit__()


def new_gateway(stack: Stack, new_domain: NewDomain, line: str) -> Gateway:
    domain = stack.new_guest(new_domain, **{"domain": GUEST, "stands-for": GUEST})
    return Gateway(stack, domain, line)


@pytest.fixture
def modem() -> Iterator[NullModem]:
    with NullModem() as running:
        yield running


@pytest.fixture
def gateway(stack: Stack, new_domain: NewDomain, modem: NullModem) -> Iterator[Gateway]:
    made = new_gateway(stack, new_domain, modem.ports[0])
    yield made
    made.bridge.kill()


@pytest.fixture
def guest(serial_build: Path, gateway: Gateway, modem: NullModem) -> Iterator[Guest]:
    made = Guest(serial_build, gateway, modem.ports[1])
    yield made
    made.close()


@pytest.fixture
def client(guest: Guest) -> Client:
    return guest.lines()


class TestTheService(WithTheService):
    """What every client has to be able to do."""


def test_policy_and_the_log_name_the_guest(client: Client, stack: Stack) -> None:
    since = len(stack.daemon.log)
    client.ask("ready")
    scenario.connect(client, "bredr")
    stack.daemon.wait_logged("access granted", f"guest={GUEST}", since=since)


def test_a_release_loses_nothing(client: Client, stack: Stack) -> None:
    since = len(stack.daemon.log)
    client.ask("ready")
    channel = scenario.connect(client, "le", SILENT["le"])
    for _ in range(5):
        client.ask("send", channel, "00" * 2000)
    client.ask("close", channel)
    stack.daemon.wait_logged("channel closed", "sdus_from_guest=5", "bytes_from_guest=10000", since=since)


def test_dom0_finds_the_line_and_the_device(
    stack: Stack, domids: Iterator[int], modem: NullModem, serial_build: Path
) -> None:
    """Of a guest that is not there yet, and then has its serial port where xl has told."""
    stack.world.attach_vl2cap(plan.DOM0, stack.driver, 5, **{"domain": GUEST, "stands-for": GUEST})
    domid = next(domids)
    bridge = Process(stack.world, plan.DOM0, "-m", "usbbtd.cli.serial", GUEST)
    bridge.wait_logged("the guest has no serial port now: waiting for it")
    stack.world.create_domain(domid, GUEST)
    stack.world.change_store(write=[(f"/local/domain/{domid}/serial/0/tty", modem.ports[0], None)])
    bridge.wait_logged("serving", modem.ports[0])
    command: list[str | Path] = [serial_build / "vl2cap-serial", "-l", modem.ports[1], "info"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=True)
    assert f"address    {plan.DONGLE_ADDRESS}" in done.stdout
    assert bridge.terminate() == 0
    stack.world.detach_vl2cap(plan.DOM0, stack.driver, 5)
    stack.world.destroy_domain(domid)


def test_a_line_that_damages_octets(client: Client, modem: NullModem, gateway: Gateway) -> None:
    client.ask("ready")
    channels = [scenario.connect(client, transport) for transport in plan.TRANSPORTS]
    modem.damage = damage(Random(3), 0.0003)
    for channel in channels:
        assert client.ask("echo", channel, 1000, 1060) == ["61"]
    modem.damage = bytes
    for channel in channels:
        client.ask("close", channel)
    client.quit()
    assert "session" in gateway.bridge.wait_logged("the client has ended it")


def test_at_115200_baud(stack: Stack, new_domain: NewDomain, serial_build: Path) -> None:
    with NullModem(baud=115200) as modem:
        gateway = new_gateway(stack, new_domain, modem.ports[0])
        guest = Guest(serial_build, gateway, modem.ports[1])
        client = guest.lines()
        client.ask("ready")
        channel = scenario.connect(client, "le")
        for size in (1, 240, 1000, 2048):
            assert client.ask("echo", channel, size, size) == ["1"]
        client.quit()
        guest.close()
        gateway.bridge.kill()


def test_the_bridge_is_started_anew(client: Client, gateway: Gateway) -> None:
    client.ask("ready")
    channel = scenario.connect(client, "le")
    gateway.bridge.kill()
    gateway.start()
    with pytest.raises(ClientError) as gone:
        client.ask("recv", channel)
    assert gone.value.kind == "bridge-gone"
    client.ask("close", channel)
    client.ask("ready")
    assert client.ask("echo", scenario.connect(client, "le"), 1, 50) == ["50"]


def test_the_client_is_started_anew(guest: Guest, gateway: Gateway) -> None:
    """What the one before had is gone, and nothing of it comes to the next one."""
    client = guest.lines()
    client.ask("ready")
    channel = scenario.connect(client, "bredr")
    client.ask("send", channel, "00" * 2000)
    client.kill()
    again = guest.lines()
    again.ask("ready")
    gateway.bridge.wait_logged("the client has begun another one")
    assert again.ask("info")[5] == "0"
    assert again.ask("echo", scenario.connect(again, "bredr"), 1, 50) == ["50"]


def test_the_bridge_ends_in_order(client: Client, gateway: Gateway, stack: Stack) -> None:
    client.ask("ready")
    scenario.connect(client, "le")
    assert gateway.bridge.terminate() == 0
    counts = stack.world.statistics()[gateway.domain.domid]
    assert (counts["shared"], counts["ports"]) == (0, 0)
    assert stack.world.read(f"{gateway.domain.home}/device/vl2cap/0/state") == "6"


def test_a_line_that_says_anything(guest: Guest, gateway: Gateway, modem: NullModem) -> None:
    gateway.wait_serving()
    descriptor = os.open(modem.ports[1], os.O_WRONLY | os.O_NOCTTY)
    random = Random(5)
    os.write(descriptor, b"Linux version 6.1\r\nlogin: ")
    for _ in range(50):
        os.write(descriptor, random.randbytes(1000))
    os.close(descriptor)
    client = guest.lines()
    client.ask("ready")
    assert client.ask("echo", scenario.connect(client, "le"), 1, 50) == ["50"]


def test_a_client_that_opens_sessions_without_end(gateway: Gateway, modem: NullModem) -> None:
    """It does not fill the log of who serves it."""
    gateway.wait_serving()
    descriptor = os.open(modem.ports[1], os.O_WRONLY | os.O_NOCTTY)
    for cookie in range(300):
        opening = wire.SerialFrame(wire.FrameKind.OPEN, 0, payload=wire.pack_open(cookie, 1))
        os.write(descriptor, encode(wire.pack_frame(opening, 0)))
    os.close(descriptor)
    gateway.bridge.wait_logged("the client has begun another one")
    assert gateway.bridge.terminate() == 0
    assert len(gateway.bridge.log) <= 31


def test_a_socket_whose_other_end_comes_and_goes(
    stack: Stack, new_domain: NewDomain, serial_build: Path, tmp_path: Path, modem: NullModem
) -> None:
    """As a guest that is started twice, whose emulator listens."""
    path = tmp_path / "line"
    gateway = new_gateway(stack, new_domain, str(path))
    gateway.bridge.wait_logged("No such file or directory: trying again")
    for _ in range(2):
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            server.settimeout(TIME_LIMIT_S)
            with server.accept()[0] as connection:
                connection.settimeout(TIME_LIMIT_S)
                assert connection.recv(100).startswith(b"\x7e\x83\x00\x00")
    assert gateway.bridge.terminate() == 0


def test_a_device_that_stands_for_nobody_is_not_taken(stack: Stack, new_domain: NewDomain, modem: NullModem) -> None:
    """Nor one that stands for another guest: what is this domain's own is not for the guest behind the line."""
    for config in ({}, {"domain": "dos", "stands-for": "dos"}):
        domain = stack.new_guest(new_domain, **config)
        bridge = Process(stack.world, domain.domid, "-m", "usbbtd.cli.serial", GUEST, "--line", modem.ports[0])
        bridge.wait_logged(f"no device of this domain stands for {GUEST}")
        assert bridge._end() == 3


def test_the_command(guest: Guest) -> None:
    output, _ = guest.run("info")
    assert f"address    {plan.DONGLE_ADDRESS}" in output
    assert "controller up" in output
    output, _ = guest.run("-r", "-t", 4, "scan")
    assert plan.ECHO.le_address in output
    output, _ = guest.run("-n", 3, "ping", plan.ECHO.address)
    assert output.endswith("3 of 3 came back\n")
    output, _ = guest.run("-n", 3, "-z", 1000, "-r", "ping", plan.ECHO.le_address, plan.ECHO_PSM["le"])
    assert output.endswith("3 of 3 came back\n")
    output, _ = guest.run("connect", plan.ECHO.address, hex(plan.ECHO_PSM["bredr"]), text="one\ntwo\n")
    assert output == "one\ntwo\n"
    _, errors = guest.run("connect", plan.ECHO.address, hex(scenario.DENIED_PSM["bredr"]), status=1)
    assert errors == "vl2cap-serial: connect: the driver domain does not allow it\n"


@pytest.fixture(params=["32 bits", "big-endian"])
def small_program(request: pytest.FixtureRequest, tmp_path: Path) -> ClientProgram:
    """The program that obeys lines, for another processor."""
    path = tmp_path / "lines"
    if request.param == "32 bits":
        require("32 bits", Path("/usr/lib32/crt1.o"), GCC_32 / "crtbegin.o", GCC_32 / "libasan.so")
        # The headers that the compiler of one's own machine and another's cannot both have where they are.
        compile_lines([*FOR_TESTS, "-m32", "-idirafter", "/usr/include/x86_64-linux-gnu"], path)
        return ClientProgram([path])
    require("a big-endian processor", "powerpc-linux-gnu-gcc", "qemu-ppc", Path("/usr/powerpc-linux-gnu/lib/libc.a"))
    compile_lines(["powerpc-linux-gnu-gcc", "-static"], path)
    return ClientProgram(["qemu-ppc", path])


def test_other_processors(gateway: Gateway, modem: NullModem, small_program: ClientProgram) -> None:
    program = small_program._replace(command=[*small_program.command, modem.ports[1]])
    with Client(gateway.domain, program) as client:
        scenario.tells_what_the_adapter_is(client)
        channel = scenario.connect(client, "le")
        assert client.ask("echo", channel, 1, 300) == ["300"]
        assert client.ask("echo", channel, 2048, 2048) == ["1"]
        client.quit()


def test_dos(gateway: Gateway, modem: NullModem, tmp_path: Path) -> None:
    """In DOSBox, whose serial port is the line."""
    require("DOS", "bcc", "dosbox", Path("/usr/lib/bcc/include/stdio.h"))
    subprocess.run(["make", "-s", "-C", SOURCES, f"OUT={tmp_path}", "dos"], check=True)
    gateway.wait_serving()
    commands = [
        "vl2cap.com info", f"vl2cap.com -n 2 ping {plan.ECHO.address}",
        f"vl2cap.com -n 2 -z 500 -r ping {plan.ECHO.le_address} {plan.ECHO_PSM['le']}",
    ]  # fmt: skip
    lines = [f"{command} > {number}.txt" for number, command in enumerate(commands)]
    configuration = tmp_path / "dosbox.conf"
    port = modem.ports[1].removeprefix("/dev/")
    batch = "\n".join([f"mount c {tmp_path}", "c:", *lines, "exit"])
    configuration.write_text(f"[serial]\nserial1=directserial realport:{port}\n[autoexec]\n{batch}\n")
    environment = os.environ | {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "HOME": str(tmp_path)}
    command: list[str | Path] = ["dosbox", "-conf", configuration, "-noconsole"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    said = [(tmp_path / f"{number}.TXT").read_text() for number in range(len(commands))]
    assert plan.DONGLE_ADDRESS in said[0], done.stderr
    assert "2 of 2 came back" in said[1]
    assert "2 of 2 came back" in said[2]


def test_the_command_listens(guest: Guest, stack: Stack) -> None:
    command: list[str | Path] = [guest.build / "vl2cap-serial", "-l", guest.port, "-e", "listen", "0x1077"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listening:
        assert listening.stderr
        assert listening.stdout
        assert listening.stderr.readline() == "vl2cap-serial: listening\n"
        assert stack.peer.ask(psm=scenario.LISTENING_PSM["bredr"]) == {"said": ""}
        assert listening.stdout.readline() == f"{plan.ECHO.address} connected\n"
        listening.send_signal(signal.SIGINT)
        assert listening.wait(TIME_LIMIT_S) == 0
