"""Bumble's virtual controller, with what a usual one does besides. Its packets are those of H4: Vol 4, Part A, 2."""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress

from bumble import hci
from bumble.controller import Controller
from bumble.core import InvalidArgumentError, PhysicalTransport
from bumble.link import LocalLink

from tests.sim.advertising import Advertising
from tests.sim.authentication import Authentication
from tests.sim.commands import Commands
from tests.sim.dongle import ACL, EVENT, SimulatedDongle
from tests.sim.inquiry import Inquiry
from tests.sim.paging import Paging
from tests.sim.privacy import Privacy

#: Octets of an ACL fragment and how many the controller holds, for BR/EDR and for LE: those of a usual dongle.
ACL_SIZE, ACL_COUNT = 1021, 8
LE_ACL_SIZE, LE_ACL_COUNT = 251, 8

#: Commands that are accepted, and change nothing.
_ACCEPTED = (
    hci.HCI_SET_EVENT_FILTER_COMMAND,
    hci.HCI_WRITE_CONNECTION_ACCEPT_TIMEOUT_COMMAND,
    hci.HCI_WRITE_PAGE_TIMEOUT_COMMAND,
)
_WRITE_VOICE_SETTING, _READ_VOICE_SETTING = 0x0C26, 0x0C25
_LE_META = 0x3E
_DEFAULT_MASK, _DEFAULT_LE_MASK = 0x0000_1FFF_FFFF_FFFF, 0x1F
#: Answers to commands, which have no bit in a mask.
_ALWAYS_SENT = frozenset((0x0E, 0x0F))
#: What Linux leaves out of its event mask, and relies on: usual controllers send it all the same.
SENT_TO_LINUX = frozenset((hci.HCI_NUMBER_OF_COMPLETED_PACKETS_EVENT,))
_acl_header = struct.Struct("<HH")
_HANDLE_MASK, _CONTINUING = 0x0FFF, 0x1000  # Vol 4, Part E, 5.4.2


def make_strict(controller: Controller, *, always_sent: frozenset[int] = frozenset()) -> None:
    """Has a controller of Bumble's honour the host's event masks and count its own buffers.

    ``always_sent``: codes of events that it sends whatever the mask says.
    """
    _honour_masks(controller, always_sent | _ALWAYS_SENT)
    _count_buffers(controller)


def _count_buffers(controller: Controller) -> None:
    """Loses data for which there is no buffer; each holds a packet for a turn of the event loop."""
    receive = controller.on_hci_acl_data_packet
    held = dict.fromkeys(PhysicalTransport, 0)

    def receive_if_room(packet: hci.HCI_AclDataPacket) -> None:
        connection = controller.find_connection_by_handle(packet.connection_handle)
        over_le = connection is not None and connection.transport == PhysicalTransport.LE
        pool = PhysicalTransport.LE if over_le else PhysicalTransport.BR_EDR
        count = controller.total_num_le_acl_data_packets if over_le else controller.total_num_acl_data_packets
        if held[pool] < count:
            held[pool] += 1
            asyncio.get_running_loop().call_soon(release, pool)
            receive(packet)

    def release(pool: PhysicalTransport) -> None:
        held[pool] -= 1

    controller.on_hci_acl_data_packet = receive_if_room


def _honour_masks(controller: Controller, always_sent: frozenset[int]) -> None:
    """Lets no event out that the host's masks leave out: Vol 4, Part E, 7.3.1 and 7.8.1."""
    send, reset = controller.send_hci_packet, controller.on_hci_reset_command

    def send_allowed(packet: hci.HCI_Packet) -> None:
        octets = bytes(packet)
        if octets[:1] == EVENT and octets[1] not in always_sent:
            code, subevent = octets[1], octets[3]
            if not controller.event_mask >> code - 1 & 1:
                return
            if code == _LE_META and not controller.le_event_mask >> subevent - 1 & 1:
                return
        send(packet)

    def reset_masks(command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        controller.event_mask, controller.le_event_mask = _DEFAULT_MASK, _DEFAULT_LE_MASK
        return reset(command)

    controller.event_mask, controller.le_event_mask = _DEFAULT_MASK, _DEFAULT_LE_MASK
    controller.send_hci_packet, controller.on_hci_reset_command = send_allowed, reset_masks


def _send_from_own_address(link: LocalLink) -> None:
    """Has data on LE come from the address that the sender's end has: Bumble's link knows random addresses alone."""

    def send(sender: Controller, destination: hci.Address, transport: PhysicalTransport, data: bytes) -> None:
        if transport == PhysicalTransport.LE:
            connection = sender.le_connections.get(destination)
            source = sender.random_address if connection is None else connection.self_address
            receiver = link.find_le_controller(destination)
        else:
            source, receiver = sender.public_address, link.find_classic_controller(destination)
        if receiver is not None:
            asyncio.get_running_loop().call_soon(receiver.on_link_acl_data, source, transport, data)

    link.send_acl_data = send


def new_controller(
    link: LocalLink, name: str, address: str, *, always_sent: frozenset[int] = frozenset()
) -> Controller:
    """A dual-mode controller on the virtual air, with the features and buffers of a usual dongle: see make_strict."""
    controller = Controller(name, link=link, public_address=address)
    make_strict(controller, always_sent=always_sent)
    _send_from_own_address(link)
    commands = Commands(controller)
    commands.keep(_WRITE_VOICE_SETTING, _READ_VOICE_SETTING, b"\x60\x00")
    commands.complete(dict.fromkeys(_ACCEPTED, lambda _: b"\x00"))
    commands.at_reset(lambda: _stop(controller))
    Authentication(controller, commands)
    Paging(controller, commands)
    Inquiry(controller, commands)
    Advertising(controller)
    Privacy(controller, commands)
    controller.supported_commands = controller.supported_commands | commands.opcodes
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
        | features.SECURE_CONNECTIONS_CONTROLLER_SUPPORT
        | features.PAUSE_ENCRYPTION
        | features.EXTENDED_FEATURES
    )
    # Bumble's extended advertising is on the air what legacy scanners do not hear.
    controller.le_features &= ~(hci.LeFeatureMask.LE_EXTENDED_ADVERTISING | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING)
    controller.acl_data_packet_length, controller.total_num_acl_data_packets = ACL_SIZE, ACL_COUNT
    controller.le_acl_data_packet_length, controller.total_num_le_acl_data_packets = LE_ACL_SIZE, LE_ACL_COUNT
    return controller


