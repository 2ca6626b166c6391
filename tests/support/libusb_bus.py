"""USB devices as libusb shows them: stand-ins of usb1's USBDevice and USBDeviceHandle that write down what is done."""

import asyncio
from types import SimpleNamespace

import usb1

from usbbtd.usb import descriptors, standard

BLUETOOTH_CLASS = (0xE0, 0x01, 0x01)
HCI = ((0x81, 3, 16), (0x02, 2, 64), (0x82, 2, 64))
VOICE = ((0x03, 1, 9), (0x83, 1, 9))


class Setting:
    """One alternate setting. ``endpoints``: (address, attributes, packet size)."""

    def __init__(self, number, class_code, endpoints, alternate=0):
        self.getNumber = lambda: number
        self.getAlternateSetting = lambda: alternate
        self.getClassTuple = lambda: class_code[:2]
        self.getProtocol = lambda: class_code[2]
        self._endpoints = endpoints

    def __iter__(self):
        for address, attributes, size in self._endpoints:
            yield SimpleNamespace(
                getAddress=lambda address=address: address, getAttributes=lambda attributes=attributes: attributes,
                getMaxPacketSize=lambda size=size: size, getInterval=lambda: 1,
            )  # fmt: skip


class Configuration(list):
    """Number 1, a list of interfaces."""

    def getConfigurationValue(self):
        return 1


HCI_AND_VOICE = ((Setting(0, BLUETOOTH_CLASS, HCI),), (Setting(1, BLUETOOTH_CLASS, VOICE),))


class Device:
    """``interfaces``: of each, its settings. ``refusals``: what libusb raises, by the name of a step."""

    def __init__(self, address=2, *, product=0xB7B7, serial="0001", interfaces=HCI_AND_VOICE, driven=(0, 1)):
        self.done = []
        self.refusals = {}
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

    def do(self, step, *what):
        if (refusal := self.refusals.get(step)) is not None:
            raise refusal
        self.done.append((step, *what))

    def open(self):
        self.do("open")
        return Handle(self)


class Handle:
    def __init__(self, device):
        self._device = device
        self.getConfiguration = lambda: device.configuration
        self.claimInterface = lambda interface: device.do("claim", interface)
        self.releaseInterface = lambda interface: device.do("release", interface)
        self.resetDevice = lambda: device.do("reset")
        self.close = lambda: device.do("close")
        self.getTransfer = lambda: Transfer(device)

    def setConfiguration(self, value):
        self._device.do("configure", value)
        self._device.configuration = value
        self._device.driven = {0}

    def detachKernelDriver(self, interface):
        """btusb has the interface for voice through that for HCI, and lets go of both."""
        if interface not in self._device.driven:
            raise usb1.USBErrorNotFound
        self._device.do("detach", interface)
        self._device.driven.clear()

    def attachKernelDriver(self, interface):
        if interface in self._device.driven:
            raise usb1.USBErrorBusy
        self._device.do("attach", interface)
        self._device.driven = {0, 1}


class Transfer:
    """Control IN is answered with strings; whatever else stays under way until it is cancelled."""

    def __init__(self, device):
        self._device = device
        self.data = b""
        self.getEndpoint = lambda: self.endpoint
        self.getStatus = lambda: self.status
        self.getActualLength = lambda: len(self.data)
        self.getBuffer = lambda: bytearray(self.data)

    def setControl(self, request_type, request, value, index, length, callback):
        self.endpoint, self.callback = 0, callback
        if (request_type, request) == (standard.DEVICE_IN, standard.GET_DESCRIPTOR):
            self.data = self._device.strings[value & 0xFF]

    def setBulk(self, endpoint, length, callback):
        self.endpoint, self.callback = endpoint, callback

    setInterrupt = setBulk

    def submit(self):
        if self.endpoint == 0:
            self.status = usb1.TRANSFER_COMPLETED
            asyncio.get_running_loop().call_soon(self.callback, self)

    def cancel(self):
        """At once, where libusb does it with its next events: who hears of it only takes note, then as now."""
        self.status = usb1.TRANSFER_CANCELLED
        self.callback(self)
