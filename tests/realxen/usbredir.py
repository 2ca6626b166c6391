"""usb-redir: a USB device given to QEMU over a stream, see usbredir's docs/usb-redirection-protocol.md.

Our side is the one that has the device, which the protocol calls the host; QEMU's is the guest. What is supported is
what a Bluetooth dongle without isochronous endpoints needs.
"""

from collections import deque
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.usb.device import UsbDevice
from usbbtd.usb.wire import descriptors, standard, usbif

SUCCESS, CANCELLED, INVALID, IO_ERROR, STALL, TIMED_OUT, BABBLE = range(7)
SPEED_FULL = 1

#: Device version, packet sizes of endpoints, ids of 64 bits, bulk lengths of 32 bits: all that QEMU 2.0 and later has.
CAPABILITIES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6

MESSAGE_LIMIT = 1 << 20
_ENDPOINTS = 32
_NO_ENDPOINT = 255

_hello_header = Struct("<III")
_header = Struct("<IIQ")
_hello = Struct("<64sI")
_connect = Struct("<BBBBHHH")
_control = Struct("<BBBBHHH")
_bulk = Struct("<BBHIH")
_interrupt = Struct("<BBH")


class _Kind:
    """Types of messages."""

    HELLO, DEVICE_CONNECT, RESET, INTERFACE_INFO, ENDPOINT_INFO = 0, 1, 3, 4, 5
    SET_CONFIGURATION, GET_CONFIGURATION, CONFIGURATION_STATUS = 6, 7, 8
    SET_ALT_SETTING, GET_ALT_SETTING, ALT_SETTING_STATUS = 9, 10, 11
    START_INTERRUPT, STOP_INTERRUPT, INTERRUPT_STATUS = 15, 16, 17
    CANCEL, FILTER_REJECT, FILTER_FILTER, DISCONNECT_ACK = 21, 22, 23, 24
    CONTROL, BULK, INTERRUPT = 100, 101, 103


#: Octets that a message has at least, where it is taken apart.
_SIZES = {
    _Kind.SET_CONFIGURATION: 1, _Kind.SET_ALT_SETTING: 2, _Kind.GET_ALT_SETTING: 1, _Kind.START_INTERRUPT: 1,
    _Kind.STOP_INTERRUPT: 1, _Kind.CONTROL: _control.size, _Kind.BULK: _bulk.size,
}  # fmt: skip


class _Reading(NamedTuple):
    """A bulk IN transfer that QEMU waits for."""

    number: int
    endpoint: int
    length: int
    stream: int


