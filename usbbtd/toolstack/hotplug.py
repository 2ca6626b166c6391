"""Gives each dongle to the domain whose configuration names it, whenever one of the two comes.

All that it knows of what was done before is in xenstore, beside the ports: it may be started anew at any time.
"""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import structlog
from structlog.typing import FilteringBoundLogger

from usbbtd.nodes import RECORDS, home
from usbbtd.retry import Trouble
from usbbtd.toolstack.dongle_rules import DongleRule, parse_rules
from usbbtd.toolstack.files import ConfigFiles
from usbbtd.toolstack.problems import Problems
from usbbtd.toolstack.sysfs import PluggedDevice, read_plugged
from usbbtd.toolstack.uevents import heard
from usbbtd.toolstack.usb_controllers import UsbPort, plugging, read_ports
from usbbtd.usb.nodes import VUSB
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store
from usbbtd.xen.transaction import Transaction
from usbbtd.xen.watch import Watch

#: A domain has come, one has gone, libxl has made or removed a controller, and somebody has written to a port.
_EVENTS = ("@introduceDomain", "@releaseDomain", RECORDS, f"{home(0)}/{VUSB.backends}")
#: Our own event among these: a USB device has come or gone, or the administrator wants a look.
_AGAIN = "again"
#: The least time between two looks. A backend needs as long to see that a port was empty.
_PAUSE_S = 1.0
#: How long what cannot be done yet is left, if nothing happens: a domain may get its name at any time.
_WAIT_S = 10.0

Rules = Mapping[str, tuple[DongleRule, ...]]  # by the domain's name
Plugged = Mapping[str, PluggedDevice]  # by the device's place


def dongle_files(directories: Iterable[Path]) -> ConfigFiles[tuple[DongleRule, ...]]:
    """Returns the files that say which domain is to have which dongles."""
    return ConfigFiles(directories, "vusb", parse_rules)


class DongleSettlement(NamedTuple):
    """``done``: what was done, with the port and the place of the device. ``problems``: what could not be, for people.

    ``attached``: the domain that has each device, by place.
    """

    done: list[tuple[Literal["filled", "emptied"], UsbPort, str]]
    problems: list[str]
    attached: dict[str, UsbPort]


class Hotplug:
    """Follows the USB devices of dom0 and the virtual USB controllers of domains."""

    def __init__(self, store: Store, files: ConfigFiles[tuple[DongleRule, ...]], sysfs: Path) -> None:
        self._store = store
        self._files = files
        self._sysfs = sysfs
        self._log: FilteringBoundLogger = structlog.get_logger()
        self._problems = Problems(self._log)
        self._changes: Watch | None = None

    def look_again(self) -> None:
        """Looks again soon."""
        if self._changes is not None:
            self._changes.add(_AGAIN)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        trouble = Trouble()
        while True:
            try:
                async with self._store.watch(*_EVENTS) as self._changes:
                    with heard(self.look_again):
                        async for _ in self._changes:
                            await self._look()
                            trouble = Trouble()
                            await asyncio.sleep(_PAUSE_S)
            except (OSError, XenError) as error:
                if trouble.is_news(error):
                    self._log.warning("passed over", reason=f"USB devices are not followed: {error}")
                await asyncio.sleep(trouble.next_pause_s(0))

    async def _look(self) -> None:
        rules, problems = self._files.read()
        if rules:
            plugged = read_plugged(self._sysfs)
            settlement = await self._store.transaction(lambda t: settle_dongles(t, rules, plugged))
            for done, port, place in settlement.done:
                log = self._log.bind(domid=port.domain.domid, name=port.domain.name, devid=port.devid)
                match done:
                    case "filled":
                        log.info("dongle plugged into port", port=port.number, place=place)
                    case "emptied":
                        log.info("dongle gone from port", port=port.number, place=place)
            if settlement.problems:
                asyncio.get_running_loop().call_later(_WAIT_S, self.look_again)
            problems = problems + settlement.problems
        self._problems.tell(problems)


