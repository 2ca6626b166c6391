"""The command vl2cap-serial, as far as it comes without usbbt-serial at the other end of its line."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serial.null_modem import NullModem
from usbbtd.serial import wire
from usbbtd.serial.framing import Deframer, encode

TIME_LIMIT_S = 30
PEER = "C0:FF:EE:00:00:13"


def run(build: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and error."""
    command: list[str | Path] = [build / "vl2cap-serial", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    return done.returncode, done.stdout, done.stderr


@contextmanager
def bridge_of_version(version: int, port: str) -> Iterator[None]:
    """Answers the first OPEN that comes, as a bridge that speaks no version but this one."""

    def answer() -> None:
        deframer, contents = Deframer(), list[bytes]()
        while not contents:
            contents = deframer.receive(os.read(descriptor, 100))
        opening = wire.unpack_frame(contents[0])
        assert opening
        payload = opening.payload[:4] + bytes([version])
        os.write(descriptor, encode(wire.pack_frame(wire.SerialFrame(wire.FrameKind.OPENED, 0, payload=payload))))

    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    with ThreadPoolExecutor(1) as threads:
        answering = threads.submit(answer)
        yield
        answering.result()
    os.close(descriptor)


@contextmanager
def waiting(build: Path, port: str) -> Iterator[subprocess.Popen[str]]:
    """Runs the command on a line where nobody answers, and has it say that it waits."""
    command: list[str | Path] = [build / "vl2cap-serial", "-l", port, "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = process.stderr.readline()
        expected = f"vl2cap-serial: nothing answers on {port}: does usbbt-serial run there? Waiting up to 27 s.\n"
        assert said == expected
        yield process


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("", "a command is missing"),
        ("fly", "unknown command: fly"),
        ("info now", "one word too many: now"),
        (f"ping {PEER} 1 2", "one word too many: 2"),
        ("info -l /dev/ttyS1", "options stand before the command: -l"),
        ("ping", f"the peer's address is missing, such as {PEER}"),
        (f"connect 0x1001 {PEER}", f"not a Bluetooth address, such as {PEER}: 0x1001"),
        (f"connect {PEER}", "the PSM is missing"),
        ("listen", "the PSM is missing"),
        ("listen 70000", "not a PSM, which is a number up to 0xFFFF: 70000"),
        ("-x info", "unknown option: -x"),
        ("--fast info", "unknown option: --fast"),
        ("-l", "a value is missing after: -l"),
        ("-b fast info", "not a number, or too large a one: fast"),
        ("-s 5 info", "not a number, or too large a one: 5"),
    ],
)
def test_wrong_usage_is_named(serial_build: Path, arguments: str, reason: str) -> None:
    said = f"vl2cap-serial: {reason}\nvl2cap-serial -h says what it takes.\n"
    assert run(serial_build, *arguments.split()) == (2, "", said)


@pytest.mark.parametrize("arguments", ["-h", "--help", "-l /dev/ttyS0 -h", "ping -h"])
def test_help(serial_build: Path, arguments: str) -> None:
    status, output, errors = run(serial_build, *arguments.split())
    assert (status, errors) == (0, "")
    assert output.startswith("usage: vl2cap-serial")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("-l /dev/null", "/dev/null is no serial port"),
        ("-l /nothing", "/nothing: No such file or directory"),
        ("-b 7", "a serial port has no rate of 7 baud here"),
    ],
)
def test_no_line(serial_build: Path, arguments: str, reason: str) -> None:
    assert run(serial_build, *arguments.split(), "info") == (3, "", f"vl2cap-serial: {reason}\n")


def test_nobody_answers(serial_build: Path) -> None:
    with NullModem() as modem:
        said = f"vl2cap-serial: nothing answers on {modem.ports[1]}: does usbbt-serial run there?"
        assert run(serial_build, "-l", modem.ports[1], "-w", "4", "scan") == (
            3, "", f"{said} Waiting up to 1 s.\n{said}\n",
        )  # fmt: skip


def test_the_bridge_speaks_another_version(serial_build: Path) -> None:
    """It is not waited for."""
    with NullModem() as modem, bridge_of_version(9, modem.ports[0]):
        said = f"usbbt-serial on {modem.ports[1]} speaks version 9 of the protocol, and this program version 1"
        assert run(serial_build, "-l", modem.ports[1], "info") == (3, "", f"vl2cap-serial: {said}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_interrupted(serial_build: Path, number: signal.Signals) -> None:
    with NullModem() as modem, waiting(serial_build, modem.ports[1]) as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIME_LIMIT_S)
        assert (process.returncode, output, errors) == (130, "", "vl2cap-serial: interrupted\n")


def test_the_line_ends(serial_build: Path) -> None:
    master, slave = os.openpty()
    port = os.ttyname(slave)
    with waiting(serial_build, port) as process:
        os.close(slave)
        os.close(master)
        output, errors = process.communicate(timeout=TIME_LIMIT_S)
        assert (process.returncode, output, errors) == (3, "", f"vl2cap-serial: {port}: the line has ended\n")
