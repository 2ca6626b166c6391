"""The HCI commands that this host uses, and their return parameters (Vol 4, Part E, 7.1 to 7.8).

Addresses are six octets, least significant first; intervals and timeouts are in the units of HCI.
"""

import struct
from typing import ClassVar

from usbbtd.packets import Packet, Secret, packet

_pack_header = struct.Struct("<HB").pack

LE_1M_PHY = 1  # its number in advertising parameters, its bit in sets of PHYs


class HciCommand(Packet):
    """A command to the controller; the code is the opcode."""

    __slots__ = ()
    registry: ClassVar[dict[int, type["HciCommand"]]] = {}

    def pack(self) -> bytes:
        parameters = self.parameters()
        return _pack_header(self.CODE, len(parameters)) + parameters


class Returned(Packet):
    """The return parameters of a successful command, after the status; the code is the command's."""

    __slots__ = ()
    registry: ClassVar[dict[int, type["Returned"]]] = {}


# 7.1 Link control


@packet(0x0401, "3sBB")
class Inquiry(HciCommand):
    lap: bytes
    length: int
    max_responses: int


@packet(0x0402)
class InquiryCancel(HciCommand):
    pass


@packet(0x0405, "6sHBBHB")
class CreateConnection(HciCommand):
    address: bytes
    packet_type: int
    page_scan_repetition_mode: int
    reserved: int
    clock_offset: int
    allow_role_switch: int


@packet(0x0406, "HB")
class Disconnect(HciCommand):
    handle: int
    reason: int


@packet(0x0408, "6s")
class CreateConnectionCancel(HciCommand):
    address: bytes


@packet(0x0409, "6sB")
class AcceptConnectionRequest(HciCommand):
    address: bytes
    role: int


@packet(0x040A, "6sB")
class RejectConnectionRequest(HciCommand):
    address: bytes
    reason: int


@packet(0x040B, "6s16s")
class LinkKeyRequestReply(Secret, HciCommand):
    address: bytes
    link_key: bytes


@packet(0x040C, "6s")
class LinkKeyRequestNegativeReply(HciCommand):
    address: bytes


@packet(0x040D, "6sB16s")
class PinCodeRequestReply(Secret, HciCommand):
    address: bytes
    length: int
    pin_code: bytes


@packet(0x040E, "6s")
class PinCodeRequestNegativeReply(HciCommand):
    address: bytes


@packet(0x0411, "H")
class AuthenticationRequested(HciCommand):
    handle: int


@packet(0x0413, "HB")
class SetConnectionEncryption(HciCommand):
    handle: int
    enable: int


@packet(0x0419, "6sBBH")
class RemoteNameRequest(HciCommand):
    address: bytes
    page_scan_repetition_mode: int
    reserved: int
    clock_offset: int


@packet(0x041A, "6s")
class RemoteNameRequestCancel(HciCommand):
    address: bytes


@packet(0x042A, "6sB")
class RejectSynchronousConnectionRequest(HciCommand):
    address: bytes
    reason: int


@packet(0x042B, "6sBBB")
class IoCapabilityRequestReply(HciCommand):
    address: bytes
    io_capability: int
    oob_data_present: int
    authentication_requirements: int


@packet(0x042C, "6s")
class UserConfirmationRequestReply(HciCommand):
    address: bytes


@packet(0x042D, "6s")
class UserConfirmationRequestNegativeReply(HciCommand):
    address: bytes


@packet(0x042E, "6sI")
class UserPasskeyRequestReply(Secret, HciCommand):
    address: bytes
    passkey: int


@packet(0x042F, "6s")
class UserPasskeyRequestNegativeReply(HciCommand):
    address: bytes


@packet(0x0430, "6s16s16s")
class RemoteOobDataRequestReply(Secret, HciCommand):
    address: bytes
    hash_p192: bytes
    randomizer_p192: bytes


@packet(0x0433, "6s")
class RemoteOobDataRequestNegativeReply(HciCommand):
    address: bytes


@packet(0x0434, "6sB")
class IoCapabilityRequestNegativeReply(HciCommand):
    address: bytes
    reason: int


@packet(0x0445, "6s16s16s16s16s")
class RemoteOobExtendedDataRequestReply(Secret, HciCommand):
    address: bytes
    hash_p192: bytes
    randomizer_p192: bytes
    hash_p256: bytes
    randomizer_p256: bytes


# 7.2 Link policy


@packet(0x080F, "H")
class WriteDefaultLinkPolicySettings(HciCommand):
    settings: int


# 7.3 Controller and baseband


