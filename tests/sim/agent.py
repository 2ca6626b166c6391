"""A process of a simulated domain that does what its parent says.

A line in is [function, argument, …], a line out {"result": …} or {"errno": …}. The functions are those of the real
headers with handles and pointers replaced by numbers: regions of mapped memory are numbered from 0.
"""

import ctypes
import itertools
import json
import mmap
import os
import select
import sys
from collections.abc import Callable
from ctypes import POINTER, byref, c_char, c_int, c_int16, c_uint16, c_uint32, c_void_p
from typing import Any

_grants = ctypes.CDLL("libxengnttab.so.1", use_errno=True)
_events = ctypes.CDLL("libxenevtchn.so.1", use_errno=True)
_NONE = 0xFFFFFFFF
_SOURCE_GREF, _DEST_GREF = 1, 2


Message = dict[str, Any]


class Foreign(ctypes.Structure):
    _fields_ = [("ref", c_uint32), ("offset", c_uint16), ("domid", c_uint16)]


class Pointer(ctypes.Union):
    _fields_ = [("virt", c_void_p), ("foreign", Foreign)]


class Segment(ctypes.Structure):
    _fields_ = [("source", Pointer), ("dest", Pointer), ("len", c_uint16), ("flags", c_uint16), ("status", c_int16)]


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments

    def call(*values: Any) -> Any:
        value = function(*values)
        if value is None or value == -1:
            raise OSError(ctypes.get_errno(), name)
        return value

    return call