class UsbRedirHost:
    """One connection for one device. Sans-IO: ``receive`` what comes, write what ``take_data`` gives."""

    def __init__(self, device: UsbDevice) -> None:
        self._device = device
        self._received = bytearray()
        self._to_send: list[bytes] = []
        self._greeted = False
        self._readings: dict[int, deque[_Reading]] = {}
        configuration = descriptors.parse_configuration(self._descriptor(descriptors.CONFIGURATION))
        self._interfaces = [each for each in configuration.interfaces if each.alternate == 0]
        self._packet_sizes = {end.address: end.packet_size for each in self._interfaces for end in each.endpoints}
        self._interrupts: dict[int, int] = {}  # of endpoints that QEMU listens to: the next packet's number
        hello = _hello.pack(b"usbbtd", CAPABILITIES)
        self._to_send.append(_hello_header.pack(_Kind.HELLO, len(hello), 0) + hello)

    def receive(self, data: bytes) -> None:
        """Raises RemoteProtocolError for what is no usb-redir."""
        self._received += data
        header = _header if self._greeted else _hello_header
        while len(self._received) >= header.size:
            kind, length, number = header.unpack_from(self._received)
            if length > MESSAGE_LIMIT:
                raise RemoteProtocolError(f"a message of {length} bytes")
            if len(self._received) < header.size + length:
                return
            body = bytes(self._received[header.size : header.size + length])
            del self._received[: header.size + length]
            self._receive_message(kind, number, body)
            header = _header

    def take_data(self) -> bytes:
        """What there is to send, what the device has to say included."""
        self._collect()
        data = b"".join(self._to_send)
        self._to_send.clear()
        return data

    def _send(self, kind: int, number: int, body: bytes) -> None:
        self._to_send.append(_header.pack(kind, len(body), number) + body)

    def _receive_message(self, kind: int, number: int, body: bytes) -> None:
        if not self._greeted:
            self._receive_hello(kind, body)
            return
        if len(body) < _SIZES.get(kind, 0):
            raise RemoteProtocolError(f"a message of type {kind} with {len(body)} bytes")
        match kind:
            case _Kind.CONTROL:
                self._receive_control(number, body)
            case _Kind.BULK:
                self._receive_bulk(number, body)
            case _Kind.SET_CONFIGURATION:
                self._request(standard.DEVICE_OUT, standard.SET_CONFIGURATION, value=body[0])
                self._send(_Kind.CONFIGURATION_STATUS, number, bytes((SUCCESS, body[0])))
            case _Kind.GET_CONFIGURATION:
                value = self._request(standard.DEVICE_IN, standard.GET_CONFIGURATION, length=1)
                self._send(_Kind.CONFIGURATION_STATUS, number, bytes((SUCCESS, *(value or b"\0"))))
            case _Kind.SET_ALT_SETTING:
                interface, setting = body[:2]
                answer = self._request(standard.INTERFACE_OUT, standard.SET_INTERFACE, value=setting, index=interface)
                status = STALL if answer is None else SUCCESS
                self._send(_Kind.ALT_SETTING_STATUS, number, bytes((status, interface, setting)))
            case _Kind.GET_ALT_SETTING:
                value = self._request(standard.INTERFACE_IN, standard.GET_INTERFACE, index=body[0], length=1)
                self._send(_Kind.ALT_SETTING_STATUS, number, bytes((SUCCESS, body[0], *(value or b"\0"))))
            case _Kind.START_INTERRUPT:
                self._interrupts.setdefault(body[0], 0)
                self._send(_Kind.INTERRUPT_STATUS, number, bytes((SUCCESS, body[0])))
            case _Kind.STOP_INTERRUPT:
                self._interrupts.pop(body[0], None)
                self._send(_Kind.INTERRUPT_STATUS, number, bytes((SUCCESS, body[0])))
            case _Kind.CANCEL:
                self._cancel(number)
            case _Kind.RESET:
                self._device.reset()
                self._readings.clear()
                self._interrupts.clear()
            case _Kind.FILTER_REJECT | _Kind.FILTER_FILTER | _Kind.DISCONNECT_ACK:
                pass
            case _:
                raise RemoteProtocolError(f"a message of type {kind}")

    def _receive_hello(self, kind: int, body: bytes) -> None:
        if kind != _Kind.HELLO or len(body) < _hello.size:
            raise RemoteProtocolError("the first message is no hello")
        _, capabilities = _hello.unpack_from(body)
        if CAPABILITIES & ~capabilities:
            raise RemoteProtocolError(f"capabilities are missing: 0x{capabilities:x}")
        self._greeted = True
        self._describe()

    def _describe(self) -> None:
        """The interfaces, the endpoints, and that the device is there."""
        device = descriptors.parse_device(self._descriptor(descriptors.DEVICE))
        self._send(_Kind.INTERFACE_INFO, 0, _interfaces(self._interfaces))
        self._send(_Kind.ENDPOINT_INFO, 0, _endpoints(self._interfaces, device.max_packet_size_0))
        identity = (device.class_code, device.subclass, device.protocol, device.vendor_id, device.product_id)
        self._send(_Kind.DEVICE_CONNECT, 0, _connect.pack(SPEED_FULL, *identity, device.device_version))

    def _descriptor(self, kind: int) -> bytes:
        return self._request(standard.DEVICE_IN, standard.GET_DESCRIPTOR, value=kind << 8, length=0xFFFF) or b""

    def _request(
        self, request_type: int, request: int, *, value: int = 0, index: int = 0, length: int = 0
    ) -> bytes | None:
        return self._device.control(standard.pack_setup(request_type, request, value, index, length), b"")

    def _receive_control(self, number: int, body: bytes) -> None:
        endpoint, request, request_type, _, value, index, length = _control.unpack_from(body)
        setup = standard.pack_setup(request_type, request, value, index, length)
        answer = self._device.control(setup, body[_control.size :])
        status = STALL if answer is None else SUCCESS
        data = answer if answer and endpoint & usbif.IN else b""
        done = len(data) if endpoint & usbif.IN else length
        self._send(
            _Kind.CONTROL, number, _control.pack(endpoint, request, request_type, status, value, index, done) + data
        )

    def _receive_bulk(self, number: int, body: bytes) -> None:
        endpoint, _, low, stream, high = _bulk.unpack_from(body)
        length = low | high << 16
        if endpoint & usbif.IN:
            self._readings.setdefault(endpoint, deque()).append(_Reading(number, endpoint, length, stream))
            return
        status = STALL
        if self._device.has_endpoint(endpoint) and not self._device.is_halted(endpoint):
            self._device.receive_data(endpoint, body[_bulk.size :])
            status = SUCCESS
        self._answer_bulk(_Reading(number, endpoint, length, stream), status, b"", length)

    def _answer_bulk(self, reading: _Reading, status: int, data: bytes, length: int) -> None:
        header = _bulk.pack(reading.endpoint, status, length & 0xFFFF, reading.stream, length >> 16)
        self._send(_Kind.BULK, reading.number, header + data)

    def _cancel(self, number: int) -> None:
        for readings in self._readings.values():
            for reading in readings:
                if reading.number == number:
                    readings.remove(reading)
                    self._answer_bulk(reading, CANCELLED, b"", 0)
                    return

    def _collect(self) -> None:
        """What the device has for those who wait."""
        for endpoint, number in self._interrupts.items():
            size = self._packet_sizes.get(endpoint, 1)
            while self._device.has_endpoint(endpoint) and (taken := self._device.take_transfer(endpoint, size)):
                self._send(_Kind.INTERRUPT, number, _interrupt.pack(endpoint, SUCCESS, len(taken[1])) + taken[1])
                number += 1
            self._interrupts[endpoint] = number
        for endpoint, readings in self._readings.items():
            while readings:
                if self._device.is_halted(endpoint) or not self._device.has_endpoint(endpoint):
                    self._answer_bulk(readings.popleft(), STALL, b"", 0)
                elif taken := self._device.take_transfer(endpoint, readings[0].length):
                    status, data = taken
                    self._answer_bulk(
                        readings.popleft(), BABBLE if status == usbif.BABBLE else SUCCESS, data, len(data)
                    )
                else:
                    break


