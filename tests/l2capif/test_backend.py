"""backend.py: requests in, calls out, answers exactly once."""

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usbbtd.abi.build import find_header
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2capif import calls, wire
from usbbtd.l2capif.backend import Backend
from usbbtd.l2capif.calls import Kind
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.objects import ObjectInfo
from usbbtd.l2capif.states import ObjectState

ADDRESS = bytes.fromhex("010000eeffc0")
LE_ADDRESS = bytes.fromhex("0200000000c0")
INFO, CONNECT, LISTEN, ACCEPT, RELEASE, SCAN, ADVERTISE, AGENT, ECHO, PAIR = range(10)


def connect(req_id: int, number: int, **change: Any) -> bytes:
    request = wire.ConnectRequest(req_id, CONNECT, number, 0, 8, 9, ADDRESS, 0, 0, 0x1001, 672, 0)
    return wire.pack(request._replace(**change))


def listen(req_id: int, number: int, **change: Any) -> bytes:
    return wire.pack(wire.ListenRequest(req_id, LISTEN, number, 0, 0x1001, 672, 0, 0, 0)._replace(**change))


def accept(req_id: int, number: int, listener: int, **change: Any) -> bytes:
    return wire.pack(wire.AcceptRequest(req_id, ACCEPT, number, 0, 8, 9, listener)._replace(**change))


def scan(req_id: int, number: int, **change: Any) -> bytes:
    return wire.pack(wire.ScanRequest(req_id, SCAN, number, 0, 8, 9, 1)._replace(**change))


def advertise(req_id: int, number: int, **change: Any) -> bytes:
    return wire.pack(wire.AdvertiseRequest(req_id, ADVERTISE, number, 1, 0, 3, b"abc")._replace(**change))


def echo(req_id: int, number: int = 9, **change: Any) -> bytes:
    request = wire.EchoRequest(req_id, ECHO, number, 0, ADDRESS, 0, 4, 0, b"ping".ljust(36, b"\0"))
    return wire.pack(request._replace(**change))


def advertise_extended(req_id: int, number: int, **change: Any) -> bytes:
    return wire.pack(wire.AdvertiseExtendedRequest(req_id, ADVERTISE, number, 3, 8, 0, 1650, 1650)._replace(**change))


def agent(req_id: int, number: int, **change: Any) -> bytes:
    return wire.pack(wire.AgentRequest(req_id, AGENT, number, 0, 8, 9, 1)._replace(**change))


def pair(req_id: int, number: int, **change: Any) -> bytes:
    return wire.pack(wire.PairRequest(req_id, PAIR, number, 0, ADDRESS, 2, 3, 0, bytes(32))._replace(**change))


def release(req_id: int, number: int) -> bytes:
    return wire.pack(wire.PlainRequest(req_id, RELEASE, number))


class Driven(Backend):
    """With a word for what tests do most."""

    def __init__(self, **limits: int) -> None:
        super().__init__(FrontendLimits(**limits))

    def ask(self, *requests: bytes) -> list[calls.Call]:
        self.receive_requests(list(requests))
        return self.take_calls()

    def answers(self) -> list[tuple[int, int]]:
        """(req_id, ret) of each response."""
        return [(r.req_id, r.ret) for r in (wire.unpack(wire.PlainResponse, b) for b in self.take_responses())]

    def open_channel(self, number: int) -> None:
        self.ask(connect(number, number))
        self.complete_channel(number, ADDRESS, 0, 0x1001, 672, 672)
        assert self.answers() == [(number, 0)]

    def open_listener(self, number: int, **change: Any) -> None:
        self.ask(listen(number, number, **change))
        self.complete(number)
        assert self.answers() == [(number, 0)]


def test_error_numbers_are_those_of_xen() -> None:
    numbers = dict(
        line.split("(")[1].split(")")[0].replace(" ", "").replace("\t", "").split(",")
        for line in find_header("xen/errno.h").read_text().splitlines()
        if line.startswith("XEN_ERRNO(E")
    )
    used = "EPERM EACCES EAGAIN EADDRINUSE EBADMSG ECONNREFUSED EEXIST EFAULT EINVAL EMFILE ENOBUFS ENODEV ENOTCONN"
    for name in (*used.split(), "EOPNOTSUPP", "ETIMEDOUT"):
        assert getattr(errno, name) == int(numbers[name])


# Each command, done and failed.


