"""usbbt-toolstack in a real dom0, beside the real xl: by hand, by the config line, and through the lives of domains."""

import json
from typing import Any

import pytest

from tests.realxen.agents import Domain
from tests.realxen.lab import DONGLE, DRIVER_DOMAIN, Lab
from tests.realxen.steady import Steady

#: Whose configuration asks for a device.
GUEST = "third"
CONFIG_LINE = f'vl2cap = [ "backend={DRIVER_DOMAIN}" ]'
INFO = ("usbbt-guest", "info", "--wait", "90")


def toolstack(lab: Lab, *arguments: str) -> list[dict[str, Any]]:
    """What it says in JSON."""
    out = lab.dom0.run("usbbt-toolstack", *arguments, "--json", timeout_s=90).out
    return [json.loads(line) for line in out.splitlines()]


def nodes(lab: Lab) -> list[str]:
    """Everything about vl2cap that xenstore has, with permissions, of all domains."""
    return [line for line in lab.dom0.run("xenstore-ls", "-fp", "/").out.splitlines() if "/vl2cap" in line]


@pytest.fixture(scope="module")
def third(lab: Lab) -> Domain:
    """Created by xl while usbbt-toolstack watches."""
    return lab.create(GUEST, more=CONFIG_LINE)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["attach", "nobody", "backend=sys-bt"], 5, "nobody"),
        (["attach", "work", "backend=nobody"], 5, "nobody"),
        (["attach", "work", "backend=work"], 2, "its own backend"),
        (["attach", "work", "backend=sys-bt,devid=0"], 6, "already"),
        (["attach", "work", "backend=personal", "--timeout", "3"], 8, "usbbtd"),
        (["attach", "work", "backend=sys-bt,colour=blue"], 2, "colour"),
        (["detach", "work", "7"], 7, "no device 7"),
    ],
)
def test_refused(lab: Lab, arguments: list[str], status: int, words: str) -> None:
    """A clear message, a status of its own, and nothing half-written."""
    before = nodes(lab)
    done = lab.dom0.run("usbbt-toolstack", *arguments, check=False)
    assert done.status == status, done
    assert words in done.err.splitlines()[-1]  # before it comes the usage, where that is what is wrong
    assert nodes(lab) == before


def test_not_permitted(lab: Lab) -> None:
    """In a guest."""
    done = lab.domains["work"].run("usbbt-toolstack", "attach", "work", "backend=sys-bt", check=False)
    assert done.status == 4, done


def test_detach_and_attach(lab: Lab) -> None:
    before = nodes(lab)
    toolstack(lab, "detach", "personal")
    assert [row["guest"] for row in toolstack(lab, "list")] == ["work"]
    (row,) = toolstack(lab, "attach", "personal", "backend=sys-bt")
    assert (row["devid"], row["backend"], row["backend_state"]) == (0, DRIVER_DOMAIN, "InitWait")
    assert nodes(lab) == before


def test_create(lab: Lab, third: Domain) -> None:
    """The guest has an adapter; the dongle is still to come."""
    assert "down" in third.run(*INFO, timeout_s=120).out
    assert {row["guest"] for row in toolstack(lab, "list")} == {"work", "personal", GUEST}


@pytest.mark.parametrize(
    ("command", "name"), [("reboot", GUEST), ("shutdown", GUEST), ("destroy", "personal")], ids=lambda value: value
)
def test_ends(lab: Lab, third: Domain, command: str, name: str) -> None:
    """Nothing is left of the old domain; a new one of the same name has its device again."""
    old = lab.domains[name].domid
    lab.dom0.run("xl", command, *(("--wait",) if command != "destroy" else ()), name, timeout_s=120)
    lab.dom0.wait(f"! xenstore-exists /local/domain/{old}", timeout_s=60)
    lab.dom0.wait(f"! xenstore-exists /local/domain/{lab.sys_bt.domid}/backend/vl2cap/{old}", timeout_s=60)
    assert not [line for line in nodes(lab) if f"/{old}/" in line]
    if command == "reboot":
        again = lab.finish_create(name)
        assert "down" in again.run(*INFO, timeout_s=120).out


@pytest.fixture(scope="module")
def hotplug(lab: Lab, work: Steady) -> None:
    """The driver domain's configuration names the dongle, which somebody has attached by hand before."""
    file = f"/etc/xen/{DRIVER_DOMAIN}.cfg"
    lab.dom0.shell(f"echo 'vusb = [\"class=bluetooth\"]' >> {file}")


def test_replug(lab: Lab, work: Steady, hotplug: None) -> None:
    """Nobody types anything, and xl knows as much as usbbt-toolstack."""
    assert lab.usbbtd
    work.lost.clear()
    lab.machine.unplug(DONGLE)
    work.wait_lost()
    ports = f"/local/domain/0/backend/qusb/{lab.sys_bt.domid}/0/port"
    lab.dom0.wait(f'[ -z "$(xenstore-read {ports}/1)" ]', timeout_s=60)
    lab.plug_dongle()
    lab.usbbtd.wait_logged("adapter up", times=2, timeout_s=120)
    work.wait_exchanging()
    (row,) = toolstack(lab, "dongles")
    assert (row["domain"], row["domid"], row["port"]) == (DRIVER_DOMAIN, lab.sys_bt.domid, "1")
    assert lab.dom0.run("xl", "usb-list", DRIVER_DOMAIN).out.count("Bus ") == 1


@pytest.mark.parametrize("command", ["reboot", "destroy"])
def test_driver_domain_ends(lab: Lab, work: Steady, hotplug: None, command: str) -> None:
    """It has another domid when it is back: guests' devices and the dongle follow it, and a program goes on."""
    old = lab.sys_bt.domid
    work.lost.clear()
    lab.dom0.run("xl", command, DRIVER_DOMAIN)
    lab.dom0.wait(f"! xenstore-exists /local/domain/{old}", timeout_s=60)
    if command == "destroy":
        lab.dom0.run("xl", "create", f"/etc/xen/{DRIVER_DOMAIN}.cfg", timeout_s=120)
    usbbtd = lab.start_usbbtd(lab.finish_create(DRIVER_DOMAIN))
    usbbtd.wait_logged("adapter up", timeout_s=120)
    work.wait_lost()
    work.wait_exchanging()
    assert not [line for line in nodes(lab) if f"/local/domain/{old}/" in line]
