"""usbbt-guest as people and programs run it, in a guest whose driver domain runs tests/guest/echo_backend.py."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.domain import Domain, NewDomain
from tests.support.echo_backend import serve
from usbbtd.cli.guest import main

PEER = "C0:FF:EE:00:00:01"
ECHO, REFUSES, DEAF, SAYS_GOODBYE, LOST, TAKEN = "0x1001", "0x1003", "0x100B", "0x1011", "0x1015", "0x1017"
OTHER_DATA, NOT_THERE, NOT_ALLOWED = (f"C0:FF:EE:00:00:0{number}" for number in (2, 4, 5))
PSM_RULE = "be odd, at most 0xfeff, and have an even upper octet, such as 0x1001"


@pytest.fixture
def guest(new_domain: NewDomain) -> Domain:
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(serve, guest.domid)
    return guest


def start(guest: Domain, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "usbbtd.cli.guest", *arguments],
        env=os.environ | guest.world.environment(guest.domid),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(guest: Domain, *arguments: str, status: int = 0) -> tuple[str, str]:
    """Standard output and error of a run that ends by itself."""
    process = start(guest, *arguments)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == status, errors
    return output, errors


def stop(process: subprocess.Popen[str], by: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(by)
    process.communicate(timeout=20)
    return process.returncode


def test_info(guest: Domain) -> None:
    output, errors = run(guest, "info")
    assert errors == ""
    assert output.splitlines() == [
        "address    01:00:00:EE:FF:C0 (bredr)",
        "controller up",
        "can        bredr, le, scan, advertise, echo",
        "channels   0 of 8 in use",
        "MTU        up to 32764 bytes",
    ]
    output, _ = run(guest, "info", "--json")
    assert json.loads(output) == {
        "address": "01:00:00:EE:FF:C0",
        "address_type": "bredr",
        "powered": True,
        "features": ["bredr", "le", "scan", "advertise", "echo"],
        "max_channels": 8,
        "channels": 0,
        "max_mtu": 32764,
        "le_address": None,
    }


def test_info_without_a_controller(new_domain: NewDomain) -> None:
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(serve, guest.domid, False)
    output, _ = run(guest, "info")
    assert "address" not in output
    assert "controller down, or not plugged in\n" in output
    assert not re.search(r" $", output, re.MULTILINE)


def test_scan(guest: Domain) -> None:
    output, errors = run(guest, "scan", "--seconds", "1")
    assert re.fullmatch(r"usbbt-guest: 3 devices, \d+ reports\n", errors)
    head, *rows = output.splitlines()
    assert head == "ADDRESS            TYPE     DBM  CONNECTABLE  NAME"
    assert sorted(rows) == [
        "01:00:00:EE:FF:C0  public   -90  no",
        "F0:F1:F2:00:00:11  random   -50  yes          echo",
        "F0:F1:F2:00:00:14  random   -50  yes          sensor",
    ]
    process = start(guest, "scan", "--seconds", "60")
    assert process.stdout
    assert process.stdout.readline().startswith("ADDRESS")
    assert stop(process, signal.SIGINT) == 130
    process = start(guest, "scan", "--json", "--active")
    assert process.stdout
    reports = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert stop(process) == 143
    assert [(report["rssi"], report["name"], report["data"]) for report in reports] == [
        (-50, "echo", "02010605096563686f"),
        (None, None, ""),
        (-90, None, "05086162"),
    ]


def test_connect_by_lines(guest: Domain) -> None:
    process = start(guest, "connect", PEER, ECHO)
    assert process.stdin
    assert process.stdout
    for line in ("hello", "", "world"):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == line + "\n"
    output, errors = process.communicate("no newline", timeout=20)
    assert (process.returncode, output) == (0, "no newline\n")  # the reply that comes after the end of the input
    assert errors == f"usbbt-guest: connected: SDUs up to 4096 bytes to {PEER}, 2048 from it\n"


def test_connect_by_chunks(guest: Domain) -> None:
    process = start(guest, "connect", PEER, "0x81", "--le", "random", "--raw", "--mtu", "4096")
    assert process.stdin
    assert process.stdout
    text = "".join(map(str, range(3000)))  # longer than two SDUs
    process.stdin.write(text)
    process.stdin.flush()
    assert process.stdout.read(len(text)) == text
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()
    assert process.stderr
    process.stderr.close()


def test_the_peer_ends_it(guest: Domain) -> None:
    process = start(guest, "connect", PEER, SAYS_GOODBYE, "--json")
    assert process.stdout
    assert [json.loads(process.stdout.readline()) for _ in range(3)] == [
        {"sdu": "6f6e65"},
        {"sdu": ""},
        {"sdu": "7468726565"},
    ]
    assert process.wait(20) == 0  # standard input is still open
    assert "the peer disconnected" in process.communicate()[1]
    process = start(guest, "connect", PEER, LOST)
    assert process.wait(20) == 1
    assert process.communicate()[1].endswith("\nusbbt-guest: the link was lost\n")


def test_ping(guest: Domain) -> None:
    output, _ = run(guest, "ping", PEER, ECHO, "--count", "50", "--size", "100", "--json")
    row = json.loads(output)
    assert (row["address"], row["psm"], row["count"], row["size"]) == (PEER, int(ECHO, 0), 50, 100)
    assert all(row[name] == round(row[name], 1) for name in ("min_us", "p50_us", "p99_us", "max_us"))
    assert 0 < row["min_us"] <= row["p50_us"] <= row["p99_us"] <= row["max_us"]
    output, _ = run(guest, "ping", PEER, "--count", "1", ECHO, "--size", "0")
    line, head, values = output.splitlines()
    assert re.fullmatch(rf"0 bytes from {PEER}: \d+ µs", line)
    assert head.split("  ")[:2] == ["ROUND TRIPS", "BYTES"]
    assert values.split()[:2] == ["1", "0"]
    process = start(guest, "ping", PEER, ECHO, "--count", "1000000")
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(3)]
    assert all(line.endswith(" µs\n") for line in lines)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "")
    assert output.splitlines()[-2].startswith("ROUND TRIPS")
    _, errors = run(guest, "ping", PEER, DEAF, "--timeout", "0.1", status=1)
    assert errors == "usbbt-guest: no echo within 0.1 s: does that PSM echo?\n"


def test_ping_with_pauses(guest: Domain) -> None:
    assert len(run(guest, "ping", PEER, "--count", "3", "--interval", "0.01")[0].splitlines()) == 5
    process = start(guest, "ping", PEER, "--count", "3", "--interval", "1000")
    assert process.stdout
    assert process.stdout.readline().startswith("36 bytes from")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert output.splitlines()[-1].split()[0] == "1"


def test_ping_without_a_psm(guest: Domain) -> None:
    output, errors = run(guest, "ping", PEER, "--count", "20", "--json")
    row = json.loads(output)
    assert (row["count"], row["size"], errors) == (20, 36, "")
    output, _ = run(guest, "ping", PEER, "--count", "2", "--size", "3")
    *lines, _, values = output.splitlines()
    assert [re.sub(r"\d+ µs", "1 µs", line) for line in lines] == [f"3 bytes from {PEER}: 1 µs"] * 2
    assert values.split()[:2] == ["2", "3"]
    output, _ = run(guest, "ping", OTHER_DATA, "--count", "1")
    assert re.fullmatch(rf"36 bytes from {OTHER_DATA}: \d+ µs \(not what was sent\)", output.splitlines()[0])


def test_ping_without_a_psm_of_an_old_service(new_domain: NewDomain) -> None:
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(serve, guest.domid, True, False, False)
    said = f"echo of {PEER}: usbbtd in the driver domain is too old for that: update it, or use a PSM that echoes"
    assert run(guest, "ping", PEER, status=1) == ("", f"usbbt-guest: {said}\n")


def test_listen(guest: Domain) -> None:
    # The peer that comes echoes too: what one of the two says first is between them for ever.
    process = start(guest, "listen", "0x83", "--le")
    assert process.stdin
    assert process.stdout
    process.stdin.write("to whom it may concern\n")
    process.stdin.flush()
    assert process.stdout.readline() == "to whom it may concern\n"
    process.stdin.close()
    assert process.wait(20) == 0
    assert process.stderr
    assert process.stderr.read() == "usbbt-guest: listening on PSM 0x0083\nusbbt-guest: F0:F1:F2:00:00:12 connected\n"
    process.stdout.close()
    process.stderr.close()

    for signal_, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = start(guest, "listen", "0x1019", "--echo")
        assert process.stderr
        assert process.stderr.readline() == "usbbt-guest: listening on PSM 0x1019\n"
        assert stop(process, signal_) == status
        assert run(guest, "info", "--json")[0].count('"channels": 0')


def test_failures_are_one_line(guest: Domain) -> None:
    for arguments, status, text in (
        (("ping", PEER, REFUSES), 1, f"connect to {PEER}, PSM 0x1003: the peer refused: PSM not supported"),
        (("ping", NOT_THERE), 1, f"echo of {NOT_THERE}: no answer, HCI status 0x04 (page timeout)"),
        (("ping", NOT_ALLOWED), 1, f"echo of {NOT_ALLOWED}: the driver domain does not allow it"),
        (("ping", PEER, "--le", "random"), 2, "LE has no L2CAP echo: name an SPSM that echoes"),
        (("ping", PEER, "--mtu", "100"), 2, "--mtu is of a channel, and without a PSM there is none"),
        (("ping", PEER, ECHO, "--mtu", "50"), 2, "an echo of 64 bytes is longer than the 50 of --mtu: see --size"),
        (
            ("ping", PEER, ECHO, "--size", "49", "--mtu", "48"),
            2,
            "an echo of 49 bytes is longer than the 48 of --mtu: see --size",
        ),
        (("ping", PEER, "--size", "37"), 2, "an echo of 37 bytes; 36 fit"),
        (("listen", TAKEN), 1, "listen on PSM 0x1017: in use already, by this guest or another"),
        (("ping", PEER, "-1"), 2, "PSM -1 is not legal: it must " + PSM_RULE),
        (("ping", PEER, "0x1002"), 2, "PSM 0x1002 is not legal: it must " + PSM_RULE),
        (("info", "--device", "3", "--wait", "0.1"), 3, "this guest has no device/vl2cap/3: attach one to it in dom0"),
    ):
        assert run(guest, *arguments, status=status) == ("", f"usbbt-guest: {text}\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("ping", PEER, "http"), "argument PSM: 'http' is no number, like 0x1001 or 4097"),
        (("ping", PEER, ECHO, "--count", "0"), "argument --count: 0 is less than 1"),
        (("ping", PEER, ECHO, "--size", "65536"), "argument --size: 65536 is more than 65535"),
        (("ping", PEER, ECHO, "--timeout", "-1"), "argument --timeout: '-1' is no time in seconds"),
        (("ping", PEER, ECHO, "--timeout", "1e9"), "argument --timeout: 1e9 s is more than 60 s"),
        (("info", "--wait", "nan"), "argument --wait: 'nan' is no time in seconds"),
        (("scan", "--seconds", "inf"), "argument --seconds: 'inf' is no time in seconds"),
        (("connect", PEER, ECHO, "--mtu", "22"), "argument --mtu: 22 is less than 23"),
        (("connect", PEER, ECHO, "--linger", "-1"), "argument --linger: '-1' is no time in seconds"),
        (("info", "--device", "-1"), "argument --device: -1 is less than 0"),
        (("connect", PEER, ECHO, "--le", "both"), "argument --le: invalid choice: 'both'"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert text in capsys.readouterr().err


def test_no_xen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "none"))
    assert main(["info"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("usbbt-guest: ")
    assert f"{tmp_path}/none" in said
    assert said.count("\n") == 1
