"""Echoes of ours: each answer to whoever asked for it, against a peer of bytes."""

from collections.abc import Callable
from typing import Any

import pytest

from usbbtd.bluetooth import BREDR, LE
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import EchoFailed, EchoReceived
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.wire import CommandReject, L2capEchoRequest, L2capEchoResponse

PeerOf = Callable[..., Any]


def echo(remote: Any, data: bytes = b"") -> tuple[int, int]:
    """Asks; returns the number and the identifier on the air."""
    number = remote.mux.echo(remote.handle, data, remote.now)
    identifier, request = remote.take_one()
    assert request == L2capEchoRequest(data)
    return number, identifier


def test_it_has_its_bounds(peer: PeerOf) -> None:
    remote = peer(BREDR, limits=L2capLimits(echoes=1))
    with pytest.raises(LocalProtocolError):
        remote.mux.echo(remote.handle, bytes(45), remote.now)
    _, identifier = echo(remote, bytes(44))
    with pytest.raises(LocalProtocolError):
        remote.mux.echo(remote.handle, b"", remote.now)
    remote.send(L2capEchoResponse(b""), identifier)
    echo(remote)
    with pytest.raises(LocalProtocolError):
        peer(LE).mux.echo(remote.handle, b"", remote.now)


def test_answers_that_overtake_each_other_reach_who_asked(peer: PeerOf) -> None:
    remote = peer(BREDR)
    asked = [echo(remote, b"%d" % which) for which in range(3)]
    for which in (2, 0, 1):
        remote.send(L2capEchoResponse(b"%d" % which), asked[which][1])
    events = [EchoReceived(remote.handle, asked[which][0], b"%d" % which) for which in (2, 0, 1)]
    assert remote.events() == events
    assert len({number for number, _ in asked}) == 3


@pytest.mark.parametrize("data", [b"", b"other", bytes(600)])
def test_a_peer_may_answer_with_other_data(peer: PeerOf, data: bytes) -> None:
    remote = peer(BREDR)
    number, identifier = echo(remote, b"ping")
    remote.send(L2capEchoResponse(data), identifier)
    remote.send(L2capEchoResponse(data), identifier)  # once
    assert remote.events() == [EchoReceived(remote.handle, number, data)]


def test_a_peer_rejects_it_or_says_nothing(peer: PeerOf) -> None:
    remote = peer(BREDR)
    rejected, identifier = echo(remote)
    remote.send(CommandReject(0, b""), identifier)
    assert remote.events() == [EchoFailed(remote.handle, rejected, "the peer rejected the echo request")]
    silent, _ = echo(remote)
    remote.pass_time(30)
    assert remote.events() == [EchoFailed(remote.handle, silent, "the peer did not answer")]
    assert remote.mux.next_timeout() is None


def test_the_link_is_lost(peer: PeerOf) -> None:
    remote = peer(BREDR)
    first, second, third = (echo(remote)[0] for _ in range(3))
    remote.mux.cancel_echo(remote.handle, second)
    remote.mux.remove_link(remote.handle)
    assert remote.events() == [EchoFailed(remote.handle, number, "the link was lost") for number in (first, third)]
    remote.mux.cancel_echo(remote.handle, first)
    assert remote.mux.next_timeout() is None


def test_nobody_is_given_the_answer_to_one_that_was_cancelled(peer: PeerOf) -> None:
    """Its identifier is used by no other, however many follow, until it is answered or has expired."""
    remote = peer(BREDR, limits=L2capLimits(echoes=2))
    cancelled, identifier = echo(remote, b"secret")
    remote.mux.cancel_echo(remote.handle, cancelled)
    for _ in range(300):
        _, other = echo(remote)
        assert other != identifier
        remote.send(L2capEchoResponse(b""), other)
    assert len(remote.events()) == 300
    echo(remote)
    with pytest.raises(LocalProtocolError):  # it counts so long
        remote.mux.echo(remote.handle, b"", remote.now)
    remote.send(L2capEchoResponse(b"secret"), identifier)
    remote.mux.cancel_echo(remote.handle, cancelled)
    assert remote.events() == []
    echo(remote)


def test_one_that_was_cancelled_expires(peer: PeerOf) -> None:
    remote = peer(BREDR, limits=L2capLimits(echoes=1))
    number, _ = echo(remote)
    remote.mux.cancel_echo(remote.handle, number)
    remote.pass_time(30)
    assert (remote.events(), remote.mux.next_timeout()) == ([], None)
    remote.take()
    echo(remote)
