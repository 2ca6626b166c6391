"""The data ring of l2capif.h: whole messages both ways through one page of indices and 2^n pages of data.

A ring is used from one thread, and closed before its pages are unmapped. Counts of octets include the four of each
message's length, except for ``max_message``.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from usbbtd.abi._layout import ffi, lib
from usbbtd.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from usbbtd.xen.ring import PAGE_SIZE, Memory, cut

_MOST_MESSAGES = 256
#: The bytes that ``read`` takes at once: the other end would have to wait while a whole ring is worked on.
PORTION: Final = 12288
_LENGTH_SIZE: int = lib.L2CAPIF_LENGTH_SIZE
_unpack = ffi.unpack

#: The scratch is not cleared, so that only the pages that messages fill are touched.
_allocate = ffi.new_allocator(should_clear_after_alloc=False)


class DataRing:
    """One end of a data ring. It goes on where the page of indices says that this end has been; on new pages, at 0.

    Once it is attached it has to be read until it is empty: earlier messages bring no notification. ``max_message``:
    the length in bytes of the longest message that fits.
    """

    def __init__(self, indices: Memory, data: Memory, *, frontend: bool) -> None:
        size = len(data)
        if len(indices) < ffi.sizeof("struct l2capif_data_intf") or size < 2 * PAGE_SIZE or size & (size - 1):
            raise LocalProtocolError(f"no data ring is made of {len(indices)} and {size} bytes")
        self.max_message = size // 2 - _LENGTH_SIZE
        self._indices = ffi.from_buffer("struct l2capif_data_intf *", indices, require_writable=True)
        self._data = ffi.from_buffer(data, require_writable=True)
        self._ring = ffi.new("struct data_ring *")
        self._lengths = ffi.new("uint32_t[]", _MOST_MESSAGES)
        self._payload = _allocate("char[]", size // 2)
        self._copied = ffi.buffer(self._payload)
        self._fitting: Callable[..., int] = lib.data_ring_fitting
        self._write: Callable[..., int] = lib.data_ring_write
        self._read: Callable[..., int] = lib.data_ring_read
        lib.data_ring_attach(self._ring, self._indices, self._data, size, frontend)

    def write(self, messages: Sequence[bytes]) -> tuple[int, bool]:  # hot: per batch
        """Writes as many whole messages as fit, in order. Returns (their number, whether to notify the other end).

        If some are left, the other end notifies us when the first of them fits. Raises LocalProtocolError for a message
        longer than ``max_message`` and after ``set_error``, RemoteProtocolError for an impossible index.
        """
        if len(messages) == 1:
            return self._write_batch(messages)
        written, notify = 0, False
        while written < len(messages):
            # No more at once than would fit if all were as long as the first: the others would be joined for nothing.
            most = min(_MOST_MESSAGES, self.max_message // (len(messages[written]) + _LENGTH_SIZE) + 1)
            batch = messages[written : written + most]
            count, wanted = self._write_batch(batch)
            written += count
            notify |= wanted
            if count < len(batch):
                break
        return written, notify

    def _write_batch(self, batch: Sequence[bytes]) -> tuple[int, bool]:  # hot: per batch
        lengths, count = self._lengths, len(batch)
        if count == 1:
            payload = batch[0]
            lengths[0] = len(payload)
        else:
            lengths[0:count] = list(map(len, batch))
            count = self._checked(self._fitting(self._ring, lengths, count))
            payload = b"".join(batch[:count])
        result = self._checked(self._write(self._ring, payload, lengths, count))
        return result >> 1, result & 1 == 1

    def read(self, limit_bytes: int = PORTION) -> tuple[list[bytes], bool]:  # hot: per batch
        """Takes whole messages. Returns (messages, whether to notify the other end because it waits for room).

        Takes one message at least, and more up to ``limit_bytes``: the other end can fill the ring while this one works
        on a portion. An empty list means that the ring is empty and the next message brings a notification: read until
        then. Raises RemoteProtocolError for an impossible index or length.
        """
        result = self._read(self._ring, limit_bytes, self._payload, self._lengths, _MOST_MESSAGES)
        if result <= 1:
            return [], self._checked(result) == 1
        count = result >> 1
        return cut(self._copied, _unpack(self._lengths, count)), result & 1 == 1

    def consumed(self) -> int:
        """Returns how many octets the other end has consumed since the last call. Raises RemoteProtocolError."""
        return self._checked(lib.data_ring_consumed(self._open()))

    def expect_consumed(self, octets: int) -> bool:
        """Asks for a notification when ``octets`` more than ``consumed`` has returned are consumed.

        Returns True if they are already. There is one such wish at a time: a ``write`` that leaves messages replaces
        it by its own.
        """
        return self._checked(lib.data_ring_expect_consumed(self._open(), octets)) == 1

    def spin(self, nanoseconds: int, *, for_room: bool = False) -> bool:
        """Looks without a pause whether there may be something to read, or whether the other end has made room.

        Returns True as soon as it is so, and False after ``nanoseconds``; keeps a processor busy meanwhile. Asks for no
        notification: call ``read`` or ``write`` then, whatever it returns.
        """
        return bool(lib.data_ring_spin(self._open(), for_room, nanoseconds))

    def set_error(self, error: int) -> None:
        """Ends this direction with an error, the negative of a XEN_E*.

        The other end has to be notified; it first reads the messages that are in the ring.
        """
        lib.data_ring_set_error(self._open(), error)
        self._write = self._fitting = _ended

    @property
    def peer_error(self) -> int:
        """Returns the error with which the other end ended its direction; 0 while messages can follow or be read."""
        error: int = lib.data_ring_peer_error(self._open())
        return error

    def close(self) -> None:
        """Releases the pages. Idempotent. Any later use raises LocalProtocolError."""
        self._write = self._fitting = self._read = _ended
        self._ring = None
        ffi.release(self._indices)
        ffi.release(self._data)

    def _open(self) -> Any:
        if self._ring is None:
            raise LocalProtocolError("the data ring is closed")
        return self._ring

    def _checked(self, result: int) -> int:
        if result < 0:
            raise self._error(result)
        return result

    def _error(self, code: int) -> ProtocolError:
        ring = self._ring
        if code == lib.RINGOPS_NO_ROOM:
            return LocalProtocolError(f"a message of {ring.suspect} bytes on a ring for {self.max_message}")
        if code == lib.RINGOPS_BAD_LENGTH:
            return RemoteProtocolError(
                f"a message of {ring.suspect} bytes cannot be at {ring.received} of the data ring"
            )
        return RemoteProtocolError(
            f"the other end's index {ring.suspect} is impossible on a data ring of {ring.size} bytes: "
            f"sent {ring.sent}, of it consumed {ring.sent_consumed}, received {ring.received}"
        )


def _ended(*_: Any) -> int:
    raise LocalProtocolError("the data ring is closed, or its error is set")
