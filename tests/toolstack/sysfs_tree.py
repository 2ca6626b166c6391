"""A directory with USB devices as Linux shows them below /sys/bus/usb/devices."""

import shutil
from pathlib import Path

ATTRIBUTES = ("bDeviceClass", "bDeviceSubClass", "bDeviceProtocol")
HUB = ("09", "00", "00")
BLUETOOTH = ("e0", "01", "01")
OF_INTERFACES = ("00", "00", "00")


class SysfsTree:
    """Devices are in ``directory`` as long as they are plugged in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._number = 1
        directory.mkdir()
        self.plug("usb1", "1d6b:0002", kind=HUB)

    def plug(self, place: str, identity: str, serial: str = "", kind: tuple[str, str, str] = OF_INTERFACES) -> None:
        """A device of class 00 has an interface that is Bluetooth's."""
        self._number += 1
        vendor, product = identity.split(":")
        attributes = dict(zip(ATTRIBUTES, kind, strict=True)) | {
            "idVendor": vendor, "idProduct": product, "devnum": str(self._number),
        }  # fmt: skip
        self._write(place, attributes | ({"serial": serial} if serial else {}))
        if kind == OF_INTERFACES:
            names = (name.replace("Device", "Interface") for name in ATTRIBUTES)
            self._write(f"{place}:1.0", dict(zip(names, BLUETOOTH, strict=True)))

    def unplug(self, place: str) -> None:
        for path in self.directory.glob(f"{place}*"):
            shutil.rmtree(path)

    def _write(self, name: str, attributes: dict[str, str]) -> None:
        (self.directory / name).mkdir()
        for attribute, value in attributes.items():
            (self.directory / name / attribute).write_text(f"{value}\n")
