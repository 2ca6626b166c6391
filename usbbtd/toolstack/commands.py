"""Attaches, detaches and lists devices for an administrator. Waits as xl does, and leaves nothing half-done."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from usbbtd import xenbus
from usbbtd.nodes import STATE, error_path
from usbbtd.toolstack.changes import Change, apply
from usbbtd.toolstack.devices import (
    Vl2capDevice,
    close_device,
    is_made,
    make_device,
    make_record,
    read_device,
    read_devices,
    remove_device,
    remove_record,
)
from usbbtd.toolstack.domains import Domain, match_domain, name_of, read_domains
from usbbtd.toolstack.errors import AlreadyAttached, BackendClosed, BackendSilent, BadSpec, NoDevice, NoDomain
from usbbtd.toolstack.spec import MAX_DEVICES, Spec, lowest_free
from usbbtd.xen.store import Store
from usbbtd.xen.transaction import Transaction

_UNDO_S = 2.0
_REASON_MAX = 200  # characters of what a backend says
_OFFERED = tuple(map(str, (xenbus.INIT_WAIT, xenbus.INITIALISED, xenbus.CONNECTED)))
_REFUSED = tuple(map(str, (xenbus.CLOSING, xenbus.CLOSED)))
_STATES = {str(number): name for number, name in enumerate(xenbus.STATE_NAMES)}


class DeviceRow(NamedTuple):
    """A device, as people see it. ``backend_domid``: None if it waits for its driver domain.

    A state is None if its node is missing.
    """

    guest: str
    guest_domid: int
    devid: int
    backend: str
    backend_domid: int | None
    frontend_state: str | None
    backend_state: str | None


class Attachment:
    """Attaches one device. ``plan`` runs in the transaction, and again if that is repeated."""

    def __init__(self, guest: str, spec: Spec) -> None:
        self._wanted = (guest, spec)
        self.device = Vl2capDevice(-1, -1)
        self.guest = self.backend = Domain(-1, "")
        self._planned = False
        self._before: Vl2capDevice | None = None

    def plan(self, transaction: Transaction) -> list[Change]:
        """Chooses the number and returns the changes that attach it. Raises BadSpec, NoDomain, AlreadyAttached."""
        text, spec = self._wanted
        self._planned = False
        domains = read_domains(transaction)
        self.guest = guest = match_domain(domains, text)
        try:
            self.backend = backend = match_domain(domains, spec.backend)
        except NoDomain as error:
            raise NoDomain(f"backend: {error}") from None
        if guest.domid == backend.domid:
            raise BadSpec(f"{guest} cannot be its own backend")
        devices = read_devices(transaction, guest.domid)
        taken = {devid: device for devid, device in devices.items() if device.present}
        devid = lowest_free(taken) if spec.devid is None else spec.devid
        if devid in taken:
            has = taken[devid]
            other = has.backend_name or f"domain {has.backend}"
            raise AlreadyAttached(f"{guest} has a device {devid} already, attached to {other}: detach that first")
        if len(taken) >= MAX_DEVICES:
            raise AlreadyAttached(
                f"{guest} has {len(taken)} devices already, and no domain has more than {MAX_DEVICES}"
            )
        for has in taken.values():
            if spec.stands_for and has.wanted and has.stands_for == spec.stands_for:
                raise AlreadyAttached(f"{guest} has a device for {spec.stands_for} already, {has.devid}")
        own = spec.tags, spec.stands_for
        self.device = Vl2capDevice(guest.domid, devid, True, backend.name, backend.domid, *own)
        self._before = devices.get(devid)
        self._planned = True
        return list(make_device(transaction, guest, devid, backend, *own))

    def undo(self, transaction: Transaction) -> None:
        """Removes the device, if it was made and no other device has its number by now."""
        if not self._planned:
            return
        found = read_device(transaction, self.device.guest, self.device.devid)
        if found.wanted is None or found == self.device:
            apply(transaction, remove_device(transaction, self.device))
            if found == self.device and self._before is not None and self._before.wanted is False:
                apply(transaction, make_record(transaction, self._before))  # it was detached before, and stays so
            else:
                apply(transaction, remove_record(transaction, self.device))


async def attach(store: Store, guest: str, spec: Spec, timeout_s: float) -> DeviceRow:
    """Gives the guest a device, and waits until the backend offers it; if it does not, takes the device away again.

    Raises BadSpec, NoDomain, AlreadyAttached, BackendSilent, BackendClosed, XenError.
    """
    attachment = Attachment(guest, spec)
    try:
        await store.transaction(lambda transaction: apply(transaction, attachment.plan(transaction)))
        await _wait_offered(store, attachment, timeout_s)
        return await store.transaction(lambda transaction: _row(transaction, attachment.guest, attachment.device))
    except BaseException:  # also if the transaction is interrupted, which may have been made all the same
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_UNDO_S):  # xenstored may be gone
                await store.transaction(attachment.undo)
        raise


async def _wait_offered(store: Store, attachment: Attachment, timeout_s: float) -> None:
    path, backend = attachment.device.backend_path, attachment.backend
    state = await _wait_state(store, path, (*_OFFERED, *_REFUSED, None), timeout_s)
    if state is None:
        raise BackendClosed(f"the device is gone: {attachment.guest} or {backend} has ended")
    if state not in (*_OFFERED, *_REFUSED):
        raise BackendSilent(f"nothing in {backend} took the device up within {timeout_s:g} s: does usbbtd run there?")
    if state in _REFUSED:
        relative = path.removeprefix(f"{backend.home}/")
        untrusted_reason = await store.read(f"{backend.home}/{error_path(relative)}")
        said = f": {untrusted_reason!r:.{_REASON_MAX}}" if untrusted_reason else "; its log says why"
        raise BackendClosed(f"{backend} closed the device{said}")


class Detachment:
    """Detaches one device. ``plan`` runs in the transaction, and again if that is repeated."""

    def __init__(self, guest: str, devid: int | None) -> None:
        self._wanted = (guest, devid)
        self.device = Vl2capDevice(-1, -1)
        self.guest = Domain(-1, "")

    def plan(self, transaction: Transaction) -> list[Change]:
        """Returns the changes that ask the backend to close. Raises NoDomain, NoDevice, BadSpec."""
        text, devid = self._wanted
        self.guest = guest = match_domain(read_domains(transaction), text)
        devices = [
            device
            for device in read_devices(transaction, guest.domid).values()
            if device.present and devid in (None, device.devid)
        ]
        if not devices:
            raise NoDevice(f"{guest} has no device" if devid is None else f"{guest} has no device {devid}")
        if len(devices) > 1:
            numbers = ", ".join(str(device.devid) for device in devices)
            raise BadSpec(f"{guest} has the devices {numbers}: say which")
        self.device = devices[0]
        return list(close_device(transaction, self.device))

    def plan_removal(self, transaction: Transaction) -> list[Change]:
        """Returns the changes that remove the device when the backend has closed it, or has not in time."""
        gone = self.device._replace(wanted=False, backend=None)
        return [*remove_device(transaction, self.device), *make_record(transaction, gone)]


async def detach(store: Store, guest: str, devid: int | None, timeout_s: float) -> tuple[DeviceRow, bool]:
    """Takes a device away, even if the backend does not close it in time.

    ``devid``: None for the only device that the guest has. Returns (the device's last row, whether the backend closed
    it in time). Raises NoDomain, NoDevice, BadSpec, XenError.
    """
    detachment = Detachment(guest, devid)
    await store.transaction(lambda transaction: apply(transaction, detachment.plan(transaction)))
    device, state = detachment.device, None
    closed = (str(xenbus.CLOSED), None)
    if device.backend is not None:
        state = await _wait_state(store, device.backend_path, closed, timeout_s)
    row = await store.transaction(lambda transaction: _row(transaction, detachment.guest, device))
    await store.transaction(lambda transaction: apply(transaction, detachment.plan_removal(transaction)))
    return row, state in closed


async def dry_run(store: Store, plans: Iterable[Callable[[Transaction], list[Change]]]) -> list[Change]:
    """Returns the changes that these plans would make. Writes nothing."""
    return await store.transaction(lambda transaction: [change for plan in plans for change in plan(transaction)])


async def list_devices(store: Store, guest: str | None) -> list[DeviceRow]:
    """Lists the devices of one guest, or of all for None. Raises NoDomain, XenError."""

    def read(transaction: Transaction) -> list[DeviceRow]:
        domains = read_domains(transaction)
        guests = [match_domain(domains, guest)] if guest is not None else [Domain(*item) for item in domains.items()]
        return [
            _row(transaction, domain, device)
            for domain in guests
            for device in read_devices(transaction, domain.domid).values()
            if device.present
        ]

    return await store.transaction(read)


def _row(transaction: Transaction, guest: Domain, device: Vl2capDevice) -> DeviceRow:
    frontend = transaction.read(f"{device.frontend_path}/{STATE}")
    backend, name = None, device.backend_name
    if device.wanted is not None and not is_made(transaction, device):
        device = device._replace(backend=None)
    if device.backend is not None:
        backend = transaction.read(f"{device.backend_path}/{STATE}")
        name = name or name_of(transaction, device.backend) or ""
    return DeviceRow(guest.name, guest.domid, device.devid, name, device.backend, _word(frontend), _word(backend))


def _word(untrusted_state: str | None) -> str | None:
    return None if untrusted_state is None else _STATES.get(untrusted_state, "Unknown")


async def _wait_state(store: Store, directory: str, wanted: tuple[str | None, ...], timeout_s: float) -> str | None:
    """Waits until the state is one of these, and returns it; at the end of the time, whatever it is then.

    A state of None is a node that is missing.
    """
    path = f"{directory}/{STATE}"
    state = None
    try:
        async with asyncio.timeout(timeout_s), store.watch(path) as changes:
            async for _ in changes:
                if (state := await store.read(path)) in wanted:
                    break
    except TimeoutError:
        state = await store.read(path)
    return state
