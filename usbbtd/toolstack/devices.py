"""The nodes of vl2cap devices: those of both ends, as docs/l2capif.md says, and a record that is dom0's own.

The record is at ``/libxl/<guest>/device/vl2cap/<devid>``, beside those that libxl keeps of the devices it knows, and
libxl removes it with the guest. It has the name of the driver domain that the administrator wants, so that a device can
follow a driver domain that is started anew; and the paths of the device, because a guest can rewrite those in its own
directory. If its ``online`` is 0, the device was detached by hand and stays detached.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from usbbtd import xenbus
from usbbtd.identifiers import parse_domid
from usbbtd.l2capif.nodes import DOMAIN, STANDS_FOR, TAGS, VL2CAP
from usbbtd.nodes import BACKEND, BACKEND_ID, DOMAINS, FRONTEND, FRONTEND_ID, ONLINE, RECORDS, STATE, home
from usbbtd.toolstack.changes import Change, Write, make_directory, remove_directory
from usbbtd.toolstack.domains import Domain, devids, name_of
from usbbtd.xen.transaction import Transaction

_NOBODY_ELSE = ("n0",)
#: A node of the record, besides those that it has in common with the ends.
_BACKEND_NAME = "backend-name"


class Vl2capDevice(NamedTuple):
    """A guest's device ``devid``.

    ``wanted``: whether the administrator wants it; None if there is no record. ``backend``: the domid of the driver
    domain for which it has nodes; None if it has none. ``tags``, ``stands_for``: see ``Spec``.
    """

    guest: int
    devid: int
    wanted: bool | None = None
    backend_name: str = ""
    backend: int | None = None
    tags: str = ""
    stands_for: str = ""

    @property
    def present(self) -> bool:
        """Tells whether the device is wanted or has nodes: there is more than a record that it was detached."""
        return bool(self.wanted) or self.backend is not None

    @property
    def frontend_path(self) -> str:
        return f"{home(self.guest)}/{VL2CAP.frontend_path(self.devid)}"

    @property
    def backend_path(self) -> str:
        """Returns the path of the backend's end. The device must have a ``backend``."""
        return f"{home(self.backend or 0)}/{VL2CAP.backend_path(self.guest, self.devid)}"

    @property
    def record_path(self) -> str:
        return f"{_records(self.guest)}/{self.devid}"


def read_devices(transaction: Transaction, guest: int) -> dict[int, Vl2capDevice]:
    """Returns all devices of a guest by devid, with those that were detached by hand."""
    names: set[str] = set()
    for directory in (_records(guest), f"{home(guest)}/{VL2CAP.frontends}"):
        names.update(transaction.list(directory) or ())
    return {devid: read_device(transaction, guest, devid) for devid in sorted(devids(names))}


def read_device(transaction: Transaction, guest: int, devid: int) -> Vl2capDevice:
    """Returns the device as its record has it; without a record, as the guest's directory has it."""
    device = Vl2capDevice(guest, devid)
    online, name, backend, tags, stands_for = (
        transaction.read(f"{device.record_path}/{node}") for node in (ONLINE, _BACKEND_NAME, BACKEND, TAGS, STANDS_FOR)
    )
    if online is None:
        backend = transaction.read(f"{device.frontend_path}/{BACKEND}")
    else:
        device = device._replace(
            wanted=online == "1", backend_name=name or "", tags=tags or "", stands_for=stands_for or ""
        )
    # The guest may have written the path: only a path of this device is accepted.
    match = re.fullmatch(rf"{DOMAINS}/([0-9]+)/{VL2CAP.backend_path(guest, devid)}", backend or "")
    return device._replace(backend=parse_domid(match[1])) if match else device