def _interfaces(interfaces: Sequence[descriptors.InterfaceDescriptor]) -> bytes:
    fields = [(each.number, each.class_code, each.subclass, each.protocol) for each in interfaces]
    columns = [bytes(column).ljust(_ENDPOINTS, b"\0") for column in zip(*fields, strict=True)]
    return len(interfaces).to_bytes(4, "little") + b"".join(columns)


def _endpoints(interfaces: Sequence[descriptors.InterfaceDescriptor], control_size: int) -> bytes:
    """Kinds, intervals, interfaces and packet sizes, of sixteen OUT endpoints and then of sixteen IN endpoints."""
    kinds, intervals, owners = bytearray([_NO_ENDPOINT] * _ENDPOINTS), bytearray(_ENDPOINTS), bytearray(_ENDPOINTS)
    sizes = [0] * _ENDPOINTS
    for end in (0, 16):
        kinds[end], sizes[end] = 0, control_size
    for interface in interfaces:
        for address, kind, size, interval in interface.endpoints:
            end = (address & usbif.IN) >> 3 | address & 0x0F
            kinds[end], intervals[end], owners[end], sizes[end] = kind, interval, interface.number, size
    return bytes(kinds + intervals + owners) + b"".join(size.to_bytes(2, "little") for size in sizes)
