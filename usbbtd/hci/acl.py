"""ACL data: cuts L2CAP PDUs into fragments, and puts fragments together (Vol 4, Part E, 5.4.2 and 4.1).

A controller has one pool of buffers for all links, or a second one for LE links. A fragment sent takes a buffer of its
link's pool until Number_Of_Completed_Packets, or the end of the link, gives it back.
"""

from collections import deque
from typing import Final

from usbbtd.bluetooth import LAST_HANDLE
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.hci.limits import EARLY_S, LATE_S, MAX_EARLY, MAX_EARLY_HANDLES, MAX_QUEUED, STALL_CHECK_S, STALL_CHECKS

__all__ = ["AclData", "AclLink"]

# Octets and fields are put together by hand here and in l2cap/: compiled, that is machine arithmetic, where Struct's
# functions stay calls.
_HEADER_SIZE: Final = 4  # handle with flags, data length
_FIRST_SIZE: Final = 6  # with the PDU's length, from its basic header

_HANDLE: Final = 0x0FFF
# Packet_Boundary_Flag and Broadcast_Flag, the upper four bits of the first field
_FIRST_NON_FLUSHABLE: Final = 0b00
_CONTINUATION: Final = 0b01
_FIRST: Final = 0b10

#: The smallest buffer that a controller may have: an LE data PDU of the first version (Vol 4, Part E, 7.8.2).
MIN_ACL_LENGTH: Final = 27


class Pool:
    """The buffers of a controller: ``count`` of them, each for a fragment of ``size`` octets."""

    __slots__ = ("count", "free", "ready", "size")

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self.count = count
        self.free = count
        self.ready: deque[AclLink] = deque()  # the links with fragments that wait, each once


class AclLink:
    """A link of the controller."""

    __slots__ = (
        "address",
        "address_type",
        "closing",
        "continuation_header",
        "first_flags",
        "first_header",
        "fragments",
        "handle",
        "missing",
        "outstanding",
        "pool",
        "queue",
        "role",
        "stalled",
        "valid_from",
    )

    def __init__(self, handle: int, address: bytes, address_type: int, role: int, pool: Pool, first_flags: int) -> None:
        self.handle = handle
        self.address = address
        self.address_type = address_type
        self.role = role
        self.closing = False  # we have asked the controller to disconnect
        self.pool = pool
        self.queue: deque[bytes] = deque()  # fragments with their headers
        self.outstanding = 0  # buffers of the pool that hold fragments of this link
        self.first_flags = handle | first_flags << 12
        self.first_header = _header(self.first_flags, pool.size)
        self.continuation_header = _header(handle | _CONTINUATION << 12, pool.size)
        self.fragments: list[bytes] = []  # of the PDU that is arriving, with their headers
        self.missing = 0  # octets of that PDU that are still to come; 0 if none is arriving
        self.stalled = 0  # at how many looks nothing had been completed since the look before
        self.valid_from: float | None = None  # until then, data on the handle is that of the link before

    def join(self) -> bytes:
        """Returns the PDU whose fragments are all there, and forgets the fragments."""
        pdu = b"".join([fragment[_HEADER_SIZE:] for fragment in self.fragments])
        self.fragments.clear()
        return pdu

    def cut(self, pdu: bytes) -> list[bytes]:
        """Returns the fragments of a PDU, with their headers."""
        # hot: per packet
        length = len(pdu)
        size = self.pool.size
        if length <= size:
            return [_header(self.first_flags, length) + pdu]
        fragments = [self.first_header + pdu[:size]]
        header = self.continuation_header
        start = size
        while length - start > size:
            fragments.append(header + pdu[start : start + size])
            start += size
        fragments.append(_header(self.handle | _CONTINUATION << 12, length - start) + pdu[start:])
        return fragments


