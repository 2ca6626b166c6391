"""What all modes share, on both transports, against a peer of bytes."""

from collections.abc import Callable
from typing import Any

import pytest

from usbbtd.bluetooth import BREDR, LE
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import DISCONNECTED, PEER_DISCONNECTED, ChannelEnded, ChannelRequested
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.states import ChannelState, Input
from usbbtd.l2cap.wire import CommandReject, DisconnectionRequest, DisconnectionResponse

PeerOf = Callable[..., Any]
both_transports = pytest.mark.parametrize("transport", [BREDR, LE])


@both_transports
def test_only_the_table_moves_a_channel(peer: PeerOf, transport: int) -> None:
    remote = peer(transport)
    channel = remote.mux._links[remote.handle].channels[remote.open()]
    for event in Input:
        if not channel.may(event):
            with pytest.raises(LocalProtocolError):
                channel.step(event)
            assert channel.state is ChannelState.OPEN


@both_transports
def test_nobody_may_write_while_a_full_queue_drains(peer: PeerOf, transport: int) -> None:
    remote = peer(transport, limits=L2capLimits(queue_bytes=200))
    cid = remote.open()
    while remote.mux.room(remote.handle, cid) > 0:
        remote.mux.send_sdu(remote.handle, cid, b"sdu")
    remote.mux.disconnect(remote.handle, cid, remote.now)
    *data, (_, last) = remote.take_pdus() + remote.take_pdus()
    assert len(data) == 3
    assert last[4:] == bytes((0x70, 0, cid, 0))
    assert remote.mux.take_writable() == []
    assert remote.mux.room(remote.handle, cid) <= 0


@both_transports
@pytest.mark.parametrize("answer", ["response", "reject", "request"])
def test_the_end_is_told_once(peer: PeerOf, transport: int, answer: str) -> None:
    remote = peer(transport)
    cid = remote.open()
    remote.mux.disconnect(remote.handle, cid, remote.now)
    identifier, request = remote.take_one()
    assert request == DisconnectionRequest(0x70, cid)
    if answer == "response":
        remote.send(DisconnectionResponse(0x70, cid), identifier)
    elif answer == "reject":
        remote.send(CommandReject(2, bytes((0x70, 0, cid, 0))), identifier)
    else:
        crossing = remote.send(DisconnectionRequest(cid, 0x70), 200)
        assert remote.take() == [(crossing, DisconnectionResponse(cid, 0x70))]
        remote.send(DisconnectionResponse(0x70, cid), identifier)
    reason = PEER_DISCONNECTED if answer == "request" else DISCONNECTED
    assert remote.events() == [ChannelEnded(remote.handle, cid, reason)]
    assert remote.mux.next_timeout() is None


@both_transports
def test_a_request_may_be_taken_back_by_the_peer_or_dropped_by_us(peer: PeerOf, transport: int) -> None:
    remote = peer(transport)
    cid = remote.ask()
    remote.send(DisconnectionRequest(cid, 0x70), 200)
    assert remote.take() == [(200, DisconnectionResponse(cid, 0x70))]
    assert remote.events() == [ChannelEnded(remote.handle, cid, PEER_DISCONNECTED)]
    cid = remote.ask()
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.take_one()
    assert remote.events() == [ChannelEnded(remote.handle, cid, "refused")]
    assert remote.mux.channels() == []


@both_transports
def test_the_peers_end_is_free_again_after_a_channel(peer: PeerOf, transport: int) -> None:
    remote = peer(transport)
    for _ in range(3):
        cid = remote.open()
        remote.mux.disconnect(remote.handle, cid, remote.now)
        remote.send(DisconnectionResponse(0x70, cid), remote.take_one()[0])
        remote.events()
    remote.ask()
    assert [row.state for row in remote.mux.channels()] == [ChannelState.WAIT_CONNECT]
    assert ChannelRequested not in [type(event) for event in remote.events()]
