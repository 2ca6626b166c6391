"""The usb-redir host, with a QEMU that only talks."""

import struct

import pytest

from tests.realxen import usbredir
from tests.realxen.usbredir import UsbRedirHost
from usbbtd.errors import RemoteProtocolError
from usbbtd.usb.device import UsbDevice
from usbbtd.usb.wire import descriptors
from usbbtd.usb.wire.usbif import IN

HELLO = struct.pack("<III", 0, 68, 0) + b"qemu".ljust(64, b"\0") + struct.pack("<I", usbredir.CAPABILITIES)
EVENTS, DATA = 1 | IN, 2 | IN


class Gadget(UsbDevice):
    """Echoes what it gets on endpoint 2."""

    def __init__(self) -> None:
        endpoints = (
            descriptors.EndpointDescriptor(EVENTS, descriptors.INTERRUPT, 16, 1),
            descriptors.EndpointDescriptor(2, descriptors.BULK, 64, 0),
            descriptors.EndpointDescriptor(DATA, descriptors.BULK, 64, 0),
        )
        super().__init__(
            descriptors.DeviceDescriptor(0x0200, 0xE0, 1, 1, 64, 0x1209, 0xB7B7, 0x0100, 0, 0, 0, 1),
            descriptors.ConfigurationDescriptor(1, (descriptors.InterfaceDescriptor(0, 0, 0xE0, 1, 1, endpoints),)),
            {},
        )

    def receive_data(self, endpoint: int, data: bytes) -> None:
        self.send(DATA, data)


def message(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack("<IIQ", kind, len(body), number) + body


def messages(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    while data:
        kind, length, number = struct.unpack_from("<IIQ", data)
        found.append((kind, number, data[16 : 16 + length]))
        data = data[16 + length :]
    return found


@pytest.fixture
def gadget() -> Gadget:
    return Gadget()


@pytest.fixture
def host(gadget: Gadget) -> UsbRedirHost:
    """Greeted and configured."""
    host = UsbRedirHost(gadget)
    host.receive(HELLO + message(6, 1, b"\1"))
    host.take_data()
    return host


def test_greeting(gadget: Gadget) -> None:
    host = UsbRedirHost(gadget)
    hello = host.take_data()
    assert struct.unpack_from("<III64sI", hello)[-1] == usbredir.CAPABILITIES
    for octet in HELLO:
        host.receive(bytes((octet,)))
    interfaces, endpoints, connect = messages(host.take_data())
    assert (interfaces[0], len(interfaces[2])) == (4, 4 + 4 * 32)
    assert (endpoints[0], len(endpoints[2])) == (5, 3 * 32 + 2 * 32)
    assert endpoints[2][16:19] == bytes((0, 3, 2))  # kinds of IN 0, 1, 2
    assert connect == (1, 0, struct.pack("<BBBBHHH", 1, 0xE0, 1, 1, 0x1209, 0xB7B7, 0x0100))


def test_control(host: UsbRedirHost) -> None:
    host.receive(message(100, 7, struct.pack("<BBBBHHH", 0x80, 6, 0x80, 0, 0x0100, 0, 18)))
    ((kind, number, body),) = messages(host.take_data())
    assert (kind, number, body[3]) == (100, 7, usbredir.SUCCESS)
    assert descriptors.parse_device(body[10:]).product_id == 0xB7B7


def test_unknown_control_stalls(host: UsbRedirHost) -> None:
    host.receive(message(100, 8, struct.pack("<BBBBHHH", 0, 99, 0x40, 0, 0, 0, 0)))
    assert messages(host.take_data())[0][2][3] == usbredir.STALL


def test_bulk(host: UsbRedirHost) -> None:
    host.receive(message(101, 1, struct.pack("<BBHIH", DATA, 0, 512, 0, 0)))
    assert host.take_data() == b""
    host.receive(message(101, 2, struct.pack("<BBHIH", 2, 0, 5, 0, 0) + b"hello"))
    assert messages(host.take_data()) == [
        (101, 2, struct.pack("<BBHIH", 2, 0, 5, 0, 0)),
        (101, 1, struct.pack("<BBHIH", DATA, 0, 5, 0, 0) + b"hello"),
    ]


def test_bulk_cancelled(host: UsbRedirHost) -> None:
    host.receive(message(101, 1, struct.pack("<BBHIH", DATA, 0, 512, 0, 0)) + message(21, 1, b""))
    assert messages(host.take_data()) == [(101, 1, struct.pack("<BBHIH", DATA, usbredir.CANCELLED, 0, 0, 0))]


def test_interrupts(host: UsbRedirHost, gadget: Gadget) -> None:
    """Packet by packet, with an empty one after a transfer that fills its last."""
    host.receive(message(15, 1, bytes((EVENTS,))))
    gadget.send(EVENTS, bytes(32))
    gadget.send(EVENTS, bytes(3))
    _, *packets = messages(host.take_data())
    assert [len(body) - 4 for _, _, body in packets] == [16, 16, 0, 3]
    assert [number for _, number, _ in packets] == [0, 1, 2, 3]


@pytest.mark.parametrize("data", [struct.pack("<III", 0, 1 << 30, 0), bytes(12)])
def test_no_greeting(gadget: Gadget, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        UsbRedirHost(gadget).receive(data)


@pytest.mark.parametrize("data", [message(77, 0, b""), message(9, 0, b"\1"), message(100, 0, bytes(9))])
def test_garbage(host: UsbRedirHost, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        host.receive(data)
