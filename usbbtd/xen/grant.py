"""Shares pages with other domains: grants them ours, maps theirs, and copies from theirs and to them."""

import errno
from collections.abc import Callable, Sequence
from mmap import PROT_READ, PROT_WRITE
from typing import Any

from usbbtd.abi._xen import ffi, lib
from usbbtd.errors import LocalProtocolError
from usbbtd.identifiers import LAST_U32
from usbbtd.xen.error import XenError, checked_domid
from usbbtd.xen.ring import PAGE_SIZE

_SHARE_DEVICE = "/dev/xen/gntalloc"
_MAP_DEVICE = "/dev/xen/gntdev"

#: (reference, offset in the page, length); the latter two are in bytes.
Segment = tuple[int, int, int]


class _Pages:
    """``count`` adjacent pages of memory that both domains see."""

    def __init__(self, start: Any, count: int, writable: bool) -> None:
        """Takes over the pages. ``start``: a pointer that unmaps them when it is released or forgotten."""
        self.count = count
        self._start = start
        memory = memoryview(ffi.buffer(ffi.cast("char *", start), count * PAGE_SIZE))
        self._views = [memory if writable else memory.toreadonly()]
        self._views += [self.memory[first : first + PAGE_SIZE] for first in range(0, count * PAGE_SIZE, PAGE_SIZE)]
        self._closed = False

    @property
    def memory(self) -> memoryview:
        """Returns the memory of all pages."""
        return self._views[0]

    def page(self, index: int) -> memoryview:
        """Returns the memory of one page, always as the same object."""
        return self._views[index + 1]

    def close(self) -> None:
        """Gives the pages up: any later use of a view of them raises ValueError. Idempotent.

        Raises LocalProtocolError while a ring is in them, because its next access would end the process.
        """
        for view in self._views:
            try:
                view.release()
            except BufferError:
                raise LocalProtocolError("shared pages are closed before the ring that lives in them") from None
        if not self._closed:
            self._closed = True
            ffi.release(self._start)


class SharedPages(_Pages):
    """Pages of ours, zeroed, that another domain may map by ``refs``. It keeps what it has mapped when we close."""

    def __init__(self, start: Any, refs: list[int]) -> None:
        super().__init__(start, len(refs), True)
        self.refs = refs


class MappedPages(_Pages):
    """Pages of another domain."""


class Grants:
    """Makes and maps grants. Each device is opened when it is first needed."""

    def __init__(self) -> None:
        self._sharing: Any = None
        self._mapping: Any = None
        self._closed = False

    def share(self, domid: int, count: int, *, writable: bool = True) -> SharedPages:
        """Makes new pages for domain ``domid``. ``writable``: whether it may write to them. Raises XenError."""
        self._sharing = handle = self._sharing or self._open(lib.gntshr_open, lib.xengntshr_close, _SHARE_DEVICE)
        refs = ffi.new("uint32_t[]", count)
        start = lib.xengntshr_share_pages(handle, checked_domid(domid), count, refs, writable)
        if start == ffi.NULL:
            raise XenError.last(f"cannot share {count} pages with domain {domid}")
        start = ffi.gc(start, lambda start: lib.xengntshr_unshare(handle, start, count))
        return SharedPages(start, list(refs))

    def map(self, domid: int, refs: Sequence[int], *, writable: bool = True) -> MappedPages:
        """Maps the pages of domain ``domid`` with these references, in this order. Raises XenError."""
        if not all(0 <= ref <= LAST_U32 for ref in refs):
            raise XenError(errno.EINVAL, f"no references of domain {domid}: {', '.join(map(str, refs))}")
        handle, count, domid = self._map_handle(), len(refs), checked_domid(domid)
        protection = PROT_READ | PROT_WRITE if writable else PROT_READ
        start = lib.xengnttab_map_domain_grant_refs(handle, count, domid, ffi.new("uint32_t[]", refs), protection)
        if start == ffi.NULL:
            raise XenError.last(f"cannot map references {', '.join(map(str, refs))} of domain {domid}")
        start = ffi.gc(start, lambda start: lib.xengnttab_unmap(handle, start, count))
        return MappedPages(start, count, writable)

    def copy_from(self, domid: int, segments: Sequence[Segment]) -> bytes:  # hot: per batch
        """Returns the bytes of segments of pages of domain ``domid``, one after the other. Raises XenError."""
        size = sum(length for _, _, length in segments)
        data = bytearray(size)
        self._copy(domid, segments, data, False)
        return bytes(data)

    def copy_to(self, domid: int, segments: Sequence[Segment], data: bytes) -> None:  # hot: per batch
        """Writes ``data`` into segments of pages of domain ``domid``, which have its length. Raises XenError."""
        if sum(length for _, _, length in segments) != len(data):
            raise LocalProtocolError(f"{len(data)} bytes for segments of another size")
        self._copy(domid, segments, data, True)

    def close(self) -> None:
        """Ends the making and mapping of grants; the devices are closed with the last pages. Idempotent."""
        self._closed = True
        self._sharing = self._mapping = None

    def _copy(self, domid: int, segments: Sequence[Segment], data: bytes | bytearray, to_other: bool) -> None:
        failed = ffi.new("uint32_t *")
        handle, count = self._map_handle(), len(segments)
        packed, buffer = ffi.new("struct grant_segment[]", segments), ffi.from_buffer(data)
        if lib.grant_copy(handle, domid, packed, count, buffer, to_other, failed):
            where = "" if failed[0] == count else " (reference {}, offset {}, {} bytes)".format(*segments[failed[0]])
            raise XenError.last(f"cannot copy {'to' if to_other else 'from'} pages of domain {domid}{where}")

    def _map_handle(self) -> Any:
        self._mapping = self._mapping or self._open(lib.gnttab_open, lib.xengnttab_close, _MAP_DEVICE)
        return self._mapping

    def _open(self, opener: Callable[[], Any], closer: Callable[[Any], int], device: str) -> Any:
        if self._closed:
            raise LocalProtocolError("the grants are closed")
        handle = opener()
        if handle == ffi.NULL:
            raise XenError.last(f"cannot open {device}")
        return ffi.gc(handle, closer)
