"""Checks whether xenstore answers, and the devices that the toolstack has made for this domain."""

import asyncio

from usbbtd.cli.ctl.checks import Finding, Status
from usbbtd.cli.ctl.output import printable
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.nodes import BACKEND, FRONTEND, STATE, error_path
from usbbtd.usb.nodes import PORTS, VUSB
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store
from usbbtd.xenbus import CLOSED, CLOSING, CONNECTED, INIT_WAIT, INITIALISED, INITIALISING, STATE_NAMES

_PATIENCE_S = 10
_ATTACH_CONTROLLER = "in dom0: xl usbctrl-attach DOMAIN type=qusb version=2 ports=4, or usbctrl= in its configuration"
_ATTACH_DONGLE = 'in dom0: vusb = ["class=bluetooth"] in its configuration, which "usbbt-toolstack watch" obeys'
_ATTACH_GUEST = "in dom0: usbbt-toolstack attach GUEST backend=DOMAIN, or vl2cap= in the guest's configuration"
_NOT_SERVED = "start usbbtd: 'systemctl start usbbtd'"
_RAISE_QUOTAS = "in dom0: xenstored --entry-nb 4000 --watch-nb 512, see docs/troubleshooting.md"
_CHECK = "xenstore"
#: How many devices, with 15 nodes and a watch each, xenstored's 1000 nodes and 128 watches of a domain are enough for.
#: Tags are a node more: then it is 62.
_ENOUGH_FOR = 64


def check_xenstore(*, usbif: bool) -> list[Finding]:
    try:
        return asyncio.run(asyncio.wait_for(_look(usbif), _PATIENCE_S))
    except XenError as error:
        advice = "be root, or in a domain of Xen: xenstore-ls should work"
        if error.forbidden:
            return [Finding(_CHECK, Status.NOT_CHECKED, str(error), "be root")]
        return [Finding(_CHECK, Status.FAILED, str(error), advice)]
    except TimeoutError:
        return [Finding(_CHECK, Status.FAILED, f"no answer in {_PATIENCE_S} s", "see whether xenstored runs in dom0")]


async def _look(usbif: bool) -> list[Finding]:
    store = await Store.open()
    try:
        found = [Finding(_CHECK, Status.OK, f"this is domain {await store.domid()}")]
        if usbif:
            found += await _look_at_controllers(store)
        return found + await _look_at_guests(store)
    finally:
        await store.close()


async def _look_at_controllers(store: Store) -> list[Finding]:
    devids = await store.list(VUSB.frontends)
    if not devids:
        return [Finding("USB controller", Status.FAILED, "the toolstack has made none", _ATTACH_CONTROLLER)]
    return [await _look_at_controller(store, f"{VUSB.frontends}/{devid}") for devid in devids]


async def _look_at_controller(store: Store, path: str) -> Finding:
    state, backend = _number(await store.read(f"{path}/{STATE}")), await store.read(f"{path}/{BACKEND}")
    found = STATE_NAMES[state]
    if state in (INITIALISING, CLOSING, CLOSED):
        return Finding(path, Status.WARNING, f"{found}: usbbtd does not use it", _NOT_SERVED)
    if state != CONNECTED:
        return Finding(path, Status.WARNING, f"{found}: its backend has not answered", "see the log of QEMU in dom0")
    ports = await store.list(f"{backend}/{PORTS}") or [] if backend else []
    if not any([await store.read(f"{backend}/{PORTS}/{port}") for port in ports]):
        return Finding(path, Status.WARNING, f"{found}, with nothing plugged in", _ATTACH_DONGLE)
    return Finding(path, Status.OK, f"{found}, with a device plugged in")


async def _look_at_guests(store: Store) -> list[Finding]:
    paths = [
        f"{VL2CAP.backends}/{guest}/{devid}"
        for guest in await store.list(VL2CAP.backends) or ()
        for devid in await store.list(f"{VL2CAP.backends}/{guest}") or ()
    ]
    if not paths:
        return [Finding("guests", Status.WARNING, "none has a device of this domain", _ATTACH_GUEST)]
    found = [await _look_at_guest(store, path) for path in paths]
    if len(paths) > _ENOUGH_FOR:
        quota = f"{len(paths)} devices: xenstored's default quotas are enough for {_ENOUGH_FOR}"
        found.append(Finding("guests", Status.WARNING, quota, _RAISE_QUOTAS))
    return found


async def _look_at_guest(store: Store, path: str) -> Finding:
    state, frontend = _number(await store.read(f"{path}/{STATE}")), await store.read(f"{path}/{FRONTEND}")
    try:
        other = STATE_NAMES[_number(await store.read(f"{frontend}/{STATE}"))] if frontend else "not there"
    except XenError:
        other = "hidden: the guest is dead, or does not let it be read"
    found = f"{STATE_NAMES[state]}; the guest's end is {printable(other)}"
    if state == INITIALISING:
        return Finding(path, Status.WARNING, found, _NOT_SERVED)
    reason = await store.read(error_path(path))
    if state == INIT_WAIT or (state == CLOSED and other == STATE_NAMES[CLOSED] and reason is None):
        return Finding(path, Status.OK, "idle: no program in the guest uses it")
    if state in (CONNECTED, INITIALISED):
        return Finding(path, Status.OK, found)
    if reason is not None:
        found += f": {printable(reason.partition(' ')[2])}"
    return Finding(path, Status.WARNING, found, "the guest's program may start again")


def _number(untrusted_text: str | None) -> int:
    """Returns the state in a node; 0, Unknown, if there is none."""
    if untrusted_text is None or untrusted_text not in map(str, range(len(STATE_NAMES))):
        return 0
    return int(untrusted_text)
