"""The commands of the signalling channels (Vol 3, Part A, 4) and the numbers in them."""

from struct import Struct
from typing import ClassVar, Final

from usbbtd.bluetooth import CID_ATT
from usbbtd.packets import Packet, packet

BASIC_HEADER = Struct("<HH")  # length, CID: in front of every PDU (3.1)
BASIC_HEADER_SIZE: Final = 4  # a number, which mypyc puts where it is used
COMMAND_HEADER = Struct("<BBH")  # code, identifier, length (4)

CID_SIGNALLING = 0x0001
CID_LE_SIGNALLING = 0x0005
SIGNALLING_CIDS = (CID_SIGNALLING, CID_LE_SIGNALLING)  # by transport
#: Dynamically allocated channel identifiers by transport (2.1).
DYNAMIC_CIDS = (range(0x0040, 0x10000), range(0x0040, 0x0080))

CID_SMP = 0x0006
CID_SMP_BREDR = 0x0007
#: Fixed channels that a user may open, by transport.
OPEN_TO_USERS: Final[tuple[tuple[int, ...], ...]] = ((), (CID_ATT,))

MINIMUM_MPS = 23
MAXIMUM_MPS = 65533
DEFAULT_MTU = 672
MAXIMUM_CREDITS = 0xFFFF

# Reasons of a command reject (4.1)
REASON_NOT_UNDERSTOOD = 0x0000
REASON_MTU_EXCEEDED = 0x0001
REASON_INVALID_CID = 0x0002

#: The status of a connection response whose result is "pending" (4.3)
STATUS_AUTHENTICATION_PENDING = 0x0001

# Results of a configuration response (4.5)
CONFIGURATION_SUCCESS = 0x0000
CONFIGURATION_UNACCEPTABLE = 0x0001
CONFIGURATION_REJECTED = 0x0002
CONFIGURATION_UNKNOWN_OPTIONS = 0x0003
CONFIGURATION_PENDING = 0x0004
FLAG_CONTINUATION = 0x0001

# Information types and results (4.10, 4.11)
INFORMATION_EXTENDED_FEATURES = 0x0002
INFORMATION_FIXED_CHANNELS = 0x0003
INFORMATION_SUCCESS = 0x0000
INFORMATION_NOT_SUPPORTED = 0x0001

PARAMETERS_ACCEPTED = 0x0000
PARAMETERS_REJECTED = 0x0001

#: The codes of all responses. A response to no request in flight is ignored, whether we know its code or not.
RESPONSE_CODES = frozenset({0x01, 0x03, 0x05, 0x07, 0x09, 0x0B, 0x0D, 0x0F, 0x11, 0x13, 0x15, 0x18, 0x1A})


class SignallingCommand(Packet):
    """A command of a signalling channel. A response's code is its request's plus one, except the reject's."""

    __slots__ = ()
    EXACT = True
    registry: ClassVar[dict[int, type["SignallingCommand"]]] = {}

    def pack(self, identifier: int) -> bytes:
        """Returns the command with its header."""
        data = self.parameters()
        return COMMAND_HEADER.pack(self.CODE, identifier, len(data)) + data


@packet(0x01, "H*")
class CommandReject(SignallingCommand):
    """4.1. ``data``: empty, the actual MTU, or our and the peer's channel identifier, by the reason."""

    reason: int
    data: bytes


@packet(0x02, "HH")
class L2capConnectionRequest(SignallingCommand):
    """4.2"""

    psm: int
    scid: int


@packet(0x03, "HHHH")
class ConnectionResponse(SignallingCommand):
    """4.3"""

    dcid: int
    scid: int
    result: int
    status: int


@packet(0x04, "HH*")
class ConfigurationRequest(SignallingCommand):
    """4.4"""

    dcid: int
    flags: int
    options: bytes


@packet(0x05, "HHH*")
class ConfigurationResponse(SignallingCommand):
    """4.5. ``scid`` is the channel's end at the side that gets the response."""

    scid: int
    flags: int
    result: int
    options: bytes


@packet(0x06, "HH")
class DisconnectionRequest(SignallingCommand):
    """4.6. ``dcid`` is the channel's end at the side that gets the request."""

    dcid: int
    scid: int


@packet(0x07, "HH")
class DisconnectionResponse(SignallingCommand):
    """4.7. The CIDs are those of the request."""

    dcid: int
    scid: int


@packet(0x08, "*")
class L2capEchoRequest(SignallingCommand):
    """4.8"""

    data: bytes


@packet(0x09, "*")
class L2capEchoResponse(SignallingCommand):
    """4.9"""

    data: bytes


@packet(0x0A, "H")
class InformationRequest(SignallingCommand):
    """4.10"""

    type: int


@packet(0x0B, "HH*")
class InformationResponse(SignallingCommand):
    """4.11"""

    type: int
    result: int
    data: bytes


@packet(0x12, "HHHH")
class ParameterUpdateRequest(SignallingCommand):
    """4.20"""

    interval_min: int
    interval_max: int
    latency: int
    timeout: int


@packet(0x13, "H")
class ParameterUpdateResponse(SignallingCommand):
    """4.21"""

    result: int


@packet(0x14, "HHHHH")
class LeConnectionRequest(SignallingCommand):
    """4.22, LE credit based connection request"""

    spsm: int
    scid: int
    mtu: int
    mps: int
    credits: int


@packet(0x15, "HHHHH")
class LeConnectionResponse(SignallingCommand):
    """4.23, LE credit based connection response"""

    dcid: int
    mtu: int
    mps: int
    credits: int
    result: int


@packet(0x16, "HH")
class FlowControlCredit(SignallingCommand):
    """4.24. ``cid`` is the end of the side that gives the credits. It has no response."""

    cid: int
    credits: int
