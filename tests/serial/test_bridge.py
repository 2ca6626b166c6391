"""The bridge against clients of any kind: honest ones by hand, and hostile ones."""

from errno import EBADMSG, EEXIST, EINVAL, EMFILE, ENODEV, ENOTCONN, EOPNOTSUPP
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serial.pair import ADDRESS, EchoingUser
from usbbtd.serial import wire
from usbbtd.serial.bridge import SerialBridge
from usbbtd.serial.events import ConnectAsked
from usbbtd.serial.framing import Deframer, encode
from usbbtd.serial.limits import SerialLimits, limits_at
from usbbtd.serial.wire import FrameKind, SerialCommand, SerialFrame

CONNECT = wire.CONNECT.pack(ADDRESS, 0, 0, 0x1001, 1000, 0, 5)


class Answer(NamedTuple):
    id: int
    command: int
    ret: int
    body: bytes


class ByHand:
    """A client whose frames a test makes."""

    def __init__(self, limits: SerialLimits | None = None) -> None:
        self.bridge = SerialBridge(0xFFFF, limits)
        self.user = EchoingUser(self.bridge)
        self.deframer = Deframer()
        self.seq = self.expected = 0
        self.now = 0.0
        self.take()
        self.say(FrameKind.OPEN, payload=wire.pack_open(5, 1), session=0)
        (opened,) = self.take()
        self.session = opened.session
        assert opened.kind == FrameKind.OPENED

    def say(self, kind: int, number: int = 0, payload: bytes = b"", session: int | None = None, seq: int = 0) -> None:
        session = self.session if session is None else session
        frame = SerialFrame(kind, session, seq, self.expected, number, payload)
        self.bridge.receive(encode(wire.pack_frame(frame, 0)), self.now)
        self.user.work()

    def number(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        self.say(kind, number, payload, seq=self.seq)
        self.seq = (self.seq + 1) % 256

    def ask(self, number: int, command: int, body: bytes = b"", flags: int = 0) -> None:
        self.number(FrameKind.REQUEST, number, bytes((command, flags)) + body)

    def take(self) -> list[SerialFrame]:
        """Returns what the bridge sends, and acknowledges it with the next frame."""
        contents = self.deframer.receive(self.bridge.take_output(self.now))
        frames = [frame for content in contents if (frame := wire.unpack_frame(content, wire.FROM_BRIDGE))]
        for frame in frames:
            if frame.kind >= wire.FIRST_NUMBERED:
                assert frame.seq == self.expected
                self.expected = (frame.seq + 1) % 256
        return frames

    def answers(self) -> list[Answer]:
        found = []
        while frames := self.take():
            for kind, _, _, _, number, payload in frames:
                if kind == FrameKind.RESPONSE:
                    ret = int.from_bytes(payload[2:4], "little", signed=True)
                    found.append(Answer(number, payload[0], ret, payload[4:]))
            self.say(FrameKind.ACK)
        return found

    def answer(self, number: int, command: int, body: bytes = b"", flags: int = 0) -> int:
        self.ask(number, command, body, flags)
        (answer,) = self.answers()
        assert (answer.id, answer.command) == (number, command)
        return answer.ret


@pytest.mark.parametrize(
    ("number", "command", "body", "flags", "error"),
    [
        (1, 7, b"", 0, EOPNOTSUPP),
        (1, 200, b"", 0, EOPNOTSUPP),
        (1, SerialCommand.CONNECT, CONNECT[:-1], 0, EINVAL),
        (1, SerialCommand.CONNECT, CONNECT + b"\x00", 0, EINVAL),
        (1, SerialCommand.CONNECT, CONNECT, 2, EINVAL),
        (0, SerialCommand.CONNECT, CONNECT, 0, EINVAL),
        (1, SerialCommand.CONNECT, wire.CONNECT.pack(ADDRESS, 3, 0, 1, 100, 0, 5), 0, EINVAL),
        (1, SerialCommand.CONNECT, wire.CONNECT.pack(ADDRESS, 0, 5, 1, 100, 0, 5), 0, EINVAL),
        (1, SerialCommand.CONNECT, wire.CONNECT.pack(ADDRESS, 0, 0, 1, 16385, 0, 5), 0, EINVAL),
        (1, SerialCommand.LISTEN, wire.LISTEN.pack(0x1001, 100, 0, 2, 0), 0, EINVAL),
        (1, SerialCommand.ACCEPT, wire.ACCEPT.pack(9, 1), 0, EINVAL),
        (1, SerialCommand.SCAN, wire.SCAN.pack(2, 1, 100), 0, EINVAL),
        (1, SerialCommand.ADVERTISE, wire.ADVERTISE.pack(0, 32, 0) + bytes(32), 0, EINVAL),
        (1, SerialCommand.ADVERTISE, wire.ADVERTISE.pack(0, 3, 0), 0, EINVAL),
        (1, SerialCommand.ECHO, wire.ECHO.pack(ADDRESS, 0, 37, 0) + bytes(37), 0, EINVAL),
        (1, SerialCommand.RELEASE, b"", 0, EINVAL),
        (1, SerialCommand.INFO, b"", 0, EINVAL),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be(number: int, command: int, body: bytes, flags: int, error: int) -> None:
    client = ByHand()
    assert client.answer(number, command, body, flags) == -error
    assert client.answer(1, SerialCommand.CONNECT, CONNECT) == 0


def test_ids_are_in_use_until_they_are_released() -> None:
    client = ByHand(SerialLimits(objects=2))
    assert client.answer(1, SerialCommand.CONNECT, CONNECT) == 0
    assert client.answer(1, SerialCommand.CONNECT, CONNECT) == -EEXIST
    assert client.answer(2, SerialCommand.CONNECT, CONNECT) == 0
    assert client.answer(3, SerialCommand.CONNECT, CONNECT) == -EMFILE
    assert client.answer(1, SerialCommand.RELEASE) == 0
    assert client.answer(1, SerialCommand.RELEASE) == -EINVAL
    assert client.answer(3, SerialCommand.CONNECT, CONNECT) == 0


def test_a_request_without_an_answer_is_given_up_by_release() -> None:
    client = ByHand()
    client.user.work = lambda: None  # type: ignore[method-assign]
    client.ask(1, SerialCommand.CONNECT, CONNECT)
    (asked,) = (event for event in client.bridge.take_events() if isinstance(event, ConnectAsked))
    client.ask(1, SerialCommand.RELEASE)
    client.bridge.fail(asked.object, ENODEV)
    client.bridge.forget(asked.object)
    answers = [(answer.command, answer.ret) for answer in client.answers()]
    assert answers == [(SerialCommand.CONNECT, -ENOTCONN), (SerialCommand.RELEASE, 0)]


@pytest.mark.parametrize(
    "frames",
    [
        [(FrameKind.LAST, b"x" * 240)] * 5,
        [(FrameKind.MORE, b"x" * 240)] * 9,
        [(FrameKind.CREDIT, b"\x00")],
        [(FrameKind.CREDIT, b"\xff")],
    ],
    ids=["without credit", "longer than tx_mtu", "no credit", "more than 255"],
)
def test_a_channel_whose_rules_are_broken_ends_alone(frames: list[tuple[int, bytes]]) -> None:
    client = ByHand()
    client.user._echo = lambda made: None  # type: ignore[method-assign]
    for number in (1, 2):
        assert client.answer(number, SerialCommand.CONNECT, CONNECT) == 0
    for kind, payload in frames:
        client.number(kind, 1, payload)
    ended = [(frame.id, frame.payload) for frame in client.take() if frame.kind == FrameKind.END]
    assert ended == [(1, wire.pack_end(-EBADMSG))]
    assert client.user.broken == 1
    assert client.answer(1, SerialCommand.RELEASE) == 0
    assert client.answer(2, SerialCommand.RELEASE) == 0


def test_who_never_acknowledges_is_not_listened_to() -> None:
    """Answers that nobody takes are not piled up; the session ends when its time is over."""
    client = ByHand()
    for _ in range(1000):
        client.ask(0, SerialCommand.INFO, b"x")
        client.seq = client.bridge._frames.expected
        client.bridge.take_output(client.now)
    assert len(client.bridge._replies) <= client.bridge.limits.replies
    client.now = 31.0
    client.bridge.handle_time(client.now)
    client.user.work()
    assert client.user.ended == ["the client has acknowledged nothing for 30 s"]


def test_another_version_gets_ours_and_no_session() -> None:
    client = ByHand()
    client.say(FrameKind.OPEN, payload=wire.pack_open(6, 2), session=0)
    (opened,) = client.take()
    assert (opened.session, wire.unpack_open(opened.payload)) == (0, (6, 1))
    assert client.bridge.session == client.session


def test_a_session_that_there_is_not_is_told_so() -> None:
    client = ByHand()
    client.say(FrameKind.NOTHING, session=client.session + 1)
    client.say(FrameKind.ACK, session=client.session + 1)
    (closed,) = client.take()
    assert (closed.kind, closed.session) == (FrameKind.CLOSED, client.session + 1)


def test_a_line_that_ends_takes_the_session_with_it() -> None:
    client = ByHand()
    assert client.answer(1, SerialCommand.CONNECT, CONNECT) == 0
    client.bridge.hang_up("the guest has gone")
    client.user.work()
    assert client.user.ended == ["the guest has gone"]
    (closed,) = client.take()
    assert (closed.kind, closed.session) == (FrameKind.CLOSED, 0)


def test_slow_lines_wait_longer() -> None:
    assert limits_at(None) == limits_at(115200) == SerialLimits()
    assert limits_at(9600).repeat_s == 4 * SerialLimits().repeat_s


LISTEN = bytes((SerialCommand.LISTEN, 0)) + wire.LISTEN.pack(1, 48, 0, 0, 0)
FRAMES = st.tuples(
    st.sampled_from([*FrameKind, 0, 6, 0x20, 0x7F]),
    st.integers(0, 3),
    st.integers(0, 4),
    st.one_of(
        st.binary(max_size=240),
        st.sampled_from([bytes((command, 0)) + CONNECT for command in SerialCommand]),
        st.sampled_from([b"\x04\x00", wire.pack_open(5, 1), wire.pack_open(6, 1), LISTEN]),
    ),
)  # fmt: skip


@given(frames=st.lists(st.one_of(FRAMES, st.binary(max_size=100)), max_size=40))
def test_a_hostile_client_harms_nobody(frames: list[tuple[int, int, int, bytes] | bytes]) -> None:
    """Whatever it says: no exception comes of it, bounds are kept, and a new session is served."""
    client = ByHand()
    for frame in frames:
        client.now += 0.1
        if isinstance(frame, bytes):
            client.bridge.receive(frame, client.now)
        else:
            kind, off, number, payload = frame
            session = client.bridge.session + (off == 3)
            seq = (client.bridge._frames.expected + off) % 256
            content = wire.pack_frame(SerialFrame(kind, session, seq, off, number, payload), 0)
            client.bridge.receive(encode(content), client.now)
        client.user.work()
        client.bridge.take_output(client.now)
        client.bridge.handle_time(client.now)
        assert len(client.bridge.objects) <= client.bridge.limits.objects
    client.bridge.receive(b"\x7e", client.now)
    client.seq = client.expected = 0
    client.deframer = Deframer()
    client.say(FrameKind.OPEN, payload=wire.pack_open(99, 1), session=0)
    client.session = client.bridge.session
    client.take()
    assert client.answer(1, SerialCommand.CONNECT, CONNECT) == 0
