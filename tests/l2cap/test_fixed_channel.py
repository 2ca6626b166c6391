"""Fixed channels: those that a user opens, as its owner and as the peer see them, and the security manager's."""

from collections.abc import Callable
from typing import Any

import pytest

from usbbtd.bluetooth import BREDR, CID_ATT, LE
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import DISCONNECTED, LINK_LOST, NOT_READ, ChannelEnded, ChannelOpened
from usbbtd.l2cap.limits import SDU_OVERHEAD, L2capLimits
from usbbtd.l2cap.mux import Mux
from usbbtd.l2cap.wire import (
    CID_SMP,
    ConfigurationRequest,
    DisconnectionRequest,
    FlowControlCredit,
    SignallingCommand,
)

PeerOf = Callable[..., Any]
MTU = 100
NOT_SUPPORTED = bytes.fromhex("01 0a 0000 06")
READ = bytes.fromhex("0a 0300")


def opened(peer: PeerOf, **limits: Any) -> Any:
    remote = peer(LE, limits=L2capLimits(**limits))
    remote.mux.open_fixed(remote.handle, CID_ATT, MTU)
    assert remote.events() == [ChannelOpened(remote.handle, CID_ATT, 0, MTU, MTU)]
    assert remote.take() == []  # the peer hears nothing of it
    return remote


def test_sdus_go_both_ways(peer: PeerOf) -> None:
    remote = opened(peer)
    remote.send_pdu(CID_ATT, READ)
    assert remote.mux.take_sdus() == [(remote.handle, CID_ATT, READ)]
    remote.mux.release_sdus(remote.handle, CID_ATT, 1)
    for sdu in (bytes(MTU), b"", b"\x0b"):
        remote.mux.send_sdu(remote.handle, CID_ATT, sdu)
    assert remote.take_pdus() == [(CID_ATT, bytes(MTU)), (CID_ATT, b""), (CID_ATT, b"\x0b")]
    with pytest.raises(LocalProtocolError):
        remote.mux.send_sdu(remote.handle, CID_ATT, bytes(MTU + 1))
    info = remote.mux.channel(remote.handle, CID_ATT)
    assert (info.psm, info.cid, info.dcid, info.state) == (0, CID_ATT, CID_ATT, "OPEN")


def test_nobody_opens_what_is_open_or_not_for_users(peer: PeerOf) -> None:
    remote = opened(peer)
    for cid in (CID_ATT, CID_SMP, 1, 5, 0x40):
        with pytest.raises(LocalProtocolError):
            remote.mux.open_fixed(remote.handle, cid, MTU)
    with pytest.raises(LocalProtocolError):
        peer(BREDR).mux.open_fixed(remote.handle, CID_ATT, MTU)
    with pytest.raises(LocalProtocolError):
        remote.mux.open_fixed(0x99, CID_ATT, MTU)
    with pytest.raises(LocalProtocolError):
        peer(LE).mux.open_fixed(remote.handle, CID_ATT, 22)


def test_it_ends_at_once_and_is_answered_for_again(peer: PeerOf) -> None:
    remote = opened(peer)
    remote.mux.disconnect(remote.handle, CID_ATT, remote.now)
    assert remote.events() == [ChannelEnded(remote.handle, CID_ATT, DISCONNECTED)]
    assert remote.take() == []
    remote.send_pdu(CID_ATT, READ)
    assert remote.take_pdus() == [(CID_ATT, NOT_SUPPORTED)]
    remote.mux.open_fixed(remote.handle, CID_ATT, MTU)
    assert remote.events()


def test_it_ends_after_what_is_queued(peer: PeerOf) -> None:
    remote = opened(peer)
    remote.mux.send_sdu(remote.handle, CID_ATT, READ)
    remote.mux.disconnect(remote.handle, CID_ATT, remote.now)
    remote.mux.disconnect(remote.handle, CID_ATT, remote.now)
    assert remote.events() == []
    assert remote.take_pdus() == [(CID_ATT, READ)]
    assert remote.events() == [ChannelEnded(remote.handle, CID_ATT, DISCONNECTED)]
    assert remote.mux.next_timeout() is None


