"""Packs and unpacks the requests and responses of usbif.h's two rings.

An ``endpoint`` always has its direction in bit 7 (0x81 is endpoint 1, device to host), as in USB descriptors; only this
module knows the 32-bit ``pipe`` of usbif. A port is 1 to 31, an address 0 to 127.
"""

from collections.abc import Sequence
from struct import Struct

from usbbtd.abi.layout import constants, record, size_of
from usbbtd.errors import RemoteProtocolError

URB_SLOTS: int = constants.USB_URB_RING_SIZE
CONN_SLOTS: int = constants.USB_CONN_RING_SIZE
MAX_SEGMENTS: int = constants.USBIF_MAX_SEGMENTS_PER_REQUEST
MAX_PORT: int = constants.USBIF_MAX_PORTNR
PAGE_SIZE: int = constants.USBIF_RING_SIZE

ISOCHRONOUS: int = constants.USBIF_PIPE_TYPE_ISOC
INTERRUPT: int = constants.USBIF_PIPE_TYPE_INT
CONTROL: int = constants.USBIF_PIPE_TYPE_CTRL
BULK: int = constants.USBIF_PIPE_TYPE_BULK

OK: int = constants.USBIF_STATUS_OK
NODEV: int = constants.USBIF_STATUS_NODEV
INVAL: int = constants.USBIF_STATUS_INVAL
STALL: int = constants.USBIF_STATUS_STALL
IOERROR: int = constants.USBIF_STATUS_IOERROR
BABBLE: int = constants.USBIF_STATUS_BABBLE
SHUTDOWN: int = constants.USBIF_STATUS_SHUTDOWN

SPEED_NONE: int = constants.USBIF_SPEED_NONE
SPEED_LOW: int = constants.USBIF_SPEED_LOW
SPEED_FULL: int = constants.USBIF_SPEED_FULL
SPEED_HIGH: int = constants.USBIF_SPEED_HIGH

IN: int = constants.USBIF_PIPE_DIR  # the same bit in a pipe and in an endpoint address
UNLINK: int = constants.USBIF_PIPE_UNLINK
MAX_ADDRESS: int = constants.USBIF_PIPE_DEV_MASK
_PORT_MASK: int = constants.USBIF_PIPE_PORT_MASK
_ADDRESS_SHIFT: int = constants.USBIF_PIPE_DEV_SHIFT
_ENDPOINT_SHIFT: int = constants.USBIF_PIPE_EP_SHIFT
_ENDPOINT_MASK: int = constants.USBIF_PIPE_EP_MASK
_KIND_SHIFT: int = constants.USBIF_PIPE_TYPE_SHIFT
_KIND_MASK: int = constants.USBIF_PIPE_TYPE_MASK

URB_REQUEST_SIZE = size_of("struct usbif_urb_request")
URB_RESPONSE_SIZE = size_of("struct usbif_urb_response")
CONN_REQUEST_SIZE = size_of("struct usbif_conn_request")
CONN_RESPONSE_SIZE = size_of("struct usbif_conn_response")

_STATUS_NAMES = {
    OK: "ok",
    NODEV: "no device",
    INVAL: "invalid request",
    STALL: "stall",
    IOERROR: "transfer error",
    BABBLE: "babble",
    SHUTDOWN: "shut down",
}

_segment = record("struct usbif_request_segment")
_whole = record("struct usbif_urb_request", "ctrl")
# The segments are at the end of a request: its head is the rest of its format.
_head = Struct(_whole.format.removesuffix(_segment.format.lstrip("<") * MAX_SEGMENTS))
# A request of one segment, as nearly all are, packed in one step.
_one_page = Struct(f"{_head.format}{_segment.format.lstrip('<')}{_segment.size * (MAX_SEGMENTS - 1)}x")
_unlink = record("struct usbif_urb_request", "unlink")
_response = record("struct usbif_urb_response")
_conn_request = record("struct usbif_conn_request")
_conn_response = record("struct usbif_conn_response")

NO_SETUP = bytes(8)

