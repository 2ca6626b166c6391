"""A USB Bluetooth dongle that is not there: our USB device model in front, Bumble's virtual controller behind.

HCI over USB, Vol 4, Part B, 2: commands by class requests to endpoint 0, events on interrupt IN, ACL data on bulk.
"""

import asyncio
import struct

from bumble import hci
from bumble.controller import Controller
from bumble.core import PhysicalTransport
from bumble.link import LocalLink

from usbbtd.usb import descriptors
from usbbtd.usb.device import UsbDevice
from usbbtd.usb.usbif import IN

VENDOR_ID, PRODUCT_ID = 0x1209, 0xB7B7
EVENTS_IN, ACL_OUT, ACL_IN = 1 | IN, 2, 2 | IN
EVENT_PACKET_SIZE, ACL_PACKET_SIZE = 16, 64
BLUETOOTH_CLASS = (0xE0, 0x01, 0x01)
CLASS_REQUEST_OUT = 0x20

#: Octets of an ACL fragment and how many the controller holds, for BR/EDR and for LE: those of a usual dongle.
ACL_SIZE, ACL_COUNT = 1021, 8
LE_ACL_SIZE, LE_ACL_COUNT = 251, 8

_COMMAND, _ACL, _EVENT = b"\x01", b"\x02", b"\x04"
_RESET, _CREATE_CONNECTION, _LE_CREATE_CONNECTION_CANCEL = b"\x03\x0c", b"\x05\x04", b"\x0e\x20"
_acl_header = struct.Struct("<HH")
_HANDLE_MASK, _CONTINUING = 0x0FFF, 0x1000  # Vol 4, Part E, 5.4.2


def new_controller(link: LocalLink, name: str, address: str) -> Controller:
    """A dual-mode controller on the virtual air, with the features and buffers of a usual dongle."""
    controller = Controller(name, link=link, public_address=address)
    features = hci.LmpFeatureMask
    controller.lmp_features = (
        features.LMP_3_SLOT_PACKETS
        | features.LMP_5_SLOT_PACKETS
        | features.ENCRYPTION
        | features.ROLE_SWITCH
        | features.ENHANCED_DATA_RATE_ACL_2_MBPS_MODE
        | features.ENHANCED_DATA_RATE_ACL_3_MBPS_MODE
        | features.LE_SUPPORTED_CONTROLLER
        | features.SIMULTANEOUS_LE_AND_BR_EDR_TO_SAME_DEVICE_CAPABLE_CONTROLLER
        | features.SECURE_SIMPLE_PAIRING_CONTROLLER_SUPPORT
        | features.EXTENDED_FEATURES
    )
    # Bumble's extended advertising is on the air what legacy scanners do not hear.
    controller.le_features &= ~(hci.LeFeatureMask.LE_EXTENDED_ADVERTISING | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING)
    controller.acl_data_packet_length, controller.total_num_acl_data_packets = ACL_SIZE, ACL_COUNT
    controller.le_acl_data_packet_length, controller.total_num_le_acl_data_packets = LE_ACL_SIZE, LE_ACL_COUNT
    return controller


class SimulatedDongle(UsbDevice):
    """The dongle. ``address``: its BD_ADDR, as people write it; ``serial``: its USB serial number."""

    def __init__(self, link: LocalLink, address: str, *, serial: str = "0001") -> None:
        interface = descriptors.Interface(
            0, 0, *BLUETOOTH_CLASS,
            (
                descriptors.Endpoint(EVENTS_IN, descriptors.INTERRUPT, EVENT_PACKET_SIZE, 1),
                descriptors.Endpoint(ACL_OUT, descriptors.BULK, ACL_PACKET_SIZE, 0),
                descriptors.Endpoint(ACL_IN, descriptors.BULK, ACL_PACKET_SIZE, 0),
            ),
        )  # fmt: skip
        super().__init__(
            descriptors.Device(descriptors.USB_2_0, *BLUETOOTH_CLASS, 64, VENDOR_ID, PRODUCT_ID, 0x0100, 1, 2, 3, 1),
            descriptors.Configuration(1, (interface,)),
            {1: "usbbtd", 2: "Simulated Bluetooth dongle", 3: serial},
        )
        self._link = link
        self._controller = new_controller(link, f"dongle {serial}", address)
        self._controller.set_packet_sink(self)
        self._loop = asyncio.get_running_loop()

    def receive_control(self, setup: bytes, data: bytes) -> bytes | None:
        """An HCI command, Vol 4, Part B, 2.2.2; any other class request stalls."""
        if setup[0] != CLASS_REQUEST_OUT:
            return None
        opcode, address = data[:2], data[3:9]
        if opcode == _CREATE_CONNECTION and not self._is_on_air(address):
            self.send(EVENTS_IN, b"\x0f\x04\x00\x01" + opcode)
            self.send(EVENTS_IN, b"\x03\x0b\x04\x00\x00" + address + b"\x01\x00")
            return b""
        self._amend(opcode)
        self._to_controller(_COMMAND + data)
        return b""

    def receive_data(self, endpoint: int, data: bytes) -> None:
        """ACL data, one packet a transfer."""
        self._to_controller(_ACL + data)

    def on_packet(self, packet: bytes) -> None:
        """From the controller: the interface that Bumble calls a sink."""
        if packet[:1] == _EVENT:
            self.send(EVENTS_IN, packet[1:])
        elif packet[:1] == _ACL:
            for fragment in self._fragments(packet[1:]):
                self.send(ACL_IN, fragment)

    def _is_on_air(self, address: bytes) -> bool:
        """Bumble's controller pages somebody who is not there for ever: here the page times out, at once."""
        return any(bytes(controller.public_address) == address for controller in self._link.controllers)

    def _amend(self, opcode: bytes) -> None:
        """What Bumble's controller leaves out of two commands: it keeps links and attempts."""
        controller = self._controller
        if opcode in (_RESET, _LE_CREATE_CONNECTION_CANCEL):
            controller.pending_le_connection = None
        if opcode == _RESET:
            controller.set_packet_sink(None)
            for connection in (*controller.classic_connections.values(), *controller.le_connections.values()):
                reason = hci.HCI_REMOTE_USER_TERMINATED_CONNECTION_ERROR
                end = hci.HCI_Disconnect_Command(connection_handle=connection.handle, reason=reason)
                controller.on_packet(bytes(end))
            controller.set_packet_sink(self)

    def _to_controller(self, packet: bytes) -> None:
        # Not from within the host's call: the controller answers at once, and a dongle does not.
        self._loop.call_soon(self._controller.on_packet, packet)

    def _fragments(self, packet: bytes) -> list[bytes]:
        """Bumble's controller hands over a PDU of any length in one packet; what came over radio comes in pieces."""
        handle = _acl_header.unpack_from(packet)[0] & _HANDLE_MASK
        connection = self._controller.find_connection_by_handle(handle)
        over_le = connection is not None and connection.transport == PhysicalTransport.LE
        size = LE_ACL_SIZE if over_le else ACL_SIZE
        data = packet[_acl_header.size :]
        if len(data) <= size:
            return [packet]
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        flags = [packet[:2]] + [(handle | _CONTINUING).to_bytes(2, "little")] * (len(pieces) - 1)
        return [flag + len(piece).to_bytes(2, "little") + piece for flag, piece in zip(flags, pieces, strict=True)]
