"""listeners.py: peers and ACCEPTs, whichever comes first."""

import errno

import pytest

from tests.l2capif.test_backend import ADDRESS, Driven, accept, listen, release
from usbbtd.errors import LocalProtocolError
from usbbtd.l2capif import calls
from usbbtd.l2capif.calls import Kind
from usbbtd.l2capif.objects import ObjectInfo
from usbbtd.l2capif.states import ObjectState


def test_accept_before_the_peer() -> None:
    backend = Driven()
    backend.open_listener(1)
    assert backend.ask(accept(2, 20, 1)) == []
    assert backend.objects()[1] == ObjectInfo(20, Kind.CHANNEL, ObjectState.WAITING)
    assert backend.offer(1, 100)
    assert backend.take_calls() == [calls.AcceptCall(2, 20, 100, 672, 8, 9)]
    backend.complete_channel(2, ADDRESS, 0, 0x1001, 48, 672)
    assert backend.answers() == [(2, 0)]


def test_peers_before_accept_in_order() -> None:
    backend = Driven(backlog=3)
    backend.open_listener(1, backlog=2)
    assert [backend.offer(1, offer) for offer in (100, 101, 102)] == [True, True, False]
    assert backend.statistics()["offers_refused"] == 1
    backend.withdraw(100)
    assert backend.offer(1, 103)
    assert backend.ask(accept(2, 20, 1), accept(3, 30, 1)) == [
        calls.AcceptCall(2, 20, 101, 672, 8, 9),
        calls.AcceptCall(3, 30, 103, 672, 8, 9),
    ]


@pytest.mark.parametrize(("asked", "got"), [(0, 3), (2, 2), (3, 3), (4, 3), (0xFFFF, 3)])
def test_backlog(asked: int, got: int) -> None:
    backend = Driven(backlog=3)
    backend.open_listener(1, backlog=asked)
    assert sum(backend.offer(1, offer) for offer in range(10)) == got


def test_offers_to_what_does_not_listen() -> None:
    backend = Driven()
    assert not backend.offer(1, 100)
    backend.open_channel(1)
    assert not backend.offer(1, 100)
    backend.ask(listen(2, 2))
    assert not backend.offer(2, 100)  # not open yet
    backend.complete(2)
    assert backend.offer(2, 100)
    with pytest.raises(LocalProtocolError):
        backend.offer(2, 100)


def test_accept_waits_again_when_its_peer_goes() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 20, 1), accept(3, 30, 1))
    backend.offer(1, 100)
    backend.take_calls()
    backend.withdraw(100)
    backend.withdraw(100)
    assert backend.answers() == []
    backend.offer(1, 101)
    assert backend.take_calls() == [calls.AcceptCall(2, 20, 101, 672, 8, 9)]  # before 30, which came later
    backend.ask(accept(4, 40, 1))
    backend.offer(1, 102)
    backend.offer(1, 103)
    backend.offer(1, 104)
    backend.take_calls()
    backend.withdraw(101)
    assert backend.take_calls() == [calls.AcceptCall(2, 20, 104, 672, 8, 9)]  # a peer waited already


def test_accept_that_fails_uses_up_its_peer() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 20, 1))
    backend.offer(1, 100)
    backend.take_calls()
    backend.fail(2, errno.EFAULT)
    assert backend.answers() == [(2, -errno.EFAULT)]
    backend.withdraw(100)
    assert backend.offer(1, 100)


def test_release_of_a_waiting_accept() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 20, 1))
    assert backend.ask(release(3, 20)) == []
    assert backend.answers() == [(2, -errno.ENOTCONN), (3, 0)]
    assert backend.offer(1, 100)
    assert backend.take_calls() == []


def test_release_of_a_listener_fails_its_accepts() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 20, 1))
    backend.ask(accept(3, 30, 1))
    assert backend.ask(release(4, 1)) == [calls.ReleaseCall(4, 1, Kind.LISTENER)]
    assert backend.answers() == [(2, -errno.ENOTCONN), (3, -errno.ENOTCONN)]
    assert not backend.offer(1, 100)
    backend.ask(accept(5, 50, 1), release(6, 1))
    backend.complete(4)
    assert backend.answers() == [(5, -errno.EINVAL), (6, -errno.EINVAL), (4, 0)]
    assert backend.objects() == []


def test_release_of_a_listener_refuses_its_peers() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.offer(1, 100)
    backend.offer(1, 101)
    assert backend.ask(release(4, 1)) == [
        calls.RefuseCall(100),
        calls.RefuseCall(101),
        calls.ReleaseCall(4, 1, Kind.LISTENER),
    ]
    backend.withdraw(100)  # crossed the Refuse


def test_an_accept_with_a_peer_outlives_its_listener() -> None:
    backend = Driven()
    backend.open_listener(1)
    backend.ask(accept(2, 20, 1), accept(3, 30, 1))
    backend.offer(1, 100)
    backend.offer(1, 101)
    backend.ask(release(4, 1))
    backend.complete(4)
    assert backend.answers() == [(4, 0)]
    backend.open_listener(1)  # another one with its id
    backend.complete_channel(2, ADDRESS, 0, 0x1001, 48, 672)
    backend.withdraw(101)
    assert backend.answers() == [(2, 0), (3, -errno.ENOTCONN)]
