"""The packages in a Debian with systemd as the driver domain, installed and used by the commands of docs/install.md."""

import json
import re
import signal
import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests import ROOT
from tests.demo import plan
from tests.realxen.agents import Domain
from tests.realxen.air import MIRROR
from tests.realxen.disk import disk
from tests.realxen.lab import DRIVER_DOMAIN, Lab
from tests.realxen.steady import Steady

GUEST = "work"
ECHO = (MIRROR.address, hex(plan.ECHO_PSM["bredr"]))
BOOT_S, COMMAND_S = 240, 240
PACKAGES = ROOT / "build" / "deb"
#: Debian's xl calls a script of bash and more that the bed's dom0 does not have. This does what that is for.
BLOCK_SCRIPT = """\
#!/bin/sh
[ $1 = add ] || exit 0
device=$(xenstore-read $XENBUS_PATH/params)
xenstore-write $XENBUS_PATH/physical-device $(stat -L -c %t:%T $device) $XENBUS_PATH/hotplug-status connected
"""
CONFIG = """\
usbctrl = ["type=qusb,version=2,ports=4"]
vusb = ["class=bluetooth"]
disk = ["vdev=xvda,access=rw,script=bed-block,target=/dev/vda", "vdev=xvdb,access=r,script=bed-block,target=/dev/vdb"]
root = "/dev/xvda systemd.show_status=0 modprobe.blacklist=xen_hcd"
"""
#: What an emulated machine needs beyond the words of the page.
PATIENCE = {"usbbt-guest": " --wait 60", "usbbt-toolstack attach": " --timeout 60"}
#: Of the configuration: an event waits behind all that an emulated machine has not carried yet.
SLOW_CONTROLLER = "s/^command_timeout_s = .*/command_timeout_s = 20/"
#: Of the page, what the bed's dom0 and guests have already: they are no Debian.
HAVE = re.compile(r"(apt-get|systemctl) .*")


class Command(NamedTuple):
    """Of the page."""

    domain: str
    text: str


def commands() -> list[Command]:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [re.fullmatch(r"(\S+)# (.+)", line) for block in blocks for line in block.splitlines()]
    assert all(lines)
    return [Command(*line.groups()) for line in lines if line]


