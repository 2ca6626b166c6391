"""Checks the domain's kernel: whether what usbbtd needs of Xen is there, and nothing else takes the dongle."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from usbbtd.cli.ctl.checks import Finding, Status

#: The user of the service, if the domain has it, and the group that may use the Xen devices.
USER, GROUP = "usbbtd", "usbbt-xen"

#: For each device node, the module that makes it ("" if the kernel itself does), and what it is needed for.
_NODES = {
    "evtchn": ("xen-evtchn", "event channels"),
    "gntdev": ("xen-gntdev", "mapping guests' rings"),
    "gntalloc": ("xen-gntalloc", "sharing pages with the USB backend"),
    "xenbus": ("", "xenstore"),
}
_BLUETOOTH = ("e0", "01", "01")  # class, subclass and protocol of an interface


def check_xen() -> Finding:
    if os.path.isdir("/proc/xen") or os.path.isdir("/sys/bus/xen"):
        return Finding("Xen", Status.OK, "this is a Xen domain")
    return Finding("Xen", Status.FAILED, "this is no Xen domain", "run usbbtd in a driver domain of Xen")


def check_nodes(*, usbif: bool) -> Iterator[Finding]:
    for name in _NODES:
        if usbif or name != "gntalloc":
            yield _check_node(name)


def _check_node(name: str) -> Finding:
    node = f"/dev/xen/{name}"
    module, purpose = _NODES[name]
    if not os.path.exists(node):
        if not module:
            advice = "a kernel of a Xen domain has it: CONFIG_XEN_XENBUS_FRONTEND"
        elif os.path.isdir(f"/sys/module/{module.replace('-', '_')}"):
            advice = "its module is loaded: see whether /dev is a devtmpfs"
        else:
            advice = f"modprobe {module}; for every start: modules-load.d(5)"
        return Finding(node, Status.FAILED, f"there is no such node, for {purpose}", advice)
    who, may = access(node)
    if may:
        return Finding(node, Status.OK, f"{who} may use it")
    advice = f'a udev rule: KERNEL=="xen/{name}", GROUP="{GROUP}", MODE="0660"; then udevadm trigger'
    return Finding(node, Status.FAILED, f"{who} may not read and write it", advice)


def access(node: str) -> tuple[str, bool]:
    """Returns (whose rights count, whether they suffice). Ignores access control lists."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return "this user", os.access(node, os.R_OK | os.W_OK)
    status = os.stat(node)
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    shift = 6 if status.st_uid == user.pw_uid else 3 if status.st_gid in groups else 0
    return f"the user {USER}", status.st_mode >> shift & 0o6 == 0o6


def check_drivers(*, usbif: bool) -> Iterator[Finding]:
    """Checks whether another driver would take the dongle; without usbif, whether there is one."""
    if not usbif:
        yield _check_own_dongle()
    elif os.path.isdir("/sys/module/xen_hcd"):
        advice = "echo 'blacklist xen-hcd' > /etc/modprobe.d/no-xen-hcd.conf; rmmod xen-hcd; systemctl restart usbbtd"
        yield Finding("xen-hcd", Status.FAILED, "it is loaded, and takes the USB controller from usbbtd", advice)
    else:
        yield Finding("xen-hcd", Status.OK, "not loaded")


def _check_own_dongle() -> Finding:
    """Looks for a dongle that libusb would find."""
    drivers = [
        os.path.basename(os.path.realpath(interface / "driver")) if (interface / "driver").exists() else "no driver"
        for interface in Path("/sys/bus/usb/devices").glob("*:*")
        if tuple(_read(interface / f"bInterface{name}") for name in ("Class", "SubClass", "Protocol")) == _BLUETOOTH
    ]
    if not drivers:
        advice = "plug one in; see whether this domain has the USB controller: lspci, lsusb"
        return Finding("dongle on USB", Status.FAILED, "no Bluetooth dongle on a USB controller of this domain", advice)
    return Finding("dongle on USB", Status.OK, f"there; driven by {', '.join(sorted(set(drivers)))}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