def test_info() -> None:
    backend = Driven()
    backend.open_channel(5)
    assert backend.ask(wire.pack(wire.PlainRequest(7, INFO, 0))) == [calls.InfoCall(7)]
    backend.complete_info(7, ADDRESS, 0, powered=True, features=15, le_address=LE_ADDRESS, le_address_type=2)
    (response,) = backend.take_responses()
    facts = (ADDRESS, 0, 1, 15, 64, 1, 65532, LE_ADDRESS, 1, 2)
    assert wire.unpack(wire.InfoResponse, response) == (7, INFO, 0, 0, *facts)


def test_connect() -> None:
    backend = Driven()
    asked = backend.ask(connect(7, 9, timeout_ms=1500, address_type=2, psm=0x81, security=3))
    assert asked == [calls.ConnectCall(7, 9, ADDRESS, 2, 0x81, 672, 3, 8, 9, 1.5)]
    assert backend.objects() == [ObjectInfo(9, Kind.CHANNEL, ObjectState.OPENING)]
    backend.complete_channel(7, ADDRESS, 2, 0x81, 100, 672, 3)
    (response,) = backend.take_responses()
    assert wire.unpack(wire.ChannelResponse, response) == (7, CONNECT, 9, 0, ADDRESS, 2, 3, 0x81, 100, 672, 0, 0, 0, 0)
    assert backend.objects() == [ObjectInfo(9, Kind.CHANNEL, ObjectState.OPEN)]


@pytest.mark.parametrize(("timeout_ms", "timeout_s"), [(0, 20), (1, 0.001), (60_000, 60), (0xFFFF_FFFF, 60)])
def test_connect_timeout(timeout_ms: int, timeout_s: float) -> None:
    (call,) = Driven().ask(connect(1, 1, timeout_ms=timeout_ms))
    assert isinstance(call, calls.ConnectCall)
    assert call.timeout_s == timeout_s


def test_connect_refused_by_the_peer() -> None:
    backend = Driven()
    backend.ask(connect(7, 9))
    backend.fail(7, errno.ECONNREFUSED, result=2, status=3)
    (response,) = backend.take_responses()
    assert wire.unpack(wire.ChannelResponse, response) == (7, CONNECT, 9, -111, bytes(6), 0, 0, 0, 0, 0, 2, 3, 0, 0)
    assert backend.objects() == []
    assert len(backend.ask(connect(8, 9))) == 1  # the id is free again


def test_connect_to_a_fixed_channel() -> None:
    (call,) = Driven().ask(connect(7, 9, flags=1, address_type=2, psm=4))
    assert call == calls.ConnectCall(7, 9, ADDRESS, 2, 4, 672, 0, 8, 9, 20, fixed=True)


def test_connect_that_is_not_secure_enough() -> None:
    backend = Driven()
    backend.ask(connect(7, 9, security=2))
    backend.fail(7, errno.EPERM, why=7, needed=3)
    (response,) = backend.take_responses()
    assert wire.unpack(wire.ChannelResponse, response) == wire.ChannelResponse(7, CONNECT, 9, -1, why=7, needed=3)


def test_pair() -> None:
    backend = Driven()
    assert backend.ask(pair(7, 9, timeout_ms=1500)) == [calls.PairCall(7, 9, ADDRESS, 2, 3, 1.5, b"")]
    backend.complete_pairing(7, 4, 16, bonded=True)
    (response,) = backend.take_responses()
    assert wire.unpack(wire.PairResponse, response) == wire.PairResponse(7, PAIR, 9, 0, 4, 16, 1)
    assert backend.ask(release(8, 9)) == []  # its answer has ended it
    assert backend.answers() == [(8, -errno.EINVAL)]
    (least,) = backend.ask(pair(9, 9, security=0, flags=2, oob=bytes(range(16)).ljust(32, b"\0")))
    assert least == calls.PairCall(9, 9, ADDRESS, 2, 2, 60, bytes(range(16)))
    backend.fail(9, errno.EPERM, status=5, why=4, needed=2)
    (response,) = backend.take_responses()
    assert wire.unpack(wire.PairResponse, response) == wire.PairResponse(9, PAIR, 9, -1, 0, 0, 0, 5, 4, 2)
    (other,) = backend.ask(pair(10, 10, flags=1, oob=bytes(range(32))))
    assert isinstance(other, calls.PairCall)
    assert other.oob == bytes(range(32))
    backend.ask(pair(11, 11))
    assert backend.answers() == [(11, -errno.EMFILE)]


