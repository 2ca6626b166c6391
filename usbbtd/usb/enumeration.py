"""Finds out what a device is, and configures a Bluetooth dongle: USB 2.0, 9.1.2 and 9.4.

The order is the one that usbif backends expect: only GET_DESCRIPTOR and SET_ADDRESS go to address 0.
"""

from collections.abc import Generator
from typing import NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.usb.wire import descriptors, standard, usbif
from usbbtd.usb.wire.standard import pack_setup

#: Wireless controller, RF controller, Bluetooth programming interface: the SIG's USB transport, Vol 4, Part B, 3.
BLUETOOTH_CLASS = (0xE0, 0x01, 0x01)

#: The most bytes of a configuration: no dongle has a longer one. One page, so that it is one segment.
MAX_CONFIGURATION = usbif.PAGE_SIZE


class ControlRequest(NamedTuple):
    """A control request to make: to ``address``, with eight octets of setup. Its answer is (status, data)."""

    address: int
    setup: bytes


class Bluetooth(NamedTuple):
    """The endpoints of a Bluetooth function, with the direction in bit 7, and their packet sizes in bytes."""

    interrupt_in: int
    interrupt_packet_size: int
    bulk_in: int
    bulk_out: int
    bulk_packet_size: int


class Found(NamedTuple):
    """The facts of the device at ``address``.

    ``bluetooth``: None if it is not a Bluetooth dongle; it is not configured then. ``serial``: "" if it tells none.
    """

    address: int
    vendor_id: int
    product_id: int
    serial: str
    class_code: int
    bluetooth: Bluetooth | None


Enumeration = Generator[ControlRequest, tuple[int, bytes], Found]


def enumerate_device(address: int) -> Enumeration:
    """Yields one control request after the other, is sent their answers, and returns the facts of the device.

    ``address``: the one that the device gets. Raises RemoteProtocolError, which names the step, if the device refuses a
    request or answers nonsense.
    """
    # Eight bytes are all that may be asked for before bMaxPacketSize0 is known.
    first = yield from _get(0, descriptors.DEVICE, 0, 0, 8, "first descriptor")
    if len(first) < 8:
        raise RemoteProtocolError(f"first descriptor: {len(first)} bytes")
    yield from _do(
        ControlRequest(0, pack_setup(standard.DEVICE_OUT, standard.SET_ADDRESS, address, 0, 0)), "set address"
    )
    size = descriptors.DEVICE_SIZE
    device = descriptors.parse_device((yield from _get(address, descriptors.DEVICE, 0, 0, size, "device descriptor")))
    serial = yield from read_serial(address, device.serial)
    configuration = yield from _read_configuration(address)
    bluetooth = find_bluetooth(configuration)
    if bluetooth is not None:
        setup = pack_setup(standard.DEVICE_OUT, standard.SET_CONFIGURATION, configuration.value, 0, 0)
        yield from _do(ControlRequest(address, setup), "set configuration")
    return Found(address, device.vendor_id, device.product_id, serial, device.class_code, bluetooth)


def find_bluetooth(configuration: descriptors.ConfigurationDescriptor) -> Bluetooth | None:
    """Returns the Bluetooth function: the interface of class E0/01/01 that has the three endpoints for HCI.

    Other interfaces of that class are for voice, and have isochronous endpoints only. Returns None if there is none.
    """
    for interface in configuration.interfaces:
        if not is_bluetooth(interface):
            continue
        found: dict[tuple[int, int], descriptors.EndpointDescriptor] = {}
        for endpoint in interface.endpoints:
            if endpoint.packet_size and endpoint.address & 0x0F:
                found.setdefault((endpoint.kind, endpoint.address & usbif.IN), endpoint)
        interrupt = found.get((descriptors.INTERRUPT, usbif.IN))
        bulk_in = found.get((descriptors.BULK, usbif.IN))
        bulk_out = found.get((descriptors.BULK, 0))
        if interrupt and bulk_in and bulk_out:
            return Bluetooth(
                interrupt.address, interrupt.packet_size, bulk_in.address, bulk_out.address, bulk_in.packet_size
            )
    return None


def is_bluetooth(interface: descriptors.InterfaceDescriptor) -> bool:
    """Tells whether an interface belongs to a Bluetooth function: it is for HCI or for voice."""
    return (interface.class_code, interface.subclass, interface.protocol) == BLUETOOTH_CLASS


def read_serial(address: int, number: int) -> Generator[ControlRequest, tuple[int, bytes], str]:
    """Reads the serial number as ``enumerate_device`` does. ``number``: that of its string.

    Returns "" if the device has none, or fails to tell it, as many do.
    """
    if number == 0:
        return ""
    try:
        languages = yield from _get(address, descriptors.STRING, 0, 0, 255, "languages")
        language = int.from_bytes(languages[2:4], "little")
        text = yield from _get(address, descriptors.STRING, number, language, 255, "serial number")
        return descriptors.parse_string(text)
    except RemoteProtocolError:
        return ""


def _do(control: ControlRequest, step: str) -> Generator[ControlRequest, tuple[int, bytes], bytes]:
    status, data = yield control
    if status != usbif.OK:
        raise RemoteProtocolError(f"{step}: {usbif.describe_status(status)}")
    return data


def _get(
    address: int, kind: int, number: int, language: int, length: int, step: str
) -> Generator[ControlRequest, tuple[int, bytes], bytes]:
    setup = pack_setup(standard.DEVICE_IN, standard.GET_DESCRIPTOR, kind << 8 | number, language, length)
    return (yield from _do(ControlRequest(address, setup), step))


def _read_configuration(
    address: int,
) -> Generator[ControlRequest, tuple[int, bytes], descriptors.ConfigurationDescriptor]:
    step = "configuration descriptor"
    head = yield from _get(address, descriptors.CONFIGURATION, 0, 0, descriptors.CONFIGURATION_SIZE, step)
    total = min(descriptors.parse_total_length(head), MAX_CONFIGURATION)
    return descriptors.parse_configuration((yield from _get(address, descriptors.CONFIGURATION, 0, 0, total, step)))
