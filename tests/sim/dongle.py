"""A USB Bluetooth dongle that is not there: its USB side, for a controller that is elsewhere.

HCI over USB, Vol 4, Part B, 2: commands by class requests to endpoint 0, events on interrupt IN, ACL data on bulk. On
the controller's side packets are those of H4, Vol 4, Part A, 2.
"""

from collections.abc import Callable

from usbbtd.usb.device import UsbDevice
from usbbtd.usb.wire import descriptors
from usbbtd.usb.wire.usbif import IN

VENDOR_ID, PRODUCT_ID = 0x1209, 0xB7B7
EVENTS_IN, ACL_OUT, ACL_IN = 1 | IN, 2, 2 | IN
EVENT_PACKET_SIZE, ACL_PACKET_SIZE = 16, 64
BLUETOOTH_CLASS = (0xE0, 0x01, 0x01)
CLASS_REQUEST_OUT = 0x20

#: What an H4 packet begins with.
COMMAND, ACL, EVENT = b"\x01", b"\x02", b"\x04"


class SimulatedDongle(UsbDevice):
    """The dongle. ``serial``: its USB serial number; ``identity``: vendor and product. ``send_packet``: takes a packet
    for the controller; set by whose that is."""

    def __init__(self, *, serial: str = "0001", identity: tuple[int, int] = (VENDOR_ID, PRODUCT_ID)) -> None:
        interface = descriptors.InterfaceDescriptor(
            0, 0, *BLUETOOTH_CLASS,
            (
                descriptors.EndpointDescriptor(EVENTS_IN, descriptors.INTERRUPT, EVENT_PACKET_SIZE, 1),
                descriptors.EndpointDescriptor(ACL_OUT, descriptors.BULK, ACL_PACKET_SIZE, 0),
                descriptors.EndpointDescriptor(ACL_IN, descriptors.BULK, ACL_PACKET_SIZE, 0),
            ),
        )  # fmt: skip
        super().__init__(
            descriptors.DeviceDescriptor(descriptors.USB_2_0, *BLUETOOTH_CLASS, 64, *identity, 0x0100, 1, 2, 3, 1),
            descriptors.ConfigurationDescriptor(1, (interface,)),
            {1: "usbbtd", 2: "Simulated Bluetooth dongle", 3: serial},
        )
        self.send_packet: Callable[[bytes], None] = _drop

    def receive_packet(self, packet: bytes) -> None:
        """From the controller."""
        if packet[:1] == EVENT:
            self.send(EVENTS_IN, packet[1:])
        elif packet[:1] == ACL:
            self.send(ACL_IN, packet[1:])

    def receive_control(self, setup: bytes, data: bytes) -> bytes | None:
        """An HCI command, Vol 4, Part B, 2.2.2; any other class request stalls."""
        if setup[0] != CLASS_REQUEST_OUT:
            return None
        self.send_packet(COMMAND + data)
        return b""

    def receive_data(self, endpoint: int, data: bytes) -> None:
        """ACL data, one packet a transfer."""
        self.send_packet(ACL + data)


def _drop(packet: bytes) -> None:
    """There is no controller."""
