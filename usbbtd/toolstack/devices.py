"""The nodes of vl2cap devices: those of both ends, as docs/l2capif.md says, and a record that is dom0's own.

The record is at ``/libxl/<guest>/device/vl2cap/<devid>``, beside those that libxl keeps of the devices it knows, and
libxl removes it with the guest. It says which driver domain the administrator wants, by name, so that a device can
follow a driver domain that is started anew, and where the device is: what the guest's own directory says of that can be
rewritten by the guest. ``online`` 0 there is a device that was taken away by hand and stays away.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from usbbtd import xenbus
from usbbtd.identifiers import parse_domid
from usbbtd.toolstack.changes import Change, Write, make_directory, remove_directory
from usbbtd.toolstack.domains import Domain, devids, home, name_of
from usbbtd.xen.transaction import Transaction

_NOBODY_ELSE = ("n0",)


class Vl2capDevice(NamedTuple):
    """A guest's device ``devid``.

    ``wanted``: by the administrator; None when there is no record. ``backend``: the domid of the driver domain towards
    which there are nodes; None when there are none. ``tags``: see ``Spec``.
    """

    guest: int
    devid: int
    wanted: bool | None = None
    backend_name: str = ""
    backend: int | None = None
    tags: str = ""

    @property
    def present(self) -> bool:
        """Whether there is more of it than a note that it was taken away."""
        return bool(self.wanted) or self.backend is not None

    @property
    def frontend_path(self) -> str:
        return f"{home(self.guest)}/device/vl2cap/{self.devid}"

    @property
    def backend_path(self) -> str:
        """Only with a ``backend``."""
        return f"{home(self.backend or 0)}/backend/vl2cap/{self.guest}/{self.devid}"

    @property
    def record_path(self) -> str:
        return f"{_records(self.guest)}/{self.devid}"


def read_devices(transaction: Transaction, guest: int) -> dict[int, Vl2capDevice]:
    """All devices of a guest by devid, those that were taken away among them."""
    names: set[str] = set()
    for directory in (_records(guest), f"{home(guest)}/device/vl2cap"):
        names.update(transaction.list(directory) or ())
    return {devid: read_device(transaction, guest, devid) for devid in sorted(devids(names))}


def read_device(transaction: Transaction, guest: int, devid: int) -> Vl2capDevice:
    """The device as its record has it; where there is none, as the guest's directory has it."""
    device = Vl2capDevice(guest, devid)
    online, name, backend, tags = (
        transaction.read(f"{device.record_path}/{node}") for node in ("online", "backend-name", "backend", "tags")
    )
    if online is None:
        backend = transaction.read(f"{device.frontend_path}/backend")
    else:
        device = device._replace(wanted=online == "1", backend_name=name or "", tags=tags or "")
    # The guest may have written it: whatever it names, it is this guest's device of this number and no other path.
    match = re.fullmatch(rf"/local/domain/([0-9]+)/backend/vl2cap/{guest}/{devid}", backend or "")
    return device._replace(backend=parse_domid(match[1])) if match else device


def is_made(transaction: Transaction, device: Vl2capDevice) -> bool:
    """Returns whether both ends of a device are there.

    The number of its driver domain may be another's by now. What tells them apart is the directory that was made for
    this device: it is in the driver domain's home, which libxl removes with the domain and before it gives the number
    to another.
    """
    if device.backend is None or name_of(transaction, device.backend) is None:
        return False
    frontend = transaction.read(f"{device.backend_path}/frontend")
    return frontend == device.frontend_path and transaction.read(device.frontend_path) is not None


def make_device(
    transaction: Transaction, guest: Domain, devid: int, backend: Domain, tags: str = ""
) -> Iterator[Change]:
    """The nodes of a device, in the place of any that there are."""
    device = Vl2capDevice(guest.domid, devid, True, backend.name, backend.domid, tags)
    front, back = device.frontend_path, device.backend_path
    frontend_nodes = {"backend": back, "backend-id": str(backend.domid), "state": str(xenbus.INITIALISING)}
    backend_nodes = {"frontend": front, "frontend-id": str(guest.domid), "online": "1", "domain": guest.name}
    backend_nodes |= {"state": str(xenbus.INITIALISING)} | ({"tags": tags} if tags else {})
    for path, top, owner, reader, nodes in (
        (front, f"{guest.home}/device", guest.domid, backend.domid, frontend_nodes),
        (back, backend.home, backend.domid, guest.domid, backend_nodes),
    ):
        permissions = (f"n{owner}", f"r{reader}")
        yield from make_directory(transaction, path, top, ("n0", f"r{owner}"), permissions)
        yield from (Write(f"{path}/{node}", value, permissions) for node, value in nodes.items())
    yield from make_record(transaction, device)


def make_record(transaction: Transaction, device: Vl2capDevice) -> Iterator[Change]:
    """The record of a device that is wanted; without ``backend`` it waits for its driver domain."""
    top = f"/libxl/{device.guest}/device"
    yield from make_directory(transaction, device.record_path, top, _NOBODY_ELSE, _NOBODY_ELSE)
    nodes = {"online": "1" if device.wanted else "0", "backend-name": device.backend_name}
    nodes |= {"tags": device.tags} if device.tags else {}
    if device.backend is not None:
        nodes |= {"frontend": device.frontend_path, "backend": device.backend_path}
    for node, value in nodes.items():
        yield Write(f"{device.record_path}/{node}", value, _NOBODY_ELSE)


def close_device(transaction: Transaction, device: Vl2capDevice) -> Iterator[Change]:
    """Asks the backend to close, and notes that the device is not wanted any more."""
    yield from make_record(transaction, device._replace(wanted=False))
    if device.backend is not None and transaction.read(f"{device.backend_path}/state") is not None:
        yield Write(f"{device.backend_path}/online", "0")
        yield Write(f"{device.backend_path}/state", str(xenbus.CLOSING))


def remove_device(transaction: Transaction, device: Vl2capDevice) -> Iterator[Change]:
    """The nodes of both ends; the record stays."""
    yield from remove_directory(transaction, device.frontend_path, f"{home(device.guest)}/device")
    if device.backend is not None:
        yield from remove_directory(transaction, device.backend_path, home(device.backend))


def remove_record(transaction: Transaction, device: Vl2capDevice) -> Iterator[Change]:
    yield from remove_directory(transaction, device.record_path, f"/libxl/{device.guest}/device")


def _records(guest: int) -> str:
    return f"/libxl/{guest}/device/vl2cap"
