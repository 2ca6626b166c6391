"""The objects of a client, with the SDUs that wait for the line, and the credits of both directions."""

from collections import deque
from errno import EBADMSG
from typing import Any

from usbbtd.serial.limits import SerialLimits
from usbbtd.serial.states import TRANSITIONS, SerialInput, SerialState
from usbbtd.serial.wire import MAX_CREDITS, MAX_PAYLOAD, FrameKind, SerialCommand, pack_end
from usbbtd.transitions import next_state

#: The objects that may have SDUs from the client, and those that may have some for it.
CHANNELS = frozenset({SerialCommand.CONNECT, SerialCommand.ACCEPT})
STREAMS = CHANNELS | {SerialCommand.SCAN}


class SerialObject:
    """An object of a client. ``command``: of the request that makes it. ``first``: the credits
    that came with it. ``server``: what its driver serves it with.

    ``mtu``: the longest SDU that the client takes. ``to_client``: how many SDUs the client takes now; ``from_client``:
    how many it may send. ``tx_mtu``: the longest that it may send, once it is a channel that is open.
    """

    def __init__(self, number: int, command: int, first: int = 0, mtu: int = 0) -> None:
        self.number = number
        self.command = command
        self.server: Any = None
        self.mtu = mtu
        self.tx_mtu = 0
        self.to_client = first
        self.from_client = 0
        self.state = SerialState.ASKED
        self.given = 0  # credits that the client has not been told of
        self.ending: int | None = None  # the error of its END, which is sent after its SDUs
        self.broken = False  # by the client, which its user has not been told
        self._queue: deque[bytes] = deque()
        self._offset = 0  # how much of the first one is on its way
        self._parts = bytearray()  # of an SDU of the client's
        self._more = False  # the next part belongs to that

    @property
    def room(self) -> int:
        """Returns for how many SDUs to the client there are credits that are not used up."""
        return self.to_client - len(self._queue) if self.state is SerialState.OPEN and self.ending is None else 0

    @property
    def waits(self) -> bool:
        """Tells whether it has something for the line."""
        if self.state is not SerialState.OPEN:
            return False
        return bool(self._queue or self.given or self.ending is not None)

    def step(self, event: SerialInput) -> None:
        """Makes the transition for an input. Raises LocalProtocolError if there is none."""
        self.state = next_state(f"object {self.number}", TRANSITIONS, self.state, event)

    def put(self, sdu: bytes) -> None:
        """Adds an SDU for the client; there must be ``room``."""
        self._queue.append(sdu)

    def take_frame(self) -> tuple[int, bytes]:
        """Returns the kind and payload of what goes to the client next; it must be one that ``waits``."""
        if self.given:
            count, self.given = self.given, 0
            return FrameKind.CREDIT, bytes((count,))
        if not self._queue:
            error, self.ending = self.ending or 0, None
            self.step(SerialInput.END)
            return FrameKind.END, pack_end(error)
        sdu, begin = self._queue[0], self._offset
        self._offset += MAX_PAYLOAD
        if self._offset < len(sdu):
            return FrameKind.MORE, sdu[begin : self._offset]
        self._queue.popleft()
        self._offset = 0
        self.to_client -= 1
        return FrameKind.LAST, sdu[begin:]

    def receive_part(self, untrusted_part: bytes, *, is_last: bool) -> bytes | None:
        """Takes a part of an SDU of the client's, and returns the SDU with its last part.

        What breaks the rules ends the object with EBADMSG.
        """
        if self.state is not SerialState.OPEN or self.ending is not None:
            return None
        if not self._more:
            self.from_client -= 1
        self._parts += untrusted_part
        self._more = not is_last
        if self.from_client < 0 or len(self._parts) > self.tx_mtu or len(untrusted_part) > MAX_PAYLOAD:
            self.break_off()
        if not is_last or self.ending is not None:
            return None
        sdu = bytes(self._parts)
        self._parts.clear()
        return sdu

    def receive_credit(self, untrusted_count: int) -> bool:
        """Takes credits of the client's, and tells whether there are more now. Too many end the object."""
        if self.command not in STREAMS or self.state is not SerialState.OPEN or self.ending is not None:
            return False
        self.to_client += untrusted_count
        if untrusted_count == 0 or self.to_client > MAX_CREDITS:
            self.break_off()
            return False
        return True

    def break_off(self) -> None:
        """Ends the object because the client broke its rules; what waits for it is dropped."""
        self._queue.clear()
        self._parts.clear()
        self._offset = self.given = 0
        self.ending, self.broken = -EBADMSG, True

    def open_channel(self, tx_mtu: int, limits: SerialLimits) -> None:
        """Notes what the client may send."""
        self.tx_mtu, self.from_client = tx_mtu, limits.credits
