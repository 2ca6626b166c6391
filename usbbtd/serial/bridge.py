"""The bridge's end of a serial line: sessions, requests, SDUs, of one client at a time. No input or output.

Its user takes the events after each ``receive`` and ``handle_time``, answers the requests among them, and puts on the
line what ``take_output`` returns whenever the line has taken what it had before.
"""

from collections import deque
from collections.abc import Iterable
from errno import EEXIST, EINVAL, EMFILE, ENOTCONN, EOPNOTSUPP

from usbbtd.serial import wire
from usbbtd.serial.events import (
    BridgeEvent,
    CreditReceived,
    InfoAsked,
    ObjectBroken,
    ReleaseAsked,
    SduReceived,
    SessionBegan,
    SessionEnded,
)
from usbbtd.serial.framing import Deframer, encode
from usbbtd.serial.limits import SerialLimits
from usbbtd.serial.numbered import NumberedFrames, Numberless
from usbbtd.serial.objects import CHANNELS, SerialObject
from usbbtd.serial.requests import MAKERS, read_request
from usbbtd.serial.states import SerialInput, SerialState
from usbbtd.serial.wire import FrameKind, SerialChannelFacts, SerialCommand, SerialFrame, SerialInfo

_NO_SESSION = 0
_REQUEST_HEADER_SIZE = 2
_EMPTY_FACTS = wire.pack_channel(SerialChannelFacts())
_EMPTY_ECHO = wire.pack_echo(0, 0, b"")


