"""A frontend core and a backend core with page-sized bytearrays for shared memory between them."""

from collections.abc import Sequence

import pytest

from usbbtd.usb.backend import UsbifBackend
from usbbtd.usb.device import UsbDevice
from usbbtd.usb.frontend import UsbifFrontend
from usbbtd.usb.wire import descriptors, standard, usbif

INTERRUPT_IN, BULK_OUT, BULK_IN = 0x81, 0x02, 0x82
INTERRUPT_SIZE, BULK_SIZE = 16, 64


class Dongle(UsbDevice):
    """Remembers what it receives; answers HCI commands (class requests to the device) with nothing."""

    def __init__(self, class_code: int = 0xE0) -> None:
        endpoints = (
            descriptors.EndpointDescriptor(INTERRUPT_IN, descriptors.INTERRUPT, INTERRUPT_SIZE, 1),
            descriptors.EndpointDescriptor(BULK_OUT, descriptors.BULK, BULK_SIZE, 0),
            descriptors.EndpointDescriptor(BULK_IN, descriptors.BULK, BULK_SIZE, 0),
        )
        voice = (descriptors.EndpointDescriptor(0x83, descriptors.ISOCHRONOUS, 9, 1),)
        super().__init__(
            descriptors.DeviceDescriptor(descriptors.USB_2_0, class_code, 1, 1, 64, 0x1209, 0xB7B7, 0x0100, 1, 2, 3, 1),
            descriptors.ConfigurationDescriptor(
                1,
                (
                    descriptors.InterfaceDescriptor(0, 0, class_code, 1, 1, endpoints),
                    descriptors.InterfaceDescriptor(1, 0, class_code, 1, 1, ()),
                    descriptors.InterfaceDescriptor(1, 1, class_code, 1, 1, voice),
                ),
            ),
            {1: "usbbtd", 2: "a dongle for tests", 3: "0001"},
        )
        self.commands: list[bytes] = []
        self.transfers: list[tuple[int, bytes]] = []

    def receive_control(self, setup: bytes, data: bytes) -> bytes | None:
        if setup[0] != 0x20:
            return None
        self.commands.append(data)
        return b""

    def receive_data(self, endpoint: int, data: bytes) -> None:
        self.transfers.append((endpoint, data))


class Memory:
    """Pages by grant reference; copies as the hypervisor does, OSError for what was not granted."""

    def __init__(self, count: int = 16, first_ref: int = 100) -> None:
        self.pages = {first_ref + index: bytearray(usbif.PAGE_SIZE) for index in range(count)}

    def pool(self) -> list[tuple[int, memoryview]]:
        return [(ref, memoryview(page)) for ref, page in self.pages.items()]

    def copy_from(self, segments: Sequence[tuple[int, int, int]]) -> bytes:
        return b"".join(bytes(self._page(ref)[offset : offset + size]) for ref, offset, size in segments)

    def copy_to(self, segments: Sequence[tuple[int, int, int]], data: bytes) -> None:
        assert sum(size for _, _, size in segments) == len(data)
        for ref, offset, size in segments:
            self._page(ref)[offset : offset + size] = data[:size]
            data = data[size:]

    def _page(self, ref: int) -> bytearray:
        if ref not in self.pages:
            raise OSError(22, f"reference {ref}")
        return self.pages[ref]


class Bus:
    """Both cores; ``run`` moves what the rings would carry until nothing moves."""

    def __init__(self, pages: int = 16, ports: int = 4) -> None:
        self.memory = Memory(pages)
        self.frontend = UsbifFrontend(self.memory.pool(), ports=ports)
        self.backend = UsbifBackend(ports, self.memory.copy_from, self.memory.copy_to)
        self.outstanding = 0

    def run(self) -> None:
        moved = True
        while moved:
            moved = False
            requests, conn_requests = self.frontend.take_requests(), self.frontend.take_conn_requests()
            self.outstanding += len(requests)
            assert self.outstanding <= usbif.URB_SLOTS
            self.backend.receive_requests(requests)
            self.backend.receive_conn_requests(conn_requests)
            responses, conn_responses = self.backend.take_responses(), self.backend.take_conn_responses()
            self.outstanding -= len(responses)
            self.frontend.receive_responses(responses)
            self.frontend.receive_conn_responses(conn_responses)
            moved = bool(requests or conn_requests or responses or conn_responses)

    def control(self, address: int, setup: bytes, data: bytes = b"", port: int = 1) -> tuple[int, bytes]:
        """(status, data) of one control request."""
        pipe = self.frontend.open_pipe(port, address, 0, usbif.CONTROL)
        urb = self.frontend.control(pipe, setup, data)
        self.run()
        (completion,) = self.frontend.take_completions()
        assert (completion.pipe, completion.urb) == (pipe, urb)
        self.frontend.close_pipe(pipe)
        return completion.status, completion.data

    def plug(self, device: Dongle, port: int = 1, address: int = 5) -> Dongle:
        """Plugs in and configures."""
        self.backend.plug(port, device)
        self.configure(port, address)
        return device

    def configure(self, port: int = 1, address: int = 5) -> None:
        set_address = standard.pack_setup(standard.DEVICE_OUT, standard.SET_ADDRESS, address, 0, 0)
        set_configuration = standard.pack_setup(standard.DEVICE_OUT, standard.SET_CONFIGURATION, 1, 0, 0)
        assert self.control(0, set_address, port=port) == (usbif.OK, b"")
        assert self.control(address, set_configuration, port=port) == (usbif.OK, b"")
        self.frontend.take_port_changes()


# Factories, for the whole session: properties make their own objects for each example.


@pytest.fixture(scope="session")
def new_bus() -> type[Bus]:
    return Bus


@pytest.fixture(scope="session")
def new_dongle() -> type[Dongle]:
    return Dongle


@pytest.fixture(scope="session")
def new_memory() -> type[Memory]:
    return Memory
