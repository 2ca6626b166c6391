"""The request/response ring of Xen's ring.h in one shared page, as the frontend and the backend see it.

It is used in batches: drain it with one ``take``, work, ``put`` all results, and notify once if that says so. A ring is
used from one thread, and closed before its page is unmapped.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from mmap import mmap
from struct import Struct
from typing import Any

from usbbtd.abi._layout import ffi, lib
from usbbtd.errors import LocalProtocolError, RemoteProtocolError

PAGE_SIZE: int = lib.RINGOPS_PAGE_SIZE

#: The memory that a ring can be in: shared pages, or any, for tests and for cores without Xen.
Memory = memoryview | bytearray | mmap


def cut(packed: Any, lengths: list[int]) -> list[bytes]:  # hot: per batch
    """Cuts a buffer into entries of these lengths. Entries of one length, as in bulk transfers, are cut in C."""
    count, length = len(lengths), lengths[0]
    if count == 1:
        return [packed[:length]]
    if lengths.count(length) == count:
        return list(_cutter(length, count)(packed))
    entries, start = [], 0
    for length in lengths:
        end = start + length
        entries.append(packed[start:end])
        start = end
    return entries


@lru_cache(maxsize=256)
def _cutter(length: int, count: int) -> Callable[[Any], tuple[bytes, ...]]:
    return Struct(f"{length}s" * count).unpack_from


class _Ring:
    """One end of a ring. ``slots``: the number of entries, a power of two, as ring.h computes it."""

    def __init__(self, page: Memory, request_size: int, response_size: int, init: Callable[..., None]) -> None:
        if len(page) != PAGE_SIZE:
            raise LocalProtocolError(f"a ring is one page, not {len(page)} bytes")
        self._page = ffi.from_buffer(page, require_writable=True)
        self._ring = ffi.new("struct ring *")
        init(self._ring, self._page, request_size, response_size)
        self.slots: int = self._ring.slot_count

    def _use(self, put: Callable[..., int], put_size: int, take: Callable[..., int], take_size: int) -> None:
        self._put, self._put_size = put, put_size
        self._take, self._take_size = take, take_size
        self._scratch = ffi.new("char[]", self.slots * take_size)
        self._taken = ffi.buffer(self._scratch)

    def put(self, entries: Sequence[bytes]) -> bool:  # hot: per batch
        """Puts entries into the ring, in order. Returns whether the other end needs a notification.

        Each has exactly the size of a request or response, with padding. Raises LocalProtocolError for another size,
        and if there is no room: a frontend looks at ``free`` first, a backend answers each request once.
        """
        count = len(entries)
        packed = entries[0] if count == 1 else b"".join(entries)
        if len(packed) != count * self._put_size:
            raise LocalProtocolError(f"{len(packed)} bytes for {count} entries of {self._put_size} bytes")
        notify = self._put(self._ring, packed, count)
        if notify < 0:
            raise LocalProtocolError(f"the ring has no room for {count} more entries")
        return notify == 1

    def take(self) -> list[bytes]:  # hot: per batch
        """Takes all entries that there are, ``slots`` at most, and asks for a notification of the next.

        Raises RemoteProtocolError if the other end's index is impossible; the ring is of no use from then on.
        """
        count = self._take(self._ring, self._scratch)
        if count <= 0:
            if count < 0:
                raise RemoteProtocolError(self._bad_index())
            return []
        if count == 1:
            return [self._taken[: self._take_size]]
        return list(_cutter(self._take_size, count)(self._taken))

    def close(self) -> None:
        """Releases the page. Idempotent. A later ``put`` or ``take`` raises LocalProtocolError."""
        self._put = self._take = _closed
        ffi.release(self._page)

    def _bad_index(self) -> str:
        ring = self._ring
        return (
            f"the other end's index {ring.suspect} is impossible on a ring of {self.slots} entries: "
            f"requests are at {ring.request_index}, responses at {ring.response_index}"
        )


class FrontRing(_Ring):
    """The end that puts requests and takes responses. Initialises the page."""

    def __init__(self, page: Memory, request_size: int, response_size: int) -> None:
        super().__init__(page, request_size, response_size, lib.ring_front_init)
        self._use(lib.ring_put_requests, request_size, lib.ring_take_responses, response_size)

    @property
    def free(self) -> int:
        """Returns how many requests may be put now."""
        in_flight: int = self._ring.request_index - self._ring.response_index & 0xFFFFFFFF
        return self.slots - in_flight


class BackRing(_Ring):
    """The end that takes requests and puts responses.

    It can also attach to a ring in use: requests that the page shows as unanswered are taken again.
    """

    def __init__(self, page: Memory, request_size: int, response_size: int) -> None:
        super().__init__(page, request_size, response_size, lib.ring_back_attach)
        self._use(lib.ring_put_responses, response_size, lib.ring_take_requests, request_size)


def _closed(*_: Any) -> int:
    raise LocalProtocolError("the ring is closed")
