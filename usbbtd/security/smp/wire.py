"""The PDUs of the Security Manager Protocol (Vol 3, Part H, 3.5 and 3.6) and the numbers in them."""

from enum import IntEnum
from typing import ClassVar, Final

from usbbtd.errors import RemoteProtocolError
from usbbtd.packets import Packet, packet

# Bits of AuthReq (3.5.1)
AUTH_BONDING: Final = 0x01
AUTH_BONDING_MASK: Final = 0x03
AUTH_MITM: Final = 0x04
AUTH_SECURE_CONNECTIONS: Final = 0x08
AUTH_KEYPRESS: Final = 0x10

# Bits of the key distribution (3.6.1)
KEY_ENCRYPTION: Final = 0x01
KEY_IDENTITY: Final = 0x02
KEY_SIGNING: Final = 0x04
KEY_LINK: Final = 0x08
KEYS_MASK: Final = 0x0F  # the other bits are reserved

OOB_ABSENT: Final = 0
OOB_PRESENT: Final = 1

#: The sizes that an encryption key may have, in octets (2.3.4).
MINIMUM_KEY_SIZE: Final = 7
MAXIMUM_KEY_SIZE: Final = 16


class PairingReason(IntEnum):
    """The reasons of a Pairing Failed (3.5.5)."""

    PASSKEY_ENTRY_FAILED = 0x01
    OOB_NOT_AVAILABLE = 0x02
    AUTHENTICATION_REQUIREMENTS = 0x03
    CONFIRM_VALUE_FAILED = 0x04
    PAIRING_NOT_SUPPORTED = 0x05
    ENCRYPTION_KEY_SIZE = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    UNSPECIFIED_REASON = 0x08
    REPEATED_ATTEMPTS = 0x09
    INVALID_PARAMETERS = 0x0A
    DHKEY_CHECK_FAILED = 0x0B
    NUMERIC_COMPARISON_FAILED = 0x0C
    BREDR_PAIRING_IN_PROGRESS = 0x0D
    CROSS_TRANSPORT_NOT_ALLOWED = 0x0E
    KEY_REJECTED = 0x0F
    BUSY = 0x10


def reason_name(reason: int) -> str:
    """Returns the name of a reason as people read it; ``"reason 0x7f"`` for one that has none."""
    known = next((member for member in PairingReason if member == reason), None)
    return f"reason 0x{reason:02x}" if known is None else known.name.lower().replace("_", " ")


class SmpPdu(Packet):
    """A PDU of the Security Manager Protocol. What it has in it may be a key: its repr never shows octets."""

    __slots__ = ()
    EXACT = True
    registry: ClassVar[dict[int, type["SmpPdu"]]] = {}

    def pack(self) -> bytes:
        """Returns the PDU, which is the payload of a fixed channel."""
        return bytes((self.CODE,)) + self.parameters()

    def __repr__(self) -> str:
        fields = zip(self.__match_args__, self.field_values(), strict=True)
        shown = (f"{name}={'...' if isinstance(value, bytes) else value}" for name, value in fields)
        return f"{type(self).__name__}({', '.join(shown)})"


def parse_pdu(untrusted: bytes) -> SmpPdu | None:
    """Returns the PDU, or None for one with a reserved code, which is to be ignored (3.3).

    Raises RemoteProtocolError if it is empty, or has not the length that its code gives it.
    """
    if not untrusted:
        raise RemoteProtocolError("an SMP PDU has no octet")
    kind = SmpPdu.registry.get(untrusted[0])
    return None if kind is None else kind.parse(untrusted[1:])


@packet(0x01, "BBBBBB")
class PairingRequest(SmpPdu):
    """3.5.1. Sizes are in octets."""

    io_capability: int
    oob: int
    auth: int
    key_size: int
    initiator_keys: int
    responder_keys: int


@packet(0x02, "BBBBBB")
class PairingResponse(SmpPdu):
    """3.5.2"""

    io_capability: int
    oob: int
    auth: int
    key_size: int
    initiator_keys: int
    responder_keys: int


@packet(0x03, "16s")
class PairingConfirm(SmpPdu):
    """3.5.3"""

    value: bytes


@packet(0x04, "16s")
class PairingRandom(SmpPdu):
    """3.5.4"""

    value: bytes


@packet(0x05, "B")
class PairingFailed(SmpPdu):
    """3.5.5"""

    reason: int


@packet(0x06, "16s")
class EncryptionInformation(SmpPdu):
    """3.6.2"""

    ltk: bytes


@packet(0x07, "HQ")
class CentralIdentification(SmpPdu):
    """3.6.3"""

    diversifier: int
    random: int


@packet(0x08, "16s")
class IdentityInformation(SmpPdu):
    """3.6.4"""

    irk: bytes


@packet(0x09, "B6s")
class IdentityAddressInformation(SmpPdu):
    """3.6.5. ``address_type``: 0 public, 1 static random."""

    address_type: int
    address: bytes


@packet(0x0A, "16s")
class SigningInformation(SmpPdu):
    """3.6.6"""

    csrk: bytes


@packet(0x0B, "B")
class SecurityRequest(SmpPdu):
    """3.6.7"""

    auth: int


@packet(0x0C, "32s32s")
class PairingPublicKey(SmpPdu):
    """3.5.6"""

    x: bytes
    y: bytes


@packet(0x0D, "16s")
class PairingDhKeyCheck(SmpPdu):
    """3.5.7"""

    value: bytes


@packet(0x0E, "B")
class KeypressNotification(SmpPdu):
    """3.5.8"""

    kind: int
