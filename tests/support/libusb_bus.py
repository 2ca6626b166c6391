"""USB devices as libusb shows them: stand-ins of usb1's USBDevice and USBDeviceHandle that write down what is done."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace

import usb1

from usbbtd.usb.wire import descriptors, standard

BLUETOOTH_CLASS = (0xE0, 0x01, 0x01)
HCI = ((0x81, 3, 16), (0x02, 2, 64), (0x82, 2, 64))
VOICE = ((0x03, 1, 9), (0x83, 1, 9))


Endpoint = tuple[int, int, int]


class Setting:
    """One alternate setting. ``endpoints``: (address, attributes, packet size)."""

    def __init__(
        self,
        number: int,
        class_code: tuple[int, int, int],
        endpoints: tuple[Endpoint, ...],
        alternate: int = 0,
    ) -> None:
        self.getNumber = lambda: number
        self.getAlternateSetting = lambda: alternate
        self.getClassTuple = lambda: class_code[:2]
        self.getProtocol = lambda: class_code[2]
        self._endpoints = endpoints

    def __iter__(self) -> Iterator[SimpleNamespace]:
        for address, attributes, size in self._endpoints:
            yield SimpleNamespace(
                getAddress=lambda address=address: address, getAttributes=lambda attributes=attributes: attributes,
                getMaxPacketSize=lambda size=size: size, getInterval=lambda: 1,
            )  # fmt: skip


class Configuration(list[tuple[Setting, ...]]):
    """Number 1, a list of interfaces."""

    def getConfigurationValue(self) -> int:
        return 1


HCI_AND_VOICE = ((Setting(0, BLUETOOTH_CLASS, HCI),), (Setting(1, BLUETOOTH_CLASS, VOICE),))


class Device:
    """``interfaces``: of each, its settings. ``refusals``: what libusb raises, by the name of a step."""

    def __init__(
        self,
        address: int = 2,
        *,
        product: int = 0xB7B7,
        serial: str = "0001",
        interfaces: tuple[tuple[Setting, ...], ...] = HCI_AND_VOICE,
        driven: Iterable[int] = (0, 1),
    ) -> None:
        self.done: list[tuple[object, ...]] = []
        self.refusals: dict[str, Exception] = {}
        self.driven = set(driven)  # interfaces that a kernel driver has
        self.strings = [descriptors.pack_languages([0x0409]), descriptors.pack_string(serial)]
        self.device_descriptor = SimpleNamespace(iSerialNumber=1)
        self.configuration = 1
        self.getVendorID = lambda: 0x1209
        self.getProductID = lambda: product
        self.getBusNumber = lambda: 1
        self.getDeviceAddress = lambda: address
        self.getPortNumberList = lambda: [address, 4]
        self.iterConfigurations = lambda: [Configuration(interfaces)]

    def do(self, step: str, *what: object) -> None:
        if (refusal := self.refusals.get(step)) is not None:
            raise refusal
        self.done.append((step, *what))

    def open(self) -> "Handle":
        self.do("open")
        return Handle(self)


class Handle:
    def __init__(self, device: Device) -> None:
        self._device = device
        self.getConfiguration = lambda: device.configuration
        self.claimInterface = lambda interface: device.do("claim", interface)
        self.releaseInterface = lambda interface: device.do("release", interface)
        self.resetDevice = lambda: device.do("reset")
        self.close = lambda: device.do("close")
        self.getTransfer = lambda: Transfer(device)

    def setConfiguration(self, value: int) -> None:
        self._device.do("configure", value)
        self._device.configuration = value
        self._device.driven = {0}

    def detachKernelDriver(self, interface: int) -> None:
        """btusb has the interface for voice through that for HCI, and lets go of both."""
        if interface not in self._device.driven:
            raise usb1.USBErrorNotFound
        self._device.do("detach", interface)
        self._device.driven.clear()

    def attachKernelDriver(self, interface: int) -> None:
        if interface in self._device.driven:
            raise usb1.USBErrorBusy
        self._device.do("attach", interface)
        self._device.driven = {0, 1}


class Transfer:
    """Control IN is answered with strings; whatever else stays under way until it is cancelled."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.data = b""
        self.getEndpoint = lambda: self.endpoint
        self.getStatus = lambda: self.status
        self.getActualLength = lambda: len(self.data)
        self.getBuffer = lambda: bytearray(self.data)

    def setControl(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        length: int,
        callback: Callable[["Transfer"], None],
    ) -> None:
        self.endpoint, self.callback = 0, callback
        if (request_type, request) == (standard.DEVICE_IN, standard.GET_DESCRIPTOR):
            self.data = self._device.strings[value & 0xFF]

    def setBulk(self, endpoint: int, length: int, callback: Callable[["Transfer"], None]) -> None:
        self.endpoint, self.callback = endpoint, callback

    setInterrupt = setBulk

    def submit(self) -> None:
        if self.endpoint == 0:
            self.status = usb1.TRANSFER_COMPLETED
            asyncio.get_running_loop().call_soon(self.callback, self)

    def cancel(self) -> None:
        """At once, where libusb does it with its next events: who hears of it only takes note, then as now."""
        self.status = usb1.TRANSFER_CANCELLED
        self.callback(self)
