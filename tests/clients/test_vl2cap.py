"""The command vl2cap, in a guest of Linux or Windows whose driver domain runs tests/support/echo_backend.py."""

import re
import signal
import tomllib

import pytest

from tests import ROOT
from tests.clients.programs import Vl2cap, stop
from tests.support.domain import Domain, NewDomain
from tests.support.echo_backend import serve
from usbbtd.guest import NoAdapter, open_adapter

PEER = "C0:FF:EE:00:00:01"
ECHO, REFUSES, FORBIDDEN, SILENT, SAYS_GOODBYE, LIES, LOST, TAKEN, INSECURE = (
    "0x1001", "0x1003", "0x1005", "0x1007", "0x1011", "0x1013", "0x1015", "0x1017", "0x101D",
)  # fmt: skip
NO_AGENT = "there is no key that is good enough, and no agent that may pair"
OTHER_DATA, REJECTS, NOT_THERE, NOT_ALLOWED = (f"C0:FF:EE:00:00:0{number}" for number in (2, 3, 4, 5))


def closed(guest: Domain) -> bool:
    """Whether nothing is shared any more, and the device was closed in order."""
    statistics = guest.world.statistics()[guest.domid]
    return statistics["shared"] == 0 and guest.world.read(f"{guest.home}/device/vl2cap/0/state") == "6"


def test_info(guest: Domain, vl2cap: Vl2cap) -> None:
    output, errors = vl2cap.run(guest, "info")
    assert errors == ""
    assert output.splitlines() == [
        "address    01:00:00:EE:FF:C0 (bredr)",
        "controller up",
        "can        bredr, le, scan, advertise",
        "channels   0 of 8 in use",
        "MTU        up to 32764 bytes",
    ]
    assert closed(guest)


def test_info_of_a_controller_that_is_not_there(new_domain: NewDomain, vl2cap: Vl2cap) -> None:
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(serve, guest.domid, False)
    output, _ = vl2cap.run(guest, "info")
    assert output.splitlines()[:2] == ["address    not known", "controller down, or not plugged in"]


def test_scan(guest: Domain, vl2cap: Vl2cap) -> None:
    output, errors = vl2cap.run(guest, "scan", "--seconds", "0.5")
    assert errors == "vl2cap: 3 devices, 4 reports\n"
    head, *rows = output.splitlines()
    assert head == "ADDRESS            TYPE     DBM  CONNECTABLE  NAME"
    assert rows == [
        "F0:F1:F2:00:00:11  random   -50  yes          echo",
        "01:00:00:EE:FF:C0  public   -90  no",
        "F0:F1:F2:00:00:14  random   -50  yes          sensor",
    ]
    process = vl2cap.start(guest, "scan", "--seconds", "60")
    assert process.stdout
    assert process.stdout.readline().startswith("ADDRESS")
    assert stop(process, signal.SIGINT)[0] == 130
    assert closed(guest)


def test_connect_by_lines(guest: Domain, vl2cap: Vl2cap) -> None:
    process = vl2cap.start(guest, "connect", PEER, ECHO, "--linger", "0.2")
    assert process.stdin
    assert process.stdout
    for line in ("hello", "", "world"):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == line + "\n"
    output, errors = process.communicate("no newline", timeout=20)
    assert (process.returncode, output) == (0, "no newline\n")  # the reply that comes after the end of the input
    assert errors == f"vl2cap: connected: SDUs up to 4096 bytes to {PEER}, 2048 from it\n"
    assert closed(guest)


def test_connect_by_chunks(guest: Domain, vl2cap: Vl2cap) -> None:
    text = "".join(map(str, range(30_000)))  # longer than many SDUs, and than the ring
    arguments = ("connect", PEER, "0x81", "--le", "random", "--raw", "--mtu", "4096", "--linger", "0.2")
    output, _ = vl2cap.run(guest, *arguments, text=text)
    assert output == text
    assert closed(guest)


def test_the_peer_ends_it(guest: Domain, vl2cap: Vl2cap) -> None:
    process = vl2cap.start(guest, "connect", PEER, SAYS_GOODBYE)
    assert process.wait(20) == 0  # standard input is still open
    assert process.stdout
    assert process.stderr
    assert process.stdout.read() == "one\n\nthree\n"
    assert process.stderr.read().splitlines()[1:] == ["vl2cap: the channel has ended: the peer disconnected"]


@pytest.mark.parametrize(
    ("psm", "reason"),
    [
        (REFUSES, "connect to {peer}, PSM 0x1003: the peer refused: result 0x0002, PSM not supported"),
        (FORBIDDEN, "connect to {peer}, PSM 0x1005: the driver domain does not allow it"),
        (SILENT, "connect to {peer}, PSM 0x1007: no answer, HCI status 0x04"),
        (INSECURE, f"connect to {{peer}}, PSM 0x101d: the link has to be secure: {NO_AGENT}"),
    ],
)
def test_a_refusal_is_told(guest: Domain, vl2cap: Vl2cap, psm: str, reason: str) -> None:
    output, errors = vl2cap.run(guest, "connect", PEER, psm, "--security", "sc", status=1)
    assert (output, errors) == ("", f"vl2cap: {reason.format(peer=PEER)}\n")
    assert closed(guest)


