"""usbbtctl beside the very service, with a guest that has traffic on both transports.

The commands run in the test's process, but for those whose process matters.
"""

import asyncio
import io
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bumble import hci
from bumble.apps.show import SnoopPacketReader

from tests.demo import plan
from tests.support import stack as stack_module
from usbbtd.cli import ctl
from usbbtd.cli.ctl.openmetrics import METRICS
from usbbtd.guest import AddressType, open_adapter
from usbbtd.xen.store import Store

TIME_LIMIT_S = 30
TYPES: dict[plan.Transport, AddressType] = {"bredr": "bredr", "le": "random"}
SDU = b"what is secret"
LISTENS_ON = 0x1077


async def echo_for_ever() -> None:
    """A listener, and a channel on each transport with SDUs on the way all the time."""
    async with open_adapter() as adapter:
        listener = await adapter.listen(LISTENS_ON)
        channels = [
            await adapter.connect(
                plan.ECHO.address_on(transport), plan.ECHO_PSM[transport], address_type=TYPES[transport], mtu=512
            )
            for transport in plan.TRANSPORTS
        ]
        store = await Store.open()
        while True:
            for channel in channels:
                await channel.send(SDU)
                assert await channel.recv() == SDU
            await store.write("data/done", "flowing")
            await asyncio.sleep(0.01)
            assert listener.psm == LISTENS_ON  # still there


