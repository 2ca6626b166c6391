"""frontend.py: alone against a lying backend, and in a pair with ours."""

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2capif import calls, wire
from usbbtd.l2capif.backend import Backend
from usbbtd.l2capif.calls import Kind
from usbbtd.l2capif.frontend import QUEUE_LIMIT, Frontend
from usbbtd.l2capif.limits import FrontendLimits

ADDRESS = bytes.fromhex("010000eeffc0")
INFO, CONNECT, LISTEN, ACCEPT, RELEASE, SCAN, ADVERTISE, AGENT, ECHO, PAIR = range(10)


def connect(frontend: Frontend, address_type: int = 0, psm: int = 0x1001) -> int:
    return frontend.connect(ADDRESS, address_type, psm, mtu=672, ref=8, evtchn=9)


def answer(frontend: Frontend, response: wire.Response) -> None:
    frontend.receive_responses([wire.pack(response)])


def opened(number: int, cmd: int = CONNECT, **change: Any) -> wire.ChannelResponse:
    return wire.ChannelResponse(number, cmd, number, 0, ADDRESS, 0, 0, 0x1001, 48, 672)._replace(**change)


def test_requests() -> None:
    frontend = Frontend()
    assert frontend.info() == 1
    channel = frontend.connect(ADDRESS, 2, 0x81, mtu=512, ref=8, evtchn=9, timeout_s=1.5)
    listener = frontend.listen(1, 0x83, mtu=256, backlog=4)
    accepted = frontend.accept(listener, ref=18, evtchn=19)
    scan = frontend.scan(ref=28, evtchn=29, active=True)
    advertisement = frontend.advertise(b"abc", interval_ms=40)
    echo = frontend.echo(ADDRESS, b"ping", timeout_s=1.5)
    released = frontend.release(channel)
    assert frontend.take_requests(3) == [
        wire.pack(wire.PlainRequest(1, INFO, 0)),
        wire.pack(wire.ConnectRequest(channel, CONNECT, channel, 0, 8, 9, ADDRESS, 2, 0, 0x81, 512, 1500)),
        wire.pack(wire.ListenRequest(listener, LISTEN, listener, 0, 0x83, 256, 4, 1, 0)),
    ]
    assert frontend.take_requests(0) == []
    assert frontend.take_requests(32) == [
        wire.pack(wire.AcceptRequest(accepted, ACCEPT, accepted, 0, 18, 19, listener)),
        wire.pack(wire.ScanRequest(scan, SCAN, scan, 1, 28, 29, 1)),
        wire.pack(wire.AdvertiseRequest(advertisement, ADVERTISE, advertisement, 1, 40, 3, b"abc")),
        wire.pack(wire.EchoRequest(echo, ECHO, echo, 0, ADDRESS, 0, 4, 1500, b"ping")),
        wire.pack(wire.PlainRequest(released, RELEASE, channel)),
    ]
    assert len({1, channel, listener, accepted, scan, advertisement, echo, released}) == 8


def test_requests_about_security() -> None:
    frontend = Frontend()
    channel = frontend.connect(ADDRESS, 2, 4, mtu=512, ref=8, evtchn=9, security=3, fixed=True)
    listener = frontend.listen(1, 0x83, mtu=256, security=2)
    agent = frontend.agent(4, ref=18, evtchn=19)
    pairing = frontend.pair(ADDRESS, 1, security=4, timeout_s=2)
    with_key = frontend.pair(ADDRESS, 2, oob=bytes(range(16)))
    with_values = frontend.pair(ADDRESS, 2, oob=bytes(range(32)))
    key, values = bytes(range(16)).ljust(32, b"\0"), bytes(range(32))
    assert frontend.take_requests(32) == [
        wire.pack(wire.ConnectRequest(channel, CONNECT, channel, 1, 8, 9, ADDRESS, 2, 3, 4, 512, 0)),
        wire.pack(wire.ListenRequest(listener, LISTEN, listener, 0, 0x83, 256, 0, 1, 2)),
        wire.pack(wire.AgentRequest(agent, AGENT, agent, 0, 18, 19, 4)),
        wire.pack(wire.PairRequest(pairing, PAIR, pairing, 0, ADDRESS, 1, 4, 2000, bytes(32))),
        wire.pack(wire.PairRequest(with_key, PAIR, with_key, 2, ADDRESS, 2, 0, 0, key)),
        wire.pack(wire.PairRequest(with_values, PAIR, with_values, 1, ADDRESS, 2, 0, 0, values)),
    ]


