"""USB descriptors: Universal Serial Bus Specification 2.0, 9.5 and 9.6."""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from usbbtd.errors import RemoteProtocolError

DEVICE, CONFIGURATION, STRING, INTERFACE, ENDPOINT = 1, 2, 3, 4, 5

_device = Struct("<BBHBBBBHHHBBBB")
_configuration = Struct("<BBHBBBBB")
_interface = Struct("<9B")
_endpoint = Struct("<BBBBHB")

DEVICE_SIZE = _device.size
CONFIGURATION_SIZE = _configuration.size

USB_2_0 = 0x0200
BUS_POWERED = 0x80
LANGUAGE_ENGLISH_US = 0x0409

#: The bits of wMaxPacketSize that are the size; the others say how many packets a microframe has.
_PACKET_SIZE_MASK = 0x07FF


class DeviceDescriptor(NamedTuple):
    """The device descriptor. ``manufacturer``, ``product``, ``serial``: numbers of strings, 0 for none."""

    usb_version: int
    class_code: int
    subclass: int
    protocol: int
    max_packet_size_0: int
    vendor_id: int
    product_id: int
    device_version: int
    manufacturer: int
    product: int
    serial: int
    configurations: int


class EndpointDescriptor(NamedTuple):
    """An endpoint. ``address``: has its direction in bit 7. ``kind``: 0 control, 1 isochronous, 2 bulk, 3 interrupt."""

    address: int
    kind: int
    packet_size: int
    interval: int


class InterfaceDescriptor(NamedTuple):
    """One alternate setting of an interface."""

    number: int
    alternate: int
    class_code: int
    subclass: int
    protocol: int
    endpoints: tuple[EndpointDescriptor, ...]


class ConfigurationDescriptor(NamedTuple):
    """A configuration. ``value``: the one that SET_CONFIGURATION chooses it by."""

    value: int
    interfaces: tuple[InterfaceDescriptor, ...]


ISOCHRONOUS, BULK, INTERRUPT = 1, 2, 3


def parse_device(untrusted_descriptor: bytes) -> DeviceDescriptor:
    """Parses a device descriptor. Raises RemoteProtocolError if it is malformed."""
    if len(untrusted_descriptor) < DEVICE_SIZE:
        raise RemoteProtocolError(f"a device descriptor of {len(untrusted_descriptor)} bytes")
    size, kind, *fields = _device.unpack_from(untrusted_descriptor)
    if size < DEVICE_SIZE or kind != DEVICE:
        raise RemoteProtocolError(f"no device descriptor: length {size}, type {kind}")
    return DeviceDescriptor(*fields)


def parse_total_length(untrusted_descriptor: bytes) -> int:
    """Returns the length in bytes of a configuration with its interfaces and endpoints.

    Only the first CONFIGURATION_SIZE bytes need be there. Raises RemoteProtocolError if they are malformed.
    """
    if len(untrusted_descriptor) < CONFIGURATION_SIZE:
        raise RemoteProtocolError(f"a configuration descriptor of {len(untrusted_descriptor)} bytes")
    size, kind, total, *_ = _configuration.unpack_from(untrusted_descriptor)
    if size < CONFIGURATION_SIZE or kind != CONFIGURATION or total < CONFIGURATION_SIZE:
        raise RemoteProtocolError(f"no configuration descriptor: length {size}, type {kind}, total length {total}")
    return int(total)


def parse_configuration(untrusted_descriptor: bytes) -> ConfigurationDescriptor:
    """Parses a whole configuration, with its interfaces and endpoints. Ignores descriptors of other types.

    Raises RemoteProtocolError if it is malformed.
    """
    if parse_total_length(untrusted_descriptor) > len(untrusted_descriptor):
        raise RemoteProtocolError(f"a configuration cut off after {len(untrusted_descriptor)} bytes")
    value = untrusted_descriptor[5]
    interfaces: list[InterfaceDescriptor] = []
    for kind, body in _split(untrusted_descriptor):
        if kind == INTERFACE:
            if len(body) < _interface.size:
                raise RemoteProtocolError(f"an interface descriptor of {len(body)} bytes")
            _, _, number, alternate, _, class_code, subclass, protocol, _ = _interface.unpack_from(body)
            interfaces.append(InterfaceDescriptor(number, alternate, class_code, subclass, protocol, ()))
        elif kind == ENDPOINT:
            if len(body) < _endpoint.size or not interfaces:
                raise RemoteProtocolError(f"an endpoint descriptor of {len(body)} bytes, or outside an interface")
            last = interfaces[-1]
            interfaces[-1] = last._replace(endpoints=(*last.endpoints, endpoint_of(*_endpoint.unpack_from(body)[2:])))
    return ConfigurationDescriptor(value, tuple(interfaces))


def endpoint_of(address: int, attributes: int, packet_size: int, interval: int) -> EndpointDescriptor:
    """Returns an endpoint, from its descriptor's bEndpointAddress, bmAttributes, wMaxPacketSize and bInterval."""
    return EndpointDescriptor(address, attributes & 3, packet_size & _PACKET_SIZE_MASK, interval)


def _split(untrusted_descriptor: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (type, whole descriptor) of each descriptor within the configuration's total length."""
    end = parse_total_length(untrusted_descriptor)
    start = 0
    while start < end:
        size = untrusted_descriptor[start]
        if size < 2 or start + size > end:
            raise RemoteProtocolError(f"a descriptor of {size} bytes at {start} of {end}")
        yield untrusted_descriptor[start + 1], untrusted_descriptor[start : start + size]
        start += size


def parse_string(untrusted_descriptor: bytes) -> str:
    """Returns the text of a string descriptor, with "?" for letters that cannot be printed.

    Raises RemoteProtocolError if it is malformed.
    """
    if len(untrusted_descriptor) < 2 or untrusted_descriptor[1] != STRING or untrusted_descriptor[0] < 2:
        raise RemoteProtocolError(f"no string descriptor: {untrusted_descriptor[:2].hex()}")
    text = untrusted_descriptor[2 : untrusted_descriptor[0]].decode("utf-16-le", errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def pack_device(device: DeviceDescriptor) -> bytes:
    return _device.pack(DEVICE_SIZE, DEVICE, *device)


def pack_configuration(configuration: ConfigurationDescriptor, *, max_power_ma: int = 100) -> bytes:
    """Returns the configuration descriptor with those of its interfaces and endpoints."""
    body = b""
    for interface in configuration.interfaces:
        number, alternate, class_code, subclass, protocol, endpoints = interface
        body += _interface.pack(
            _interface.size, INTERFACE, number, alternate, len(endpoints), class_code, subclass, protocol, 0
        )
        for address, kind, packet_size, interval in endpoints:
            body += _endpoint.pack(_endpoint.size, ENDPOINT, address, kind, packet_size, interval)
    numbers = {interface.number for interface in configuration.interfaces}
    return (
        _configuration.pack(
            CONFIGURATION_SIZE, CONFIGURATION, CONFIGURATION_SIZE + len(body), len(numbers), configuration.value, 0,
            BUS_POWERED, max_power_ma // 2,
        )
        + body
    )  # fmt: skip


def pack_string(text: str) -> bytes:
    encoded = text.encode("utf-16-le")
    return bytes([2 + len(encoded), STRING]) + encoded


def pack_languages(languages: Sequence[int]) -> bytes:
    """Returns string 0, which lists the languages of the other strings."""
    return bytes([2 + 2 * len(languages), STRING]) + b"".join(code.to_bytes(2, "little") for code in languages)