@pytest.fixture(scope="module")
def stack(world: Any, domids: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with stack_module.Stack(world, tmp_path_factory.mktemp("ctl"), domids) as running:
        yield running


@pytest.fixture
def guest(stack: Any, new_domain: Any) -> Iterator[Any]:
    made = stack.new_guest(new_domain, domain="work")
    made.start(echo_for_ever)
    stack.world.wait_value(f"{made.home}/data/done", "flowing")
    yield made
    made.destroy()
    stack.world.wait_value(stack.backend(made), None)


@pytest.fixture
def usbbtctl(stack: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object, status: int = 0) -> str:
        """What it prints."""
        capsys.readouterr()
        assert ctl.main(["--socket", str(stack.socket), *map(str, arguments)]) == status
        return capsys.readouterr().out

    return run


@pytest.fixture
def in_driver_domain(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stack.world.environment(stack.driver).items():
        monkeypatch.setenv(name, value)


def rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# What there is


def test_status_tells_how_it_goes(stack: Any, guest: Any, usbbtctl: Any) -> None:
    (status,) = rows(usbbtctl("status", "--json"))
    expected = {"adapter": "up", "pid": stack.daemon.pid, "domid": stack.driver, "guests": 1, "guests_connected": 1}
    expected |= {"links": 2, "channels": 2, "listeners": 1, "scans": 0, "transports": ["BR/EDR", "LE"]}
    assert {name: status[name] for name in expected} == expected
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in usbbtctl("status").splitlines())
    assert lines["adapter"] == f"up, {plan.DONGLE_ADDRESS}, BR/EDR, LE"
    assert lines["guests"] == "1, 1 of them connected"


def test_the_adapter_is_described(usbbtctl: Any) -> None:
    (adapter,) = rows(usbbtctl("adapters", "--json"))
    assert (adapter["state"], adapter["address"]) == ("up", plan.DONGLE_ADDRESS)
    assert int(adapter["random_address"][:2], 16) >= 0xC0
    assert adapter["dongle"].startswith("vusb 0 port 1: ")
    octets, count = adapter["bredr_buffers"]
    assert f"{count} of {octets} bytes" in usbbtctl("adapters")


def test_guests_channels_and_links_are_listed(guest: Any, usbbtctl: Any) -> None:
    (row,) = rows(usbbtctl("guests", "--json"))
    assert (row["domid"], row["devid"], row["state"], row["channels"]) == (guest.domid, 0, "Connected", 2)
    assert row["name"] == "work"
    assert row["listeners"] == [{"transport": "BR/EDR", "psm": LISTENS_ON}]
    assert row["counters"]["requests"] >= 3
    assert "0x1077" in usbbtctl("guests").splitlines()[1]

    links = {link["address_type"]: link for link in rows(usbbtctl("links", "--json"))}
    assert {kind: link["role"] for kind, link in links.items()} == {"BR/EDR": "central", "LE random": "central"}
    assert all(link["channels"] == 1 and link["age_s"] >= 0 for link in links.values())
    assert plan.ECHO.address_on("bredr") in usbbtctl("links")

    channels = rows(usbbtctl("channels", "--json"))
    assert {channel["state"] for channel in channels} == {"open"}
    for channel, transport in zip(channels, plan.TRANSPORTS, strict=True):
        assert (channel["address"], channel["psm"]) == (plan.ECHO.address_on(transport), plan.ECHO_PSM[transport])
        assert channel["handle"] == links[channel["address_type"]]["handle"]
        assert channel["rx_mtu"] == 512
    for name in (guest.domid, "work"):
        assert usbbtctl("channels", "--guest", name).count("\n") == 3


def test_a_guest_that_is_not_there_has_no_empty_table(
    guest: Any, stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (str(guest.domid + 1), "wrok"):
        assert ctl.main(["--socket", str(stack.socket), "channels", "--guest", name]) == 1
        said = f"usbbtctl: no guest '{name}' has a device; 'usbbtctl guests' lists those that have\n"
        assert capsys.readouterr() == ("", said)


def test_what_was_carried_is_counted_in_sdus_and_bytes(guest: Any, usbbtctl: Any) -> None:
    for channel in rows(usbbtctl("channels", "--json")):
        assert channel["sdus_from_guest"] > 0
        assert channel["bytes_from_guest"] == channel["sdus_from_guest"] * len(SDU)
        assert channel["sdus_to_guest"] in (channel["sdus_from_guest"], channel["sdus_from_guest"] - 1)
        assert channel["bytes_to_guest"] == channel["sdus_to_guest"] * len(SDU)
    (row,) = rows(usbbtctl("guests", "--json"))
    assert row["bytes_to_guest"] == row["sdus_to_guest"] * len(SDU) > 0


# Metrics


def test_openmetrics_can_be_parsed_and_says_what_everything_is(guest: Any, usbbtctl: Any) -> None:
    families = parse_openmetrics(usbbtctl("stats", "--openmetrics"))
    assert families["usbbtd_adapter_up"] == ("gauge", {(): 1.0})
    kind, samples = families["usbbtd_guest_sdus_from_guest"]
    assert kind == "counter"
    assert samples[("domid", str(guest.domid)), ("devid", "0"), ("guest", "work")] > 0
    assert set(families) == {metric.name for metric in METRICS.values()} | {"usbbtd_build"}  # every one has its words


@pytest.mark.usefixtures("guest")
def test_a_file_of_metrics_is_replaced_at_once(usbbtctl: Any, tmp_path: Path) -> None:
    file = tmp_path / "usbbtd.prom"
    file.write_text("old")
    with file.open() as reading:
        assert usbbtctl("stats", "--prometheus", "--output", file) == ""
        assert reading.read() == "old"  # who reads it goes on with what was there
    assert "# TYPE usbbtd_adapter_hci_links_opened_total counter" in file.read_text()
    assert (file.stat().st_mode & 0o777, os.listdir(tmp_path)) == (0o644, ["usbbtd.prom"])
    assert usbbtctl("stats", "--output", tmp_path / "none" / "usbbtd.prom", status=1) == ""


@pytest.mark.usefixtures("guest", "in_driver_domain")
def test_an_anonymous_dump_has_stand_ins(stack: Any, usbbtctl: Any) -> None:
    whole, anonymous = (usbbtctl("dump", *options, "--config", stack.config) for options in ((), ("--anonymous",)))
    addresses = set(re.findall(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}", whole))
    assert addresses
    assert "work" in whole.split("== log")[0]
    assert not any(address in anonymous for address in addresses)
    assert not re.search(r"\bwork\b", anonymous)
    assert {"address-1", "guest-1"} <= set(re.findall(r"[a-z]+-\d", anonymous))
    assert len(anonymous.splitlines()) >= len(whole.splitlines()) - 5  # the log goes on meanwhile


@pytest.mark.usefixtures("guest")
def test_stats_for_people_and_programs(usbbtctl: Any) -> None:
    stats = rows(usbbtctl("stats", "--json"))
    assert [each["of"] for each in stats] == ["process", "adapter", "guest"]
    assert stats[1]["values"]["hci_links_opened"] >= 2
    assert re.search(r"^guest work/0 +bytes_to_guest +[1-9]", usbbtctl("stats"), re.MULTILINE)


LABEL = r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"([a-z_0-9]+)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)")


def parse_openmetrics(text: str) -> dict[str, tuple[str, dict[tuple[Any, ...], float]]]:
    """Strictly what we write: families with TYPE, then HELP, then samples; the end is marked."""
    *lines, end = text.splitlines()
    assert end == "# EOF"
    assert text.endswith("\n")
    families: dict[str, tuple[str, dict[tuple[Any, ...], float]]] = {}
    position = 0
    while position < len(lines):
        declared = re.fullmatch(r"# TYPE ([a-z_0-9]+) (counter|gauge|info)", lines[position])
        assert declared
        name, kind = declared.groups()
        assert re.fullmatch(rf"# HELP {name} [^\\\n]+", lines[position + 1])
        assert name not in families
        families[name] = kind, {}
        position += 2
        while position < len(lines) and not lines[position].startswith("#"):
            sample = SAMPLE.fullmatch(lines[position])
            assert sample
            assert sample[1] == name + {"counter": "_total", "info": "_info"}.get(kind, "")
            labels = tuple(re.findall(LABEL, sample[2] or ""))
            assert labels not in families[name][1]
            families[name][1][labels] = float(sample.groups()[-1])
            position += 1
        assert families[name][1]
    return families


# Captures


def captured(path: Path) -> list[tuple[int, bytes]]:
    """(whether it was received, the packet in H4), read by others."""
    with path.open("rb") as file:
        reader = SnoopPacketReader(file)
        assert reader.data_link_type == 1002
        packets: list[Any] = []
        while True:
            _, received, packet = reader.next_packet()
            if reader.at_end:
                return packets
            assert bytes(hci.HCI_Packet.from_bytes(packet)) == packet
            packets.append((received, packet))


def test_a_capture_has_both_directions_and_can_be_read_by_others(guest: Any, usbbtctl: Any, tmp_path: Path) -> None:
    usbbtctl("capture", tmp_path / "all", "--seconds", 1)
    packets = captured(tmp_path / "all")
    assert {(received, packet[0]) for received, packet in packets} >= {(0, 2), (1, 2), (1, 4)}
    assert {received for received, packet in packets if SDU in packet} == {0, 1}
    assert (tmp_path / "all").stat().st_mode & 0o777 == 0o600


def test_a_capture_for_programs(guest: Any, stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert ctl.main(["--socket", str(stack.socket), "capture", str(tmp_path / "x"), "--seconds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().err) == {"packets": len(captured(tmp_path / "x")), "dropped": 0}


def test_a_capture_does_not_wait_for_a_reader(stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert ctl.main(["--socket", str(stack.socket), "capture", str(tmp_path / "pipe"), "--seconds", "1"]) == 1
    assert f"{tmp_path}/pipe: nobody reads from this pipe" in capsys.readouterr().err


def test_a_capture_of_one_link_without_payload(guest: Any, usbbtctl: Any, tmp_path: Path) -> None:
    (handle,) = [link["handle"] for link in rows(usbbtctl("links", "--json")) if link["address_type"] == "LE random"]
    usbbtctl("capture", tmp_path / "one", "--link", hex(handle), "--no-payload", "--seconds", 1)
    packets = [hci.HCI_Packet.from_bytes(packet) for _, packet in captured(tmp_path / "one")]
    assert packets
    assert {packet.connection_handle for packet in packets} == {handle}
    assert SDU not in (tmp_path / "one").read_bytes()
    assert any(packet.data_total_length == len(SDU) + 6 for packet in packets)  # L2CAP's header, and the SDU's length


def test_a_capture_by_address_begins_with_the_link(stack: Any, new_domain: Any, usbbtctl: Any, tmp_path: Path) -> None:
    address = plan.ECHO.address_on("bredr")
    command = [sys.executable, "-m", "usbbtd.cli.ctl", "--socket", str(stack.socket)]
    since = len(stack.daemon.log)
    if address in usbbtctl("links"):  # kept for a while after another test
        stack.daemon.wait_logged("link down", f"addr={address}", since=since)
        since = len(stack.daemon.log)
    with subprocess.Popen([*command, "capture", "-", "--link", address.lower()], stdout=subprocess.PIPE) as process:
        stack.daemon.wait_logged("capture started", since=since)
        guest = stack.new_guest(new_domain)
        guest.start(echo_for_ever)
        stack.world.wait_value(f"{guest.home}/data/done", "flowing")
        guest.destroy()
        stack.world.wait_value(stack.backend(guest), None)
        assert process.stdout
        output = read_until(process.stdout.fileno(), rb"\x04\x05\x04\x00")  # Disconnection Complete
        process.send_signal(signal.SIGTERM)
        output += process.communicate(timeout=TIME_LIMIT_S)[0]
    assert process.returncode == 0
    (tmp_path / "piped").write_bytes(output)
    kinds = [type(hci.HCI_Packet.from_bytes(packet)).__name__ for _, packet in captured(tmp_path / "piped")]
    assert kinds[0] == "HCI_Connection_Complete_Event"
    assert kinds[-1] == "HCI_Disconnection_Complete_Event"
    assert set(kinds[1:-1]) == {"HCI_AclDataPacket"}
    stack.daemon.wait_logged("capture ended", since=since)


def test_a_link_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], stack: Any) -> None:
    assert ctl.main(["--socket", str(stack.socket), "capture", str(tmp_path / "none"), "--link", "0x0eff"]) == 1
    assert capsys.readouterr().err.startswith("usbbtctl: no link has handle 0x0eff")
    assert not (tmp_path / "none").exists()


def test_clients_that_do_not_read_do_not_disturb_the_traffic(guest: Any, stack: Any, usbbtctl: Any) -> None:
    def carried() -> int:
        (row,) = rows(usbbtctl("guests", "--json"))
        return int(row["sdus_to_guest"])

    with socket.socket(socket.AF_UNIX) as lazy, socket.socket(socket.AF_UNIX) as busy:
        for client, request in ((lazy, b'{"command": "capture"}\n'), (busy, b'{"command": "dump"}\n' * 200)):
            client.connect(str(stack.socket))
            client.sendall(request)
        enough, end = carried() + 100, time.monotonic() + TIME_LIMIT_S
        while carried() < enough:
            assert time.monotonic() < end


# Everything, and what is wrong


@pytest.mark.usefixtures("in_driver_domain")
def test_a_dump_has_everything_for_a_bug_report(guest: Any, stack: Any, usbbtctl: Any) -> None:
    sections = {row["section"]: row["content"] for row in rows(usbbtctl("dump", "--json", "--config", stack.config))}
    assert sections["versions"]["python"].startswith("3.")
    assert sections["config"]["control"]["socket"] == str(stack.socket)
    assert sections["config"]["state"]["directory"] == str(stack.config.parent / "state")
    assert sections["status"][0]["channels"] == len(sections["channels"]) == 2
    assert f'backend/vl2cap/{guest.domid}/0/state = "4"' in sections["xenstore backend/vl2cap"]
    assert 'device/vusb/0/state = "4"' in sections["xenstore device/vusb"]
    assert any(event["event"] == "guest connected" for event in sections["log"])
    assert [check["check"] for check in sections["doctor"] if check["check"].startswith("backend/")]
    text = usbbtctl("dump", "--config", stack.config)
    assert [line.removeprefix("== ") for line in text.splitlines() if line.startswith("== ")] == list(sections)


def doctor(usbbtctl: Any, *arguments: object, status: int) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in rows(usbbtctl("doctor", "--json", *arguments, status=status))}


@pytest.mark.usefixtures("in_driver_domain")
def test_doctor_sees_a_service_that_is_well_and_the_nodes_that_are_missing(
    guest: Any, stack: Any, usbbtctl: Any
) -> None:
    """A simulated Xen has no devices in /dev/xen."""
    found = doctor(usbbtctl, "--config", stack.config, status=1)
    for name, module in (("evtchn", "xen-evtchn"), ("gntdev", "xen-gntdev"), ("gntalloc", "xen-gntalloc")):
        node = found[f"/dev/xen/{name}"]
        assert node["status"] == "failed"
        assert node["advice"].startswith(f"modprobe {module}")
    well = {"xenstore", "configuration", "policy", "control socket", "adapter", f"backend/vl2cap/{guest.domid}/0"}
    assert {found[check]["status"] for check in well} == {"ok"}
    assert found["xenstore"]["found"] == f"this is domain {stack.driver}"
    assert found["device/vusb/0"]["found"].startswith("Connected")


def test_doctor_says_what_to_do_about_a_broken_configuration_and_no_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "none"))
    (tmp_path / "usbbtd.toml").write_text("[guests]\nchanels = 8\n")
    arguments = ["--socket", str(tmp_path / "none"), "doctor", "--config", str(tmp_path / "usbbtd.toml")]
    assert ctl.main([*arguments, "--json"]) == 1
    found = {row["check"]: row for row in rows(capsys.readouterr().out)}
    wrong = {check: (row["found"], row["advice"]) for check, row in found.items() if row["status"] == "failed"}
    assert wrong["configuration"] == (
        f"{tmp_path}/usbbtd.toml:2: guests.chanels: no such key; is channels meant?",
        "correct it; 'usbbtd check-config' says whether it is right",
    )
    assert wrong["xenstore"][0].startswith("no xenstore: cannot open")
    assert wrong["control socket"][0].startswith(f"{tmp_path}/none: there is no such socket")
    assert all(advice for _, advice in wrong.values())
    assert ctl.main(arguments) == 1
    text = capsys.readouterr().out
    assert "-> correct it" in text
    assert re.search(r"^\d+ failed, \d+ to look at$", text, re.MULTILINE)


def test_doctor_names_the_line_of_a_broken_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "usbbtd.toml").write_text(f'[policy]\ndirectory = "{tmp_path}/policy.d"\n')
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d/10-work.toml").write_text('[[rule]]\nguest = "work"\nverdict = "alow"\n')
    arguments = ["--socket", str(tmp_path / "none"), "doctor", "--config", str(tmp_path / "usbbtd.toml"), "--json"]
    assert ctl.main(arguments) == 1
    (found,) = [row for row in rows(capsys.readouterr().out) if row["check"] == "policy"]
    assert found["status"] == "failed"
    assert f"{tmp_path}/policy.d/10-work.toml:3: rule" in found["found"]