#: A piece of one granted page: (gref, offset, length).
Segment = tuple[int, int, int]
#: (id, nr_buffer_segs, pipe, transfer_flags, buffer_length, the eight octets that depend on the kind)
RequestHead = tuple[int, int, int, int, int, bytes]


def describe_status(status: int) -> str:
    """Returns a status as people read it: ``stall (-32)``."""
    return f"{_STATUS_NAMES.get(status, 'error')} ({status})"


def pack_pipe(port: int, address: int, endpoint: int, kind: int) -> int:
    """Packs the pipe of a request. ``kind``: INTERRUPT, CONTROL or BULK."""
    return (
        port
        | endpoint & IN
        | address << _ADDRESS_SHIFT
        | (endpoint & _ENDPOINT_MASK) << _ENDPOINT_SHIFT
        | kind << _KIND_SHIFT
    )


def unpack_pipe(pipe: int) -> tuple[int, int, int, int]:
    """Returns (port, address, endpoint, kind). None of them is checked."""
    return (
        pipe & _PORT_MASK,
        pipe >> _ADDRESS_SHIFT & MAX_ADDRESS,
        pipe & IN | pipe >> _ENDPOINT_SHIFT & _ENDPOINT_MASK,
        pipe >> _KIND_SHIFT & _KIND_MASK,
    )


def pack_request(
    urb_id: int, pipe: int, length: int, setup: bytes, segments: Sequence[Segment]
) -> bytes:  # hot: per packet
    """Packs a request of ``length`` bytes in ``segments``. ``setup``: eight octets; NO_SETUP unless on a control pipe.

    USBIF_SHORT_NOT_OK stays clear: for HCI a short packet is the end of a transfer, never an error.
    """
    packed = _head.pack(urb_id, len(segments), pipe, 0, length, setup)
    for segment in segments:
        packed += _segment.pack(*segment)
    return packed.ljust(URB_REQUEST_SIZE, b"\0")


def pack_page_request(urb_id: int, pipe: int, length: int, setup: bytes, ref: int) -> bytes:  # hot: per packet
    """Packs a request of ``length`` bytes, one page at most, at the start of the page ``ref``. See ``pack_request``."""
    return _one_page.pack(urb_id, 1, pipe, 0, length, setup, ref, 0, length)


def pack_unlink(urb_id: int, pipe: int, unlink_id: int) -> bytes:
    """Packs a request to cancel the request ``unlink_id``, which went to ``pipe``."""
    return _unlink.pack(urb_id, 0, pipe | UNLINK, 0, 0, unlink_id, *bytes(3 * MAX_SEGMENTS))


def unpack_request(untrusted_request: bytes) -> tuple[RequestHead, list[Segment]]:
    """Returns (head, segments), which are not checked. There are MAX_SEGMENTS if the request announces more.

    Raises RemoteProtocolError if it does not have the size of a request.
    """
    if len(untrusted_request) != URB_REQUEST_SIZE:
        raise RemoteProtocolError(f"a urb request has {URB_REQUEST_SIZE} bytes, not {len(untrusted_request)}")
    head: RequestHead = _head.unpack_from(untrusted_request)
    end = _head.size + min(head[1], MAX_SEGMENTS) * _segment.size
    return head, list(_segment.iter_unpack(untrusted_request[_head.size : end]))


def unlink_id(special: bytes) -> int:
    """Returns the id of the request that an unlink request cancels, from the last eight octets of its head."""
    return int.from_bytes(special[:2], "little")


def pack_response(urb_id: int, status: int, actual_length: int) -> bytes:
    return _response.pack(urb_id, 0, status, actual_length, 0)


#: Returns (id, start_frame, status, actual_length, error_count). Raises struct.error for another size.
unpack_response = _response.unpack


def pack_conn_request(conn_id: int) -> bytes:
    return _conn_request.pack(conn_id)


def unpack_conn_request(untrusted_request: bytes) -> int:
    conn_id: int = _conn_request.unpack(untrusted_request)[0]
    return conn_id


def pack_conn_response(conn_id: int, port: int, speed: int) -> bytes:
    return _conn_response.pack(conn_id, port, speed)


#: Returns (id, port, speed). Raises struct.error for another size.
unpack_conn_response = _conn_response.unpack
