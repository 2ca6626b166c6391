"""The commands of the signalling channels (Vol 3, Part A, 4) and the numbers in them.

A command is a frozen class; its code and format are written once, in the decorator, and both directions are made
from them. ``*`` at the end of a format stands for a last field of ``bytes`` that takes what is left of the command.
"""

from collections.abc import Callable
from struct import Struct
from typing import ClassVar, Self, TypeVar, dataclass_transform

from usbbtd.errors import RemoteProtocolError
from usbbtd.frozen import Frozen, frozen

BASIC_HEADER = Struct("<HH")  # length, CID: in front of every PDU (3.1)
COMMAND_HEADER = Struct("<BBH")  # code, identifier, length (4)

CID_SIGNALLING = 0x0001
CID_LE_SIGNALLING = 0x0005
SIGNALLING_CIDS = (CID_SIGNALLING, CID_LE_SIGNALLING)  # by transport
#: Dynamically allocated channel identifiers by transport (2.1).
DYNAMIC_CIDS = (range(0x0040, 0x10000), range(0x0040, 0x0080))

MINIMUM_MPS = 23
MAXIMUM_MPS = 65533
DEFAULT_MTU = 672
MAXIMUM_CREDITS = 0xFFFF

# Reasons of a command reject (4.1)
REASON_NOT_UNDERSTOOD = 0x0000
REASON_MTU_EXCEEDED = 0x0001
REASON_INVALID_CID = 0x0002

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

#: Every code that answers a request. Those that match nothing in flight are ignored, whether we know them or not.
RESPONSE_CODES = frozenset({0x01, 0x03, 0x05, 0x07, 0x09, 0x0B, 0x0D, 0x0F, 0x11, 0x13, 0x15, 0x18, 0x1A})


class SignallingCommand(Frozen):
    """Base of all commands. A response's code is its request's plus one, except the reject's."""

    __slots__ = ()
    code: ClassVar[int]
    layout: ClassVar[Struct]
    has_tail: ClassVar[bool]

    @classmethod
    def parse(cls, untrusted_data: bytes) -> Self:
        """From the data of a command, without its header. RemoteProtocolError: the length is wrong for it."""
        size = cls.layout.size
        if len(untrusted_data) < size or (len(untrusted_data) > size and not cls.has_tail):
            raise RemoteProtocolError(f"{cls.__name__} of {len(untrusted_data)} octets")
        values = cls.layout.unpack_from(untrusted_data)
        return cls(*values, untrusted_data[size:]) if cls.has_tail else cls(*values)

    def pack(self, identifier: int) -> bytes:
        """The command with its header."""
        values = self.field_values()
        data = self.layout.pack(*values[:-1]) + values[-1] if self.has_tail else self.layout.pack(*values)
        return COMMAND_HEADER.pack(self.code, identifier, len(data)) + data


#: The commands that we know, by code.
COMMANDS: dict[int, type[SignallingCommand]] = {}

_CommandType = TypeVar("_CommandType", bound=SignallingCommand)


@dataclass_transform(frozen_default=True)
def _command(code: int, layout: str) -> Callable[[type[_CommandType]], type[_CommandType]]:
    def build(cls: type[_CommandType]) -> type[_CommandType]:
        built = frozen(cls)
        built.code = code
        built.layout = Struct("<" + layout.removesuffix("*"))
        built.has_tail = layout.endswith("*")
        COMMANDS[code] = built
        return built

    return build


@_command(0x01, "H*")
class CommandReject(SignallingCommand):
    """4.1. ``data``: empty, the actual MTU, or our and the peer's channel identifier, by the reason."""

    reason: int
    data: bytes


@_command(0x02, "HH")
class L2capConnectionRequest(SignallingCommand):
    """4.2"""

    psm: int
    scid: int


@_command(0x03, "HHHH")
class ConnectionResponse(SignallingCommand):
    """4.3"""

    dcid: int
    scid: int
    result: int
    status: int


@_command(0x04, "HH*")
class ConfigurationRequest(SignallingCommand):
    """4.4"""

    dcid: int
    flags: int
    options: bytes


@_command(0x05, "HHH*")
class ConfigurationResponse(SignallingCommand):
    """4.5. ``scid`` is the channel's end at the side that gets the response."""

    scid: int
    flags: int
    result: int
    options: bytes


@_command(0x06, "HH")
class DisconnectionRequest(SignallingCommand):
    """4.6. ``dcid`` is the channel's end at the side that gets the request."""

    dcid: int
    scid: int


@_command(0x07, "HH")
class DisconnectionResponse(SignallingCommand):
    """4.7. The identifiers as in the request."""

    dcid: int
    scid: int


@_command(0x08, "*")
class L2capEchoRequest(SignallingCommand):
    """4.8"""

    data: bytes


@_command(0x09, "*")
class L2capEchoResponse(SignallingCommand):
    """4.9"""

    data: bytes


@_command(0x0A, "H")
class InformationRequest(SignallingCommand):
    """4.10"""

    type: int


@_command(0x0B, "HH*")
class InformationResponse(SignallingCommand):
    """4.11"""

    type: int
    result: int
    data: bytes


@_command(0x12, "HHHH")
class ParameterUpdateRequest(SignallingCommand):
    """4.20"""

    interval_min: int
    interval_max: int
    latency: int
    timeout: int


@_command(0x13, "H")
class ParameterUpdateResponse(SignallingCommand):
    """4.21"""

    result: int


@_command(0x14, "HHHHH")
class LeConnectionRequest(SignallingCommand):
    """4.22, LE credit based connection request"""

    spsm: int
    scid: int
    mtu: int
    mps: int
    credits: int


@_command(0x15, "HHHHH")
class LeConnectionResponse(SignallingCommand):
    """4.23, LE credit based connection response"""

    dcid: int
    mtu: int
    mps: int
    credits: int
    result: int


@_command(0x16, "HH")
class FlowControlCredit(SignallingCommand):
    """4.24. ``cid`` is the end of the side that gives the credits. An indication: nobody answers it."""

    cid: int
    credits: int