def test_agent() -> None:
    backend = Driven()
    assert backend.ask(agent(7, 9), agent(8, 10)) == [calls.AgentCall(7, 9, 1, 8, 9)]
    backend.complete(7)
    assert backend.answers() == [(8, -errno.EMFILE), (7, 0)]
    backend.end_object(9)
    assert backend.ask(release(11, 9)) == [calls.ReleaseCall(11, 9, Kind.AGENT)]


def test_what_is_found_and_said_in_the_extended_way() -> None:
    assert Driven().ask(scan(2, 12, flags=4, transport=0), advertise_extended(3, 13)) == [
        calls.ScanCall(2, 12, 0, False, False, 8, 9, extended=True),
        calls.AdvertiseExtendedCall(3, 13, 8, 1650, 1650, 100, True),
    ]


def test_listen_scan_advertise() -> None:
    backend = Driven()
    assert backend.ask(listen(1, 11), scan(2, 12, flags=2), advertise(3, 13)) == [
        calls.ListenCall(1, 11, 0, 0x1001, 672, 0),
        calls.ScanCall(2, 12, 1, False, True, 8, 9),
        calls.AdvertiseCall(3, 13, b"abc", 100, True),
    ]
    backend.complete(3)
    backend.complete(1)
    backend.fail(2, errno.ENODEV)
    assert backend.answers() == [(3, 0), (1, 0), (2, -errno.ENODEV)]
    assert backend.ask(scan(4, 12, flags=1)) == [calls.ScanCall(4, 12, 1, True, False, 8, 9)]
    statistics = backend.statistics()
    assert (statistics["listeners"], statistics["scans"], statistics["advertisements"]) == (1, 1, 1)
    assert (statistics["requests"], statistics["responses"], statistics["errors"], statistics["in_flight"]) == (
        4,
        3,
        1,
        1,
    )


@pytest.mark.parametrize("data", [b"pong", b"", bytes(range(36)), bytes(range(200))])
def test_echo(data: bytes) -> None:
    backend = Driven()
    assert backend.ask(echo(7, timeout_ms=1500)) == [calls.EchoCall(7, 9, ADDRESS, b"ping", 1.5)]
    backend.complete_echo(7, data)
    (response,) = backend.take_responses()
    assert wire.unpack(wire.EchoResponse, response) == (7, ECHO, 9, 0, len(data), 0, data[:36].ljust(36, b"\0"))
    assert (backend.objects(), backend.statistics()["in_flight"]) == ([], 0)


def test_echoes_that_fail() -> None:
    backend = Driven(echoes=2, requests=3)
    assert len(backend.ask(echo(1, 1), echo(2, 2), echo(3, 3))) == 2
    assert backend.answers() == [(3, -errno.EMFILE)]
    backend.fail(1, errno.ETIMEDOUT, result=2, status=4)
    (response,) = backend.take_responses()
    assert wire.unpack(wire.EchoResponse, response) == (1, ECHO, 1, -errno.ETIMEDOUT, 0, 4, bytes(36))
    with pytest.raises(LocalProtocolError):
        backend.complete_echo(1, b"late")
    assert backend.ask(release(4, 1)) == []  # its answer has ended it
    assert backend.answers() == [(4, -errno.EINVAL)]
    assert len(backend.ask(echo(1, 1))) == 1
    backend.close()
    assert backend.answers() == [(2, -errno.ENODEV), (1, -errno.ENODEV)]
    backend.complete_echo(1, b"late")
    assert backend.answers() == []


def test_an_echo_is_given_up() -> None:
    """It counts no more, and what its peer answers comes too late."""
    backend = Driven(echoes=1)
    backend.ask(echo(1, 1))
    assert backend.ask(release(2, 1)) == [calls.ReleaseCall(2, 1, calls.Kind.ECHO)]
    backend.complete_echo(1, b"late")
    assert backend.answers() == []
    backend.complete(2)
    assert backend.answers() == [(1, -errno.ENOTCONN), (2, 0)]
    assert len(backend.ask(echo(3, 1))) == 1
    backend.revoke(1)
    assert backend.answers() == [(3, -errno.EACCES)]
    assert backend.objects() == []


