"""The backend of usbif: shows models of devices to a frontend that is not trusted.

Where usbif.h leaves a choice, it does as QEMU's backend: only GET_DESCRIPTOR and SET_ADDRESS may go to address 0. A
request is answered with "shut down" if it cannot be mapped or is isochronous; a cancelled URB with a transfer error,
and its unlink with ok.
"""

from collections import deque
from collections.abc import Callable, Sequence

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.usb.device import UsbDevice
from usbbtd.usb.wire import standard, usbif
from usbbtd.usb.wire.usbif import RequestHead, Segment

#: Read and write the frontend's memory. Raise OSError if the frontend has not granted it.
CopyFrom = Callable[[Sequence[Segment]], bytes]
CopyTo = Callable[[Sequence[Segment], bytes], None]


class _BackendUrb:
    """An IN URB that waits for data."""

    __slots__ = ("length", "segments", "urb_id")

    def __init__(self, urb_id: int, length: int, segments: Sequence[Segment]) -> None:
        self.urb_id = urb_id
        self.length = length
        self.segments = segments


class _Port:
    __slots__ = ("address", "device", "waiting")

    def __init__(self, device: UsbDevice) -> None:
        self.device = device
        self.address = 0
        self.waiting: dict[int, deque[_BackendUrb]] = {}  # IN URBs, by endpoint


