"""The HCI events of a controller on which this host acts (Vol 4, Part E, 7.7)."""

import struct
from typing import ClassVar, Final, NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.packets import Packet, Secret, packet

LE_META = 0x3E
NUMBER_OF_COMPLETED_PACKETS: Final = 0x13


class HciEvent(Packet):
    """An HCI event; CODE is its event code."""

    __slots__ = ()
    registry: ClassVar[dict[int, type["HciEvent"]]] = {}

    def pack(self) -> bytes:
        parameters = self.parameters()
        return bytes((self.CODE, len(parameters))) + parameters


class LeEvent(Packet):
    """An event inside LE Meta (7.7.65); CODE is its subevent code."""

    __slots__ = ()
    registry: ClassVar[dict[int, type["LeEvent"]]] = {}

    def pack(self) -> bytes:
        parameters = self.parameters()
        return bytes((LE_META, len(parameters) + 1, self.CODE)) + parameters


def parse_event(event: bytes) -> HciEvent | LeEvent | None:
    """Parses a whole event packet. Returns None if we do not act on this event.

    Raises RemoteProtocolError if the packet is cut short or of a wrong length.
    """
    if len(event) < 2 or event[1] != len(event) - 2:
        raise RemoteProtocolError(f"an event does not have the length that it announces: {event[:2].hex()}")
    if event[0] != LE_META:
        known = HciEvent.registry.get(event[0])
        return known.parse(event[2:]) if known else None
    if len(event) < 3:
        raise RemoteProtocolError("an LE Meta event without a subevent code")
    known_le = LeEvent.registry.get(event[2])
    return known_le.parse(event[3:]) if known_le else None


def may_be_lost(event: bytes) -> bool:
    """Tells whether a whole event packet that cannot be parsed may be ignored.

    Events about commands, links, their encryption, and buffers may not: without one of them we and the controller
    disagree.
    """
    if len(event) < 2 or event[1] != len(event) - 2:
        return False  # the stream of events is out of step
    made = LeEvent.registry.get(event[2]) if event[0] == LE_META and len(event) > 2 else HciEvent.registry.get(event[0])
    return event[0] != NUMBER_OF_COMPLETED_PACKETS and made not in (
        CommandComplete,
        CommandStatus,
        ConnectionComplete,
        DisconnectionComplete,
        EncryptionChange,
        EncryptionChangeV2,
        HardwareError,
        LeConnectionComplete,
        LeEnhancedConnectionComplete,
    )


@packet(0x01, "B")
class InquiryComplete(HciEvent):
    status: int


@packet(0x02, "B*")
class InquiryResult(HciEvent):
    count: int
    responses: bytes  # not parsed yet: see wire/inquiry.py


@packet(0x03, "BH6sBB")
class ConnectionComplete(HciEvent):
    status: int
    handle: int
    address: bytes
    link_type: int
    encryption: int


@packet(0x04, "6s3sB")
class ConnectionRequest(HciEvent):
    address: bytes
    class_of_device: bytes
    link_type: int


@packet(0x05, "BHB")
class DisconnectionComplete(HciEvent):
    status: int
    handle: int
    reason: int


@packet(0x06, "BH")
class AuthenticationComplete(HciEvent):
    status: int
    handle: int


@packet(0x07, "B6s*")
class RemoteNameRequestComplete(HciEvent):
    status: int
    address: bytes
    name: bytes  # UTF-8, padded with zeros to 248 octets


@packet(0x08, "BHB")
class EncryptionChange(HciEvent):
    status: int
    handle: int
    enabled: int


@packet(0x0E, "BH*")
class CommandComplete(HciEvent):
    credits: int
    opcode: int
    returned: bytes  # the status first, except for a few commands that we do not use


@packet(0x0F, "BBH")
class CommandStatus(HciEvent):
    status: int
    credits: int
    opcode: int


@packet(0x10, "B")
class HardwareError(HciEvent):
    code: int


@packet(0x12, "B6sB")
class RoleChange(HciEvent):
    status: int
    address: bytes
    role: int


@packet(0x16, "6s")
class PinCodeRequest(HciEvent):
    address: bytes


@packet(0x17, "6s")
class LinkKeyRequest(HciEvent):
    address: bytes


@packet(0x18, "6s16sB")
class LinkKeyNotification(Secret, HciEvent):
    address: bytes
    link_key: bytes
    key_type: int


@packet(0x22, "B*")
class InquiryResultWithRssi(HciEvent):
    count: int
    responses: bytes  # not parsed yet: see wire/inquiry.py


@packet(0x2F, "B*")
class ExtendedInquiryResult(HciEvent):
    count: int
    responses: bytes  # not parsed yet: see wire/inquiry.py


@packet(0x30, "BH")
class EncryptionKeyRefreshComplete(HciEvent):
    status: int
    handle: int


@packet(0x31, "6s")
class IoCapabilityRequest(HciEvent):
    address: bytes


@packet(0x32, "6sBBB")
class IoCapabilityResponse(HciEvent):
    address: bytes
    io_capability: int
    oob_data_present: int
    authentication_requirements: int


@packet(0x33, "6sI")
class UserConfirmationRequest(HciEvent):
    address: bytes
    value: int