# Errors that the core answers by itself, in the order in which they are looked for.


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (wire.pack(wire.PlainRequest(1, 10, 0)), errno.EOPNOTSUPP),
        (wire.pack(wire.PlainRequest(1, 0xFFFF_FFFF, 0, 0xFFFF_FFFF, b"\xff" * 48)), errno.EOPNOTSUPP),
        (connect(1, 1)[:-1] + b"\1", errno.EINVAL),
        (listen(1, 1)[:-1] + b"\1", errno.EINVAL),
        (accept(1, 1, 2)[:-1] + b"\1", errno.EINVAL),
        (scan(1, 1)[:-1] + b"\1", errno.EINVAL),
        (advertise(1, 1)[:-1] + b"\1", errno.EINVAL),
        (release(1, 1)[:-1] + b"\1", errno.EINVAL),
        (echo(1)[:-1] + b"\1", errno.EINVAL),
        (advertise_extended(1, 1)[:-1] + b"\1", errno.EINVAL),
        (agent(1, 1)[:-1] + b"\1", errno.EINVAL),
        (agent(1, 1, flags=1), errno.EINVAL),
        (pair(1, 1)[:-1] + b"\1", errno.EINVAL),
        (pair(1, 1, flags=4), errno.EINVAL),
        (pair(1, 1, flags=1, address_type=0), errno.EOPNOTSUPP),
        (scan(1, 1, transport=0), errno.EOPNOTSUPP),
        (echo(1, flags=1), errno.EINVAL),
        (echo(1, address_type=2), errno.EOPNOTSUPP),
        (connect(1, 1, flags=1), errno.EINVAL),
        (listen(1, 1, flags=0x8000_0000), errno.EINVAL),
        (scan(1, 1, flags=8), errno.EINVAL),
        (advertise(1, 1, flags=2), errno.EINVAL),
        (connect(1, 1, psm=2), errno.EINVAL),
        (connect(1, 1, security=5), errno.EINVAL),
        (connect(1, 1, flags=2), errno.EINVAL),
        (accept(1, 1, 2), errno.EINVAL),
        (release(1, 1), errno.EINVAL),
    ],
)
def test_refused_at_once(request_: bytes, error: int) -> None:
    backend = Driven()
    assert backend.ask(request_) == []
    header = wire.unpack(wire.PlainRequest, request_)
    (response,) = backend.take_responses()
    assert wire.unpack(wire.PlainResponse, response) == (1, header.cmd, header.id, -error, bytes(48))
    assert backend.objects() == []


def test_id_in_use_by_any_kind() -> None:
    backend = Driven()
    backend.open_listener(1)
    assert backend.ask(connect(2, 1), listen(3, 1), accept(4, 1, 1), scan(5, 1), advertise(6, 1)) == []
    assert backend.answers() == [(req_id, -errno.EEXIST) for req_id in (2, 3, 4, 5, 6)]


def test_req_id_in_flight() -> None:
    backend = Driven()
    assert len(backend.ask(connect(1, 1), connect(1, 2))) == 1
    assert backend.answers() == [(1, -errno.EINVAL)]
    backend.complete_channel(1, ADDRESS, 0, 0x1001, 48, 48)
    assert backend.answers() == [(1, 0)]
    assert len(backend.ask(release(1, 1))) == 1  # the number is free again
    backend.complete(1)
    assert backend.answers() == [(1, 0)]


def test_limits_on_objects() -> None:
    backend = Driven(channels=2, listeners=1, scans=1)
    backend.open_listener(1)
    backend.open_channel(2)
    assert len(backend.ask(accept(3, 3, 1), connect(4, 4), accept(5, 5, 1), listen(6, 6), scan(7, 7), scan(8, 8))) == 1
    backend.ask(advertise(9, 9), advertise(10, 10))
    assert backend.answers() == [(req_id, -errno.EMFILE) for req_id in (4, 5, 6, 8, 10)]
    backend.end_object(2)  # dead, but its ring is still mapped
    backend.ask(connect(11, 11))
    assert backend.answers() == [(11, -errno.EMFILE)]


def test_limit_on_requests_leaves_release_free() -> None:
    backend = Driven(requests=3)
    backend.open_listener(1)
    backend.ask(
        accept(2, 2, 1), connect(3, 3), accept(4, 4, 1), accept(5, 5, 1), wire.pack(wire.PlainRequest(6, INFO, 0))
    )
    assert backend.answers() == [(5, -errno.EMFILE), (6, -errno.EMFILE)]
    assert backend.ask(release(7, 3)) == [calls.ReleaseCall(7, 3, Kind.CHANNEL)]


def test_a_request_of_another_size_is_the_drivers_matter() -> None:
    for size in (0, 16, 63, 65):
        with pytest.raises(RemoteProtocolError):
            Driven().receive_requests([bytes(size)])