@pytest.fixture(scope="module")
def sys_bt(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Domain:
    """A Debian in the place of the bed's own driver domain, with the packages in root's home directory."""
    packages = tmp_path_factory.mktemp("packages") / "tar"
    with tarfile.open(packages, "w") as archive:
        for package in PACKAGES.glob("*.deb"):
            archive.add(package, package.name)
    lab.destroy(lab.sys_bt)
    lab.dom0.shell("modprobe virtio_blk; modprobe xen-blkback")
    lab.machine.plug_disk("root", disk())
    lab.machine.plug_disk("packages", packages)
    lab.dom0.write("/etc/xen/scripts/bed-block", BLOCK_SCRIPT.encode())
    lab.dom0.run("chmod", "+x", "/etc/xen/scripts/bed-block")
    domain = lab.create(DRIVER_DOMAIN, memory_mb=384, more=CONFIG)
    domain.shell("systemctl is-system-running --wait || systemctl --failed", timeout_s=BOOT_S)
    domain.run("tar", "-xf", "/dev/xvdb", "-C", "/root")
    return domain


@pytest.fixture(scope="module")
def ping(lab: Lab, sys_bt: Domain) -> str:
    """What the last command of docs/install.md prints, after all before it."""
    lab.plug_dongle()
    domains = {"dom0": lab.dom0, DRIVER_DOMAIN: sys_bt, GUEST: lab.domains[GUEST]}
    out = ""
    for name, text in commands():
        if name != DRIVER_DOMAIN and HAVE.fullmatch(text):
            continue
        patience = "".join(more for words, more in PATIENCE.items() if text.startswith(words))
        out = domains[name].shell(f"cd /root; {text}{patience}", timeout_s=COMMAND_S)
        if text.startswith("apt-get"):
            sys_bt.run("sed", "-i", SLOW_CONTROLLER, "/etc/usbbtd/usbbtd.toml")
    return out


def journal(sys_bt: Domain, **fields: str) -> list[dict[str, Any]]:
    """The service's entries with these fields, as ``journalctl -o json`` gives them."""
    wanted = " ".join(f"{name}='{value}'" for name, value in fields.items())
    lines = sys_bt.shell(f"journalctl --unit usbbtd --output json {wanted}").splitlines()
    return [json.loads(line) for line in lines]


def properties(sys_bt: Domain, *names: str) -> dict[str, str]:
    """Of the service, as the service manager has them."""
    lines = sys_bt.shell(f"systemctl show usbbtd --property {','.join(names)}").splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def work(lab: Lab, ping: str) -> Iterator[Steady]:
    """The guest with channels over both transports, from here to the end."""
    steady = Steady(lab.domains[GUEST])
    steady.wait_exchanging()
    yield steady
    steady.finish()


def test_first_sdu(ping: str) -> None:
    """By the page alone."""
    assert re.fullmatch(r"(64 bytes from .*\n){10}ROUND TRIPS .*\n10 .*\n", ping)


def test_confined(sys_bt: Domain, ping: str) -> None:
    """Runs as nobody who has any right; the unit is what systemd takes it for."""
    pid = properties(sys_bt, "MainPID")["MainPID"]
    status = dict(line.split(":\t", 1) for line in sys_bt.shell(f"cat /proc/{pid}/status").splitlines())
    own = sys_bt.shell("id -u usbbtd; id -g usbbtd").split()
    assert [set(status["Uid"].split()), set(status["Gid"].split())] == [{own[0]}, {own[1]}]
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    sys_bt.shell("systemd-analyze --threshold=15 security usbbtd && systemd-analyze verify --man=no usbbtd.service")
    assert sys_bt.shell("stat -c %U:%G:%a /var/lib/usbbtd /run/usbbtd /etc/usbbtd").split() == [
        "usbbtd:usbbtd:700", "usbbtd:usbbtd:750", "root:root:755"
    ]  # fmt: skip


def test_journal(lab: Lab, sys_bt: Domain, ping: str) -> None:
    """Has the fields that docs/events.md names."""
    (entry, *_) = journal(sys_bt, USBBTD_EVENT="channel open")
    known = {"XEN_DOMID": str(lab.domains[GUEST].domid), "XEN_DEVID": "0", "BT_PSM": "0x1001"}
    assert {name: entry.get(name) for name in known} == known
    assert {entry["_SYSTEMD_UNIT"], entry["SYSLOG_IDENTIFIER"]} == {"usbbtd.service", "usbbtd"}


def test_denied(lab: Lab, sys_bt: Domain, ping: str) -> None:
    """A guest that no rule is for has an adapter, and no channel; the journal tells its life from attach to detach."""
    personal = lab.domains["personal"]
    done = personal.run("usbbt-guest", "ping", *ECHO, "--wait", "60", check=False, timeout_s=120)
    assert done.status, done
    assert "the driver domain does not allow it" in done.err, done
    lab.dom0.run("usbbt-toolstack", "detach", personal.name, timeout_s=90)
    sys_bt.wait(f"journalctl --unit usbbtd XEN_DOMID={personal.domid} | grep -q 'guest detached'")
    entries = journal(sys_bt, XEN_DOMID=str(personal.domid))
    life = ["guest attached", "guest connected", "access denied", "guest disconnected", "guest detached"]
    assert [entry["USBBTD_EVENT"] for entry in entries][: len(life)] == life
    denied = entries[2]
    known = {"BT_ADDR": ECHO[0], "BT_PSM": ECHO[1], "USBBTD_ACTION": "connect", "USBBTD_RULE": "default"}
    assert {name: denied.get(name) for name in known} == known
    explained = sys_bt.shell(f"journalctl --catalog --unit usbbtd XEN_DOMID={personal.domid}")
    assert "Subject: access denied" in explained


def test_doctor(sys_bt: Domain, ping: str) -> None:
    """Finds nothing wrong where nothing is, and names file and line of a rule that is."""
    assert sys_bt.run("usbbtctl", "doctor", timeout_s=120).out
    sys_bt.write("/etc/usbbtd/policy.d/20-wrong.toml", b'[[rule]]\nguest = "work"\nverdict = "alow"\n')
    done = sys_bt.run("usbbtctl", "doctor", check=False, timeout_s=120)
    sys_bt.run("rm", "/etc/usbbtd/policy.d/20-wrong.toml")
    assert done.status == 1, done
    assert "/etc/usbbtd/policy.d/20-wrong.toml:3: rule" in done.out


def test_status(lab: Lab, sys_bt: Domain, ping: str) -> None:
    """As a member of the control socket's group, who is not root and cannot open Xen's devices."""
    member = "setpriv --reuid 12345 --regid 12345 --groups $(getent group usbbtd | cut -d: -f3)"
    assert set(sys_bt.shell("cd /dev/xen; stat -c %G:%a evtchn gntdev gntalloc xenbus").split()) == {"usbbt-xen:660"}
    assert sys_bt.shell(f"{member} test -w /dev/xen/evtchn || echo denied") == "denied\n"
    out = sys_bt.shell(f"{member} usbbtctl guests --json", timeout_s=120)
    assert {json.loads(line)["name"] for line in out.splitlines()} == {GUEST}


def test_restart(sys_bt: Domain, work: Steady) -> None:
    """The guest's channels end, and it opens new ones."""
    before = properties(sys_bt, "MainPID", "NRestarts")
    sys_bt.run("systemctl", "restart", "usbbtd", timeout_s=120)
    work.wait_lost()
    work.wait_exchanging()
    after = properties(sys_bt, "MainPID", "NRestarts", "Result")
    assert (after["NRestarts"], after["Result"]) == ("0", "success")
    assert after["MainPID"] != before["MainPID"]


def test_watchdog(sys_bt: Domain, work: Steady) -> None:
    """A service that does not go on is ended and started again, and the guest exchanges again."""
    work.lost.clear()
    pid = properties(sys_bt, "MainPID")["MainPID"]
    sys_bt.run("kill", f"-{signal.SIGSTOP:d}", pid)
    sys_bt.wait("[ $(systemctl show usbbtd --property NRestarts --value) = 1 ]", timeout_s=120)
    work.wait_lost(timeout_s=180)
    work.wait_exchanging()
    assert properties(sys_bt, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "1"}
    assert journal(sys_bt, UNIT_RESULT="watchdog")
