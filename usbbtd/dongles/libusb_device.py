"""Examines a USB device of this domain's own controller, takes it from the kernel's driver, and gives it back."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import usb1
from structlog.typing import FilteringBoundLogger

from usbbtd.dongles.dongle import DongleError
from usbbtd.dongles.libusb_dongle import status_of
from usbbtd.usb.enumeration import BLUETOOTH_CLASS, Bluetooth, Found, find_bluetooth, is_bluetooth, read_serial
from usbbtd.usb.wire import descriptors, standard

#: How long a device may take for one request while it is being examined.
REQUEST_TIMEOUT_S = 5.0

_REFUSALS = {
    usb1.ERROR_ACCESS: "no permission for {node}: a udev rule gives it to usbbtd, see docs/libusb.md",
    usb1.ERROR_BUSY: "another program has it: fuser {node} says which",
    usb1.ERROR_NO_DEVICE: "{node} is not there",
    usb1.ERROR_NOT_FOUND: "it has become another device, which is looked for",
}


class LibusbDevice:
    """A device with a Bluetooth function, as Linux has described it. ``usb``: its USBDevice."""

    def __init__(self, usb: Any, configuration: descriptors.ConfigurationDescriptor, bluetooth: Bluetooth) -> None:
        self.vendor_id: int = usb.getVendorID()
        self.product_id: int = usb.getProductID()
        ports = ".".join(map(str, usb.getPortNumberList()))
        self.name = f"usb {usb.getBusNumber()}-{ports}: {self.vendor_id:04x}:{self.product_id:04x}"
        self.node = node_of(usb)
        self.bluetooth = bluetooth
        self.configuration = configuration.value
        # The interface for HCI and the one for voice; Linux's driver has both.
        self.interfaces = sorted({each.number for each in configuration.interfaces if is_bluetooth(each)})
        self._usb = usb

    def open(self) -> "OpenDevice":
        """Opens the device; its kernel driver keeps it. Raises DongleError if it cannot be opened."""
        with _explained(self, "open"):
            return OpenDevice(self, self._usb.open(), self._usb.device_descriptor.iSerialNumber)


class OpenDevice:
    """A device whose node is open."""

    def __init__(self, device: LibusbDevice, handle: Any, serial_number: int) -> None:
        self.handle = handle
        self._device = device
        self._serial_number = serial_number
        self._claimed: list[int] = []

    async def examine(self) -> Found:
        """Reads the serial number, also while the kernel's driver has the device, and returns all facts about it.

        Raises DongleError if the device does not answer.
        """
        device = self._device
        steps = read_serial(0, self._serial_number)
        try:
            control = next(steps)
            while True:
                control = steps.send(await self._answer(control.setup))
        except StopIteration as end:
            return Found(0, device.vendor_id, device.product_id, end.value, BLUETOOTH_CLASS[0], device.bluetooth)
        except TimeoutError:
            raise DongleError("no answer when asked for its serial number") from None

    def take(self, log: FilteringBoundLogger) -> None:
        """Takes the device from the kernel's driver and resets it, so that no earlier state is left.

        Blocks the event loop until the device has answered, usually a fifth of a second: there is no adapter yet whose
        data would wait. Raises DongleError if the device cannot be taken.
        """
        device, handle = self._device, self.handle
        with _explained(device, "set configuration"):
            self._detach(log)
            if handle.getConfiguration() != device.configuration:
                handle.setConfiguration(device.configuration)
                self._detach(log)  # the kernel has looked for drivers again
        for interface in device.interfaces:
            # Before the reset: what another program uses is not reset.
            with _explained(device, f"claim interface {interface}"):
                handle.claimInterface(interface)
            self._claimed.append(interface)
        with _explained(device, "reset"):
            handle.resetDevice()

    def give_back(self, log: FilteringBoundLogger) -> None:
        """Gives the device to the kernel's driver, even if none had it before: we may have been killed with it then."""
        for interface in self._claimed:
            with contextlib.suppress(usb1.USBError):
                self.handle.releaseInterface(interface)
        self._claimed.clear()
        attached = [interface for interface in self._device.interfaces if self._attach(interface)]
        if attached:
            log.info("kernel driver attached", dongle=self._device.name, interfaces=attached)

    def close(self) -> None:
        self.handle.close()

    def _detach(self, log: FilteringBoundLogger) -> None:
        detached = []
        for interface in self._device.interfaces:
            with contextlib.suppress(usb1.USBErrorNotFound):  # it has none
                self.handle.detachKernelDriver(interface)
                detached.append(interface)
        if detached:
            log.info("kernel driver detached", dongle=self._device.name, interfaces=detached)

    def _attach(self, interface: int) -> bool:
        try:
            self.handle.attachKernelDriver(interface)
        except usb1.USBError:
            return False  # there is no driver for it, it came with another interface, or the device is gone
        return True

    async def _answer(self, setup: bytes) -> tuple[int, bytes]:
        request_type, request, value, index, length = standard.unpack_setup(setup)
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def end(transfer: Any) -> None:
            if not ended.done():
                ended.set_result(transfer)

        transfer = self.handle.getTransfer()
        transfer.setControl(request_type, request, value, index, length, callback=end)
        with _explained(self._device, "read its serial number"):
            transfer.submit()
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            await ended
        return status_of(transfer), bytes(transfer.getBuffer()[: transfer.getActualLength()])


def node_of(usb: Any) -> str:
    """Returns the path of a device's node. No other device has it until this one is unplugged."""
    return f"/dev/bus/usb/{usb.getBusNumber():03}/{usb.getDeviceAddress():03}"


def look_at(usb: Any) -> LibusbDevice | None:
    """Returns the device if it is a Bluetooth dongle, else None; reads Linux's descriptors without opening it."""
    for each in usb.iterConfigurations():
        configuration = _configuration_of(each)
        if (bluetooth := find_bluetooth(configuration)) is not None:
            return LibusbDevice(usb, configuration, bluetooth)
    return None


def _configuration_of(usb: Any) -> descriptors.ConfigurationDescriptor:
    interfaces = []
    for setting in (setting for interface in usb for setting in interface):
        number, alternate = setting.getNumber(), setting.getAlternateSetting()
        class_code, subclass = setting.getClassTuple()
        endpoints = tuple(
            descriptors.endpoint_of(end.getAddress(), end.getAttributes(), end.getMaxPacketSize(), end.getInterval())
            for end in setting
        )
        interfaces.append(
            descriptors.InterfaceDescriptor(number, alternate, class_code, subclass, setting.getProtocol(), endpoints)
        )
    return descriptors.ConfigurationDescriptor(usb.getConfigurationValue(), tuple(interfaces))


@contextlib.contextmanager
def _explained(device: LibusbDevice, step: str) -> Iterator[None]:
    """Turns an error of libusb into a DongleError that says which ``step`` failed, and what can be done about it."""
    try:
        yield
    except usb1.USBError as error:
        what = _REFUSALS.get(error.value, str(error)).format(node=device.node)
        raise DongleError(f"cannot {step}: {what}") from error
