"""usbbt-toolstack watch gives dongles to domains, on the simulated Xen with a directory in the place of sysfs."""

import json
import signal
from pathlib import Path

import pytest

from tests.support.host import Host
from tests.support.stack import Process
from tests.toolstack.sysfs_tree import SysfsTree

DONGLE = "0a12:0001"


class Bed:
    """dom0 with its service, configuration files of domains, and USB devices."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.usb = SysfsTree(directory / "usb")
        self._files = directory / "xen"
        self._files.mkdir()
        self._options = ("--config-dir", self._files, "--sysfs", self.usb.directory)
        self.service = self.start()

    def start(self) -> Process:
        self.service = self.host.watch(*self._options)
        self.service.wait_logged("usbbt-toolstack watches")
        return self.service

    def look(self) -> None:
        """As after a message of the kernel."""
        self.service.signal(signal.SIGHUP)

    def configure(self, name: str, *rules: str) -> None:
        (self._files / f"{name}.cfg").write_text(f'name = "{name}"\nvusb = {json.dumps(rules)}\n')

    def create(self, name: str, ports: int = 1) -> str:
        """A domain with a virtual USB controller; returns its backend's directory."""
        domid = self.host.create(name)
        self.host.world.attach_vusb(domid, 0, ports=ports)
        back = f"/local/domain/0/backend/qusb/{domid}/0"
        self.host.world.change_store(write=[(f"/libxl/{domid}/device/vusb/0/backend", back, None)])
        return back

    def list(self) -> list[list[str]]:
        """The words of each line of the command's table."""
        return [line.split() for line in self.host.run("dongles", *self._options).splitlines()]

    def wait_port(self, back: str, place: str, number: int = 1) -> None:
        self.host.world.wait_value(f"{back}/port/{number}", place)

    def write_port(self, back: str, place: str) -> None:
        """As xl usbdev-attach and usbdev-detach."""
        self.host.world.change_store(write=[(f"{back}/port/1", place, None)])


@pytest.fixture
def bed(host: Host, tmp_path: Path) -> Bed:
    return Bed(host, tmp_path)


def test_a_dongle_follows_its_domain_and_its_socket(bed: Bed) -> None:
    bed.configure("sys-bt", "class=bluetooth")
    bed.usb.plug("1-2", DONGLE)
    first = bed.create("sys-bt")
    bed.wait_port(first, "1-2")
    bed.usb.unplug("1-2")
    bed.look()
    bed.wait_port(first, "")
    bed.usb.plug("1-3.1", DONGLE)
    bed.look()
    bed.wait_port(first, "1-3.1")
    bed.host.destroy(int(first.split("/")[-2]))
    bed.host.world.change_store(remove=[first])
    second = bed.create("sys-bt")
    bed.wait_port(second, "1-3.1")


def test_a_dongle_that_was_plugged_in_anew_before_anybody_looked(bed: Bed) -> None:
    """Its place is the same, and the backend must see that it was gone: also when the service was down meanwhile."""
    bed.configure("sys-bt", f"id={DONGLE}")
    back = bed.create("sys-bt")
    bed.usb.plug("1-2", DONGLE)
    bed.look()
    bed.wait_port(back, "1-2")
    bed.service.kill()
    bed.usb.unplug("1-2")
    bed.usb.plug("1-2", DONGLE)
    service = bed.start()
    service.wait_logged("dongle gone from port", "place=1-2")
    service.wait_logged("dongle plugged into port", "place=1-2")
    bed.wait_port(back, "1-2")


def test_leftovers_of_xl_are_cleared(bed: Bed) -> None:
    """xl knows nothing of unplugging: its ports stay occupied."""
    bed.configure("sys-bt", "class=bluetooth")
    back = bed.create("sys-bt")
    bed.write_port(back, "1-9")
    bed.usb.plug("1-2", DONGLE)
    bed.wait_port(back, "1-2")


