"""What doctor makes of device nodes and drivers. The tests' machine is no Xen domain, so these are stand-ins."""

import grp
import os
from pathlib import Path

import pytest

from usbbtd.cli.ctl.checks import Status, machine

USER = "daemon"  # there on every Debian, with a group of its own


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "USER", USER)
    made = tmp_path / "evtchn"
    made.touch()
    os.chown(made, 0, grp.getgrnam(USER).gr_gid)
    return made


@pytest.mark.parametrize(
    ("mode", "group", "may"),
    [(0o660, USER, True), (0o640, USER, False), (0o606, USER, False), (0o600, "root", False), (0o666, "root", True)],
)
def test_the_users_rights_are_those_that_count(node: Path, mode: int, group: str, may: bool) -> None:
    os.chown(node, 0, grp.getgrnam(group).gr_gid)
    node.chmod(mode)
    assert machine.access(str(node)) == (f"the user {USER}", may)


def test_without_the_user_it_is_us(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "USER", "no-such-user")
    assert machine.access(str(node)) == ("this user", True)


def present(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    monkeypatch.setattr(os.path, "isdir", paths.__contains__)
    monkeypatch.setattr(os.path, "exists", paths.__contains__)


def test_a_missing_node_asks_for_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    present(monkeypatch, "/sys/module/xen_gntdev")
    found = {finding.check: finding for finding in machine.check_nodes(usbif=False)}
    assert set(found) == {"/dev/xen/evtchn", "/dev/xen/gntdev", "/dev/xen/xenbus"}  # libusb shares no pages
    assert found["/dev/xen/evtchn"].advice == "modprobe xen-evtchn; for every start: modules-load.d(5)"
    assert "devtmpfs" in found["/dev/xen/gntdev"].advice
    assert "CONFIG_XEN" in found["/dev/xen/xenbus"].advice


def test_xen_hcd_is_in_the_way_of_usbif(monkeypatch: pytest.MonkeyPatch) -> None:
    present(monkeypatch, "/sys/module/xen_hcd")
    (found,) = machine.check_drivers(usbif=True)
    assert found.status == Status.FAILED
    assert "blacklist xen-hcd" in found.advice


def test_xen_is_seen_by_its_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    present(monkeypatch, "/sys/bus/xen")
    assert machine.check_xen().status == Status.OK
    present(monkeypatch)
    assert machine.check_xen().status == Status.FAILED
