"""Sends and receives messages through a data ring, for channels and scans.

There is no task, and no future unless somebody waits: a message that is there is returned without a turn of the event
loop, and an event wakes only the coroutine that waits for it, which reads or writes the ring itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import EBADMSG, ENODEV, ENOTCONN
from functools import partial

from usbbtd.errors import RemoteProtocolError
from usbbtd.guest.connection import Connection, SharedStream
from usbbtd.guest.errors import ChannelClosed, ChannelLost, closed

#: Returns the exception that says how a stream ended: a new one for each call that fails.
End = Callable[[], ChannelClosed]

_closed_here: End = partial(ChannelClosed, ENOTCONN, "closed by this program")


class Stream:
    """Our end of a data ring, whose pages it shares. ``max_message``: bytes of the longest message that the ring takes.

    Keeps at most one half of a ring that the program has not taken yet: the ring is read again when the program has
    taken all of it, so that the backend sees how far the program is.
    """

    def __init__(self, connection: Connection, order: int) -> None:
        self._connection = connection
        self._inbox: deque[bytes] = deque()  # read from the ring, not taken by the program yet
        self._reader: asyncio.Future[None] | None = None  # what receive() waits for
        self._writers: deque[asyncio.Future[None]] = deque()  # what each send() waits for; the first one writes
        self._end: End | None = None  # there when the stream has ended
        self._attached = True  # the ring may be touched
        self._has_sent = False
        self._finisher: asyncio.Future[None] | None = None  # what finish() waits for
        self.shared: SharedStream = connection.share(order, self)
        self._ring, self._notify = self.shared.ring, self.shared.notify
        self._spin_ns = connection.spin_ns
        self.max_message = self._ring.max_message

    async def receive(self) -> bytes:  # hot: per message
        """Waits for the next message and returns it. Raises ChannelClosed if none is left and none will come."""
        while not self._inbox:
            if not self._fill():
                await self._wait_readable()
        return self._inbox.popleft()

    async def receive_many(self) -> list[bytes]:  # hot: per batch
        """Waits for a message and returns all there are. Raises ChannelClosed if none is left and none will come."""
        while not self._inbox:
            if not self._fill():
                await self._wait_readable()
        messages = list(self._inbox)
        self._inbox.clear()
        return messages

    async def send(self, messages: Sequence[bytes]) -> None:  # hot: per batch
        """Puts all messages into the ring, in order; waits while it is full. Raises ChannelClosed.

        Several tasks may send: the messages of each call stay together. If it is cancelled, some messages may be sent.
        """
        sent = 0 if self._writers else self._put(messages)
        if sent < len(messages):
            await self._send_rest(messages[sent:])

    def end(self, end: End) -> None:
        """Ends the stream: sending raises what ``end`` returns; so does receiving, after what came. Idempotent."""
        if self._end is None:
            self._end = end
            for waiter in (self._reader, *self._writers):
                _wake(waiter)

    def receive_event(self) -> None:  # hot: per wake-up
        """Wakes those who wait, as the backend has written, consumed or ended something."""
        if error := self.shared.ended:
            self.end(partial(closed, -error))
        _wake(self._reader)
        _wake(self._finisher)
        if self._writers:
            _wake(self._writers[0])

    def connection_lost(self) -> None:
        """Reads what came before for the program, as the pages go now, and ends the stream."""
        try:
            while self._drain():
                pass
        finally:
            self._detach(partial(ChannelLost, ENODEV, "the driver domain's service went away"))

    async def finish(self, timeout_s: float) -> None:
        """Ends our direction, and waits until the backend has sent everything on and ends the other.

        Calls raise ChannelClosed from now on. What still comes is dropped: a full ring would hold the end up.
        """
        if self._end is not None:
            return
        self.end(_closed_here)
        if not self._has_sent:
            return
        self._ring.set_error(-ENOTCONN)
        self._notify()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._attached and not self.shared.ended:
                    self._finisher = asyncio.get_running_loop().create_future()
                    while self._attached and self._drain():  # which may find the ring broken
                        self._inbox.clear()
                        await asyncio.sleep(0)  # who sends without end must not keep us beyond the time
                    await self._finisher

    def close(self) -> None:
        """Ends the stream for the program: calls raise ChannelClosed. The pages stay until ``unshare``."""
        self._inbox.clear()
        self._detach(_closed_here)

    def unshare(self) -> None:
        """Takes the pages back, after the backend has let go of them."""
        self._connection.unshare(self.shared)

    def _detach(self, end: End) -> None:
        self._attached = False
        self.end(end)
        _wake(self._finisher)

    def _fill(self) -> bool:
        """Reads the ring into the inbox. Returns False if nothing is there; the next message then brings an event."""
        if self._attached:
            if self._end is None:
                self._spin(for_room=False)
            if self._drain():
                return True
            if self._end is None and (error := self._ring.peer_error):
                self.end(partial(closed, -error))
        if self._end is not None:
            raise self._end()
        return False

    def _spin(self, *, for_room: bool) -> bool:
        """Returns whether there may be a message, or room, by now: looks as long as the program has asked for that."""
        return self._spin_ns > 0 and self._ring.spin(self._spin_ns, for_room=for_room)

    def _drain(self) -> bool:
        try:
            messages, notify = self._ring.read()
        except RemoteProtocolError as exc:
            self._broken(exc)
            return False
        if notify:
            self._notify()
        self._inbox += messages
        return bool(messages)

    def _put(self, messages: Sequence[bytes]) -> int:
        if self._end is not None:
            raise self._end()
        try:
            sent, notify = self._ring.write(messages)
        except RemoteProtocolError as exc:
            self._broken(exc)
            return 0
        if notify:
            self._notify()
        self._has_sent = True
        return sent

    def _broken(self, error: RemoteProtocolError) -> None:
        """Ends the stream, because the backend broke the protocol of this ring, which is not touched any more."""
        self._detach(partial(ChannelClosed, EBADMSG, f"the driver domain broke the protocol: {error}"))

    async def _wait_readable(self) -> None:
        if self._reader is not None:
            raise RuntimeError("another task waits in recv() of this channel already")
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    async def _send_rest(self, messages: Sequence[bytes]) -> None:
        """Waits for its turn among the writers, and then for room, as often as it takes."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._writers.append(turn)
        try:
            while messages:
                if self._writers[0] is turn and (sent := self._put(messages)):
                    messages = messages[sent:]
                elif self._end is not None:
                    raise self._end()
                elif not (self._writers[0] is turn and self._spin(for_room=True)):
                    await turn
                    self._writers[self._writers.index(turn)] = turn = loop.create_future()
        finally:
            self._writers.remove(turn)
            if self._writers:
                _wake(self._writers[0])


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