class UsbifBackend:
    """One connection to a usbif frontend, with ``ports`` ports.

    The caller has the rings: it moves requests from them to ``receive_requests`` and ``receive_conn_requests``, and
    ``take_responses`` and ``take_conn_responses`` to them. Each request, whatever is in it, is answered once, with a
    status. Raises RemoteProtocolError only for what no frontend can do through a ring.
    """

    def __init__(self, ports: int, copy_from: CopyFrom, copy_to: CopyTo) -> None:
        self._port_count = ports
        self._copy_from = copy_from
        self._copy_to = copy_to
        self._ports: dict[int, _Port] = {}
        self._waiting = 0
        self._responses: list[bytes] = []
        self._conn_ids: deque[int] = deque()
        self._changes: deque[tuple[int, int]] = deque()
        self._refused = 0

    # Plugging.

    def plug(self, port: int, device: UsbDevice) -> None:
        """Resets a device and shows it on a free port."""
        if not 1 <= port <= self._port_count or port in self._ports:
            raise LocalProtocolError(f"port {port} of {self._port_count} is not free")
        device.reset()
        self._ports[port] = _Port(device)
        self._report(port, device.speed)

    def unplug(self, port: int) -> None:
        """Takes the device on a port away, and answers the URBs that wait on it. Idempotent."""
        gone = self._ports.pop(port, None)
        if gone is None:
            return
        for queue in gone.waiting.values():
            for urb in queue:
                self._waiting -= 1
                self._answer(urb.urb_id, usbif.NODEV)
        self._report(port, usbif.SPEED_NONE)

    # The rings.

    def receive_requests(self, requests: Sequence[bytes]) -> None:
        for request in requests:
            if self._waiting + len(self._responses) >= usbif.URB_SLOTS:
                raise RemoteProtocolError(f"more than {usbif.URB_SLOTS} requests without an answer")
            head, untrusted_segments = usbif.unpack_request(request)
            if head[2] & usbif.UNLINK:
                self._unlink(head)
            else:
                self._receive(head, untrusted_segments)

    def take_responses(self) -> list[bytes]:
        """Fills waiting URBs with the devices' data, and hands over the responses for the urb ring."""
        for port in self._ports.values():
            for endpoint, urbs in port.waiting.items():
                if urbs:
                    self._deliver(port.device, endpoint, urbs)
        responses, self._responses = self._responses, []
        return responses

    def receive_conn_requests(self, requests: Sequence[bytes]) -> None:
        if len(self._conn_ids) + len(requests) > usbif.CONN_SLOTS:
            raise RemoteProtocolError(f"more than {usbif.CONN_SLOTS} conn requests without an answer")
        self._conn_ids.extend(map(usbif.unpack_conn_request, requests))

    def take_conn_responses(self) -> list[bytes]:
        """Hands over the changes on the ports, one for each request of the frontend's."""
        responses = []
        while self._changes and self._conn_ids:
            responses.append(usbif.pack_conn_response(self._conn_ids.popleft(), *self._changes.popleft()))
        return responses

    def statistics(self) -> dict[str, int]:
        return {"devices": len(self._ports), "urbs_waiting": self._waiting, "urbs_refused": self._refused}

    # Inside.

    def _receive(self, head: RequestHead, untrusted_segments: list[Segment]) -> None:  # hot: per packet
        urb_id, count, pipe, _, untrusted_length, setup = head
        number, address, endpoint, kind = usbif.unpack_pipe(pipe)
        status = self._check(number, count, untrusted_length, untrusted_segments)
        if status != usbif.OK:
            self._refuse(urb_id, status)
            return
        length, segments = untrusted_length, untrusted_segments
        port = self._ports[number]
        try:
            if kind == usbif.CONTROL:
                self._control(port, address, endpoint, urb_id, setup, length, segments)
            elif kind == usbif.ISOCHRONOUS:
                self._refuse(urb_id, usbif.SHUTDOWN)
            elif address == 0 or address != port.address:
                self._refuse(urb_id, usbif.NODEV)
            elif not port.device.has_endpoint(endpoint) or port.device.is_halted(endpoint):
                self._refuse(urb_id, usbif.STALL)
            elif endpoint & usbif.IN:
                self._wait(port, endpoint, _BackendUrb(urb_id, length, segments))
            else:
                port.device.receive_data(endpoint, self._copy_from(segments) if length else b"")
                self._answer(urb_id, usbif.OK, length)
        except OSError:  # the frontend granted no such pages
            self._refuse(urb_id, usbif.SHUTDOWN)

    def _check(self, port: int, count: int, length: int, segments: list[Segment]) -> int:
        if count > usbif.MAX_SEGMENTS or port == 0:
            return usbif.INVAL
        total = 0
        for _, offset, size in segments:
            if offset + size > usbif.PAGE_SIZE:
                return usbif.INVAL
            total += size
        if total != length:
            return usbif.INVAL
        return usbif.OK if port in self._ports else usbif.NODEV

    def _control(
        self, port: _Port, address: int, endpoint: int, urb_id: int, setup: bytes, length: int, segments: list[Segment]
    ) -> None:
        request_type, request, value, _, setup_length = standard.unpack_setup(setup)
        inward = bool(request_type & usbif.IN)
        if endpoint & ~usbif.IN or length != setup_length or (length and inward != bool(endpoint & usbif.IN)):
            self._refuse(urb_id, usbif.INVAL)
        elif address not in (0, port.address):
            self._refuse(urb_id, usbif.NODEV)
        elif (request_type, request) == (standard.DEVICE_OUT, standard.SET_ADDRESS):
            self._set_address(port, address, urb_id, value)
        elif address == 0 and (request_type, request) != (standard.DEVICE_IN, standard.GET_DESCRIPTOR):
            self._refuse(urb_id, usbif.INVAL)
        else:
            answer = port.device.control(setup, b"" if inward or not length else self._copy_from(segments))
            if answer is None:
                self._answer(urb_id, usbif.STALL)
            elif inward:
                self._copy_to(_first(segments, len(answer)), answer)
                self._answer(urb_id, usbif.OK, len(answer))
            else:
                self._answer(urb_id, usbif.OK, length)

    def _set_address(self, port: _Port, current: int, urb_id: int, address: int) -> None:
        """Sets the address of the device on a port.

        usbif has no port reset: a frontend that begins at address 0 again resets the device.
        """
        if address > usbif.MAX_ADDRESS or any(other.address == address != 0 for other in self._others(port)):
            self._answer(urb_id, usbif.STALL)
            return
        if current == 0:
            port.device.reset()
        port.address = address
        self._answer(urb_id, usbif.OK)

    def _others(self, port: _Port) -> list[_Port]:
        return [other for other in self._ports.values() if other is not port]

    def _wait(self, port: _Port, endpoint: int, urb: _BackendUrb) -> None:  # hot: per packet
        if urb.length == 0:
            self._refuse(urb.urb_id, usbif.INVAL)
            return
        self._waiting += 1
        port.waiting.setdefault(endpoint, deque()).append(urb)

    def _deliver(self, device: UsbDevice, endpoint: int, urbs: deque[_BackendUrb]) -> None:  # hot: per packet
        while urbs:
            if not device.has_endpoint(endpoint) or device.is_halted(endpoint):
                status, data = usbif.STALL, b""
            elif (transfer := device.take_transfer(endpoint, urbs[0].length)) is not None:
                status, data = transfer
            else:
                return
            urb = urbs.popleft()
            self._waiting -= 1
            try:
                if data:
                    self._copy_to(_first(urb.segments, len(data)), data)
            except OSError:
                self._refuse(urb.urb_id, usbif.SHUTDOWN)
            else:
                self._answer(urb.urb_id, status, len(data))

    def _unlink(self, head: RequestHead) -> None:
        port = self._ports.get(usbif.unpack_pipe(head[2])[0])
        if port is None:
            self._refuse(head[0], usbif.NODEV)
            return
        target = usbif.unlink_id(head[5])
        for urbs in port.waiting.values():
            for urb in urbs:
                if urb.urb_id == target:
                    urbs.remove(urb)
                    self._waiting -= 1
                    self._answer(target, usbif.IOERROR)
                    self._answer(head[0], usbif.OK)
                    return
        self._answer(head[0], usbif.OK)  # it has been answered already

    def _answer(self, urb_id: int, status: int, length: int = 0) -> None:
        self._responses.append(usbif.pack_response(urb_id, status, length))

    def _refuse(self, urb_id: int, status: int) -> None:
        self._refused += 1
        self._answer(urb_id, status)

    def _report(self, port: int, speed: int) -> None:
        """Queues a change of a port. A change that is undone before the frontend was told is dropped."""
        queued = [change for change in self._changes if change[0] == port]
        if len(queued) > 1:
            self._changes.remove(queued[-1])
        else:
            self._changes.append((port, speed))


def _first(segments: Sequence[Segment], length: int) -> list[Segment]:
    """Returns the pieces of segments that hold the first ``length`` bytes."""
    pieces = []
    for ref, offset, size in segments:
        if length == 0:
            break
        size = min(size, length)
        pieces.append((ref, offset, size))
        length -= size
    return pieces
