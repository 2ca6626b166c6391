"""Captures the packets between us and the dongle for clients of the control socket.

The dongle is tapped only while somebody captures, so that it costs nothing otherwise. No client gets keys: see masking.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from usbbtd.control import btsnoop
from usbbtd.control.masking import KeyMask
from usbbtd.control.protocol import RequestError
from usbbtd.dongles.tap import ACL_DATA, EVENT, Tap
from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.wire import events as incoming
from usbbtd.l2cap.wire import SIGNALLING_CIDS

MAX_CAPTURES = 4

#: The most bytes that wait for a client; packets beyond that are dropped, and counted.
MAX_WAITING = 1 << 20

#: How long ``take`` waits for packets; it then returns none, so that writing to a client that has gone fails.
TURN_S = 1.0

_HANDLE = 0x0FFF
_CONTINUATION = 0x1000
_ACL_HEADER, _L2CAP_HEADER = 4, 4


class LinkFilter:
    """Selects the data of certain links, and the events with which they begin and end.

    ``handles``: the connection handles of these links, each until its link ends. ``address``: the peer, as six octets
    in HCI's order, whose later links are selected too; None if there is none.
    """

    def __init__(self, handles: set[int], address: bytes | None) -> None:
        self._handles = handles
        self._address = address

    def wants(self, packet_type: int, packet: bytes) -> bool:
        """Returns whether a packet is selected. Must see every packet, in order: it notes where links begin and end."""
        if packet_type == ACL_DATA:
            return int.from_bytes(packet[:2], "little") & _HANDLE in self._handles
        return packet_type == EVENT and self._wants_event(packet)

    def _wants_event(self, packet: bytes) -> bool:
        try:
            event = incoming.parse_event(packet)
        except RemoteProtocolError:
            return False
        match event:
            case incoming.DisconnectionComplete():
                wanted = event.handle in self._handles
                if not event.status:
                    self._handles.discard(event.handle)
                return wanted
            case (
                incoming.ConnectionComplete()
                | incoming.LeConnectionComplete()
                | incoming.LeEnhancedConnectionComplete()
            ) if event.address == self._address:
                if not event.status:
                    self._handles.add(event.handle)
                return True
        return False


class Capture:
    """Collects packets for one client; ``receive`` is a Tap.

    ``links``: selects packets; None selects all. ``payload``: False replaces what follows the L2CAP header by zeros,
    except on the signalling channels.
    """

    def __init__(self, links: LinkFilter | None, *, payload: bool) -> None:
        self._links = links
        self._payload = payload
        self._records: list[bytes] = []
        self._waiting = 0
        self._more = asyncio.Event()
        self.dropped = 0

    def receive(self, received: bool, packet_type: int, packets: list[bytes]) -> None:
        now_us = time.time_ns() // 1000
        for packet in packets:
            if self._links is not None and not self._links.wants(packet_type, packet):
                continue
            kept = packet if self._payload or packet_type != ACL_DATA else without_payload(packet)
            if self._waiting + len(kept) + btsnoop.OVERHEAD > MAX_WAITING:
                self.dropped += 1
                continue
            record = btsnoop.pack_record(
                kept, received=received, packet_type=packet_type, drops=self.dropped, unix_time_us=now_us
            )
            self._records.append(record)
            self._waiting += len(record)
        if self._records:
            self._more.set()

    async def take(self) -> tuple[bytes, int]:
        """Waits for packets and returns (whole records, how many they are); (b"", 0) after TURN_S without any."""
        try:
            async with asyncio.timeout(TURN_S):
                await self._more.wait()
        except TimeoutError:
            return b"", 0
        self._more.clear()
        records, self._records = self._records, []
        self._waiting = 0
        return b"".join(records), len(records)


class Captures:
    """Runs the captures of one adapter; ``set_tap`` is ``SharedAdapter.set_tap``."""

    def __init__(self, set_tap: Callable[[Tap | None], None]) -> None:
        self._set_tap = set_tap
        self._captures: list[Capture] = []
        self._keys = KeyMask()

    @contextmanager
    def open(self, links: LinkFilter | None, *, payload: bool) -> Iterator[Capture]:
        """Captures while the block runs. Raises RequestError if MAX_CAPTURES run already."""
        if len(self._captures) >= MAX_CAPTURES:
            raise RequestError(f"{MAX_CAPTURES} captures run already")
        capture = Capture(links, payload=payload)
        if not self._captures:
            self._keys = KeyMask()  # what was between the last capture and this one, nobody has seen
        self._captures.append(capture)
        self._set_tap(self._show)
        try:
            yield capture
        finally:
            self._captures.remove(capture)
            if not self._captures:
                self._set_tap(None)

    def _show(self, received: bool, packet_type: int, packets: list[bytes]) -> None:
        shown = [self._keys.mask(received, packet_type, packet) for packet in packets]
        for capture in self._captures:
            capture.receive(received, packet_type, shown)


def without_payload(packet: bytes) -> bytes:
    """Returns an ACL data packet with zeros after its L2CAP header, or after its ACL header if it is a continuation.

    The packet is not cut short, although a record has a field for the original length: btmon takes that for the length
    of what is there.
    """
    kept = _ACL_HEADER
    if not int.from_bytes(packet[:2], "little") & _CONTINUATION:
        if int.from_bytes(packet[_ACL_HEADER + 2 : _ACL_HEADER + 4], "little") in SIGNALLING_CIDS:
            return packet
        kept += _L2CAP_HEADER
    return packet[:kept].ljust(len(packet), b"\0")
