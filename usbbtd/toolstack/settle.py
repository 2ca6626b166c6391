"""Brings the devices in xenstore to what they should be when domains come and go, in one transaction a guest.

A device that the guest's configuration names and that has no record is attached. A device that has lost its driver
domain or its nodes is removed, and attached to a domain of the same name as soon as there is one. A device that was
detached by hand has a record that says so, and stays detached as long as its guest lives.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.nodes import ERRORS, error_directory, home
from usbbtd.toolstack.changes import apply, remove_directory
from usbbtd.toolstack.devices import Vl2capDevice, is_made, make_device, make_record, read_devices, remove_device
from usbbtd.toolstack.domains import Domain, domids, match_domain, name_of
from usbbtd.toolstack.errors import NoDomain
from usbbtd.toolstack.spec import Spec
from usbbtd.xen.transaction import Transaction

#: What was done with a device: ``removed`` because its driver domain is gone; ``waits`` for its driver domain to come.
Done = Literal["attached", "removed", "waits"]


class Settlement(NamedTuple):
    """``devices``: all devices that the guest has now. ``done``: what was done, with the device it was done to."""

    devices: list[Vl2capDevice]
    done: list[tuple[Done, Vl2capDevice]]


def settle_guest(
    transaction: Transaction, guest: Domain, configured: Mapping[int, Spec], domains: Mapping[int, str]
) -> Settlement:
    """Brings a guest's devices to what they should be.

    ``domains``: their names by domid, which may have changed since: they are read again in the transaction.
    """
    outcome = Settlement([], [])
    if name_of(transaction, guest.domid) != guest.name:
        return outcome  # the guest is gone: no node may be made in its place
    devices = read_devices(transaction, guest.domid)
    for devid in sorted({*devices, *configured}):
        device = devices.get(devid, Vl2capDevice(guest.domid, devid))
        new = device.wanted is None and devid in configured
        if new:
            spec = configured[devid]
            device = device._replace(wanted=True, backend_name=spec.backend, tags=spec.tags, stands_for=spec.stands_for)
        device, done = _settle_device(transaction, guest, device, new, domains)
        outcome.devices.append(device)
        if done is not None:
            outcome.done.append((done, device))
    return outcome


def _settle_device(
    transaction: Transaction, guest: Domain, device: Vl2capDevice, new: bool, domains: Mapping[int, str]
) -> tuple[Vl2capDevice, Done | None]:
    """Settles one device. Returns (the device now, what was done or None). ``new``: whether it has no record yet."""
    if new and is_made(transaction, device):  # another program has attached it
        device = device._replace(backend_name=name_of(transaction, device.backend or 0) or device.backend_name)
        apply(transaction, make_record(transaction, device))
        return device, None
    backend = _find_backend(transaction, domains, device) if device.wanted else None
    gone = _is_gone(transaction, device, backend)
    if device.backend is not None and not gone:
        return device, None
    if gone:
        apply(transaction, remove_device(transaction, device))
        device = device._replace(backend=None)
    if backend is not None:
        apply(transaction, make_device(transaction, guest, device.devid, backend, device.tags, device.stands_for))
        return device._replace(backend_name=backend.name, backend=backend.domid), "attached"
    if (gone or new) and device.wanted is not None:
        apply(transaction, make_record(transaction, device))
    if gone:
        return device, "removed"
    return device, "waits" if new else None


def _is_gone(transaction: Transaction, device: Vl2capDevice, named: Domain | None) -> bool:
    """Tells whether a device has lost its driver domain. ``named``: the domain that has the wanted name now."""
    if device.backend is None:
        return False
    name = name_of(transaction, device.backend)
    if device.wanted is None:  # another program makes it, and may not have made all its nodes yet
        return name is None
    # A domain that has ended and is kept, as by on_crash="rename-restart", has lost its name to its successor.
    replaced = named is not None and named.domid != device.backend and name != device.backend_name
    return replaced or not is_made(transaction, device)


def _find_backend(transaction: Transaction, domains: Mapping[int, str], device: Vl2capDevice) -> Domain | None:
    try:
        backend = match_domain(domains, device.backend_name)
    except NoDomain:
        return None
    if backend.domid == device.guest or name_of(transaction, backend.domid) != backend.name:
        return None
    return backend


def dead_guests(transaction: Transaction, driver: int, domains: Mapping[int, str]) -> list[int]:
    """Returns the guests that are gone, but for which a driver domain still has directories."""
    guests = domids(transaction.list(f"{home(driver)}/{VL2CAP.backends}"))
    return [guest for guest in guests if guest not in domains]


def reap(transaction: Transaction, driver: int, guest: int) -> bool:
    """Removes a driver domain's directories for a guest that is gone. Returns whether there were any."""
    path = f"{home(driver)}/{VL2CAP.backends}/{guest}"
    if name_of(transaction, guest) is not None or transaction.read(path) is None:
        return False
    apply(transaction, remove_directory(transaction, path, home(driver)))
    errors = error_directory(f"{VL2CAP.backends}/{guest}")
    apply(transaction, remove_directory(transaction, f"{home(driver)}/{errors}", f"{home(driver)}/{ERRORS}"))
    return True
