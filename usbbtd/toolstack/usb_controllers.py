"""The virtual USB controllers of domains, as libxl keeps them in xenstore.

QEMU serves those of type qusb. A device is plugged into a port by writing its place into ``port/<n>`` of the backend's
directory, and pulled out by emptying that node: that is what ``xl usbdev-attach`` and ``usbdev-detach`` do there, and
what ``xl usb-list`` reads. Beside it, ``plugged/<n>`` is ours: which device that was, as places are used again.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from usbbtd.nodes import BACKEND, DOMAINS, RECORDS, home
from usbbtd.toolstack.domains import Domain, devids, read_domains
from usbbtd.toolstack.sysfs import PluggedDevice
from usbbtd.usb.nodes import DETACH_PORTS, DETACHED, PLUGGED, PORTS, VUSB
from usbbtd.xen.transaction import Transaction


class UsbPort(NamedTuple):
    """A port of a controller. ``place``: the device's, "" if the port is free.

    ``plugged``: the place and number of the device that was seen last there. ``is_qusb``: whether QEMU's backend has
    the controller; the ports of others are for xl alone. ``closed``: whether the frontend has the ports emptied.
    """

    domain: Domain
    devid: int
    controller: str
    number: str
    place: str
    plugged: str
    is_qusb: bool
    closed: bool

    def fill(self, transaction: Transaction, device: PluggedDevice) -> None:
        """Plugs the device in."""
        transaction.write(f"{self.controller}/{PORTS}/{self.number}", device.place)
        self.note(transaction, device)

    def note(self, transaction: Transaction, device: PluggedDevice) -> None:
        """Records which device it is that has the place."""
        transaction.write(f"{self.controller}/{PLUGGED}/{self.number}", plugging(device))

    def empty(self, transaction: Transaction) -> None:
        """Pulls out what is there, also if the port was emptied for a while: see toolstack/ports.py."""
        transaction.write(f"{self.controller}/{PORTS}/{self.number}", "")
        transaction.remove(f"{self.controller}/{DETACHED}/{self.number}")
        transaction.remove(f"{self.controller}/{PLUGGED}/{self.number}")


def plugging(device: PluggedDevice) -> str:
    """Returns what tells one plugging-in of a device from the next."""
    return f"{device.place} {device.number}"


def records(domid: int) -> str:
    """Returns the directory of libxl's records of a domain's controllers."""
    return f"{RECORDS}/{domid}/{VUSB.frontends}"


def backend_of(transaction: Transaction, domid: int, devid: int) -> str | None:
    """Returns the directory of a controller's backend; None if there is no such controller, or it is not QEMU's."""
    backend = transaction.read(f"{records(domid)}/{devid}/{BACKEND}")
    known = backend and re.fullmatch(rf"{DOMAINS}/[0-9]+/{VUSB.backend_path(domid, devid)}", backend)
    return backend if known else None


def read_ports(transaction: Transaction) -> list[UsbPort]:
    """Returns the ports of all controllers of all domains that have a name."""
    return [
        port
        for domain in map(Domain._make, read_domains(transaction).items())
        for devid in devids(transaction.list(records(domain.domid)))
        for port in _ports_of(transaction, domain, devid)
    ]


def _ports_of(transaction: Transaction, domain: Domain, devid: int) -> Iterator[UsbPort]:
    record = f"{records(domain.domid)}/{devid}"
    qusb = backend_of(transaction, domain.domid, devid)
    controller = qusb or transaction.read(f"{record}/{BACKEND}") or record  # an emulated one has no backend
    closed = transaction.read(f"{home(domain.domid)}/{VUSB.frontend_path(devid)}/{DETACH_PORTS}") == "1"
    for number in sorted(transaction.list(f"{controller}/{PORTS}") or (), key=lambda name: (len(name), name)):
        here, aside, plugged = (
            transaction.read(f"{controller}/{directory}/{number}") or "" for directory in (PORTS, DETACHED, PLUGGED)
        )
        yield UsbPort(domain, devid, controller, number, here or aside, plugged, qusb is not None, closed)