# RELEASE.


def test_release_of_an_open_channel() -> None:
    backend = Driven()
    backend.open_channel(1)
    assert backend.ask(release(2, 1)) == [calls.ReleaseCall(2, 1, Kind.CHANNEL)]
    backend.end_object(1)  # crosses
    assert backend.answers() == []
    backend.complete(2)
    assert backend.answers() == [(2, 0)]
    backend.end_object(1)


@pytest.mark.parametrize("late", ["nothing", "opened", "failed"])
def test_release_of_a_connecting_channel(late: str) -> None:
    backend = Driven()
    backend.ask(connect(1, 9))
    assert backend.ask(release(2, 9)) == [calls.ReleaseCall(2, 9, Kind.CHANNEL)]
    if late == "opened":
        backend.complete_channel(1, ADDRESS, 0, 0x1001, 48, 672)
    elif late == "failed":
        backend.fail(1, errno.ETIMEDOUT)
    assert backend.answers() == []  # not before the adapter has let go of the pages
    backend.complete(2)
    assert backend.answers() == [(1, -errno.ENOTCONN), (2, 0)]
    assert backend.statistics()["in_flight"] == 0


def test_release_of_an_accept_that_has_its_peer() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 20, 1))
    backend.offer(1, 100)
    backend.take_calls()
    assert backend.ask(release(3, 20)) == [calls.ReleaseCall(3, 20, Kind.CHANNEL)]
    backend.withdraw(100)
    backend.complete(3)
    assert backend.answers() == [(2, -errno.ENOTCONN), (3, 0)]


def test_release_of_what_has_ended() -> None:
    backend = Driven()
    backend.open_channel(1)
    backend.end_object(1)
    backend.end_object(1)
    assert backend.objects() == [ObjectInfo(1, Kind.CHANNEL, ObjectState.ENDED)]
    backend.ask(release(2, 1))
    backend.complete(2)
    assert backend.answers() == [(2, 0)]


def test_an_object_that_opens_cannot_end() -> None:
    backend = Driven()
    backend.ask(connect(1, 1))
    with pytest.raises(LocalProtocolError):
        backend.end_object(1)


# The driver's mistakes, and the end.


def test_answers_that_do_not_fit() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(connect(2, 2), wire.pack(wire.PlainRequest(3, INFO, 0)), accept(4, 4, 1), release(5, 1))
    backend.ask(listen(6, 6))
    wrongs: list[Callable[[], None]] = [
        lambda: backend.complete(2),
        lambda: backend.complete(3),
        lambda: backend.complete(4),  # answered when its listener was released
        lambda: backend.complete(77),
        lambda: backend.complete_info(2, ADDRESS, 0, powered=True, features=0),
        lambda: backend.complete_info(5, ADDRESS, 0, powered=True, features=0),
        lambda: backend.complete_channel(6, ADDRESS, 0, 1, 48, 48),
        lambda: backend.fail(5, errno.EIO),
        lambda: backend.fail(77, errno.EIO),
    ]
    for wrong in wrongs:
        with pytest.raises(LocalProtocolError):
            wrong()
    backend.fail(3, errno.ENODEV)
    assert backend.answers() == [(4, -errno.ENOTCONN), (3, -errno.ENODEV)]


def test_a_waiting_accept_is_not_the_adapters() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 2, 1))
    with pytest.raises(LocalProtocolError):
        backend.fail(2, errno.EIO)


# What the administrator does not allow any more.


def test_a_connect_that_is_revoked_is_answered_and_its_id_is_free() -> None:
    backend = Driven()
    backend.ask(connect(1, 5))
    backend.revoke(5)
    assert backend.answers() == [(1, -errno.EACCES)]
    assert backend.objects() == []


def test_a_channel_that_is_revoked_ends_and_keeps_its_id() -> None:
    backend = Driven()
    backend.open_channel(5)
    for _ in range(2):
        backend.revoke(5)
        assert backend.objects() == [ObjectInfo(5, Kind.CHANNEL, ObjectState.ENDED)]
    assert backend.answers() == []
    assert backend.ask(release(2, 5)) == [calls.ReleaseCall(2, 5, Kind.CHANNEL)]
    backend.revoke(5)
    backend.complete(2)
    assert backend.answers() == [(2, 0)]


