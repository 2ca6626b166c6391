"""Delivers frames once and in order over a line that loses some: docs/serial.md, "Numbered frames".

Both ends of a line work in this way, so nothing here says which of them it is.
"""

from collections import deque
from collections.abc import Iterator

from usbbtd.serial.limits import SerialLimits
from usbbtd.serial.wire import WINDOW, FrameKind

_MODULUS = 256

#: The kind of a frame, the id of its object, and its payload.
Numberless = tuple[int, int, bytes]


class NumberedFrames:
    """Numbers what one end sends, and judges the numbers of what it receives, in one session.

    ``deadline``: when something has to be done though nothing comes; None if nothing has. ``repeated``: how many frames
    were sent again.
    """

    def __init__(self, limits: SerialLimits) -> None:
        self.expected = 0
        self.deadline: float | None = None
        self.repeated = 0
        self._limits = limits
        self._window: deque[Numberless] = deque()  # without an acknowledgement, oldest first
        self._base = 0  # the number of the oldest
        self._sent = 0  # how many of them are on the line; the others are to be sent, or to be sent again
        self._tried = 0  # how many of them have been on the line at least once
        self._pause_s = limits.repeat_s
        self._since: float | None = None  # when something was acknowledged last, while something is to be
        self._reply: FrameKind | None = None  # owed to the other end, if no frame says it in passing
        self._ahead = 0  # how far the last frame was ahead of what was expected

    @property
    def room(self) -> int:
        """Returns how many frames may be added."""
        return WINDOW - len(self._window)

    @property
    def lost_at(self) -> float | None:
        """Returns when the other end counts as gone, unless it acknowledges something; None if it need not."""
        return None if self._since is None else self._since + self._limits.lost_s

    def add(self, frame: Numberless, now: float) -> None:
        """Adds a frame to be sent; there must be ``room``."""
        self._window.append(frame)
        if self._since is None:
            self._since = now

    def receive_ack(self, untrusted_ack: int, now: float) -> None:
        """Takes the number that the other end expects next; one that cannot be is passed over."""
        count = (untrusted_ack - self._base) % _MODULUS
        if not 0 < count <= self._tried:
            return
        for _ in range(count):
            self._window.popleft()
        self._base = untrusted_ack
        self._tried -= count
        self._sent = max(self._sent - count, 0)
        self._pause_s = self._limits.repeat_s
        self._since = now if self._window else None
        self.deadline = now + self._pause_s if self._sent else None

    def receive_repeat(self) -> None:
        """Has all that is not acknowledged sent again, as the other end has asked for; ``receive_ack`` comes before."""
        self._sent = 0

    def receive_number(self, untrusted_seq: int) -> bool:
        """Tells whether a frame with this number is the next one, which is acknowledged then."""
        behind = (self.expected - untrusted_seq) % _MODULUS
        if behind == 0:
            self.expected = (self.expected + 1) % _MODULUS
            self._ahead = 0
            self._reply = FrameKind.ACK
            return True
        if behind <= WINDOW:
            self._reply = self._reply or FrameKind.ACK
            return False
        ahead, self._ahead = self._ahead, _MODULUS - behind
        if self._ahead <= ahead or ahead == 0:  # the first of these, or the first after they were sent again
            self._reply = FrameKind.REPEAT
        return False

    def handle_time(self, now: float) -> None:
        """Has frames sent again if the time has come."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self._sent = 0
            self._pause_s = min(2 * self._pause_s, self._limits.longest_repeat_s)

    def take_reply(self) -> FrameKind | None:
        """Returns ACK or REPEAT if one has to be sent, when ``take_frames`` has nothing to say it in passing."""
        reply, self._reply = self._reply, None
        return reply

    def take_frames(self, now: float) -> Iterator[tuple[int, Numberless]]:
        """Yields (number, frame) of all that is to be put on the line now."""
        if self._sent == len(self._window):
            return
        for index in range(self._sent, len(self._window)):
            self.repeated += index < self._tried
            yield (self._base + index) % _MODULUS, self._window[index]
        self._sent = self._tried = len(self._window)
        if self._reply is FrameKind.ACK:
            self._reply = None  # each of these frames says it
        self.deadline = now + self._pause_s