@packet(0x0C01, "Q")
class SetEventMask(HciCommand):
    mask: int


@packet(0x0C03)
class Reset(HciCommand):
    pass


@packet(0x0C1A, "B")
class WriteScanEnable(HciCommand):
    scan_enable: int


@packet(0x0C45, "B")
class WriteInquiryMode(HciCommand):
    mode: int


@packet(0x0C56, "B")
class WriteSimplePairingMode(HciCommand):
    mode: int


@packet(0x0C6D, "BB")
class WriteLeHostSupport(HciCommand):
    le_supported_host: int
    simultaneous: int


@packet(0x0C7A, "B")
class WriteSecureConnectionsHostSupport(HciCommand):
    supported: int


@packet(0x0C84, "B")
class SetMinEncryptionKeySize(HciCommand):
    size: int


# 7.4 Informational


@packet(0x1001)
class ReadLocalVersionInformation(HciCommand):
    pass


@packet(0x1001, "BHBHH")
class LocalVersionInformation(Returned):
    hci_version: int
    hci_subversion: int
    lmp_version: int
    company_identifier: int
    lmp_subversion: int


@packet(0x1002)
class ReadLocalSupportedCommands(HciCommand):
    pass


@packet(0x1002, "64s")
class LocalSupportedCommands(Returned):
    commands: bytes


@packet(0x1003)
class ReadLocalSupportedFeatures(HciCommand):
    pass


@packet(0x1003, "Q")
class LocalSupportedFeatures(Returned):
    features: int


@packet(0x1005)
class ReadBufferSize(HciCommand):
    pass


@packet(0x1005, "HBHH")
class BufferSize(Returned):
    acl_length: int
    synchronous_length: int
    acl_count: int
    synchronous_count: int


@packet(0x1009)
class ReadBdAddr(HciCommand):
    pass


@packet(0x1009, "6s")
class BdAddr(Returned):
    address: bytes


# 7.5 Status


@packet(0x1408, "H")
class ReadEncryptionKeySize(HciCommand):
    handle: int


@packet(0x1408, "HB")
class EncryptionKeySize(Returned):
    handle: int
    key_size: int


# 7.8 LE controller


@packet(0x2001, "Q")
class LeSetEventMask(HciCommand):
    mask: int


@packet(0x2002)
class LeReadBufferSize(HciCommand):
    pass


@packet(0x2002, "HB")
class LeBufferSize(Returned):
    acl_length: int
    acl_count: int


@packet(0x2003)
class LeReadLocalSupportedFeatures(HciCommand):
    pass


@packet(0x2003, "Q")
class LeLocalSupportedFeatures(Returned):
    features: int


@packet(0x2005, "6s")
class LeSetRandomAddress(HciCommand):
    address: bytes


@packet(0x2006, "HHBBB6sBB")
class LeSetAdvertisingParameters(HciCommand):
    interval_min: int
    interval_max: int
    advertising_type: int
    own_address_type: int
    peer_address_type: int
    peer_address: bytes
    channel_map: int
    filter_policy: int


@packet(0x2008, "B31s")
class LeSetAdvertisingData(HciCommand):
    length: int
    data: bytes


@packet(0x2009, "B31s")
class LeSetScanResponseData(HciCommand):
    length: int
    data: bytes


@packet(0x200A, "B")
class LeSetAdvertisingEnable(HciCommand):
    enable: int


@packet(0x200B, "BHHBB")
class LeSetScanParameters(HciCommand):
    scan_type: int
    interval: int
    window: int
    own_address_type: int
    filter_policy: int


@packet(0x200C, "BB")
class LeSetScanEnable(HciCommand):
    enable: int
    filter_duplicates: int


@packet(0x200D, "HHBB6sBHHHHHH")
class LeCreateConnection(HciCommand):
    scan_interval: int
    scan_window: int
    filter_policy: int
    peer_address_type: int
    peer_address: bytes
    own_address_type: int
    interval_min: int
    interval_max: int
    latency: int
    timeout: int
    ce_length_min: int
    ce_length_max: int


@packet(0x200E)
class LeCreateConnectionCancel(HciCommand):
    pass


@packet(0x2013, "HHHHHHH")
class LeConnectionUpdate(HciCommand):
    handle: int
    interval_min: int
    interval_max: int
    latency: int
    timeout: int
    ce_length_min: int
    ce_length_max: int


@packet(0x2019, "HQH16s")
class LeEnableEncryption(Secret, HciCommand):
    handle: int
    random_number: int
    encrypted_diversifier: int
    long_term_key: bytes


