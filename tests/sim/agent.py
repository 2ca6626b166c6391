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
from ctypes import POINTER, byref, c_char, c_int, c_int16, c_uint16, c_uint32, c_void_p

_grants = ctypes.CDLL("libxengnttab.so.1", use_errno=True)
_events = ctypes.CDLL("libxenevtchn.so.1", use_errno=True)
_NONE = 0xFFFFFFFF
_SOURCE_GREF, _DEST_GREF = 1, 2


class Foreign(ctypes.Structure):
    _fields_ = [("ref", c_uint32), ("offset", c_uint16), ("domid", c_uint16)]


class Pointer(ctypes.Union):
    _fields_ = [("virt", c_void_p), ("foreign", Foreign)]


class Segment(ctypes.Structure):
    _fields_ = [("source", Pointer), ("dest", Pointer), ("len", c_uint16), ("flags", c_uint16), ("status", c_int16)]


def _function(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments

    def call(*values):
        value = function(*values)
        if value is None or value == -1:
            raise OSError(ctypes.get_errno(), name)
        return value

    return call


class Agent:
    def __init__(self):
        self._numbers = itertools.count()
        self._regions = {}
        self._shr = _function(_grants, "xengntshr_open", c_void_p, c_void_p, c_uint32)(None, 0)
        self._tab = _function(_grants, "xengnttab_open", c_void_p, c_void_p, c_uint32)(None, 0)
        self._channels = {}
        self._domid = int(os.environ["XENSIM_DOMID"])
        self.open_channels()

    def open_channels(self):
        handle = _function(_events, "xenevtchn_open", c_void_p, c_void_p, c_uint32)(None, 0)
        number = len(self._channels)
        self._channels[number] = handle
        return number

    def close_channels(self, number):
        _function(_events, "xenevtchn_close", c_int, c_void_p)(self._channels[number])

    def _keep(self, address, count, **more):
        number = next(self._numbers)
        self._regions[number] = address, count
        return {"region": number, **more}

    def share(self, domid, count, writable=True):
        refs = (c_uint32 * max(count, 1))()
        call = _function(
            _grants, "xengntshr_share_pages", c_void_p, c_void_p, c_uint32, c_int, POINTER(c_uint32), c_int
        )
        return self._keep(call(self._shr, domid, count, refs, writable), count, refs=list(refs))

    def share_notify(self, domid, offset, port):
        ref = c_uint32()
        call = _function(
            _grants, "xengntshr_share_page_notify", c_void_p, c_void_p, c_uint32, POINTER(c_uint32), c_int, c_uint32,
            c_uint32,
        )  # fmt: skip
        return self._keep(call(self._shr, domid, byref(ref), 1, _or(offset), _or(port)), 1, refs=[ref.value])

    def unshare(self, region, count=None):
        address, pages = self._regions[region]
        _function(_grants, "xengntshr_unshare", c_int, c_void_p, c_void_p, c_uint32)(self._shr, address, count or pages)

    def map(self, domids, refs, writable=True):
        call = _function(
            _grants, "xengnttab_map_grant_refs", c_void_p, c_void_p, c_uint32, POINTER(c_uint32), POINTER(c_uint32),
            c_int,
        )  # fmt: skip
        array = c_uint32 * len(refs)
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return self._keep(call(self._tab, len(refs), array(*domids), array(*refs), protection), len(refs))

    def map_notify(self, domid, ref, offset, port, writable=True):
        call = _function(
            _grants, "xengnttab_map_grant_ref_notify", c_void_p, c_void_p, c_uint32, c_uint32, c_int, c_uint32, c_uint32
        )
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return self._keep(call(self._tab, domid, ref, protection, _or(offset), _or(port)), 1)

    def unmap(self, region, count=None):
        address, pages = self._regions[region]
        _function(_grants, "xengnttab_unmap", c_int, c_void_p, c_void_p, c_uint32)(self._tab, address, count or pages)

    def munmap(self, region):
        """Behind the library's back, as libxenvchan does."""
        address, pages = self._regions[region]
        _function(ctypes.CDLL(None, use_errno=True), "munmap", c_int, c_void_p, ctypes.c_size_t)(address, pages * 4096)

    def close_grants(self):
        _function(_grants, "xengntshr_close", c_int, c_void_p)(self._shr)
        _function(_grants, "xengnttab_close", c_int, c_void_p)(self._tab)

    def peek(self, region, offset, length):
        return ctypes.string_at(self._regions[region][0] + offset, length).hex()

    def poke(self, region, offset, data):
        ctypes.memmove(self._regions[region][0] + offset, bytes.fromhex(data), len(data) // 2)

    def copy_in(self, domid, ref, offset, length):
        """grant_copy from a page: data and status."""
        buffer = (c_char * max(length, 1))()
        segment = Segment(len=length, flags=_SOURCE_GREF)
        segment.source.foreign = Foreign(ref, offset, domid)
        segment.dest.virt = ctypes.addressof(buffer)
        self._copy(segment)
        return [bytes(buffer).hex(), segment.status]

    def copy_out(self, domid, ref, offset, data):
        buffer = ctypes.create_string_buffer(bytes.fromhex(data))
        segment = Segment(len=len(data) // 2, flags=_DEST_GREF)
        segment.source.virt = ctypes.addressof(buffer)
        segment.dest.foreign = Foreign(ref, offset, domid)
        self._copy(segment)
        return segment.status

    def copy_across(self, source_domid, source_ref, dest_domid, dest_ref, length):
        segment = Segment(len=length, flags=_SOURCE_GREF | _DEST_GREF)
        segment.source.foreign = Foreign(source_ref, 0, source_domid)
        segment.dest.foreign = Foreign(dest_ref, 0, dest_domid)
        self._copy(segment)
        return segment.status

    def copy_to_nowhere(self, domid, ref):
        segment = Segment(len=16, flags=_SOURCE_GREF)
        segment.source.foreign = Foreign(ref, 0, domid)
        segment.dest.virt = 16
        self._copy(segment)

    def _copy(self, segment):
        _function(_grants, "xengnttab_grant_copy", c_int, c_void_p, c_uint32, c_void_p)(self._tab, 1, byref(segment))

    def bind_unbound(self, domid, channels=0):
        return self._on("xenevtchn_bind_unbound_port", channels, domid)

    def bind_interdomain(self, domid, port, channels=0):
        return self._on("xenevtchn_bind_interdomain", channels, domid, port)

    def notify(self, port, channels=0):
        self._on("xenevtchn_notify", channels, port)

    def unbind(self, port, channels=0):
        self._on("xenevtchn_unbind", channels, port)

    def unmask(self, port, channels=0):
        self._on("xenevtchn_unmask", channels, port)

    def pending(self, timeout_s=0, channels=0):
        """The next port, or None when the handle is not readable in time."""
        handle = self._on("xenevtchn_fd", channels)
        if not select.select([handle], [], [], timeout_s)[0]:
            return None
        return self._on("xenevtchn_pending", channels)

    def fork(self):
        """A child that closes what it inherited and opens a handle of its own: the port that this one gets."""
        read, write = os.pipe()
        if os.fork() == 0:
            self.close_channels(0)
            self.close_grants()
            os.write(write, b"%d" % self.bind_unbound(0, self.open_channels()))
            os._exit(0)
        os.wait()
        return int(os.read(read, 16))

    def die_inside(self):
        """With the world's lock in its hands."""
        ctypes.CDLL("libxensim.so").sim_lock()
        os._exit(0)

    def storm(self, peer):
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

    def _on(self, name, channels, *arguments):
        types = [c_uint32] * len(arguments)
        return _function(_events, name, c_int, c_void_p, *types)(self._channels[channels], *arguments)


def _or(number):
    return _NONE if number is None else number


def main():
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


main()