class AclData:
    """The data path of one controller."""

    def __init__(self) -> None:
        self.links: dict[int, AclLink] = {}
        self._pools: tuple[Pool, ...] = ()
        self._bredr_pool = self._le_pool = Pool(0, 0)
        self._bredr_first = _FIRST_NON_FLUSHABLE
        self._pdus: list[tuple[int, list[bytes]]] = []  # as take_pdus() returns them
        self._early: dict[int, tuple[float, list[bytes]]] = {}  # by handle, the oldest first: (until when, packets)
        self._stall_check: float | None = None  # when to look for stalled links
        self._ended: dict[
            int, tuple[float, AclLink]
        ] = {}  # links that ended lately by handle, and until when that counts
        self._turn = 0
        self._fragments_sent = 0
        self._pdus_received = 0
        self.counters = {
            "acl_sent_undelivered": 0,  # still queued when their link ended
            "acl_unknown_handle": 0,  # too late for its link, too early for another, or more than may wait for one
            "acl_malformed": 0,  # length field wrong, flags reserved or for broadcast
            "acl_short_start": 0,  # first fragment without the PDU's length
            "acl_stray_continuation": 0,  # nothing had been started
            "acl_overrun": 0,  # more octets than the PDU announced
            "acl_incomplete": 0,  # a new PDU began before the last was whole
            "acl_completed_clamped": 0,  # Number_Of_Completed_Packets beyond what was outstanding
            "acl_links_stalled": 0,  # ended because the controller kept their fragments
        }

    def configure(self, bredr: tuple[int, int] | None, le: tuple[int, int] | None, *, non_flushable: bool) -> None:
        """Sets the buffers: (size, count) for each transport, None if it shares the other's. Forgets all links.

        ``non_flushable``: whether the controller knows the packet boundary flag 0b00 on BR/EDR.
        """
        self.links.clear()
        self._pdus = []
        self._early.clear()
        self._ended.clear()
        self._stall_check = None
        shared = Pool(*(bredr or le or (0, 0)))
        self._bredr_pool = shared
        self._le_pool = Pool(*le) if bredr and le else shared
        self._pools = (shared,) if self._le_pool is shared else (shared, self._le_pool)
        self._bredr_first = _FIRST_NON_FLUSHABLE if non_flushable else _FIRST

    def add(self, handle: int, address: bytes, address_type: int, role: int, now: float) -> AclLink:
        """Adds a new link. Raises RemoteProtocolError if its handle is reserved or in use."""
        if handle > LAST_HANDLE or handle in self.links:
            raise RemoteProtocolError(f"the controller gave a link handle 0x{handle:04X}, reserved or in use")
        pool, flags = (self._le_pool, _FIRST_NON_FLUSHABLE) if address_type else (self._bredr_pool, self._bredr_first)
        link = self.links[handle] = AclLink(handle, address, address_type, role, pool, flags)
        until, before = self._ended.get(handle, (now, link))
        if until > now and (before.address, before.address_type) != (address, address_type):
            link.valid_from = until
        self._expire_early(now)
        if handle in self._early:
            self.receive(self._early.pop(handle)[1], now)
        return link

    def remove(self, handle: int, now: float) -> None:
        """Removes a link that has ended: its buffers in the controller are free again, and its queue is dropped."""
        link = self.links.pop(handle)
        self._ended[handle] = now + LATE_S, link
        link.pool.free += link.outstanding
        if link.queue:
            link.pool.ready.remove(link)
            self.counters["acl_sent_undelivered"] += len(link.queue)
        if link.missing:
            self.counters["acl_incomplete"] += 1

    def next_timeout(self) -> float | None:
        if not self._ended and not self._early:
            return self._stall_check
        due = [until for until, _ in (*self._ended.values(), *self._early.values())]
        if self._stall_check is not None:
            due.append(self._stall_check)
        return min(due) if due else None

    def handle_timeout(self, now: float) -> None:
        self._ended = {handle: ended for handle, ended in self._ended.items() if ended[0] > now}
        self._expire_early(now)

    def take_stalled(self, now: float) -> list[int]:
        """Returns the handles of links to end, because the controller has kept their fragments for too long."""
        if self._stall_check is None or now < self._stall_check:
            return []
        waiting = [link for link in self.links.values() if link.outstanding]
        self._stall_check = now + STALL_CHECK_S if waiting else None
        for link in waiting:
            link.stalled += 1
        stalled = [link.handle for link in waiting if link.stalled == STALL_CHECKS]
        self.counters["acl_links_stalled"] += len(stalled)
        return stalled

    # Towards the controller

    def send_pdus(self, handle: int, pdus: list[bytes]) -> None:
        """Queues L2CAP PDUs in order. Raises LocalProtocolError if there is no such link, or its queue is full."""
        # hot: per packet
        link = self.links.get(handle)
        if link is None:
            raise LocalProtocolError(f"no link has handle 0x{handle:04X}")
        queue = link.queue
        if pdus and not queue:
            link.pool.ready.append(link)
        for pdu in pdus:
            if len(queue) >= MAX_QUEUED:
                raise LocalProtocolError(f"{MAX_QUEUED} fragments wait on handle 0x{handle:04X} already")
            queue += link.cut(pdu)

    def take(self, now: float) -> list[bytes]:
        """Hands over the fragments for which the controller has buffers. Links take turns, fragment by fragment."""
        # hot: per packet
        packets: list[bytes] = []
        for pool in self._pools:
            ready = pool.ready
            free = pool.free
            while ready and free:
                link = ready.popleft()
                queue = link.queue
                if not ready and len(queue) <= free:  # alone, and all of it fits
                    packets += queue
                    link.outstanding += len(queue)
                    free -= len(queue)
                    queue.clear()
                else:
                    packets.append(queue.popleft())
                    link.outstanding += 1
                    free -= 1
                    if queue:
                        ready.append(link)
            pool.free = free
        self._fragments_sent += len(packets)
        if packets and self._stall_check is None:
            self._stall_check = now + STALL_CHECK_S
        return packets

    def completed(self, event: bytes) -> None:
        """Takes a Number_Of_Completed_Packets event (7.7.19). Raises RemoteProtocolError if its length is wrong."""
        # hot: per event
        size = len(event)
        if size < 3 or size != 3 + 4 * event[2]:
            raise RemoteProtocolError("Number_Of_Completed_Packets does not have the length that it announces")
        links = self.links
        for at in range(3, size, 4):
            link = links.get((event[at] | event[at + 1] << 8) & _HANDLE)
            if link is None:  # it has ended, and gave its buffers back then
                continue
            count = event[at + 2] | event[at + 3] << 8
            if count > link.outstanding:
                count = link.outstanding
                self.counters["acl_completed_clamped"] += 1
            link.outstanding -= count
            if count:
                link.stalled = 0
            link.pool.free += count

    def writable(self) -> list[int]:
        """Returns the handles of links that take more PDUs now; another link is first each time.

        Those are the links with fewer fragments waiting than the controller has buffers.
        """
        handles = [
            handle for handle, link in self.links.items() if len(link.queue) < link.pool.count and not link.closing
        ]
        if len(handles) < 2:
            return handles
        self._turn = turn = (self._turn + 1) % len(handles)
        return handles[turn:] + handles[:turn]

    # From the controller

    def receive(self, packets: list[bytes], now: float) -> None:
        """Takes ACL data packets in order. A wrong one is counted, and costs the PDU to which it belongs."""
        # hot: per packet
        handle = -1
        link: AclLink | None = None
        pdus: list[bytes] | None = None  # the last of _pdus, while packets of its link come
        for packet in packets:
            if len(packet) < _FIRST_SIZE:
                self._receive_odd(packet, now)
                pdus = None
                continue
            flags = packet[1] >> 4
            packet_handle = packet[0] | (packet[1] & 0x0F) << 8
            if packet_handle != handle:
                handle = packet_handle
                link = self.links.get(handle)
                pdus = None
            if link is None or link.valid_from is not None or flags > _FIRST:
                self._receive_odd(packet, now)
                pdus = None
            elif (pdu := self._assemble(link, packet, flags == _CONTINUATION)) is not None:
                if pdus is None:
                    pdus = []
                    self._pdus.append((handle, pdus))
                pdus.append(pdu)

    def _assemble(self, link: AclLink, packet: bytes, is_continuation: bool) -> bytes | None:
        """Returns the PDU that is whole with this packet, if one is. The packet has at least a PDU's length in it."""
        # hot: per packet
        length = packet[2] | packet[3] << 8
        missing = link.missing
        if len(packet) != length + _HEADER_SIZE:
            self._drop(link, "acl_malformed")
            return None
        if is_continuation:
            if length > missing:
                self._drop(link, "acl_overrun" if missing else "acl_stray_continuation")
                return None
            missing -= length
        else:
            if missing:
                self._drop(link, "acl_incomplete")
            missing = (packet[4] | packet[5] << 8) + _HEADER_SIZE - length
            if not missing:
                return packet[_HEADER_SIZE:]
            if missing < 0:
                self._drop(link, "acl_overrun")
                return None
        link.fragments.append(packet)
        link.missing = missing
        return None if missing else link.join()

    def take_pdus(self) -> list[tuple[int, list[bytes]]]:
        """Hands over L2CAP PDUs in order of arrival: (handle, the PDUs that came on it in a row).

        A PDU has its basic header, and the length that this says.
        """
        # hot: per wake-up
        taken = self._pdus
        self._pdus = []
        for _, pdus in taken:
            self._pdus_received += len(pdus)
        return taken

    def _receive_odd(self, packet: bytes, now: float) -> None:
        """Takes a packet for no link, with flags that no controller uses, or with less than a PDU's length in it."""
        if len(packet) < 4:
            self.counters["acl_malformed"] += 1
            return
        handle_flags, length = packet[0] | packet[1] << 8, packet[2] | packet[3] << 8
        link = self.links.get(handle_flags & _HANDLE)
        if link is None:
            self._receive_early(handle_flags & _HANDLE, packet, now)
        elif link.valid_from is not None:
            if now < link.valid_from:
                self.counters["acl_unknown_handle"] += 1
            else:
                link.valid_from = None
                self.receive([packet], now)
        elif len(packet) != length + _HEADER_SIZE or handle_flags >> 12 > _FIRST:
            self._drop(link, "acl_malformed")
        elif handle_flags >> 12 != _CONTINUATION:
            self._drop(link, "acl_short_start")
        elif not link.missing:
            self._drop(link, "acl_stray_continuation")
        elif link.missing > length:
            # An empty fragment is not kept: it would let the list grow without end.
            link.fragments += [packet] if length else []
            link.missing -= length
        else:
            link.fragments.append(packet)
            link.missing = 0
            self._pdus.append((link.handle, [link.join()]))

    def _receive_early(self, handle: int, packet: bytes, now: float) -> None:
        """Keeps a packet whose connection is not announced yet: over USB, data may overtake that event.

        Packets are kept for a moment only, and few of them: some chips send on handles that are never announced. Data
        may also be late, after the event that ended its connection.
        """
        self._expire_early(now)
        waiting = self._early.get(handle, (now + EARLY_S, []))
        full = len(waiting[1]) >= MAX_EARLY or (handle not in self._early and len(self._early) >= MAX_EARLY_HANDLES)
        if full or handle > LAST_HANDLE or (handle in self._ended and self._ended[handle][0] > now):
            self.counters["acl_unknown_handle"] += 1
        else:
            self._early[handle] = waiting
            waiting[1].append(packet)

    def _expire_early(self, now: float) -> None:
        for handle in [handle for handle, (until, _) in self._early.items() if until <= now]:
            self.counters["acl_unknown_handle"] += len(self._early.pop(handle)[1])

    def _drop(self, link: AclLink, counter: str) -> None:
        """Counts a wrong packet and forgets the PDU that was arriving."""
        self.counters[counter] += 1
        link.fragments.clear()
        link.missing = 0

    def statistics(self) -> dict[str, int]:
        return {"acl_fragments_sent": self._fragments_sent, "acl_pdus_received": self._pdus_received, **self.counters}


def _header(handle_flags: int, length: int) -> bytes:
    return (handle_flags | length << 16).to_bytes(_HEADER_SIZE, "little")
