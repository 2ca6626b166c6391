"""A USB device as its host sees it: the model behind a backend. USB 2.0, 9.1.1 and 9.4.

Subclass it and give it what makes it a dongle: ``receive_control`` for class requests, ``receive_data`` for OUT
endpoints; ``send`` queues what the device has to say.
"""

from collections import deque
from collections.abc import Callable, Mapping

from usbbtd.errors import LocalProtocolError
from usbbtd.usb import descriptors, standard, usbif

#: Transfers that may wait on one IN endpoint; more are dropped and counted.
QUEUE_LIMIT = 4096

#: An answer to a control request; None stalls.
Answer = bytes | None


class _InEndpoint:
    __slots__ = ("packet_size", "queue", "sent")

    def __init__(self, packet_size: int) -> None:
        self.packet_size = packet_size
        self.queue: deque[bytes] = deque()
        self.sent = 0  # of the first transfer in the queue


class UsbDevice:
    """One device with one configuration.

    ``strings``: texts by number, in English, without number 0. ``wake``: set by who plugs the device in, called when
    there is something for the host.
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

    # What a subclass says.

    def receive_control(self, setup: bytes, data: bytes) -> Answer:
        """A class or vendor request. Returns what an IN request reads, b"" for an OUT request; None stalls."""
        return None

    def receive_data(self, endpoint: int, data: bytes) -> None:
        """One transfer to an OUT endpoint."""

    # What the device's own side does.

    def send(self, endpoint: int, transfer: bytes) -> None:
        """Queue a transfer for the host. Dropped, and counted, where too much waits or nobody has configured us."""
        pipe = self._in.get(endpoint)
        if pipe is None:
            raise LocalProtocolError(f"no IN endpoint 0x{endpoint:02x}")
        if not self.configured or len(pipe.queue) >= QUEUE_LIMIT:
            self.dropped += 1
            return
        pipe.queue.append(transfer)
        self.wake()

    def queued(self, endpoint: int) -> int:
        """How many transfers wait on an IN endpoint."""
        return len(self._in[endpoint].queue)

    def halt(self, endpoint: int) -> None:
        """Stall an endpoint until the host clears it."""
        self._halted.add(endpoint)
        self.wake()

    # What the host's side does.

    def reset(self) -> None:
        """Back to the default state, as after a bus reset: not configured, nothing queued, nothing halted."""
        self.configured = False
        self._current.clear()
        self._halted.clear()
        for pipe in self._in.values():
            pipe.queue.clear()
            pipe.sent = 0

    def unplugged(self) -> None:
        """There is no host any more: what the device sends is dropped."""
        self.wake = _nobody
        self.reset()

    def has_endpoint(self, endpoint: int) -> bool:
        """Whether data may go to or come from the endpoint now."""
        return self.configured and (endpoint in self._in or endpoint in self._out)

    def is_halted(self, endpoint: int) -> bool:
        return endpoint in self._halted

    def control(self, setup: bytes, data: bytes) -> Answer:
        """A control request to the device; SET_ADDRESS is the bus's. None: stall."""
        request_type, request, value, index, length = standard.unpack_setup(setup)
        if request_type & standard.KIND_MASK:
            answer = self.receive_control(setup, data)
        else:
            answer = self._standard(request_type, request, value, index)
        return None if answer is None else answer[:length]

    def take_transfer(self, endpoint: int, room: int) -> tuple[int, bytes] | None:  # hot: per packet
        """What one IN URB of ``room`` > 0 bytes gets: (status, data); None while the endpoint has nothing to say.

        A URB ends with the packet that is shorter than the endpoint's size, or when it is full. A transfer of an exact
        multiple of that size ends with an empty packet, so that the host knows that it has ended.
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
        pipe.sent += room  # with nothing left, the empty packet is still to come
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
    """There is no host."""
