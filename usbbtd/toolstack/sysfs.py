"""Reads which USB devices are plugged into this domain: Linux's Documentation/ABI/stable/sysfs-bus-usb."""

import re
from pathlib import Path
from typing import NamedTuple

SYSFS = Path("/sys/bus/usb/devices")

#: The name of a device there: its bus and the ports that lead to it. Root hubs and interfaces have other names.
_DEVICE = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*")
_HUB = "09"
#: Class, subclass and protocol of a Bluetooth controller, in hexadecimal digits, as for usb.org.
_BLUETOOTH = ("e0", "01", "01")


class PluggedDevice(NamedTuple):
    """A USB device. ``place``: its bus and ports, as in ``1-2.3``.

    ``number``: its number on the bus, another each time that it is plugged in.
    ``identity``: its vendor and product in hexadecimal digits, as in ``0a12:0001``.
    """

    place: str
    number: str
    identity: str
    serial: str
    is_bluetooth: bool

    def __str__(self) -> str:
        return f"the USB device {self.identity} at {self.place}"


def read_plugged(directory: Path) -> dict[str, PluggedDevice]:
    """Returns the devices, but for hubs, by their places. One that goes meanwhile is left out. Raises OSError."""
    names = sorted(path.name for path in directory.iterdir())
    devices: dict[str, PluggedDevice] = {}
    for name in filter(_DEVICE.fullmatch, names):
        interfaces = [directory / other for other in names if other.startswith(f"{name}:")]
        try:
            device = _read_device(directory / name, interfaces)
        except OSError:
            continue
        if device is not None:
            devices[name] = device
    return devices


def _read_device(path: Path, interfaces: list[Path]) -> PluggedDevice | None:
    """Reads one device; None for a hub. Raises OSError if it is gone."""
    kind = _read_class(path, "bDevice")
    if kind[0] == _HUB:
        return None
    identity = f"{_read(path / 'idVendor')}:{_read(path / 'idProduct')}"
    number = _read(path / "devnum")
    try:
        serial = _read(path / "serial")
    except FileNotFoundError:  # it has none
        serial = ""
    is_bluetooth = _BLUETOOTH in (kind, *(_read_class(interface, "bInterface") for interface in interfaces))
    return PluggedDevice(path.name, number, identity, serial, is_bluetooth)


def _read_class(path: Path, prefix: str) -> tuple[str, str, str]:
    device_class, subclass, protocol = (_read(path / f"{prefix}{word}") for word in ("Class", "SubClass", "Protocol"))
    return device_class, subclass, protocol


def _read(path: Path) -> str:
    """Reads an attribute. A serial number may have any octets: the device says it."""
    return path.read_bytes().decode(errors="backslashreplace").strip()