class Agent:
    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._regions: dict[int, tuple[int, int]] = {}  # address and pages
        self._shr = _function(_grants, "xengntshr_open", c_void_p, c_void_p, c_uint32)(None, 0)
        self._tab = _function(_grants, "xengnttab_open", c_void_p, c_void_p, c_uint32)(None, 0)
        self._channels: dict[int, int] = {}  # handles
        self._domid = int(os.environ["XENSIM_DOMID"])
        self.open_channels()

    def open_channels(self) -> int:
        handle = _function(_events, "xenevtchn_open", c_void_p, c_void_p, c_uint32)(None, 0)
        number = len(self._channels)
        self._channels[number] = handle
        return number

    def close_channels(self, number: int) -> None:
        _function(_events, "xenevtchn_close", c_int, c_void_p)(self._channels[number])

    def _keep(self, address: int, count: int, **more: object) -> Message:
        number = next(self._numbers)
        self._regions[number] = address, count
        return {"region": number, **more}

    def share(self, domid: int, count: int, writable: bool = True) -> Message:
        refs = (c_uint32 * max(count, 1))()
        call = _function(
            _grants, "xengntshr_share_pages", c_void_p, c_void_p, c_uint32, c_int, POINTER(c_uint32), c_int
        )
        return self._keep(call(self._shr, domid, count, refs, writable), count, refs=list(refs))

    def share_notify(self, domid: int, offset: int | None, port: int | None) -> Message:
        ref = c_uint32()
        call = _function(
            _grants, "xengntshr_share_page_notify", c_void_p, c_void_p, c_uint32, POINTER(c_uint32), c_int, c_uint32,
            c_uint32,
        )  # fmt: skip
        return self._keep(call(self._shr, domid, byref(ref), 1, _or(offset), _or(port)), 1, refs=[ref.value])

    def unshare(self, region: int, count: int | None = None) -> None:
        address, pages = self._regions[region]
        _function(_grants, "xengntshr_unshare", c_int, c_void_p, c_void_p, c_uint32)(self._shr, address, count or pages)

    def map(self, domids: list[int], refs: list[int], writable: bool = True) -> Message:
        call = _function(
            _grants, "xengnttab_map_grant_refs", c_void_p, c_void_p, c_uint32, POINTER(c_uint32), POINTER(c_uint32),
            c_int,
        )  # fmt: skip
        array = c_uint32 * len(refs)
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return self._keep(call(self._tab, len(refs), array(*domids), array(*refs), protection), len(refs))

    def map_notify(self, domid: int, ref: int, offset: int | None, port: int | None, writable: bool = True) -> Message:
        call = _function(
            _grants, "xengnttab_map_grant_ref_notify", c_void_p, c_void_p, c_uint32, c_uint32, c_int, c_uint32, c_uint32
        )
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return self._keep(call(self._tab, domid, ref, protection, _or(offset), _or(port)), 1)

    def unmap(self, region: int, count: int | None = None) -> None:
        address, pages = self._regions[region]
        _function(_grants, "xengnttab_unmap", c_int, c_void_p, c_void_p, c_uint32)(self._tab, address, count or pages)

    def munmap(self, region: int) -> None:
        """Behind the library's back, as libxenvchan does."""
        address, pages = self._regions[region]
        _function(ctypes.CDLL(None, use_errno=True), "munmap", c_int, c_void_p, ctypes.c_size_t)(address, pages * 4096)

    def close_grants(self) -> None:
        _function(_grants, "xengntshr_close", c_int, c_void_p)(self._shr)
        _function(_grants, "xengnttab_close", c_int, c_void_p)(self._tab)

    def peek(self, region: int, offset: int, length: int) -> str:
        return ctypes.string_at(self._regions[region][0] + offset, length).hex()

    def poke(self, region: int, offset: int, data: str) -> None:
        ctypes.memmove(self._regions[region][0] + offset, bytes.fromhex(data), len(data) // 2)

    def copy_in(self, domid: int, ref: int, offset: int, length: int) -> list[Any]:
        """grant_copy from a page: data and status."""
        buffer = (c_char * max(length, 1))()
        segment = Segment(len=length, flags=_SOURCE_GREF)
        segment.source.foreign = Foreign(ref, offset, domid)
        segment.dest.virt = ctypes.addressof(buffer)
        status = self._copy(segment)
        return [bytes(buffer).hex(), status]

    def copy_out(self, domid: int, ref: int, offset: int, data: str) -> int:
        buffer = ctypes.create_string_buffer(bytes.fromhex(data))
        segment = Segment(len=len(data) // 2, flags=_DEST_GREF)
        segment.source.virt = ctypes.addressof(buffer)
        segment.dest.foreign = Foreign(ref, offset, domid)
        return self._copy(segment)

    def copy_across(self, source_domid: int, source_ref: int, dest_domid: int, dest_ref: int, length: int) -> int:
        segment = Segment(len=length, flags=_SOURCE_GREF | _DEST_GREF)
        segment.source.foreign = Foreign(source_ref, 0, source_domid)
        segment.dest.foreign = Foreign(dest_ref, 0, dest_domid)
        return self._copy(segment)

    def copy_to_nowhere(self, domid: int, ref: int) -> None:
        segment = Segment(len=16, flags=_SOURCE_GREF)
        segment.source.foreign = Foreign(ref, 0, domid)
        segment.dest.virt = 16
        self._copy(segment)

    def _copy(self, segment: Segment) -> int:
        """Its status."""
        _function(_grants, "xengnttab_grant_copy", c_int, c_void_p, c_uint32, c_void_p)(self._tab, 1, byref(segment))
        return int(segment.status)

    def bind_unbound(self, domid: int, channels: int = 0) -> int:
        return self._on("xenevtchn_bind_unbound_port", channels, domid)

    def bind_interdomain(self, domid: int, port: int, channels: int = 0) -> int:
        return self._on("xenevtchn_bind_interdomain", channels, domid, port)

    def notify(self, port: int, channels: int = 0) -> None:
        self._on("xenevtchn_notify", channels, port)

    def unbind(self, port: int, channels: int = 0) -> None:
        self._on("xenevtchn_unbind", channels, port)

    def unmask(self, port: int, channels: int = 0) -> None:
        self._on("xenevtchn_unmask", channels, port)

    def pending(self, timeout_s: float = 0, channels: int = 0) -> int | None:
        """The next port, or None when the handle is not readable in time."""
        handle = self._on("xenevtchn_fd", channels)
        if not select.select([handle], [], [], timeout_s)[0]:
            return None
        return self._on("xenevtchn_pending", channels)

    def fork(self) -> int:
        """A child that closes what it inherited and opens a handle of its own: the port that this one gets."""
        read, write = os.pipe()
        if os.fork() == 0:
            self.close_channels(0)
            self.close_grants()
            os.write(write, b"%d" % self.bind_unbound(0, self.open_channels()))
            os._exit(0)
        os.wait()
        return int(os.read(read, 16))

    def die_inside(self) -> None:
        """With the world's lock in its hands."""
        ctypes.CDLL("libxensim.so").sim_lock()
        os._exit(0)

    def storm(self, peer: int) -> None:
        """Until killed."""
        while True:
            port = self.bind_unbound(peer)
            shared = self.share_notify(self._domid, 0, port)
            mapped = self.map_notify(self._domid, shared["refs"][0], 1, port)
            other = self.bind_interdomain(self._domid, self.bind_unbound(self._domid))
            self.notify(other)
            self.unmap(mapped["region"])
            self.unshare(shared["region"])
            self.unbind(port)
            self.unbind(other)

    def _on(self, name: str, channels: int, *arguments: int) -> int:
        types = [c_uint32] * len(arguments)
        return int(_function(_events, name, c_int, c_void_p, *types)(self._channels[channels], *arguments))


def _or(number: int | None) -> int:
    return _NONE if number is None else number


def main() -> None:
    agent = Agent()
    sys.stdout.write('{"result": "ready"}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"result": getattr(agent, name)(*arguments)}
        except OSError as error:
            answer = {"errno": error.errno}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