def test_what_was_detached_by_hand_stays_detached_until_it_is_plugged_in_anew(bed: Bed) -> None:
    bed.configure("sys-bt", "class=bluetooth")
    bed.usb.plug("1-2", DONGLE)
    back = bed.create("sys-bt", ports=2)
    bed.wait_port(back, "1-2")
    bed.write_port(back, "")
    bed.usb.plug("1-3", DONGLE)
    bed.look()
    bed.wait_port(back, "1-3", 2)
    assert bed.host.world.read(f"{back}/port/1") == ""
    bed.usb.unplug("1-2")
    bed.usb.plug("1-2", DONGLE)
    bed.look()
    bed.wait_port(back, "1-2")


def test_a_dongle_that_two_domains_are_to_have_goes_to_none(bed: Bed) -> None:
    bed.configure("sys-bt", "class=bluetooth")
    bed.configure("other", "serial=7")
    bed.usb.plug("1-2", DONGLE, "7")
    bed.usb.plug("1-3", DONGLE, "8")
    back, other = bed.create("sys-bt", ports=2), bed.create("other")
    bed.service.wait_logged("1-2 is named by vusb of 'other' and 'sys-bt': it is given to none of them")
    bed.wait_port(back, "1-3")
    assert bed.host.world.read(f"{other}/port/1") == ""
    bed.configure("other", "serial=9")
    bed.look()
    bed.wait_port(back, "1-2", 2)


def test_a_dongle_that_another_domain_has_is_left_there(bed: Bed) -> None:
    other = bed.create("other")
    bed.write_port(other, "1-2")
    bed.configure("sys-bt", "class=bluetooth")
    bed.usb.plug("1-2", DONGLE)
    back = bed.create("sys-bt")
    bed.service.wait_logged("is for 'sys-bt', but is attached to other")
    assert bed.host.world.read(f"{back}/port/1") == ""
    bed.write_port(other, "")
    bed.wait_port(back, "1-2")


def test_a_dongle_on_an_emulated_controller_is_left_there(bed: Bed) -> None:
    """It has no backend, and its ports are in libxl's record."""
    port = f"/libxl/{bed.host.create('windows')}/device/vusb/0/port/1"
    bed.host.world.change_store(write=[(port, "1-2", None)])
    bed.configure("sys-bt", "class=bluetooth")
    bed.usb.plug("1-2", DONGLE)
    back = bed.create("sys-bt")
    bed.service.wait_logged("is for 'sys-bt', but is attached to windows")
    assert bed.host.world.read(f"{back}/port/1") == ""


def test_a_dongle_waits_for_its_domain_and_for_a_port(bed: Bed) -> None:
    bed.configure("sys-bt", "class=bluetooth", "class=hid")
    bed.usb.plug("1-2", DONGLE)
    bed.look()
    bed.service.wait_logged("there is no class 'hid', only bluetooth")
    bed.configure("sys-bt", "class=bluetooth")
    bed.look()
    bed.service.wait_logged("1-2 waits for 'sys-bt'")
    back = bed.create("sys-bt")
    bed.wait_port(back, "1-2")
    bed.usb.plug("1-3", DONGLE, "8")
    bed.look()
    bed.service.wait_logged("1-3 waits for 'sys-bt'")


def test_dongles_are_listed(bed: Bed) -> None:
    bed.configure("sys-bt", "class=bluetooth")
    bed.usb.plug("1-2", DONGLE, "7")
    back = bed.create("sys-bt")
    bed.wait_port(back, "1-2")
    bed.usb.plug("1-3", DONGLE)
    head, *rows = bed.list()
    assert head == ["DONGLE", "ID", "SERIAL", "FOR", "DOMAIN", "DOMID", "DEVID", "PORT"]
    domid = back.split("/")[-2]
    assert rows == [f"1-2 {DONGLE} 7 sys-bt sys-bt {domid} 0 1".split(), f"1-3 {DONGLE} - sys-bt - - - -".split()]