@pytest.mark.parametrize(
    ("psm", "reason"),
    [
        (LIES, "the channel has ended: the peer, this guest or the driver domain broke the protocol"),
        (LOST, "the channel has ended: the link was lost"),
    ],
)
def test_a_channel_that_fails_is_told(guest: Domain, vl2cap: Vl2cap, psm: str, reason: str) -> None:
    process = vl2cap.start(guest, "connect", PEER, psm)
    assert process.wait(20) == 1
    assert process.stderr
    assert process.stderr.read().splitlines()[1:] == [f"vl2cap: {reason}"]
    assert closed(guest)


def test_ping_by_the_echo_of_l2cap(guest: Domain, vl2cap: Vl2cap) -> None:
    output, errors = vl2cap.run(guest, "ping", PEER, "--count", "3")
    lines = output.splitlines()
    assert errors == ""
    assert [re.sub(r"\d+ µs", "N µs", line) for line in lines[:3]] == [f"36 bytes from {PEER}: N µs"] * 3
    assert lines[3].split() == ["ROUND", "TRIPS", "BYTES", "MIN", "µs", "P50", "µs", "P99", "µs", "MAX", "µs"]
    assert lines[4].split()[:2] == ["3", "36"]
    output, _ = vl2cap.run(guest, "ping", OTHER_DATA, "--count", "1")
    assert re.match(rf"50 bytes from {OTHER_DATA}: \d+ µs \(not what was sent\)\n", output)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (REJECTS, "the peer refused: result 0x0000"),
        (NOT_THERE, "no answer, HCI status 0x04"),
        (NOT_ALLOWED, "the driver domain does not allow it"),
    ],
)
def test_an_echo_that_fails_is_told(guest: Domain, vl2cap: Vl2cap, address: str, reason: str) -> None:
    assert vl2cap.run(guest, "ping", address, status=1) == ("", f"vl2cap: echo of {address}: {reason}\n")


@pytest.mark.parametrize("size", [0, 1, 4091, 4092, 4093, 4096])
def test_ping_by_an_echoing_psm(guest: Domain, vl2cap: Vl2cap, size: int) -> None:
    arguments = ("ping", PEER, ECHO, "--size", str(size), "--mtu", "4096", "--count", "50", "--quiet")
    output, errors = vl2cap.run(guest, *arguments)
    assert errors == ""
    assert output.splitlines()[1].split()[:2] == ["50", str(size)]


def test_listen_takes_one_peer_after_the_other(guest: Domain, vl2cap: Vl2cap) -> None:
    process = vl2cap.start(guest, "listen", "0x1001", "--echo")
    assert process.stderr
    assert process.stderr.readline() == "vl2cap: listening on PSM 0x1001\n"
    assert process.stderr.readline() == "vl2cap: C0:FF:EE:00:00:12 connected\n"
    assert stop(process, signal.SIGINT) == (130, "")
    assert closed(guest)
    _, errors = vl2cap.run(guest, "listen", TAKEN, status=1)
    assert errors == "vl2cap: listen on PSM 0x1017: in use already, by this guest or another\n"


def test_listen_on_le_advertises(guest: Domain, vl2cap: Vl2cap) -> None:
    output, errors = vl2cap.run(
        guest, "listen", "0x90", "--le", "--security", "none", "--linger", "0.2", text="hello\n"
    )
    assert output == "hello\n"  # the peer of the backend echoes
    assert errors.splitlines()[:2] == ["vl2cap: listening on SPSM 0x0090", "vl2cap: F0:F1:F2:00:00:12 connected"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["connect", PEER], "a PSM is missing"),
        (["connect"], "an ADDRESS is missing"),
        (["listen"], "a PSM is missing"),
        ([], "a command is missing"),
        (["--wait", "1", "look"], "there is no command look"),
        (["--device", "x", "info"], "--device is x: it must be a number from 0 to 65535"),
        (["connect", "C0:FF", "1"], "C0:FF is not a Bluetooth address: write it like C0:FF:EE:00:00:11"),
        (["connect", PEER, "x"], "PSM is x: it must be a number from 0 to 65535"),
        (["connect", PEER, "1", "2"], "there is one word too many: 2"),
        (["connect", PEER, "1", "--count", "2"], "there is no option --count of this command"),
        (["connect", PEER, "1", "--mtu"], "--mtu needs a value"),
        (["connect", PEER, "1", "--le", "both"], "--le is both: it must be public or random"),
        (["scan", "--seconds", "-1"], "--seconds is -1: it must be a number of seconds, at most 86400"),
        (["ping", PEER, "--size", "37"], "an echo of 37 bytes; 36 fit"),
        (["ping", PEER, "--le", "public"], "LE has no L2CAP echo: name an SPSM that echoes"),
    ],
)
def test_wrong_usage_is_told(guest: Domain, vl2cap: Vl2cap, arguments: list[str], reason: str) -> None:
    output, errors = vl2cap.run(guest, *arguments, status=2)
    assert output == ""
    assert errors.splitlines()[0] == f"vl2cap: {reason}"