@pytest.mark.usefixtures("in_driver_domain")
def test_doctor_sees_what_the_toolstack_has_not_made(
    world: Any, new_domain: Any, usbbtctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in world.environment(new_domain().domid).items():
        monkeypatch.setenv(name, value)
    found = doctor(usbbtctl, status=1)
    assert found["USB controller"]["status"] == "failed"
    assert "usbctrl-attach" in found["USB controller"]["advice"]
    assert found["guests"]["status"] == "warning"
    assert "usbbt-toolstack attach" in found["guests"]["advice"]


# What is asked wrongly


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, "no such command: None; there are status, adapters,"),
        ({"command": ["status"]}, "no such command: ['status']"),
        ({"command": "status", "all": True}, "no such argument: 'all'"),
        ({"command": "capture", "file": "x"}, "no such argument: 'file'"),
        ({"command": "capture", "payload": 1}, "payload: true or false"),
        ({"command": "capture", "link": True}, "link: a handle, or an address"),
        ({"command": "capture", "link": 1 << 20}, "link: a handle, or an address"),
        ({"command": "capture", "link": "C0:FF"}, "link: a handle, or an address"),
    ],
)
def test_the_service_tells_what_is_wrong_with_a_request(stack: Any, request_: dict[str, Any], error: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIME_LIMIT_S)
        client.connect(str(stack.socket))
        client.sendall(json.dumps(request_).encode() + b"\n")
        assert json.loads(client.makefile().readline())["error"].startswith(error)