def is_made(transaction: Transaction, device: Vl2capDevice) -> bool:
    """Tells whether both ends of a device are there.

    Another domain may have the number of its driver domain by now. But libxl removes a domain's home, in which this
    device's directory is, before it gives the number to another domain.
    """
    if device.backend is None or name_of(transaction, device.backend) is None:
        return False
    frontend = transaction.read(f"{device.backend_path}/{FRONTEND}")
    return frontend == device.frontend_path and transaction.read(device.frontend_path) is not None


def make_device(
    transaction: Transaction, guest: Domain, devid: int, backend: Domain, tags: str = "", stands_for: str = ""
) -> Iterator[Change]:
    """Yields the changes that make a device, in the place of any nodes that it has.

    ``tags``, ``stands_for``: see ``Spec``. The driver domain is told the name of the guest that the device is for.
    """
    device = Vl2capDevice(guest.domid, devid, True, backend.name, backend.domid, tags, stands_for)
    front, back = device.frontend_path, device.backend_path
    frontend_nodes = {BACKEND: back, BACKEND_ID: str(backend.domid), STATE: str(xenbus.INITIALISING)}
    backend_nodes = {FRONTEND: front, FRONTEND_ID: str(guest.domid), ONLINE: "1", DOMAIN: stands_for or guest.name}
    backend_nodes |= {STATE: str(xenbus.INITIALISING)} | ({TAGS: tags} if tags else {})
    backend_nodes |= {STANDS_FOR: stands_for} if stands_for else {}
    for path, top, owner, reader, nodes in (
        (front, f"{guest.home}/device", guest.domid, backend.domid, frontend_nodes),
        (back, backend.home, backend.domid, guest.domid, backend_nodes),
    ):
        permissions = (f"n{owner}", f"r{reader}")
        yield from make_directory(transaction, path, top, ("n0", f"r{owner}"), permissions)
        yield from (Write(f"{path}/{node}", value, permissions) for node, value in nodes.items())
    yield from make_record(transaction, device)


def make_record(transaction: Transaction, device: Vl2capDevice) -> Iterator[Change]:
    """Yields the changes that make a device's record. Without ``backend`` the device waits for its driver domain."""
    top = f"{RECORDS}/{device.guest}/device"
    yield from make_directory(transaction, device.record_path, top, _NOBODY_ELSE, _NOBODY_ELSE)
    nodes = {ONLINE: "1" if device.wanted else "0", _BACKEND_NAME: device.backend_name}
    nodes |= {TAGS: device.tags} if device.tags else {}
    nodes |= {STANDS_FOR: device.stands_for} if device.stands_for else {}
    if device.backend is not None:
        nodes |= {FRONTEND: device.frontend_path, BACKEND: device.backend_path}
    for node, value in nodes.items():
        yield Write(f"{device.record_path}/{node}", value, _NOBODY_ELSE)


def close_device(transaction: Transaction, device: Vl2capDevice) -> Iterator[Change]:
    """Yields the changes that ask the backend to close, and record that the device is not wanted any more."""
    yield from make_record(transaction, device._replace(wanted=False))
    if device.backend is not None and transaction.read(f"{device.backend_path}/{STATE}") is not None:
        yield Write(f"{device.backend_path}/{ONLINE}", "0")
        yield Write(f"{device.backend_path}/{STATE}", str(xenbus.CLOSING))


def remove_device(transaction: Transaction, device: Vl2capDevice) -> Iterator[Change]:
    """Yields the changes that remove the nodes of both ends; the record stays."""
    yield from remove_directory(transaction, device.frontend_path, f"{home(device.guest)}/device")
    if device.backend is not None:
        yield from remove_directory(transaction, device.backend_path, home(device.backend))


def remove_record(transaction: Transaction, device: Vl2capDevice) -> Iterator[Change]:
    """Yields the changes that remove a device's record."""
    yield from remove_directory(transaction, device.record_path, f"{RECORDS}/{device.guest}/device")


def _records(guest: int) -> str:
    return f"{RECORDS}/{guest}/{VL2CAP.frontends}"
