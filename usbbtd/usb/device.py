"""The model of a USB device behind a backend: the device as its host sees it. USB 2.0, 9.1.1 and 9.4.

A subclass makes it a dongle: ``receive_control`` takes class requests, ``receive_data`` transfers to OUT endpoints, and
``send`` queues transfers to the host.
"""

from collections import deque
from collections.abc import Callable, Mapping

from usbbtd.errors import LocalProtocolError
from usbbtd.usb.wire import descriptors, standard, usbif

#: The most transfers that may wait on one IN endpoint; more are dropped and counted.
QUEUE_LIMIT = 4096

#: The answer to a control request: the data of an IN request, b"" to an OUT request, None for a stall.
Answer = bytes | None


class _InEndpoint:
    __slots__ = ("packet_size", "queue", "sent")

    def __init__(self, packet_size: int) -> None:
        self.packet_size = packet_size
        self.queue: deque[bytes] = deque()
        self.sent = 0  # bytes of the first transfer in the queue that the host has


class UsbDevice:
    """One device with one configuration.

    ``strings``: texts by number, in English, without number 0. ``wake``: is called when there is data for the host; set
    by the program that plugs the device in. ``dropped``: how many transfers were dropped.
    """

    def __init__(
        self, device: descriptors.DeviceDescriptor, configuration: descriptors.ConfigurationDescriptor,
        strings: Mapping[int, str], *, speed: int = usbif.SPEED_FULL,
    ) -> None:  # fmt: skip
        self.speed = speed
        self.wake: Callable[[], None] = _nobody
        self.configured = False
        self.dropped = 0
        self._device = descriptors.pack_device(device)
        self._configuration = descriptors.pack_configuration(configuration)
        self._configuration_value = configuration.value
        self._strings = {number: descriptors.pack_string(text) for number, text in strings.items()}
        self._strings[0] = descriptors.pack_languages([descriptors.LANGUAGE_ENGLISH_US])
        self._alternates: dict[int, set[int]] = {}  # by interface
        self._current: dict[int, int] = {}
        self._in: dict[int, _InEndpoint] = {}
        self._out: set[int] = set()
        self._halted: set[int] = set()
        for interface in configuration.interfaces:
            self._alternates.setdefault(interface.number, set()).add(interface.alternate)
            for address, kind, packet_size, _ in interface.endpoints:
                if kind == descriptors.ISOCHRONOUS:
                    continue
                if address & usbif.IN:
                    self._in[address] = _InEndpoint(packet_size)
                else:
                    self._out.add(address)

    # For a subclass to define.

    def receive_control(self, setup: bytes, data: bytes) -> Answer:
        """Takes a class or vendor request, and returns its answer."""
        return None

    def receive_data(self, endpoint: int, data: bytes) -> None:
        """Takes one transfer to an OUT endpoint."""

    # For the device's own side to call.

    def send(self, endpoint: int, transfer: bytes) -> None:
        """Queues a transfer for the host. It is dropped and counted if too many wait, or before the configuration."""
        pipe = self._in.get(endpoint)
        if pipe is None:
            raise LocalProtocolError(f"no IN endpoint 0x{endpoint:02x}")
        if not self.configured or len(pipe.queue) >= QUEUE_LIMIT:
            self.dropped += 1
            return
        pipe.queue.append(transfer)
        self.wake()

    def queued(self, endpoint: int) -> int:
        """Returns how many transfers wait on an IN endpoint."""
        return len(self._in[endpoint].queue)

    def halt(self, endpoint: int) -> None:
        """Stalls an endpoint until the host ends that."""
        self._halted.add(endpoint)
        self.wake()

    # For the host's side to call.

    def reset(self) -> None:
        """Returns to the default state, as after a bus reset: not configured, nothing queued, no endpoint halted."""
        self.configured = False
        self._current.clear()
        self._halted.clear()
        for pipe in self._in.values():
            pipe.queue.clear()
            pipe.sent = 0

    def unplugged(self) -> None:
        """Ends the connection to the host: what the device sends is dropped from now on."""
        self.wake = _nobody
        self.reset()

    def has_endpoint(self, endpoint: int) -> bool:
        """Tells whether the endpoint can carry data now."""
        return self.configured and (endpoint in self._in or endpoint in self._out)

    def is_halted(self, endpoint: int) -> bool:
        return endpoint in self._halted

    def control(self, setup: bytes, data: bytes) -> Answer:
        """Performs a control request and returns its answer. SET_ADDRESS does not come here: it is the bus's."""
        request_type, request, value, index, length = standard.unpack_setup(setup)
        if request_type & standard.KIND_MASK:
            answer = self.receive_control(setup, data)
        else:
            answer = self._standard(request_type, request, value, index)
        return None if answer is None else answer[:length]

    def take_transfer(self, endpoint: int, room: int) -> tuple[int, bytes] | None:  # hot: per packet
        """Takes the data for one IN URB of ``room`` > 0 bytes: (status, data); returns None if no transfer waits.

        A URB ends with a packet that is shorter than the endpoint's size, or when it is full. A transfer whose length
        is a multiple of that size ends with an empty packet, which tells the host that it has ended.
        """
        pipe = self._in[endpoint]
        if not pipe.queue:
            return None
        transfer = pipe.queue[0]
        rest = len(transfer) - pipe.sent
        if rest < room or (rest == room and rest % pipe.packet_size):
            data = transfer[pipe.sent :] if pipe.sent else transfer
            pipe.queue.popleft()
            pipe.sent = 0
            return usbif.OK, data
        if room % pipe.packet_size:
            # The device sends whole packets, and there is no room for one of them.
            pipe.queue.popleft()
            pipe.sent = 0
            return usbif.BABBLE, b""
        data = transfer[pipe.sent : pipe.sent + room]
        pipe.sent += room  # even if no bytes are left: an empty packet has to follow
        return usbif.OK, data

    def _standard(self, request_type: int, request: int, value: int, index: int) -> Answer:
        match request_type, request:
            case standard.DEVICE_IN, standard.GET_DESCRIPTOR:
                return self._descriptor(value >> 8, value & 0xFF)
            case standard.DEVICE_IN, standard.GET_CONFIGURATION:
                return bytes([self._configuration_value if self.configured else 0])
            case standard.DEVICE_OUT, standard.SET_CONFIGURATION:
                return self._set_configuration(value)
            case standard.DEVICE_IN, standard.GET_STATUS:
                return bytes(2)  # bus powered, no remote wake-up
            case ((standard.INTERFACE_IN | standard.INTERFACE_OUT), _) if self.configured and index in self._alternates:
                return self._interface(request, value, index)
            case ((standard.ENDPOINT_IN | standard.ENDPOINT_OUT), _) if self.has_endpoint(index):
                return self._endpoint(request, value, index)
        return None

    def _descriptor(self, kind: int, number: int) -> Answer:
        match kind, number:
            case descriptors.DEVICE, 0:
                return self._device
            case descriptors.CONFIGURATION, 0:
                return self._configuration
            case descriptors.STRING, _:
                return self._strings.get(number)
        return None

    def _set_configuration(self, value: int) -> Answer:
        if value not in (0, self._configuration_value):
            return None
        self.reset()
        self.configured = value != 0
        return b""

    def _interface(self, request: int, value: int, number: int) -> Answer:
        match request:
            case standard.GET_STATUS:
                return bytes(2)
            case standard.GET_INTERFACE:
                return bytes([self._current.get(number, 0)])
            case standard.SET_INTERFACE if value in self._alternates[number]:
                self._current[number] = value
                return b""
        return None

    def _endpoint(self, request: int, feature: int, endpoint: int) -> Answer:
        match request, feature:
            case standard.GET_STATUS, 0:
                return bytes([endpoint in self._halted, 0])
            case standard.SET_FEATURE, standard.ENDPOINT_HALT:
                self._halted.add(endpoint)
                return b""
            case standard.CLEAR_FEATURE, standard.ENDPOINT_HALT:
                self._halted.discard(endpoint)
                return b""
        return None


def _nobody() -> None:
    """Does nothing: there is no host to wake."""
