"""Packs and unpacks the requests and responses of the vl2cap command ring, as l2capif.h has them.

The fields of each tuple are the C members in their order, header first, so that packing is one ``struct`` call.
Paddings are left out: they are written as zeros. Addresses are 6 octets, least significant first.
"""

from struct import Struct
from typing import Any, NamedTuple, TypeAlias, TypeVar

from usbbtd.abi.layout import constants, record, size_of
from usbbtd.errors import LocalProtocolError, RemoteProtocolError

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
    """The response to LISTEN, RELEASE, SCAN and ADVERTISE, and to commands that do not exist."""

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
    """The response to CONNECT and ACCEPT. After an error, ``result`` and ``status`` may say more, the rest is zeros."""

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


Request: TypeAlias = (
    PlainRequest
    | InfoRequest
    | ConnectRequest
    | ListenRequest
    | AcceptRequest
    | ScanRequest
    | AdvertiseRequest
    | EchoRequest
)
Response: TypeAlias = PlainResponse | InfoResponse | ChannelResponse | EchoResponse
_Message = TypeVar("_Message", bound=Request | Response)

_STRUCTS: dict[type[Any], Struct] = {
    PlainRequest: record("struct l2capif_request", "raw"),
    InfoRequest: record("struct l2capif_request", "info"),
    ConnectRequest: record("struct l2capif_request", "connect"),
    ListenRequest: record("struct l2capif_request", "listen"),
    AcceptRequest: record("struct l2capif_request", "accept"),
    ScanRequest: record("struct l2capif_request", "scan"),
    AdvertiseRequest: record("struct l2capif_request", "advertise"),
    EchoRequest: record("struct l2capif_request", "echo"),
    PlainResponse: record("struct l2capif_response", "raw"),
    InfoResponse: record("struct l2capif_response", "info"),
    ChannelResponse: record("struct l2capif_response", "channel"),
    EchoResponse: record("struct l2capif_response", "echo"),
}


def pack(message: Request | Response) -> bytes:
    """Returns the 64 octets of a message. Raises struct.error if a field does not fit."""
    return _STRUCTS[type(message)].pack(*message)


def unpack(message_type: type[_Message], octets: bytes) -> _Message:
    """Returns the message in 64 octets. It loses what is in the paddings: ``pack(unpack(t, b)) != b`` tells of it."""
    return message_type(*_STRUCTS[message_type].unpack(octets))


_REPORT = record("struct l2capif_scan_report")
_REPORT_HEADER_SIZE = _REPORT.size - constants.L2CAPIF_ADVERTISE_DATA_SIZE


class ScanReport(NamedTuple):
    """A message of a scan's data ring. ``rssi``: in dBm, 127 if it is not known. ``event_type``: as in HCI."""

    address: bytes
    address_type: int
    rssi: int
    event_type: int
    data: bytes


def pack_report(report: ScanReport) -> bytes:
    """Returns the message of a report. Raises LocalProtocolError if the data are longer than 31 octets."""
    *head, data = report
    if len(data) > constants.L2CAPIF_ADVERTISE_DATA_SIZE:
        raise LocalProtocolError(f"{len(data)} octets of advertising data")
    return _REPORT.pack(*head, len(data), data)[: _REPORT_HEADER_SIZE + len(data)]


def unpack_report(untrusted: bytes) -> ScanReport:
    """Returns the report in a message. Raises RemoteProtocolError if it is malformed."""
    data_length = len(untrusted) - _REPORT_HEADER_SIZE
    if not 0 <= data_length <= constants.L2CAPIF_ADVERTISE_DATA_SIZE:
        raise RemoteProtocolError(f"a scan report of {len(untrusted)} octets")
    whole = untrusted.ljust(_REPORT.size, b"\0")
    address, address_type, rssi, event_type, untrusted_length, data = _REPORT.unpack(whole)
    if untrusted_length != data_length or address_type > constants.L2CAPIF_ADDR_LE_RANDOM:
        raise RemoteProtocolError(f"a malformed scan report: {untrusted.hex()}")
    return ScanReport(address, address_type, rssi, event_type, data[:data_length])


def largest_message(ring_order: int) -> int:
    """Returns the length in octets of the longest message in a data ring of 2^ring_order pages."""
    return (PAGE_SIZE << ring_order) // 2 - int(constants.L2CAPIF_LENGTH_SIZE)