def test_requests_of_discovery() -> None:
    frontend = Frontend()
    inquiry = frontend.scan(ref=8, evtchn=9, active=True, extended=True, transport=0)
    advertisement = frontend.advertise_extended(7, 100, 31, interval_ms=40, connectable=False)
    assert frontend.take_requests(32) == [
        wire.pack(wire.ScanRequest(inquiry, SCAN, inquiry, 5, 8, 9, 0)),
        wire.pack(wire.AdvertiseExtendedRequest(advertisement, ADVERTISE, advertisement, 2, 7, 40, 100, 31)),
    ]


def test_a_pairing_is_over_when_it_is_answered() -> None:
    frontend = Frontend()
    number = frontend.pair(ADDRESS, 2, security=3)
    answer(frontend, wire.PairResponse(number, PAIR, number, 0, 4, 16, 1))
    other = frontend.pair(ADDRESS, 2)
    answer(frontend, wire.PairResponse(other, PAIR, other, -errno.EPERM, why=5, needed=2))
    assert [result.ret for result in frontend.take_results()] == [0, -errno.EPERM]
    with pytest.raises(LocalProtocolError):
        frontend.release(number)


@pytest.mark.parametrize(("asked", "level"), [(0, 1), (1, 0), (2, 3), (4, 4)])
def test_a_link_may_be_safer_than_asked_for(asked: int, level: int) -> None:
    frontend = Frontend()
    channel = frontend.connect(ADDRESS, 0, 0x1001, mtu=672, ref=8, evtchn=9, security=asked)
    answer(frontend, opened(channel, security=level))
    assert frontend.take_results() == [opened(channel, security=level)]


@pytest.mark.parametrize(("asked", "level"), [(0, 5), (2, 0), (2, 1), (3, 2), (4, 3)])
def test_a_link_may_not_be_less_safe_than_asked_for(asked: int, level: int) -> None:
    frontend = Frontend()
    channel = frontend.connect(ADDRESS, 0, 0x1001, mtu=672, ref=8, evtchn=9, security=asked)
    with pytest.raises(RemoteProtocolError):
        answer(frontend, opened(channel, security=level))
    listener = frontend.listen(0, 0x1001, mtu=672, security=asked)
    answer(frontend, wire.PlainResponse(listener, LISTEN, listener, 0))
    accepted = frontend.accept(listener, ref=8, evtchn=9)
    with pytest.raises(RemoteProtocolError):
        answer(frontend, opened(accepted, ACCEPT, security=level))
    pairing = frontend.pair(ADDRESS, 0, security=asked)
    with pytest.raises(RemoteProtocolError):
        answer(frontend, wire.PairResponse(pairing, PAIR, pairing, 0, level))


def test_results() -> None:
    frontend = Frontend()
    info = wire.InfoResponse(frontend.info(), INFO, 0, 0, ADDRESS, 0, 1, 15, 64, 2, 65532)
    channel = opened(connect(frontend))
    refused = opened(connect(frontend), ret=-errno.ECONNREFUSED, result=2)
    number = frontend.echo(ADDRESS, b"ping")
    echo = wire.EchoResponse(number, ECHO, number, 0, 100, 0, bytes(range(36)))
    answer(frontend, refused)
    answer(frontend, info)
    answer(frontend, channel)
    answer(frontend, echo)
    assert frontend.take_results() == [refused, info, channel, echo]
    assert frontend.take_results() == []
    with pytest.raises(LocalProtocolError):
        frontend.release(refused.id)
    released = wire.PlainResponse(frontend.release(channel.id), RELEASE, channel.id, 0)
    with pytest.raises(LocalProtocolError):
        frontend.release(channel.id)  # twice
    answer(frontend, released)
    assert frontend.take_results() == [released]
    assert frontend.statistics() == {"requests": 5, "responses": 5, "errors": 1, "objects": 0, "in_flight": 0}


