"""Packs and unpacks the requests and responses of the vl2cap command ring, as l2capif.h has them.

The fields of each tuple are the C members in their order, header first, so that packing is one ``struct`` call.
Paddings are left out: they are written as zeros. Addresses are 6 octets, least significant first.
"""

from struct import Struct
from typing import Any, NamedTuple, TypeAlias, TypeVar

from usbbtd.abi.layout import constants, record, size_of

REQUEST_SIZE = size_of("struct l2capif_request")
RESPONSE_SIZE = size_of("struct l2capif_response")
PAGE_SIZE = 4096  # bytes of a page in ring protocols, on every architecture

_NO_ADDRESS = bytes(6)
_NO_BODY = bytes(48)


class PlainRequest(NamedTuple):
    """RELEASE, which has a header only: ``raw`` is zeros. Also any request whose command is not known yet."""

    req_id: int
    cmd: int
    id: int
    flags: int = 0
    raw: bytes = _NO_BODY


class InfoRequest(NamedTuple):
    """INFO. ``generation``: 0 unless L2CAPIF_INFO_WAIT is among the flags."""

    req_id: int
    cmd: int
    id: int
    flags: int = 0
    generation: int = 0


class ConnectRequest(NamedTuple):
    """CONNECT. ``timeout_ms``: 0 for the backend's default."""

    req_id: int
    cmd: int
    id: int
    flags: int
    ref: int
    evtchn: int
    address: bytes
    address_type: int
    security: int
    psm: int
    mtu: int
    timeout_ms: int


class ListenRequest(NamedTuple):
    """LISTEN. ``backlog``: 0 for the backend's default."""

    req_id: int
    cmd: int
    id: int
    flags: int
    psm: int
    mtu: int
    backlog: int
    transport: int
    security: int


class AcceptRequest(NamedTuple):
    """ACCEPT. ``listener``: the id of a listener. ``id``: that of the new channel."""

    req_id: int
    cmd: int
    id: int
    flags: int
    ref: int
    evtchn: int
    listener: int


class ScanRequest(NamedTuple):
    """SCAN."""

    req_id: int
    cmd: int
    id: int
    flags: int
    ref: int
    evtchn: int
    transport: int


class AdvertiseRequest(NamedTuple):
    """ADVERTISE. ``data``: 31 octets, of which the first ``data_length`` count."""

    req_id: int
    cmd: int
    id: int
    flags: int
    interval_ms: int
    data_length: int
    data: bytes


class AdvertiseExtendedRequest(NamedTuple):
    """ADVERTISE with L2CAPIF_ADVERTISE_EXTENDED. ``ref``: the page that has the data and then the scan response."""

    req_id: int
    cmd: int
    id: int
    flags: int
    ref: int
    interval_ms: int
    data_length: int
    scan_data_length: int


class AgentRequest(NamedTuple):
    """AGENT."""

    req_id: int
    cmd: int
    id: int
    flags: int
    ref: int
    evtchn: int
    io_capability: int


class PairRequest(NamedTuple):
    """PAIR. ``oob``: 32 octets, which count by the flags. ``timeout_ms``: as in CONNECT."""

    req_id: int
    cmd: int
    id: int
    flags: int
    address: bytes
    address_type: int
    security: int
    timeout_ms: int
    oob: bytes

    def __repr__(self) -> str:
        return f"PairRequest{(*self[:-1], '...')}"  # without the keys


class EchoRequest(NamedTuple):
    """ECHO. ``data``: 36 octets, of which the first ``data_length`` count. ``timeout_ms``: as in CONNECT."""

    req_id: int
    cmd: int
    id: int
    flags: int
    address: bytes
    address_type: int
    data_length: int
    timeout_ms: int
    data: bytes


class PlainResponse(NamedTuple):
    """The response to LISTEN, RELEASE, SCAN, ADVERTISE and AGENT, and to commands that do not exist."""

    req_id: int
    cmd: int
    id: int
    ret: int
    raw: bytes = _NO_BODY