@packet(0x201A, "H16s")
class LeLongTermKeyRequestReply(Secret, HciCommand):
    handle: int
    long_term_key: bytes


@packet(0x201B, "H")
class LeLongTermKeyRequestNegativeReply(HciCommand):
    handle: int


@packet(0x201C)
class LeReadSupportedStates(HciCommand):
    pass


@packet(0x201C, "Q")
class LeSupportedStates(Returned):
    states: int


@packet(0x2020, "HHHHHHH")
class LeRemoteConnectionParameterRequestReply(HciCommand):
    handle: int
    interval_min: int
    interval_max: int
    latency: int
    timeout: int
    ce_length_min: int
    ce_length_max: int


@packet(0x2021, "HB")
class LeRemoteConnectionParameterRequestNegativeReply(HciCommand):
    handle: int
    reason: int


@packet(0x2024, "HH")
class LeWriteSuggestedDefaultDataLength(HciCommand):
    tx_octets: int
    tx_time: int


@packet(0x2027, "B6s16s16s")
class LeAddDeviceToResolvingList(Secret, HciCommand):
    peer_address_type: int
    peer_address: bytes
    peer_irk: bytes
    local_irk: bytes


@packet(0x2029)
class LeClearResolvingList(HciCommand):
    pass


@packet(0x202D, "B")
class LeSetAddressResolutionEnable(HciCommand):
    enable: int


@packet(0x202F)
class LeReadMaximumDataLength(HciCommand):
    pass


@packet(0x202F, "HHHH")
class LeMaximumDataLength(Returned):
    tx_octets: int
    tx_time: int
    rx_octets: int
    rx_time: int


@packet(0x2031, "BBB")
class LeSetDefaultPhy(HciCommand):
    all_phys: int
    tx_phys: int
    rx_phys: int


@packet(0x2035, "B6s")
class LeSetAdvertisingSetRandomAddress(HciCommand):
    advertising_handle: int
    address: bytes


@packet(0x2036, "BH3s3sBBB6sBbBBBBB")
class LeSetExtendedAdvertisingParameters(HciCommand):
    advertising_handle: int
    event_properties: int
    interval_min: bytes
    interval_max: bytes
    channel_map: int
    own_address_type: int
    peer_address_type: int
    peer_address: bytes
    filter_policy: int
    tx_power: int
    primary_phy: int
    secondary_max_skip: int
    secondary_phy: int
    sid: int
    scan_request_notification: int


@packet(0x2037, "BBBB*")
class LeSetExtendedAdvertisingData(HciCommand):
    advertising_handle: int
    operation: int
    fragment_preference: int
    length: int
    data: bytes


@packet(0x2038, "BBBB*")
class LeSetExtendedScanResponseData(HciCommand):
    advertising_handle: int
    operation: int
    fragment_preference: int
    length: int
    data: bytes


@packet(0x2039, "BBBHB")
class LeSetExtendedAdvertisingEnable(HciCommand):
    """The command as it is for one advertising set."""

    enable: int
    sets: int
    advertising_handle: int
    duration: int
    max_events: int


@packet(0x203A)
class LeReadMaximumAdvertisingDataLength(HciCommand):
    pass


@packet(0x203A, "H")
class LeMaximumAdvertisingDataLength(Returned):
    length: int


@packet(0x203B)
class LeReadNumberOfSupportedAdvertisingSets(HciCommand):
    pass


@packet(0x203B, "B")
class LeNumberOfSupportedAdvertisingSets(Returned):
    sets: int


@packet(0x203C, "B")
class LeRemoveAdvertisingSet(HciCommand):
    advertising_handle: int


@packet(0x2041, "BBBBHH")
class LeSetExtendedScanParameters(HciCommand):
    """The command as it is for one PHY."""

    own_address_type: int
    filter_policy: int
    phys: int
    scan_type: int
    interval: int
    window: int


@packet(0x2042, "BBHH")
class LeSetExtendedScanEnable(HciCommand):
    enable: int
    filter_duplicates: int
    duration: int
    period: int


@packet(0x2043, "BBB6sBHHHHHHHH")
class LeExtendedCreateConnection(HciCommand):
    """The command as it is for one PHY."""

    filter_policy: int
    own_address_type: int
    peer_address_type: int
    peer_address: bytes
    phys: int
    scan_interval: int
    scan_window: int
    interval_min: int
    interval_max: int
    latency: int
    timeout: int
    ce_length_min: int
    ce_length_max: int


@packet(0x204E, "B6sB")
class LeSetPrivacyMode(HciCommand):
    peer_address_type: int
    peer_address: bytes
    mode: int