def test_arguments_that_do_not_fit() -> None:
    frontend = Frontend()
    channel = connect(frontend)
    wrongs: list[Callable[[], int]] = [
        lambda: connect(frontend, psm=0x10000),
        lambda: connect(frontend, psm=-1),
        lambda: connect(frontend, address_type=256),
        lambda: frontend.connect(bytes(5), 0, 1, mtu=48, ref=8, evtchn=9),
        lambda: frontend.advertise(bytes(32)),
        lambda: frontend.echo(bytes(5), b""),
        lambda: frontend.pair(bytes(5), 2),
        lambda: frontend.pair(ADDRESS, 2, oob=bytes(17)),
        lambda: frontend.agent(256, ref=8, evtchn=9),
        lambda: frontend.advertise_extended(8, 1 << 16, 0),
        lambda: frontend.echo(ADDRESS, bytes(37)),
        lambda: frontend.accept(channel, ref=8, evtchn=9),
        lambda: frontend.accept(77, ref=8, evtchn=9),
        lambda: frontend.release(77),
    ]
    for wrong in wrongs:
        with pytest.raises(LocalProtocolError):
            wrong()
    assert len(frontend.take_requests(32)) == 1


def test_the_queue_is_bounded() -> None:
    frontend = Frontend()
    for _ in range(QUEUE_LIMIT):
        frontend.info()
    with pytest.raises(LocalProtocolError):
        frontend.info()
    frontend.take_requests(1)
    frontend.info()


def test_all_objects_may_be_released_at_once() -> None:
    frontend = Frontend()
    channels = []
    for _ in range(QUEUE_LIMIT + 1):
        channels.append(connect(frontend))
        frontend.take_requests(1)
        answer(frontend, opened(channels[-1]))
    for channel in channels:
        frontend.release(channel)
    assert len(frontend.take_requests(2 * QUEUE_LIMIT)) == QUEUE_LIMIT + 1


def test_numbers_wrap_and_pass_over_those_in_use() -> None:
    frontend = Frontend()
    first = connect(frontend)
    answer(frontend, opened(first))
    frontend._last_id = 0xFFFF_FFFE
    assert connect(frontend) == 0xFFFF_FFFF
    assert frontend.info() == first + 1


@pytest.mark.parametrize(
    "change",
    [
        {"req_id": 77}, {"cmd": ACCEPT}, {"id": 77}, {"ret": 1}, {"ret": -4096}, {"address_type": 1},
        {"address_type": 3}, {"psm": 0x1003}, {"tx_mtu": 47}, {"rx_mtu": 673}, {"rx_mtu": 47},
    ],
)  # fmt: skip
def test_lies_about_a_channel(change: dict[str, int]) -> None:
    frontend = Frontend()
    with pytest.raises(RemoteProtocolError):
        answer(frontend, opened(connect(frontend), **change))
    assert frontend.take_results() == []


@pytest.mark.parametrize("change", [{"address_type": 3}, {"powered": 2}])
def test_lies_about_the_adapter(change: dict[str, Any]) -> None:
    frontend = Frontend()
    info = wire.InfoResponse(frontend.info(), INFO, 0, 0, ADDRESS, 0, 1, 15, 64, 2, 65532)
    with pytest.raises(RemoteProtocolError):
        answer(frontend, info._replace(**change))


def test_a_response_twice() -> None:
    frontend = Frontend()
    response = opened(connect(frontend))
    answer(frontend, response)
    with pytest.raises(RemoteProtocolError):
        answer(frontend, response)


def test_a_release_before_what_it_ends() -> None:
    frontend = Frontend()
    channel = connect(frontend)
    released = frontend.release(channel)
    with pytest.raises(RemoteProtocolError):
        answer(frontend, wire.PlainResponse(released, RELEASE, channel, 0))


def test_a_release_that_crosses_a_failure() -> None:
    frontend = Frontend()
    channel = connect(frontend)
    released = frontend.release(channel)
    answer(frontend, opened(channel, ret=-errno.ETIMEDOUT))
    answer(frontend, wire.PlainResponse(released, RELEASE, channel, -errno.EINVAL))
    assert [result.ret for result in frontend.take_results()] == [-errno.ETIMEDOUT, -errno.EINVAL]
    assert frontend.statistics()["objects"] == 0