def test_it_does_not_wait_for_a_deaf_peer_for_ever(peer: PeerOf) -> None:
    remote = opened(peer, drain_s=5.0)
    remote.mux.send_sdu(remote.handle, CID_ATT, READ)
    remote.mux.disconnect(remote.handle, CID_ATT, remote.now)
    remote.pass_time(5.1)
    assert remote.events() == [ChannelEnded(remote.handle, CID_ATT, DISCONNECTED)]
    assert remote.take_pdus() == []


def test_it_ends_with_its_link(peer: PeerOf) -> None:
    remote = opened(peer)
    remote.mux.remove_link(remote.handle)
    assert remote.events() == [ChannelEnded(remote.handle, CID_ATT, LINK_LOST)]


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [([MTU + 1], f"the peer sent an SDU of {MTU + 1} bytes, our MTU is {MTU}"), ([50, 50, 50], NOT_READ)],
)
def test_a_peer_that_sends_too_much_loses_it(peer: PeerOf, sizes: list[int], reason: str) -> None:
    remote = opened(peer, unread_bytes=2 * (50 + SDU_OVERHEAD))
    for size in sizes:
        remote.send_pdu(CID_ATT, bytes(size))
    assert remote.events() == [ChannelEnded(remote.handle, CID_ATT, reason)]
    assert remote.state(CID_ATT) is None
    assert remote.take() == []


@pytest.mark.parametrize(
    "command",
    [
        DisconnectionRequest(CID_ATT, CID_ATT),
        DisconnectionRequest(CID_ATT, 0),
        ConfigurationRequest(CID_ATT, 0, b""),
        FlowControlCredit(CID_ATT, 5),
    ],
)
def test_a_peer_has_no_command_for_it(peer: PeerOf, command: SignallingCommand) -> None:
    remote = opened(peer)
    remote.send(command)
    assert remote.events() == []
    assert remote.state(CID_ATT) == "OPEN"


def test_the_security_manager_has_its_pdus(peer: PeerOf) -> None:
    remote = peer(LE, security=True, limits=L2capLimits(security_backlog=2))
    for payload in (b"\x0b\x01", bytes(66), b"", b"\x05\x08"):
        remote.send_pdu(CID_SMP, payload)
    assert remote.mux.take_security_pdus() == [(remote.handle, b"\x0b\x01"), (remote.handle, b"")]
    assert remote.mux.take_security_pdus() == []
    statistics = remote.mux.statistics()
    assert (statistics["pdus_malformed"], statistics["security_pdus_dropped"]) == (1, 1)
    remote.mux.send_security_pdu(remote.handle, b"\x05\x05")
    assert remote.take_pdus() == [(CID_SMP, b"\x05\x05")]


def test_what_the_security_manager_sends_is_bounded(peer: PeerOf) -> None:
    remote = peer(LE, security=True, limits=L2capLimits(signalling_backlog=3))
    for _ in range(4):
        remote.mux.send_security_pdu(remote.handle, b"\x05\x05")
    assert len(remote.take_pdus()) == 3
    assert remote.mux.statistics()["signalling_dropped"] == 1
    remote.mux.send_security_pdu(0x99, b"\x05\x05")
    with pytest.raises(LocalProtocolError):
        peer(BREDR, security=True).mux.send_security_pdu(remote.handle, b"\x05\x05")


def test_without_a_security_manager_pairing_is_refused() -> None:
    mux = Mux()
    mux.add_link(1, LE, 0, 0.0)
    mux.receive_pdus(1, [bytes.fromhex("02000600 0b01")], 0.0)
    assert mux.take_security_pdus() == []
    assert mux.take_pdus(1, 9) == [bytes.fromhex("02000600 0505")]