def end_links(controller: Controller, reason: int) -> None:
    """Ends the links of a controller of Bumble's, whose host hears nothing of it. ``reason``: the peers hear it."""
    sink = controller.hci_sink
    controller.set_packet_sink(None)
    for connection in (*controller.classic_connections.values(), *controller.le_connections.values()):
        with suppress(InvalidArgumentError):  # the peer has left the air
            controller.on_packet(bytes(hci.HCI_Disconnect_Command(connection_handle=connection.handle, reason=reason)))
    controller.classic_connections.clear()
    controller.le_connections.clear()
    controller.set_packet_sink(sink)


def _stop(controller: Controller) -> None:
    """What Bumble's controller goes on with after a reset."""
    end_links(controller, hci.HCI_REMOTE_USER_TERMINATED_CONNECTION_ERROR)
    controller.pending_le_connection = None
    controller.le_scan_enable = False
    controller.classic_scan_enable = 0
    controller.le_legacy_advertiser.stop()
    for advertising in controller.advertising_sets.values():
        advertising.stop()
    controller.advertising_sets.clear()


class SimulatedController:
    """On the air until ``close``. ``receive``: gets each packet for the host. ``address``: as people write it."""

    def __init__(
        self, link: LocalLink, name: str, address: str, receive: Callable[[bytes], None], *,
        always_sent: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        self._link = link
        self._controller = new_controller(link, name, address, always_sent=always_sent)
        self._controller.set_packet_sink(self)
        self._receive = receive
        self._loop = asyncio.get_running_loop()

    def send(self, packet: bytes) -> None:
        """A packet of the host."""
        # Not from within the host's call: the controller answers at once, and a dongle does not.
        self._loop.call_soon(self._controller.on_packet, packet)

    def is_over_le(self, handle: int) -> bool:
        """Returns whether a connection is one of LE. ``handle``: may have flags in its upper bits."""
        connection = self._controller.find_connection_by_handle(handle & _HANDLE_MASK)
        return connection is not None and connection.transport == PhysicalTransport.LE

    def close(self) -> None:
        """Takes it off the air, where its peers' links time out. Idempotent."""
        if self._controller in self._link.controllers:
            end_links(self._controller, hci.HCI_CONNECTION_TIMEOUT_ERROR)
            self._controller.set_packet_sink(None)
            self._link.remove_controller(self._controller)

    def on_packet(self, packet: bytes) -> None:
        """From the controller: the interface that Bumble calls a sink."""
        if packet[:1] == ACL:
            for fragment in self._fragments(packet[1:]):
                self._receive(ACL + fragment)
        else:
            self._receive(packet)

    def _fragments(self, packet: bytes) -> list[bytes]:
        """Bumble's controller hands over a PDU of any length in one packet; what came over radio comes in pieces."""
        handle = _acl_header.unpack_from(packet)[0] & _HANDLE_MASK
        size = LE_ACL_SIZE if self.is_over_le(handle) else ACL_SIZE
        data = packet[_acl_header.size :]
        if len(data) <= size:
            return [packet]
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        flags = [packet[:2]] + [(handle | _CONTINUING).to_bytes(2, "little")] * (len(pieces) - 1)
        return [flag + len(piece).to_bytes(2, "little") + piece for flag, piece in zip(flags, pieces, strict=True)]


def new_dongle(link: LocalLink, address: str, *, serial: str = "0001") -> SimulatedDongle:
    """A dongle with a controller of its own on the virtual air."""
    dongle = SimulatedDongle(serial=serial)
    dongle.send_packet = SimulatedController(link, f"dongle {serial}", address, dongle.receive_packet).send
    return dongle
