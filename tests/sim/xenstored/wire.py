"""The xenstore wire protocol: xen/io/xs_wire.h."""

import struct

PAYLOAD_MAX = 4096
ABSOLUTE_PATH_MAX = 3072
RELATIVE_PATH_MAX = 2048

DIRECTORY = 1
READ = 2
GET_PERMS = 3
WATCH = 4
UNWATCH = 5
TRANSACTION_START = 6
TRANSACTION_END = 7
INTRODUCE = 8
RELEASE = 9
GET_DOMAIN_PATH = 10
WRITE = 11
MKDIR = 12
RM = 13
SET_PERMS = 14
WATCH_EVENT = 15
ERROR = 16
IS_DOMAIN_INTRODUCED = 17
RESET_WATCHES = 21
DIRECTORY_PART = 22

_HEADER = struct.Struct("=IIII")
HEADER_SIZE = _HEADER.size
unpack_header = _HEADER.unpack_from  # type, req_id, tx_id, length of the payload


class StoreError(Exception):
    """A request is refused. `name`: one of the errno names that xs_wire.h can carry, as "ENOENT"."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def message(operation: int, request_id: int, transaction_id: int, payload: bytes) -> bytes:
    """One message, header and payload. A payload over PAYLOAD_MAX becomes the error E2BIG."""
    if len(payload) > PAYLOAD_MAX:
        return message(ERROR, request_id, transaction_id, b"E2BIG\0")
    return _HEADER.pack(operation, request_id, transaction_id, len(payload)) + payload


def strings(payload: bytes) -> list[bytes]:
    """The NUL-terminated strings of a payload; what follows the last NUL is ignored, as the real xenstored does."""
    return payload.split(b"\0")[:-1]


def one_string(payload: bytes) -> str:
    """The single string that a payload must be. StoreError EINVAL."""
    if not payload or payload.find(b"\0") != len(payload) - 1:
        raise StoreError("EINVAL")
    return text(payload[:-1])


def text(data: bytes) -> str:
    """A path, token or number. StoreError EINVAL if it is not ASCII: no path with such characters is valid."""
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise StoreError("EINVAL") from None
