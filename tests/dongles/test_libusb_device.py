"""What is done with a device, in which order. Linux's part in it is tested on the bed: tests/realxen/test_path_b.py."""

from typing import Any

import pytest
import structlog
import usb1
from usb1 import USBErrorAccess, USBErrorIO, USBErrorNoDevice

from tests.support import libusb_bus as bus
from tests.support.libusb_bus import Setting
from usbbtd.dongles.dongle import DongleError
from usbbtd.dongles.libusb_device import LibusbDevice, look_at
from usbbtd.usb.enumeration import Bluetooth

LOG: Any = structlog.stdlib.get_logger()
TAKEN = [("open",), ("detach", 0), ("claim", 0), ("claim", 1), ("reset",)]


def device_of(usb: bus.Device) -> LibusbDevice:
    device = look_at(usb)
    assert device
    return device


def test_a_dongle_is_known_by_the_class_of_an_interface_and_not_opened() -> None:
    disk = (bus.Setting(0, (0x08, 0x06, 0x50), ((0x81, 2, 512),)),)
    hci = (bus.Setting(3, bus.BLUETOOTH_CLASS, bus.HCI),)
    usb = bus.Device(7, interfaces=(disk, hci))
    device = device_of(usb)
    assert (device.bluetooth, device.interfaces) == (Bluetooth(0x81, 16, 0x82, 0x02, 64), [3])
    assert (device.name, device.node) == ("usb 1-7.4: 1209:b7b7", "/dev/bus/usb/001/007")
    assert usb.done == []


@pytest.mark.parametrize(
    "setting",
    [
        bus.Setting(0, (0x08, 0x06, 0x50), bus.HCI),
        bus.Setting(0, bus.BLUETOOTH_CLASS, bus.VOICE),
        bus.Setting(0, bus.BLUETOOTH_CLASS, ((0x81, 3, 0), (0x02, 2, 64), (0x82, 2, 64))),
    ],
)
def test_no_dongle(setting: Setting) -> None:
    assert look_at(bus.Device(interfaces=((setting,),))) is None


async def test_its_serial_number_is_read_without_taking_anything() -> None:
    usb = bus.Device()
    found = await device_of(usb).open().examine()
    assert (found.vendor_id, found.product_id, found.serial) == (0x1209, 0xB7B7, "0001")
    assert usb.done == [("open",)]


async def test_a_device_without_a_serial_number_has_none() -> None:
    usb = bus.Device()
    usb.device_descriptor.iSerialNumber = 0
    assert (await device_of(usb).open().examine()).serial == ""


def test_taken_from_the_kernel_and_given_back() -> None:
    usb = bus.Device()
    device = device_of(usb).open()
    device.take(LOG)
    assert usb.done == TAKEN
    device.give_back(LOG)
    device.close()
    assert usb.done[len(TAKEN) :] == [("release", 0), ("release", 1), ("attach", 0), ("close",)]


def test_given_to_the_kernel_that_did_not_have_it() -> None:
    usb = bus.Device(driven=())
    device = device_of(usb).open()
    device.take(LOG)
    device.give_back(LOG)
    assert usb.driven == {0, 1}


def test_configured_where_it_is_not_and_taken_again() -> None:
    usb = bus.Device(driven=())
    usb.configuration = 0
    device_of(usb).open().take(LOG)
    assert usb.done == [("open",), ("configure", 1), *TAKEN[1:]]


def test_what_another_program_uses_is_not_reset() -> None:
    usb = bus.Device(driven=())
    usb.refusals["claim"] = usb1.USBErrorBusy()
    with pytest.raises(
        DongleError, match="cannot claim interface 0: another program has it: fuser /dev/bus/usb/001/002"
    ):
        device_of(usb).open().take(LOG)
    assert usb.done == [("open",)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (usb1.USBErrorAccess(), "cannot open: no permission for /dev/bus/usb/001/002: a udev rule"),
        (usb1.USBErrorNoDevice(), "cannot open: /dev/bus/usb/001/002 is not there"),
        (usb1.USBErrorIO(), r"cannot open: LIBUSB_ERROR_IO \[-1\]"),
    ],
)
def test_a_refusal_says_what_to_do(error: USBErrorAccess | USBErrorIO | USBErrorNoDevice, told: str) -> None:
    usb = bus.Device()
    usb.refusals["open"] = error
    with pytest.raises(DongleError, match=told):
        device_of(usb).open()


def test_given_back_when_it_is_gone_already() -> None:
    usb = bus.Device()
    device = device_of(usb).open()
    device.take(LOG)
    usb.refusals |= {"release": usb1.USBErrorNoDevice(), "attach": usb1.USBErrorNoDevice()}
    device.give_back(LOG)
    assert usb.done == TAKEN