def test_an_accepted_channel_is_of_its_listener() -> None:
    frontend = Frontend()
    listener = frontend.listen(1, 0x81, mtu=256)
    answer(frontend, wire.PlainResponse(listener, LISTEN, listener, 0))
    number = frontend.accept(listener, ref=8, evtchn=9)
    good = opened(number, ACCEPT, address_type=2, psm=0x81, tx_mtu=23, rx_mtu=256)
    with pytest.raises(RemoteProtocolError):
        answer(frontend, good._replace(psm=0x83))
    answer(frontend, good)
    assert frontend.take_results()[1] == good


def test_close_answers_everything() -> None:
    frontend = Frontend()
    sent = [frontend.info(), connect(frontend), frontend.advertise(b"")]
    frontend.take_requests(2)
    frontend.close()
    frontend.close()
    assert [(r.req_id, r.ret) for r in frontend.take_results()] == [(req_id, -errno.ENODEV) for req_id in sent]
    assert frontend.take_requests(32) == []
    with pytest.raises(LocalProtocolError):
        frontend.info()
    with pytest.raises(RemoteProtocolError):
        answer(frontend, opened(sent[1]))


@given(st.lists(st.binary(max_size=80) | st.binary(min_size=64, max_size=64), min_size=1, max_size=8))
def test_soup(responses: list[bytes]) -> None:
    frontend = Frontend()
    connect(frontend)
    try:
        frontend.receive_responses(responses)
    except RemoteProtocolError:
        return
    assert len(frontend.take_results()) == len(responses)


@given(st.binary(min_size=48, max_size=48), st.integers(-5000, 5))
def test_bodies_are_soup(body: bytes, ret: int) -> None:
    frontend = Frontend()
    number = connect(frontend)
    head = wire.PlainResponse(number, CONNECT, number, ret, body)
    try:
        answer(frontend, head)
    except RemoteProtocolError:
        return
    (result,) = frontend.take_results()
    assert isinstance(result, wire.ChannelResponse)
    assert ret or (result.address_type, result.psm) == (0, 0x1001)