class SerialBridge:
    """One bridge. ``session_before``: any number from 1 to 65535, at random; the first session has the next one."""

    def __init__(self, session_before: int, limits: SerialLimits | None = None) -> None:
        self.limits = limits or SerialLimits()
        self.objects: dict[int, SerialObject] = {}
        self._deframer = Deframer()
        self._counters = {"frames": 0, "frames_passed_over": 0, "sessions": 0}
        self._session = _NO_SESSION
        self._session_before = session_before
        self._cookie = 0
        self._is_fresh = False  # nothing of the session has come yet but its OPEN
        self._frames = NumberedFrames(self.limits)
        self._repeated = 0  # in sessions before
        self._heard = 0.0
        self._info_asked = False
        self._replies: deque[Numberless] = deque()
        self._turns: deque[SerialObject] = deque()  # objects with something for the line, in turn
        self._events: list[BridgeEvent] = []
        self._unnumbered: list[SerialFrame] = [SerialFrame(FrameKind.CLOSED, _NO_SESSION)]

    @property
    def session(self) -> int:
        """Returns the number of the session, 0 without one."""
        return self._session

    def receive(self, untrusted_octets: bytes, now: float) -> None:
        """Takes octets from the line."""
        for untrusted_content in self._deframer.receive(untrusted_octets):
            self._counters["frames"] += 1
            if (frame := wire.unpack_frame(untrusted_content)) is None or not self._receive_frame(frame, now):
                self._counters["frames_passed_over"] += 1

    def take_events(self) -> list[BridgeEvent]:
        """Returns what has happened, and forgets it."""
        events, self._events = self._events, []
        return events

    def take_output(self, now: float) -> bytes:
        """Returns the octets that go on the line now."""
        frames, session = self._frames, self._session
        while frames.room and (frame := self._next_frame()) is not None:
            frames.add(frame, now)
        output, self._unnumbered = self._unnumbered, []
        if session != _NO_SESSION:
            for seq, (kind, number, payload) in frames.take_frames(now):
                output.append(SerialFrame(kind, session, seq, frames.expected, number, payload))
            if (reply := frames.take_reply()) is not None:
                output.append(SerialFrame(reply, session, 0, frames.expected))
        return b"".join(encode(wire.pack_frame(frame)) for frame in output)

    @property
    def deadline(self) -> float | None:
        """Returns when ``handle_time`` has to be called, if nothing else happens before."""
        times = [time for time in (self._frames.deadline, self._frames.lost_at) if time is not None]
        if self.objects:
            times.append(self._heard + self.limits.silent_s)
        return min(times, default=None)

    def handle_time(self, now: float) -> None:
        """Does what the time makes necessary: sends again, asks whether the client is there, or ends the session."""
        if self._session == _NO_SESSION:
            return
        if self._frames.lost_at is not None and now >= self._frames.lost_at:
            self.end_session(f"the client has acknowledged nothing for {self.limits.lost_s:g} s")
            return
        self._frames.handle_time(now)
        if self.objects and now - self._heard >= self.limits.silent_s:
            self._heard = now
            if not self._replies:
                self._replies.append((FrameKind.NOTHING, 0, b""))

    def end_session(self, reason: str) -> None:
        """Ends the session, if there is one, and tells the client. ``reason``: for people."""
        if self._session == _NO_SESSION:
            return
        self._unnumbered.append(SerialFrame(FrameKind.CLOSED, self._session))
        self._events.append(SessionEnded(self._session, reason))
        for made in self.objects.values():
            made.step(SerialInput.FORGET)
        self.objects.clear()
        self._turns.clear()
        self._replies.clear()
        self._info_asked = False
        self._session = _NO_SESSION
        self._repeated += self._frames.repeated
        self._frames = NumberedFrames(self.limits)

    def hang_up(self, reason: str) -> None:
        """Ends the session because the line has ended; nothing of this line goes on the next one."""
        self.end_session(reason)
        self._deframer = Deframer()
        self._unnumbered = [SerialFrame(FrameKind.CLOSED, _NO_SESSION)]

    # Answers to requests. Those of an object whose request is answered, or whose session is over, do nothing.

    def answer_info(self, info: SerialInfo) -> None:
        """Answers an INFO."""
        if self._info_asked:
            self._info_asked = False
            self._respond(0, SerialCommand.INFO, 0, wire.pack_info(info))

    def succeed(self, made: SerialObject) -> None:
        """Answers LISTEN, SCAN or ADVERTISE with success."""
        if made.state is SerialState.ASKED:
            made.step(SerialInput.SUCCEED)
            self._respond(made.number, made.command, 0)

    def open_channel(self, made: SerialObject, facts: SerialChannelFacts) -> None:
        """Answers CONNECT or ACCEPT with a channel that is open. ``facts.credits`` is not looked at."""
        if made.state is SerialState.ASKED:
            made.step(SerialInput.SUCCEED)
            made.mtu = facts.rx_mtu
            made.open_channel(min(facts.tx_mtu, self.limits.mtu), self.limits)
            facts = facts._replace(tx_mtu=made.tx_mtu, credits=made.from_client)
            self._respond(made.number, made.command, 0, wire.pack_channel(facts))

    def answer_echo(self, made: SerialObject, answer: bytes) -> None:
        """Answers ECHO with what the peer has sent."""
        if made.state is SerialState.ASKED:
            self._drop(made, SerialInput.FAIL)
            self._respond(made.number, made.command, 0, wire.pack_echo(len(answer), 0, answer))

    def fail(self, made: SerialObject, error: int, facts: SerialChannelFacts | None = None) -> None:
        """Answers the request that makes an object with a (positive) error number; ``facts`` say more of a channel."""
        if made.state is SerialState.ASKED:
            self._drop(made, SerialInput.FAIL)
            self._respond_failure(made.number, made.command, error, facts)

    def forget(self, made: SerialObject) -> None:
        """Answers RELEASE: the object has ended."""
        if made.state is SerialState.RELEASING:
            self._drop(made, SerialInput.FORGET)
            self._respond(made.number, SerialCommand.RELEASE, 0)

    # What happens to objects that are open; for others it does nothing.

    def send(self, made: SerialObject, sdu: bytes) -> None:
        """Sends an SDU to the client; the object must have ``room``, unless it has ended meanwhile."""
        if made.room > 0:
            made.put(sdu)
            self._give_turn(made)

    def give_credit(self, made: SerialObject) -> None:
        """Lets the client send one SDU more."""
        if made.state is SerialState.OPEN and made.ending is None:
            made.from_client += 1
            made.given += 1
            self._give_turn(made)

    def end(self, made: SerialObject, error: int) -> None:
        """Tells the client, after all SDUs, that an object has ended by itself. ``error``: a positive number."""
        if made.state is SerialState.OPEN and made.ending is None:
            made.ending = -error
            self._give_turn(made)

    def statistics(self) -> dict[str, int]:
        """Returns counters, and how many objects there are."""
        repeated = self._repeated + self._frames.repeated
        dropped = self._deframer.dropped
        return self._counters | {"objects": len(self.objects), "repeated": repeated, "garbled": dropped}

    def _next_frame(self) -> Numberless | None:
        """Returns the next frame that gets a number: responses first, then objects in turn."""
        if self._replies:
            return self._replies.popleft()
        while self._turns:
            made = self._turns.popleft()
            if made.waits:
                kind, payload = made.take_frame()
                self._give_turn(made)
                return kind, made.number, payload
        return None

    def _give_turn(self, made: SerialObject) -> None:
        if made.waits and made not in self._turns:
            self._turns.append(made)

    def _receive_frame(self, untrusted: SerialFrame, now: float) -> bool:
        """Takes a frame, and tells whether it meant anything."""
        if untrusted.kind == FrameKind.OPEN:
            return self._receive_open(untrusted.payload, now)
        if self._session == _NO_SESSION or untrusted.session != self._session:
            if untrusted.kind >= wire.FIRST_NUMBERED and len(self._unnumbered) < wire.WINDOW:
                self._unnumbered.append(SerialFrame(FrameKind.CLOSED, untrusted.session))
            return False
        self._heard = now
        self._frames.receive_ack(untrusted.ack, now)
        match untrusted.kind:
            case FrameKind.CLOSED:
                self.end_session("the client has ended it")
            case FrameKind.ACK:
                pass
            case FrameKind.REPEAT:
                self._frames.receive_repeat()
            case kind if kind < wire.FIRST_NUMBERED or len(self._replies) >= self.limits.replies:
                return False
            case kind:
                self._is_fresh = False
                if not self._frames.receive_number(untrusted.seq):
                    return False
                self._receive_numbered(kind, untrusted.id, untrusted.payload)
        return True

    def _receive_open(self, untrusted_payload: bytes, now: float) -> bool:
        if (opening := wire.unpack_open(untrusted_payload)) is None:
            return False
        cookie, version = opening
        if version != wire.VERSION:
            self._say_opened(_NO_SESSION, cookie)
            return True
        if not (self._session and self._is_fresh and cookie == self._cookie):
            self.end_session("the client has begun another one")
            self._unnumbered.clear()  # what was said of sessions before
            self._session_before = self._session = self._session_before % wire.LAST_SESSION + 1
            self._frames = NumberedFrames(self.limits)
            self._cookie, self._is_fresh, self._heard = cookie, True, now
            self._counters["sessions"] += 1
            self._events.append(SessionBegan(self._session))
        self._say_opened(self._session, cookie)
        return True

    def _say_opened(self, session: int, cookie: int) -> None:
        if len(self._unnumbered) < wire.WINDOW:
            payload = wire.pack_open(cookie, wire.VERSION)
            self._unnumbered.append(SerialFrame(FrameKind.OPENED, session, payload=payload))

    def _receive_numbered(self, kind: int, number: int, untrusted_payload: bytes) -> None:
        made = self.objects.get(number)
        match kind:
            case FrameKind.REQUEST:
                self._receive_request(number, untrusted_payload)
            case FrameKind.MORE | FrameKind.LAST if made is not None and made.command in CHANNELS:
                sdu = made.receive_part(untrusted_payload, is_last=kind == FrameKind.LAST)
                self._judge(made, [] if sdu is None else [SduReceived(made, sdu)])
            case FrameKind.CREDIT if made is not None and len(untrusted_payload) == 1:
                more = made.receive_credit(untrusted_payload[0])
                self._judge(made, [CreditReceived(made)] if more else [])
            case _:
                self._counters["frames_passed_over"] += 1

    def _judge(self, made: SerialObject, events: Iterable[BridgeEvent]) -> None:
        """Tells what came of a frame for an object; if the frame has broken it, that."""
        if made.broken:
            made.broken = False
            self._events.append(ObjectBroken(made))
            self._give_turn(made)
        else:
            self._events += events

    def _receive_request(self, number: int, untrusted: bytes) -> None:
        if len(untrusted) < _REQUEST_HEADER_SIZE:
            self._counters["frames_passed_over"] += 1
            return
        command, flags, untrusted_body = untrusted[0], untrusted[1], untrusted[_REQUEST_HEADER_SIZE:]
        if command == SerialCommand.RELEASE:
            self._receive_release(number, well_formed=not flags and not untrusted_body)
        elif command == SerialCommand.INFO:
            if number or flags or untrusted_body or self._info_asked:
                self._respond_failure(number, command, EMFILE if self._info_asked else EINVAL)
            else:
                self._info_asked = True
                self._events.append(InfoAsked())
        elif command not in MAKERS:
            self._respond_failure(number, command, EOPNOTSUPP)
        else:
            self._receive_maker(number, command, flags, untrusted_body)

    def _receive_maker(self, number: int, command: int, flags: int, untrusted_body: bytes) -> None:
        asked = read_request(number, command, flags, untrusted_body, self.objects, self.limits)
        error = asked if isinstance(asked, int) else 0
        if not error and number == 0:
            error = EINVAL
        elif not error and number in self.objects:
            error = EEXIST
        elif not error and len(self.objects) >= self.limits.objects:
            error = EMFILE
        if isinstance(asked, int) or error:
            self._respond_failure(number, command, error)
        else:
            self.objects[number] = asked.object
            self._events.append(asked)

    def _receive_release(self, number: int, *, well_formed: bool) -> None:
        made = self.objects.get(number)
        if made is None or not well_formed or made.state is SerialState.RELEASING:
            self._respond_failure(number, SerialCommand.RELEASE, EINVAL)
            return
        if made.state is SerialState.ASKED:
            self._respond_failure(number, made.command, ENOTCONN)
        made.step(SerialInput.RELEASE)
        self._events.append(ReleaseAsked(made))

    def _respond(self, number: int, command: int, ret: int, body: bytes = b"") -> None:
        self._replies.append((FrameKind.RESPONSE, number, wire.pack_response(command, ret, body)))

    def _respond_failure(self, number: int, command: int, error: int, facts: SerialChannelFacts | None = None) -> None:
        body = b""
        if command in CHANNELS:
            body = _EMPTY_FACTS if facts is None else wire.pack_channel(facts)
        elif command == SerialCommand.ECHO:
            body = _EMPTY_ECHO if facts is None else wire.pack_echo(0, facts.status, b"")
        self._respond(number, command, -error, body)

    def _drop(self, made: SerialObject, event: SerialInput) -> None:
        made.step(event)
        del self.objects[made.number]
