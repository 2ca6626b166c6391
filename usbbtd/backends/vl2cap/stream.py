"""The backend's end of a guest's data ring: mapped pages and an event channel."""

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from usbbtd.abi import layout
from usbbtd.errors import RemoteProtocolError
from usbbtd.xen.dataring import DataRing
from usbbtd.xen.xen import SharedMemory

MIN_ORDER = layout.constants.L2CAPIF_MIN_RING_ORDER
MESSAGE_OVERHEAD: int = layout.constants.L2CAPIF_LENGTH_SIZE

_unpack_intf = layout.record("struct l2capif_data_intf").unpack_from
_RING_ORDER = 10  # the index of ring_order among the fields; the grant references follow it


class GuestStream:
    """Carries messages over a guest's data ring, which it maps, and whose event channel it binds.

    Messages that do not fit wait in a queue, which the owner has to bound. Raises XenError if a grant reference or the
    port cannot be used, and RemoteProtocolError if the page of indices has no ``ring_order`` up to ``max_order``.
    """

    def __init__(
        self, xen: SharedMemory, domid: int, ref: int, port: int, max_order: int, handler: Callable[[], None]
    ) -> None:
        self._queue: list[bytes] = []
        self._unread: deque[int] = deque()  # sizes in the ring of the messages that the guest has not read
        self._unread_octets = 0  # their sum
        self._written = self._written_octets = 0  # in the ring so far: messages, and their sizes there
        self._consumed_octets = 0  # what the guest has consumed of the first of them
        self._error = 0
        with ExitStack() as stack:
            indices = xen.grants.map(domid, [ref])
            stack.callback(indices.close)
            untrusted_intf = _unpack_intf(indices.memory)  # read once
            untrusted_order = untrusted_intf[_RING_ORDER]
            if not MIN_ORDER <= untrusted_order <= max_order:
                raise RemoteProtocolError(f"ring_order {untrusted_order} is not {MIN_ORDER} to {max_order}")
            first = _RING_ORDER + 1
            data = xen.grants.map(domid, untrusted_intf[first : first + (1 << untrusted_order)])
            stack.callback(data.close)
            self.ring = DataRing(indices.memory, data.memory, frontend=False)
            stack.callback(self.ring.close)
            self._event_channel = xen.evtchn.bind_interdomain(domid, port, handler)
            stack.callback(self._event_channel.close)
            self._resources = stack.pop_all()

    @property
    def queued(self) -> int:
        """Returns the number of messages that wait for space in the ring."""
        return len(self._queue)

    @property
    def written_bytes(self) -> int:
        """Returns the number of bytes in all messages that were ever written into the ring."""
        return self._written_octets - self._written * MESSAGE_OVERHEAD

    def write(self, messages: list[bytes]) -> bool:  # hot: per wake-up
        """Queues the messages and moves what fits into the ring. Raises RemoteProtocolError for a broken ring.

        Returns True if the guest has read meanwhile and sends no event for that: call ``take_consumed`` then.
        """
        self._queue.extend(messages)
        self._move()
        return self._expect_consumed()

    def take_consumed(self) -> int:  # hot: per wake-up
        """Returns how many messages the guest has read since the last call, and moves queued ones into the ring.

        Raises RemoteProtocolError for a broken ring.
        """
        count = 0
        while True:
            count += self._count_consumed()
            if count and (self._queue or self._error):
                self._move()
            if not self._expect_consumed():
                return count

    def read(self, limit_octets: int) -> list[bytes]:  # hot: per wake-up
        """Returns whole messages from the guest, up to ``limit_octets`` but one at least; [] if there are none.

        Raises RemoteProtocolError for a broken ring.
        """
        messages, notify = self.ring.read(limit_octets)
        if notify:
            self.notify()
        return messages

    def end(self, error: int) -> None:
        """Ends the direction to the guest, which reads ``error``, a negative XEN_E*, after the last message."""
        self._error = error
        self._move()

    def end_or_wake(self, error: int) -> None:
        """Ends as ``end`` does. A ring that the guest broke can tell it nothing: then it is only woken."""
        try:
            self.end(error)
        except RemoteProtocolError:
            self.notify()

    def notify(self) -> None:
        """Wakes the guest."""
        self._event_channel.notify()

    def close(self) -> None:
        """Gives everything back to the guest. Idempotent."""
        self._resources.close()
        self._queue.clear()

    def _count_consumed(self) -> int:  # hot: per wake-up
        octets = self._consumed_octets + self.ring.consumed()
        unread = self._unread
        count = 0
        while unread and unread[0] <= octets:
            size = unread.popleft()
            octets -= size
            self._unread_octets -= size
            count += 1
        self._consumed_octets = octets
        return count

    def _expect_consumed(self) -> bool:  # hot: per wake-up
        """Asks for an event when half of what is unread has been read. Returns True if it has been already.

        Does not ask for a single message: the peer has credits for two at least, and a guest that answers each message
        wakes us with its answer anyway. Does not ask with a queue: the ring then asks for room, by the same event.
        """
        if self._queue or len(self._unread) < 2:
            return False
        return self.ring.expect_consumed(self._unread_octets // 2)

    def _move(self) -> None:  # hot: per wake-up
        queue = self._queue
        notify = False
        if queue:
            count, notify = self.ring.write(queue)
            unread_before = self._unread_octets
            for message in queue[:count]:
                size = len(message) + MESSAGE_OVERHEAD
                self._unread.append(size)
                self._unread_octets += size
            self._written_octets += self._unread_octets - unread_before
            self._written += count
            del queue[:count]
        if self._error and not queue:
            self.ring.set_error(self._error)
            self._error = 0
            notify = True
        if notify:
            self.notify()