class InfoResponse(NamedTuple):
    """The response to INFO. ``features``: L2CAPIF_FEATURE_* bits.

    ``generation`` and ``le_address`` are zeros if the backend is too old to have them.
    """

    req_id: int
    cmd: int
    id: int
    ret: int
    address: bytes = _NO_ADDRESS
    address_type: int = 0
    powered: int = 0
    features: int = 0
    max_channels: int = 0
    channels: int = 0
    max_mtu: int = 0
    le_address: bytes = _NO_ADDRESS
    generation: int = 0
    le_address_type: int = 0


class ChannelResponse(NamedTuple):
    """The response to CONNECT and ACCEPT. After an error, the last four fields may say more, the rest is zeros."""

    req_id: int
    cmd: int
    id: int
    ret: int
    address: bytes = _NO_ADDRESS
    address_type: int = 0
    security: int = 0
    psm: int = 0
    tx_mtu: int = 0
    rx_mtu: int = 0
    result: int = 0
    status: int = 0
    why: int = 0
    needed: int = 0


class EchoResponse(NamedTuple):
    """The response to ECHO. ``length``: the number of octets in the peer's answer; ``data`` has the first 36 of them.

    ``status``: HCI's, with an error.
    """

    req_id: int
    cmd: int
    id: int
    ret: int
    length: int = 0
    status: int = 0
    data: bytes = b""


class PairResponse(NamedTuple):
    """The response to PAIR. After an error, the last three fields may say more, the rest is zeros."""

    req_id: int
    cmd: int
    id: int
    ret: int
    security: int = 0
    key_size: int = 0
    bonded: int = 0
    status: int = 0
    why: int = 0
    needed: int = 0


Request: TypeAlias = (
    PlainRequest
    | InfoRequest
    | ConnectRequest
    | ListenRequest
    | AcceptRequest
    | ScanRequest
    | AdvertiseRequest
    | AdvertiseExtendedRequest
    | AgentRequest
    | EchoRequest
    | PairRequest
)
Response: TypeAlias = PlainResponse | InfoResponse | ChannelResponse | EchoResponse | PairResponse
_Message = TypeVar("_Message", bound=Request | Response)

_STRUCTS: dict[type[Any], Struct] = {
    PlainRequest: record("struct l2capif_request", "raw"),
    InfoRequest: record("struct l2capif_request", "info"),
    ConnectRequest: record("struct l2capif_request", "connect"),
    ListenRequest: record("struct l2capif_request", "listen"),
    AcceptRequest: record("struct l2capif_request", "accept"),
    ScanRequest: record("struct l2capif_request", "scan"),
    AdvertiseRequest: record("struct l2capif_request", "advertise"),
    AdvertiseExtendedRequest: record("struct l2capif_request", "advertise_extended"),
    AgentRequest: record("struct l2capif_request", "agent"),
    EchoRequest: record("struct l2capif_request", "echo"),
    PairRequest: record("struct l2capif_request", "pair"),
    PlainResponse: record("struct l2capif_response", "raw"),
    InfoResponse: record("struct l2capif_response", "info"),
    ChannelResponse: record("struct l2capif_response", "channel"),
    EchoResponse: record("struct l2capif_response", "echo"),
    PairResponse: record("struct l2capif_response", "pair"),
}


def pack(message: Request | Response) -> bytes:
    """Returns the 64 octets of a message. Raises struct.error if a field does not fit."""
    return _STRUCTS[type(message)].pack(*message)


def unpack(message_type: type[_Message], octets: bytes) -> _Message:
    """Returns the message in 64 octets. It loses what is in the paddings: ``pack(unpack(t, b)) != b`` tells of it."""
    return message_type(*_STRUCTS[message_type].unpack(octets))


def largest_message(ring_order: int) -> int:
    """Returns the length in octets of the longest message in a data ring of 2^ring_order pages."""
    return (PAGE_SIZE << ring_order) // 2 - int(constants.L2CAPIF_LENGTH_SIZE)