@pytest.mark.parametrize("before", [[], ["connect", PEER], ["--wait", "1", "scan"]])
def test_help_and_version_are_printed_wherever_they_are_asked_for(
    guest: Domain, vl2cap: Vl2cap, before: list[str]
) -> None:
    output, errors = vl2cap.run(guest, *before, "--help")
    assert (output.startswith("usage: vl2cap info\n"), errors) == (True, "")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert vl2cap.run(guest, *before, "--version") == (f"vl2cap {version}\n", "")


def test_options_may_stand_before_the_command(guest: Domain, vl2cap: Vl2cap) -> None:
    output, errors = vl2cap.run(
        guest, "--wait", "6", "--le", "random", "connect", "--linger", "0.2", PEER, "0x81", text="x\n"
    )
    assert (output, errors.count("\n")) == ("x\n", 1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["connect", PEER, "2"], "PSM 0x0002 is not legal: it must be odd, and have an even upper octet"),
        (["connect", PEER, "0x100", "--le", "random"], "SPSM 0x0100 is not legal: it is 0x0001 to 0x00ff"),
        (["connect", PEER, "1", "--mtu", "40"], "an MTU of 40: it is 48 to 32764 here"),
        (["connect", PEER, "1", "--mtu", "40000"], "an MTU of 40000: it is 48 to 32764 here"),
        (["connect", PEER, "4", "--fixed"], "fixed channels are those of LE"),
        (
            ["connect", PEER, "5", "--fixed", "--le", "random"],
            "CID 0x0005 is none that a guest may have: that is 0x0004, or 0x0020 to 0x003e",
        ),
        (["listen", "0x100", "--le"], "SPSM 0x0100 is not legal: it is 0x0001 to 0x00ff"),
    ],
)
def test_what_is_not_legal_is_told(guest: Domain, vl2cap: Vl2cap, arguments: list[str], reason: str) -> None:
    output, errors = vl2cap.run(guest, *arguments, status=2)
    assert output == ""
    assert errors.splitlines()[0] == f"vl2cap: {reason}"
    hint = "vl2cap: of an LE peer, say so: --le public or --le random" in errors.splitlines()
    assert hint == (arguments[2] in {"2", "4"})


def test_one_program_at_a_time_has_the_device(guest: Domain, vl2cap: Vl2cap) -> None:
    process = vl2cap.start(guest, "connect", PEER, ECHO)
    assert process.stderr
    process.stderr.readline()
    _, errors = vl2cap.run(guest, "info", status=3)
    assert errors == "vl2cap: device/vl2cap/0: another program of this guest has the device\n"
    assert stop(process, signal.SIGINT)[0] == 130
    vl2cap.run(guest, "info")


async def open_in_python() -> str:
    try:
        async with open_adapter(timeout=5):
            return "opened"
    except NoAdapter as error:
        return str(error)


@pytest.mark.parametrize("vl2cap", ["linux"], indirect=True)
def test_a_program_in_python_does_not_have_it_then(guest: Domain, vl2cap: Vl2cap) -> None:
    assert guest.run(open_in_python) == "opened"
    process = vl2cap.start(guest, "connect", PEER, ECHO)
    assert process.stderr
    process.stderr.readline()
    assert guest.run(open_in_python) == "device/vl2cap/0 is in use by another program of this guest"
    assert stop(process)[0] == 130
    assert guest.run(open_in_python) == "opened"


def test_no_device_is_told(new_domain: NewDomain, vl2cap: Vl2cap) -> None:
    _, errors = vl2cap.run(new_domain(), "info", "--wait", "0.2", "--device", "3", status=3)
    assert errors == "vl2cap: this guest has no device/vl2cap/3: attach one to it in dom0\n"


def test_a_backend_that_is_not_there_is_told(new_domain: NewDomain, vl2cap: Vl2cap) -> None:
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    _, errors = vl2cap.run(guest, "info", "--wait", "0.2", status=3)
    assert errors == (
        f"vl2cap: device/vl2cap/0: the backend in domain {driver.domid} does not answer: is usbbtd running there?\n"
    )


def test_no_xen_is_told(new_domain: NewDomain, vl2cap: Vl2cap) -> None:
    _, errors = vl2cap.run(new_domain(), "info", status=3, XENSTORED_PATH="/nowhere")
    if vl2cap.wine:
        assert errors.startswith("vl2cap: device/vl2cap/0: there is no Xen here")
    else:
        assert errors == (
            "vl2cap: device/vl2cap/0: cannot open /nowhere: No such file or directory: "
            "this is no Xen guest, or its kernel has no support for Xen\n"
        )


@pytest.mark.parametrize("vl2cap", ["linux"], indirect=True)
def test_the_module_that_is_missing_is_told(guest: Domain, vl2cap: Vl2cap) -> None:
    """As here, with the real libraries in place of the stand-ins."""
    _, errors = vl2cap.run(guest, "info", status=3, LD_LIBRARY_PATH="")
    assert errors == (
        "vl2cap: device/vl2cap/0: cannot open /dev/xen/evtchn: No such file or directory: modprobe xen-evtchn\n"
    )