@packet(0x34, "6s")
class UserPasskeyRequest(HciEvent):
    address: bytes


@packet(0x35, "6s")
class RemoteOobDataRequest(HciEvent):
    address: bytes


@packet(0x36, "B6s")
class SimplePairingComplete(HciEvent):
    status: int
    address: bytes


@packet(0x3B, "6sI")
class UserPasskeyNotification(Secret, HciEvent):
    address: bytes
    passkey: int


@packet(0x59, "BHBB")
class EncryptionChangeV2(HciEvent):
    """Replaces Encryption Change (7.7.8). We do not enable it, but some controllers may send no other."""

    status: int
    handle: int
    enabled: int
    key_size: int


@packet(0x01, "BHBB6sHHHB")
class LeConnectionComplete(LeEvent):
    status: int
    handle: int
    role: int
    address_type: int
    address: bytes
    interval: int
    latency: int
    timeout: int
    clock_accuracy: int


@packet(0x02, "B*")
class LeAdvertisingReport(LeEvent):
    count: int
    reports: bytes  # not parsed yet: see advertising_reports()


@packet(0x03, "BHHHH")
class LeConnectionUpdateComplete(LeEvent):
    status: int
    handle: int
    interval: int
    latency: int
    timeout: int


@packet(0x05, "HQH")
class LeLongTermKeyRequest(LeEvent):
    handle: int
    random_number: int
    encrypted_diversifier: int


@packet(0x06, "HHHHH")
class LeRemoteConnectionParameterRequest(LeEvent):
    handle: int
    interval_min: int
    interval_max: int
    latency: int
    timeout: int


@packet(0x0A, "BHBB6s6s6sHHHB")
class LeEnhancedConnectionComplete(LeEvent):
    """Replaces LE Connection Complete (7.7.65.10) where the controller resolves private addresses.

    Some may send no other, without being asked for it.
    """

    status: int
    handle: int
    role: int
    address_type: int
    address: bytes
    local_resolvable_address: bytes
    peer_resolvable_address: bytes
    interval: int
    latency: int
    timeout: int
    clock_accuracy: int


@packet(0x0D, "B*")
class LeExtendedAdvertisingReport(LeEvent):
    count: int
    reports: bytes  # not parsed yet: see advertising_reports()


@packet(0x12, "BBHB")
class LeAdvertisingSetTerminated(LeEvent):
    status: int  # 0: with a connection
    advertising_handle: int
    handle: int
    events: int


_report = struct.Struct("<BB6sB")
_extended_report = struct.Struct("<HB6sBBBbbHB6sB")


# Data_Status of an extended report; the third is "truncated"
COMPLETE, MORE_TO_COME = 0, 1


class AdvertisingReport(NamedTuple):
    """One report of a legacy or an extended event."""

    event_type: int  # as in the legacy event (7.7.65.2)
    address_type: int
    address: bytes
    rssi: int
    data: bytes
    status: int = COMPLETE
    sid: int = 0xFF  # the number of its advertising set; 0xFF: none


def advertising_reports(event: LeAdvertisingReport | LeExtendedAdvertisingReport) -> list[AdvertisingReport]:
    """Cuts an event into its reports. Raises RemoteProtocolError if it is cut short."""
    extended = isinstance(event, LeExtendedAdvertisingReport)
    reports = []
    octets = event.reports
    offset = 0
    try:
        for _ in range(event.count):
            if extended:
                properties, address_type, address, _, _, sid, _, rssi, _, _, _, length = _extended_report.unpack_from(
                    octets, offset
                )
                offset += _extended_report.size + length
                data = octets[offset - length : offset]
                event_type, status = _legacy_type(properties), properties >> 5 & 0b11
                reports.append(AdvertisingReport(event_type, address_type, address, rssi, data, status, sid))
            else:
                event_type, address_type, address, length = _report.unpack_from(octets, offset)
                offset += _report.size + length + 1
                data = octets[offset - length - 1 : offset - 1]
                rssi = octets[offset - 1] - (octets[offset - 1] > 127) * 256
                reports.append(AdvertisingReport(event_type, address_type, address, rssi, data))
    except (struct.error, IndexError):
        offset = len(octets) + 1
    if offset > len(octets):
        raise RemoteProtocolError(f"{type(event).__name__} is cut short: {len(octets)} octets")
    return reports


def _legacy_type(properties: int) -> int:
    """Returns the legacy event's type for the Event_Type bits of an extended report (7.7.65.13 and 7.7.65.2).

    The types are ADV_IND 0, ADV_DIRECT_IND 1, ADV_SCAN_IND 2, ADV_NONCONN_IND 3 and SCAN_RSP 4.
    """
    connectable, scannable, directed, response = (properties >> bit & 1 for bit in range(4))
    if response:
        return 4
    if connectable:
        return 1 if directed else 0
    return 2 if scannable else 3


#: The codes of all events that the host acts on: those parsed here, LE Meta, and Number Of Completed Packets, which
#: comes too often to be made an object.
EVENT_CODES = frozenset((*HciEvent.registry, LE_META, NUMBER_OF_COMPLETED_PACKETS))
