from pathlib import Path

import pytest

from tests.toolstack.sysfs_tree import BLUETOOTH, HUB, SysfsTree
from usbbtd.toolstack.sysfs import PluggedDevice, read_plugged


@pytest.fixture
def tree(tmp_path: Path) -> SysfsTree:
    return SysfsTree(tmp_path / "devices")


def test_devices_are_read_without_hubs_and_interfaces(tree: SysfsTree) -> None:
    tree.plug("1-1", "0424:2514", kind=HUB)
    tree.plug("1-1.2", "0a12:0001", "0123")
    tree.plug("1-3", "8087:0aaa", kind=BLUETOOTH)
    tree.plug("1-4", "046d:c52b", kind=("03", "01", "02"))
    assert read_plugged(tree.directory) == {
        "1-1.2": PluggedDevice("1-1.2", "4", "0a12:0001", "0123", is_bluetooth=True),
        "1-3": PluggedDevice("1-3", "5", "8087:0aaa", "", is_bluetooth=True),
        "1-4": PluggedDevice("1-4", "6", "046d:c52b", "", is_bluetooth=False),
    }


def test_a_device_that_goes_while_it_is_read_is_left_out(tree: SysfsTree) -> None:
    tree.plug("1-1", "0a12:0001")
    tree.plug("1-2", "0a12:0001")
    (tree.directory / "1-1" / "devnum").unlink()
    assert list(read_plugged(tree.directory)) == ["1-2"]


def test_a_serial_number_may_have_any_octets(tree: SysfsTree) -> None:
    tree.plug("1-1", "0a12:0001", "x")
    (tree.directory / "1-1" / "serial").write_bytes(b"a\xffb\n")
    assert read_plugged(tree.directory)["1-1"].serial == r"a\xffb"