# Without a service


def test_without_a_service_the_exit_status_is_3_and_it_says_what_to_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "usbbtd.cli.ctl", "--socket", str(tmp_path / "none"), "status"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"usbbtctl: {tmp_path}/none: there is no such socket")
    assert done.stderr.endswith("'systemctl start usbbtd'\n")


def test_a_dump_without_a_service_has_what_doctor_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "none"))
    assert ctl.main(["--socket", str(tmp_path / "none"), "dump", "--json"]) == 3
    output = capsys.readouterr()
    (section,) = rows(output.out)
    assert section["section"] == "doctor"
    assert "there is no such socket" in output.err


def test_who_has_seen_enough_of_a_list_is_not_bothered(stack: Any) -> None:
    command = [sys.executable, "-m", "usbbtd.cli.ctl", "--socket", str(stack.socket), "stats"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=TIME_LIMIT_S, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["capture"],
        ["capture", "x", "--link", "kitchen"],
        ["capture", "x", "--link", "0x0f00"],
        ["capture", "x", "--link", "-1"],
        ["--socket", "", "status"],
        ["top", "-n"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(arguments)
    assert ended.value.code == 2
    assert "usage: usbbtctl" in capsys.readouterr().err


# Live


def test_top_once_fits_into_a_terminal(guest: Any, usbbtctl: Any) -> None:
    frame = usbbtctl("top", "--once", "--interval", 0.2)
    lines = frame.splitlines()
    assert "\x1b" not in frame
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert sum(plan.ECHO.address_on(transport) in frame for transport in plan.TRANSPORTS) == 2
    assert re.search(r"^ to guests +[1-9]\d* SDU/s", frame, re.MULTILINE)


def test_top_for_programs(guest: Any, usbbtctl: Any) -> None:
    (sample,) = rows(usbbtctl("top", "--once", "--json"))
    assert [each["name"] for each in sample["guests"]] == ["work"]
    assert {each["address"] for each in sample["channels"]} == {plan.ECHO.address_on(each) for each in plan.TRANSPORTS}


def test_top_leaves_the_terminal_as_it_was(guest: Any, stack: Any) -> None:
    command = [sys.executable, "-m", "usbbtd.cli.ctl", "--socket", str(stack.socket), "top", "--interval", "0.1"]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    before = termios.tcgetattr(theirs)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        assert read_until(ours, rb"to guests +[1-9]").startswith(b"\x1b[?1049h")
        assert termios.tcgetattr(theirs) != before
        os.write(ours, b"q")
        shown = read_until(ours, rb"\x1b\[\?1049l")
        assert process.wait(TIME_LIMIT_S) == 0
    assert shown.endswith(b"\x1b[?25h\x1b[?1049l")
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


def test_top_wants_a_terminal(stack: Any, usbbtctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    usbbtctl("top", status=1)


def read_until(descriptor: int, pattern: bytes) -> bytes:
    read = b""
    while not re.search(pattern, read):
        assert select.select([descriptor], [], [], TIME_LIMIT_S)[0], read
        more = os.read(descriptor, 4096)
        assert more, read
        read += more
    return read