def test_a_listener_that_is_revoked_answers_what_waits_now_and_later() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 2, 1))
    backend.revoke(1)
    assert backend.answers() == [(2, -errno.EACCES)]
    assert not backend.offer(1, 77)
    assert backend.ask(accept(3, 3, 1)) == []
    assert backend.answers() == [(3, -errno.EACCES)]
    backend.ask(release(4, 1))
    backend.complete(4)
    assert backend.answers() == [(4, 0)]


def test_peers_of_a_listener_that_is_revoked_are_refused() -> None:
    backend = Driven()
    backend.open_listener(1)
    assert backend.offer(1, 77)
    backend.revoke(1)
    assert backend.take_calls() == [calls.RefuseCall(77)]


@pytest.mark.parametrize("first", ["accept", "listener"])
def test_an_accept_that_has_its_peer(first: str) -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 2, 1))
    backend.offer(1, 77)
    backend.take_calls()
    if first == "accept":
        backend.revoke(2)
        backend.withdraw(77)  # it is not known any more
    else:
        backend.revoke(1)
        assert backend.answers() == []
        backend.withdraw(77)
    assert backend.answers() == [(2, -errno.EACCES)]


def test_what_is_not_there_or_waits_is_not_revoked() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 2, 1))
    backend.revoke(2)
    backend.revoke(99)
    assert backend.answers() == []


def test_limits_may_change_and_end_nothing() -> None:
    backend = Driven(channels=2)
    backend.open_channel(1)
    backend.limits = FrontendLimits(channels=1)
    backend.ask(connect(2, 2))
    assert backend.answers() == [(2, -errno.EMFILE)]
    backend.limits = FrontendLimits(channels=3)
    backend.open_channel(2)


def test_close_answers_everything() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.open_channel(2)
    backend.ask(accept(3, 3, 1), connect(4, 4), scan(5, 5), release(6, 2), wire.pack(wire.PlainRequest(7, INFO, 0)))
    backend.receive_requests([advertise(8, 8)])
    backend.close()
    assert sorted(backend.answers()) == [(req_id, -errno.ENODEV) for req_id in range(3, 9)]
    assert backend.take_calls() == []
    assert backend.objects() == []
    backend.close()
    assert backend.ask(connect(9, 9)) == []
    assert backend.answers() == [(9, -errno.ENODEV)]
    backend.complete_channel(4, ADDRESS, 0, 1, 48, 48)  # late answers of the driver's tasks
    backend.complete(6)
    backend.fail(5, errno.EIO)
    backend.withdraw(1)
    backend.end_object(2)
    assert not backend.offer(1, 1)
    assert backend.answers() == []


# Hostile frontends.

SMALL = st.integers(0, 3)
FIELDS = st.one_of(
    st.builds(connect, SMALL, SMALL, flags=st.integers(0, 1), psm=st.sampled_from([1, 2]), security=SMALL),
    st.builds(connect, SMALL, SMALL, flags=st.integers(0, 1), psm=st.integers(3, 6), address_type=st.just(2)),
    st.builds(agent, SMALL, SMALL, io_capability=st.integers(0, 5)),
    st.builds(pair, SMALL, SMALL, flags=SMALL, address_type=SMALL, oob=st.sampled_from([bytes(32), b"\1" * 32])),
    st.builds(advertise_extended, SMALL, SMALL, flags=SMALL, data_length=st.integers(1649, 1651)),
    st.builds(listen, SMALL, SMALL, psm=st.sampled_from([1, 0x81]), transport=SMALL),
    st.builds(accept, SMALL, SMALL, SMALL),
    st.builds(release, SMALL, SMALL),
    st.builds(scan, SMALL, SMALL, transport=st.integers(0, 2), flags=st.integers(0, 8)),
    st.builds(advertise, SMALL, SMALL),
    st.builds(echo, SMALL, address_type=SMALL, data_length=st.integers(3, 37)),
    st.integers(0, 10).map(lambda cmd: wire.pack(wire.PlainRequest(1, cmd, 1))),
    st.binary(min_size=64, max_size=64),
)


@settings(max_examples=2 * settings().max_examples)
@given(st.lists(FIELDS, max_size=40))
def test_soup_is_answered_once_each(requests: list[bytes]) -> None:
    backend = Driven(requests=4, channels=2)
    backend.receive_requests(requests)
    assert backend.statistics()["channels"] <= 2
    backend.close()
    expected = Counter(wire.unpack(wire.PlainRequest, request).req_id for request in requests)
    assert Counter(req_id for req_id, _ in backend.answers()) == expected