def settle_dongles(transaction: Transaction, rules: Rules, plugged: Plugged) -> DongleSettlement:
    """Empties the ports of dongles that are gone, and fills free ones with those that the rules give to a domain."""
    settlement = DongleSettlement([], [], {})
    free: dict[str, list[UsbPort]] = {}
    withdrawn: set[str] = set()  # places whose device was detached by hand
    for port in read_ports(transaction):
        name = port.domain.name
        if port.is_qusb and name in rules and _settle_port(transaction, port, plugged.get(port.place)):
            settlement.done.append(("emptied", port, port.place))
        elif port.place:
            settlement.attached[port.place] = port
        elif port.plugged and port.plugged in map(plugging, plugged.values()):
            withdrawn.add(port.plugged.split()[0])
        elif port.is_qusb and not port.closed:
            free.setdefault(name, []).append(port)
    if settlement.done:
        return settlement  # which is an event of its own: the next look fills ports
    for place in plugged.keys() - withdrawn:
        _settle_dongle(transaction, rules, plugged[place], free, settlement)
    settlement.problems.sort()
    return settlement


def _settle_port(transaction: Transaction, port: UsbPort, device: PluggedDevice | None) -> bool:
    """Empties a port whose device is gone, or has been plugged in anew. Returns whether it did.

    ``device``: what is in dom0 at the place that the port names.
    """
    if not port.place:
        return False
    if device is None or port.plugged not in ("", plugging(device)):
        port.empty(transaction)
        return True
    if not port.plugged:  # attached by hand
        port.note(transaction, device)
    return False


def _settle_dongle(
    transaction: Transaction,
    rules: Rules,
    device: PluggedDevice,
    free: dict[str, list[UsbPort]],
    settlement: DongleSettlement,
) -> None:
    """Plugs a dongle into a port of its domain."""
    names = claimants(rules, device)
    if not names:
        return
    holder = settlement.attached.get(device.place)
    if len(names) > 1:
        domains = " and ".join(map(repr, names))
        settlement.problems.append(f"{device} is named by vusb of {domains}: it is given to none of them")
    elif holder is not None:
        if holder.domain.name != names[0]:
            settlement.problems.append(
                f"{device} is for {names[0]!r}, but is attached to {holder.domain}: detach it there"
            )
    elif not free.get(names[0]):
        settlement.problems.append(
            f"{device} waits for {names[0]!r}: "
            "there is no such domain, or none of its usbctrl of type qusb has a free port"
        )
    else:
        port = free[names[0]].pop(0)
        port.fill(transaction, device)
        settlement.attached[device.place] = port
        settlement.done.append(("filled", port, device.place))


class DongleRow(NamedTuple):
    """A USB device that a rule names, as people see it. The last four are None while it is not on any port.

    ``wanted``: the domains that are to have it; with more than one it is given to none.
    """

    place: str
    identity: str
    serial: str
    wanted: list[str]
    domain: str | None
    domid: int | None
    devid: int | None
    port: str | None


async def list_dongles(
    store: Store, files: ConfigFiles[tuple[DongleRule, ...]], sysfs: Path
) -> tuple[list[DongleRow], list[str]]:
    """Returns (the dongles, what is wrong with the configuration files). Raises OSError, XenError."""
    rules, problems = files.read()
    ports = {port.place: port for port in await store.transaction(read_ports)}
    rows = []
    for device in read_plugged(sysfs).values():
        if names := claimants(rules, device):
            port = ports.get(device.place)
            at = (port.domain.name, port.domain.domid, port.devid, port.number) if port else (None,) * 4
            rows.append(DongleRow(device.place, device.identity, device.serial, names, *at))
    return rows, problems


def claimants(rules: Rules, device: PluggedDevice) -> list[str]:
    """Returns the names of the domains that are to have a device."""
    return [name for name, own in sorted(rules.items()) if any(rule.matches(device) for rule in own)]
