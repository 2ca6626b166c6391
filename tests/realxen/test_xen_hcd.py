"""Linux's own frontend of usbif and its Bluetooth stack, in a domain, on usbbtd's usbif backend in dom0."""

import json
import re
from typing import Any

import pytest

from tests.demo import plan
from tests.realxen.agents import Domain, Program
from tests.realxen.air import MIRROR, OTHER_DONGLE_ADDRESS
from tests.realxen.lab import Lab
from tests.realxen.machine import HCI_PORT
from tests.realxen.usage import debug_keys
from tests.sim.controller import ACL_COUNT, ACL_SIZE
from tests.sim.dongle import PRODUCT_ID, VENDOR_ID
from usbbtd import xenbus

DEVID = 0
#: Around the sizes of USB packets, of pages of a class request, and up to the MTU that L2CAP begins with.
LENGTHS = (1, 2, 47, 48, 59, 60, 61, 123, 124, 251, 512, 671, 672)
#: xen-hcd never ends a port's resumption, so devices must not be suspended (Linux 6.1, xenhcd_hub_control).
SET_UP = """\
modprobe usbcore autosuspend=-1
modprobe btusb
modprobe xen-hcd
"""


class Dongle:
    """The dongle as a domain gets it: see domain/offer_dongle.py."""

    def __init__(self, lab: Lab, domain: Domain) -> None:
        self._dom0 = lab.dom0
        self.front = f"/local/domain/{domain.domid}/device/vusb/{DEVID}"
        self.back = f"/local/domain/0/backend/qusb/{domain.domid}/{DEVID}"
        port = lab.dom0.shell(f"cd /sys/class/virtio-ports && grep -lx {HCI_PORT} */name").split("/")[0]
        offer = ("python3", "-m", "tests.realxen.domain.offer_dongle", str(domain.domid), str(DEVID), f"/dev/{port}")
        self.program: Program = lab.dom0.start(*offer, log="/var/log/offer-dongle")
        assert self.program.report()["ready"]

    def do(self, command: str) -> None:
        """See offer_dongle.py."""
        self.program.tell({"do": command})

    def detach(self) -> None:
        """As libxl does; ``closed`` does the rest."""
        self._dom0.run("xenstore-write", f"{self.back}/online", "0", f"{self.back}/state", str(xenbus.CLOSING))

    def closed(self) -> None:
        """Waits until both ends are, and takes the nodes away."""
        for directory in (self.back, self.front):
            self._dom0.wait(f"[ $(xenstore-read {directory}/state) = {xenbus.CLOSED} ]")
        assert self.program.report() == {"closed": True, "mapped": 0}
        assert self.program.wait_end() == 0
        self._dom0.run("xenstore-rm", self.back, self.front)


@pytest.fixture(scope="module")
def domain(lab: Lab) -> Domain:
    """Its kernel has the drivers loaded, and nothing to drive."""
    _, guest = lab.guests
    guest.shell(SET_UP)
    return guest


def used(lab: Lab, domain: Domain) -> tuple[list[str], list[str]]:
    """As Xen tells: dom0's event channels to the domain, and the domain's pages that are granted or mapped."""
    channels = lab.dom0.shell(f"/usr/lib/xen-4.17/bin/lsevtchn 0 | grep 'Remote Domain {domain.domid},'")
    tables = debug_keys(lab, "g")
    table = re.search(rf"grant-table for remote d{domain.domid} .*?(?=grant-table for|\Z)", tables, re.DOTALL)
    assert table
    return channels.splitlines(), re.findall(r"\[0x[0-9a-f]+\].*", table[0])


def told(domain: Domain, *command: str) -> Any:
    return json.loads(domain.run("python3", "-m", "tests.realxen.domain.linux_bluetooth", *command, timeout_s=180).out)


def wait_driven(domain: Domain) -> None:
    domain.wait("test -e /sys/class/bluetooth/hci0")
    ids = "cat /sys/class/bluetooth/hci0/device/../idVendor /sys/class/bluetooth/hci0/device/../idProduct"
    assert domain.shell(ids).split() == [f"{VENDOR_ID:04x}", f"{PRODUCT_ID:04x}"]
    assert domain.shell("readlink /sys/class/bluetooth/hci0/device/driver").endswith("/btusb\n")


def test_life(lab: Lab, domain: Domain) -> None:
    """Enumerated, initialised and used; pulled out and plugged in again; taken away by the toolstack."""
    before = used(lab, domain)
    dongle = Dongle(lab, domain)
    dongle.do("plug")
    for _ in range(2):
        wait_driven(domain)
        up = {"name": "hci0", "address": OTHER_DONGLE_ADDRESS, "up": True, "acl": [ACL_SIZE, ACL_COUNT]}
        assert told(domain, "up") == up
        psm = str(plan.ECHO_PSM["bredr"])
        assert told(domain, "echo", MIRROR.address, psm, *map(str, LENGTHS)) == {"echoed": len(LENGTHS)}
        dongle.do("unplug")
        domain.wait("! test -e /sys/class/bluetooth/hci0")
        dongle.do("plug")
    wait_driven(domain)
    dongle.detach()
    dongle.closed()
    assert used(lab, domain) == before


def test_the_backend_ends_first(lab: Lab, domain: Domain) -> None:
    """While the dongle is in use: its driver gets the answers that it waits for before it lets go."""
    before = used(lab, domain)
    dongle = Dongle(lab, domain)
    dongle.do("plug")
    wait_driven(domain)
    assert told(domain, "up")["up"]
    dongle.do("close")
    dongle.closed()
    domain.run("rmmod", "xen-hcd")
    assert used(lab, domain) == before