class Pair(RuleBasedStateMachine):
    """Our frontend and our backend, an adapter that does as it likes, and a hostile guest beside the frontend.

    The hostile requests have numbers of their own, from 2^31, and share the limits.
    """

    LIMITS = FrontendLimits(channels=6, listeners=2, requests=8, backlog=2)
    HOSTILE = 1 << 31

    def __init__(self) -> None:
        super().__init__()
        self.frontend = Frontend()
        self.backend = Backend(self.LIMITS)
        self.pending: list[calls.Call] = []
        self.sent: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()
        self.made: dict[int, Kind] = {}
        self.offers = 0

    def send(self, number: int, kind: Kind | None = None) -> None:
        self.sent[number] += 1
        if kind is not None:
            self.made[number] = kind

    def some(self, index: int, *kinds: Kind) -> int | None:
        numbers = [number for number, kind in self.made.items() if kind in kinds]
        return numbers[index % len(numbers)] if numbers else None

    @rule(le=st.booleans())
    def connect(self, le: bool) -> None:
        self.send(connect(self.frontend, 2 * le, 0x81 if le else 0x1001), Kind.CHANNEL)

    @rule()
    def listen(self) -> None:
        self.send(self.frontend.listen(0, 0x1001, mtu=672), Kind.LISTENER)

    @rule(index=st.integers(0, 9))
    def accept(self, index: int) -> None:
        if (listener := self.some(index, Kind.LISTENER)) is not None:
            self.send(self.frontend.accept(listener, ref=8, evtchn=9), Kind.CHANNEL)

    @rule(scan=st.booleans())
    def stream(self, scan: bool) -> None:
        if scan:
            self.send(self.frontend.scan(ref=8, evtchn=9), Kind.SCAN)
        else:
            self.send(self.frontend.advertise(b"abc"), Kind.ADVERTISEMENT)

    @rule()
    def info(self) -> None:
        self.send(self.frontend.info())

    @rule()
    def echo(self) -> None:
        self.send(self.frontend.echo(ADDRESS, b"ping"), Kind.ECHO)

    @rule()
    def pair(self) -> None:
        self.send(self.frontend.pair(ADDRESS, 2, security=3), Kind.PAIRING)

    @rule()
    def agent(self) -> None:
        self.send(self.frontend.agent(1, ref=8, evtchn=9), Kind.AGENT)

    @rule(index=st.integers(0, 9))
    def release(self, index: int) -> None:
        if (number := self.some(index, *Kind)) is not None:
            self.send(self.frontend.release(number))
            del self.made[number]

    @rule(
        cmd=st.integers(0, 10),
        number=st.integers(0, 3),
        body=st.sampled_from([b"", b"\1", b"\1\0\0\0\2\0\0\0\1\0\0\x80"]),
    )
    def hostile(self, cmd: int, number: int, body: bytes) -> None:
        req_id = self.HOSTILE + number
        self.sent[req_id] += 1
        request = wire.PlainRequest(req_id, cmd, 0 if cmd == INFO else req_id, 0, body)
        self.backend.receive_requests([wire.pack(request)])

    @initialize()
    def listener_opens(self) -> None:
        self.listen()
        self.all_goes_well()

    @rule()
    def all_goes_well(self) -> None:
        self.to_backend(32)
        while self.pending:
            self.work(0, True)
        self.to_frontend()

    @rule(room=st.integers(0, 32))
    def to_backend(self, room: int) -> None:
        self.backend.receive_requests(self.frontend.take_requests(room))
        self.pending += self.backend.take_calls()

    @rule()
    def to_frontend(self) -> None:
        for response in self.backend.take_responses():
            number = wire.unpack(wire.PlainResponse, response).req_id
            self.answered[number] += 1
            if number < self.HOSTILE:
                self.frontend.receive_responses([response])
        for result in self.frontend.take_results():
            if result.ret or isinstance(result, wire.EchoResponse | wire.PairResponse):
                self.made.pop(result.id, None)

    @rule(index=st.integers(0, 99), good=st.booleans())
    def work(self, index: int, good: bool) -> None:
        self.pending += self.backend.take_calls()
        if not self.pending:
            return
        call = self.pending.pop(index % len(self.pending))
        if isinstance(
            call, calls.ReleaseCall
        ):  # the driver gives up what it did for the object, and answers nothing of it
            self.pending = [other for other in self.pending if getattr(other, "id", None) != call.id]
            self.backend.complete(call.req_id)
        elif isinstance(call, calls.RefuseCall):
            pass
        elif isinstance(call, calls.AcceptCall) and not good and index % 2:
            self.backend.withdraw(call.offer)
        elif not good:
            self.backend.fail(call.req_id, errno.EACCES)
        elif isinstance(call, calls.InfoCall):
            self.backend.complete_info(call.req_id, ADDRESS, 0, powered=True, features=3)
        elif isinstance(call, calls.ConnectCall):
            self.backend.complete_channel(call.req_id, call.address, call.address_type, call.psm, 48, call.mtu)
        elif isinstance(call, calls.AcceptCall):
            self.backend.complete_channel(call.req_id, ADDRESS, 0, 0x1001, 48, call.mtu)
        elif isinstance(call, calls.EchoCall):
            self.backend.complete_echo(call.req_id, call.data)
        elif isinstance(call, calls.PairCall):
            self.backend.complete_pairing(call.req_id, call.security, 16, bonded=True)
        else:
            self.backend.complete(call.req_id)

    @rule(index=st.integers(0, 9))
    def peer_comes(self, index: int) -> None:
        numbers = [thing.id for thing in self.backend.objects() if thing.kind is Kind.LISTENER]
        self.offers += 1
        self.backend.offer(numbers[index % len(numbers)] if numbers else 0, self.offers)

    @rule(index=st.integers(0, 9))
    def channel_ends(self, index: int) -> None:
        numbers = [thing.id for thing in self.backend.objects() if thing.state == "open" and thing.kind is Kind.CHANNEL]
        if numbers:
            self.backend.end_object(numbers[index % len(numbers)])

    @invariant()
    def limits_hold(self) -> None:
        statistics = self.backend.statistics()
        assert statistics["channels"] <= self.LIMITS.channels
        assert statistics["listeners"] <= self.LIMITS.listeners
        assert statistics["scans"] <= 2
        assert max(statistics["advertisements"], statistics["agents"], statistics["pairings"]) <= 1
        assert statistics["in_flight"] <= self.LIMITS.requests + len(self.backend.objects())
        assert statistics["requests"] == statistics["responses"] + statistics["in_flight"]

    def teardown(self) -> None:
        self.to_backend(1000)
        self.backend.close()
        self.to_frontend()
        assert self.answered == self.sent
        assert self.frontend.statistics()["in_flight"] == 0


TestPair = Pair.TestCase
