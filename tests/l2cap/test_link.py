"""What a link does beside its channels, against a peer of bytes."""

from collections.abc import Callable
from typing import Any

import pytest

from usbbtd.bluetooth import BREDR, CENTRAL, LE, PERIPHERAL
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import ChannelEnded, ParametersAnswered, ParametersRequested
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.wire import (
    CommandReject,
    DisconnectionRequest,
    L2capConnectionRequest,
    ParameterUpdateRequest,
    ParameterUpdateResponse,
)

PeerOf = Callable[..., Any]


def test_l2cap_le_cpu_bv_02_the_central_is_asked(peer: PeerOf) -> None:
    remote = peer(LE, CENTRAL)
    identifier = remote.send(ParameterUpdateRequest(24, 40, 4, 500))
    assert remote.events() == [ParametersRequested(remote.handle, 24, 40, 4, 500)]
    busy = remote.send(ParameterUpdateRequest(24, 40, 4, 500))
    assert remote.take() == [(busy, ParameterUpdateResponse(1))]
    assert remote.mux.answer_parameters(remote.handle, True)
    assert remote.take() == [(identifier, ParameterUpdateResponse(0))]
    assert not remote.mux.answer_parameters(remote.handle, True)
    assert remote.take() == []
    remote.send(ParameterUpdateRequest(24, 40, 4, 500))
    remote.mux.answer_parameters(remote.handle, False)
    assert remote.take_one()[1] == ParameterUpdateResponse(1)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((5, 40, 0, 500), id="interval_min_low"),
        pytest.param((6, 3201, 0, 3200), id="interval_max_high"),
        pytest.param((40, 39, 0, 500), id="interval_min_above_max"),
        pytest.param((6, 6, 500, 3200), id="latency_high"),
        pytest.param((6, 6, 0, 9), id="timeout_low"),
        pytest.param((6, 6, 0, 3201), id="timeout_high"),
        pytest.param((400, 400, 1, 200), id="timeout_shorter_than_two_events"),
        pytest.param((0, 0, 0, 0), id="zeros"),
    ],
)
def test_l2cap_le_cpu_bi_01_parameters_out_of_range(peer: PeerOf, values: tuple[int, int, int, int]) -> None:
    remote = peer(LE, CENTRAL)
    identifier = remote.send(ParameterUpdateRequest(*values))
    assert remote.take() == [(identifier, ParameterUpdateResponse(1))]
    assert remote.events() == []
    with pytest.raises(LocalProtocolError):
        peer(LE, PERIPHERAL).mux.request_parameters(remote.handle, *values, remote.now)


def test_l2cap_le_cpu_bi_02_the_peripheral_is_not_asked(peer: PeerOf) -> None:
    remote = peer(LE, PERIPHERAL)
    identifier = remote.send(ParameterUpdateRequest(24, 40, 4, 500))
    assert remote.take() == [(identifier, CommandReject(0, b""))]
    with pytest.raises(LocalProtocolError):
        peer(LE, CENTRAL).mux.request_parameters(remote.handle, 24, 40, 4, 500, remote.now)


def test_l2cap_le_cpu_bv_01_the_peripheral_asks(peer: PeerOf) -> None:
    remote = peer(LE, PERIPHERAL)
    for response, accepted in ((0, True), (1, False), (None, False)):
        remote.mux.request_parameters(remote.handle, 24, 40, 4, 500, remote.now)
        identifier, request = remote.take_one()
        assert request == ParameterUpdateRequest(24, 40, 4, 500)
        with pytest.raises(LocalProtocolError):
            remote.mux.request_parameters(remote.handle, 24, 40, 4, 500, remote.now)
        if response is None:
            remote.pass_time(30)
        else:
            remote.send(ParameterUpdateResponse(response), identifier)
        assert remote.events() == [ParametersAnswered(remote.handle, accepted)]


@pytest.mark.parametrize("transport", [BREDR, LE])
def test_disconnection_of_half_a_pair(peer: PeerOf, transport: int) -> None:
    remote = peer(transport)
    cid = remote.open()
    asking = remote.mux.connect(remote.handle, remote.psm, 64, remote.now)
    remote.take()
    identifier = remote.send(DisconnectionRequest(0x66, 0x70))
    assert remote.take() == [(identifier, CommandReject(2, bytes.fromhex("66007000")))]
    remote.send(DisconnectionRequest(cid, 0x71))
    remote.send(DisconnectionRequest(asking, 0))
    assert (remote.take(), remote.events()) == ([], [])
    assert len(remote.mux.channels()) == 2


@pytest.mark.parametrize("transport", [BREDR, LE])
def test_the_longest_unused_channel_identifier_is_taken(peer: PeerOf, transport: int) -> None:
    remote = peer(transport)
    kept = remote.open()
    seen = []
    for number in range(70):
        remote.dcid = 0x71
        cid = remote.open()
        seen.append(cid)
        remote.send(DisconnectionRequest(cid, 0x71), 100 + number)
        remote.take()
        remote.events()
    assert kept == 0x40
    assert seen[:63] == list(range(0x41, 0x80))
    assert seen[63:] == (list(range(0x80, 0x87)) if transport == BREDR else list(range(0x41, 0x48)))


@pytest.mark.parametrize("transport", [BREDR, LE])
def test_a_link_has_so_many_channels(peer: PeerOf, transport: int) -> None:
    remote = peer(transport, limits=L2capLimits(channels=100))
    for _ in range(100 if transport == BREDR else 64):
        remote.mux.connect(remote.handle, remote.psm, 64, remote.now)
    with pytest.raises(LocalProtocolError):
        remote.mux.connect(remote.handle, remote.psm, 64, remote.now)


@pytest.mark.parametrize("transport", [BREDR, LE])
def test_a_lost_link_closes_every_channel_once(peer: PeerOf, transport: int) -> None:
    remote = peer(transport)
    opened = remote.open()
    remote.mux.send_sdu(remote.handle, opened, b"lost")
    remote.dcid = 0x71
    requested = remote.ask()
    asking = remote.mux.connect(remote.handle, remote.psm, 64, remote.now)
    given_up = remote.mux.connect(remote.handle, remote.psm, 64, remote.now)
    remote.mux.disconnect(remote.handle, given_up, remote.now)
    remote.mux.remove_link(remote.handle)
    remote.mux.remove_link(remote.handle)
    assert {(event.cid, event.reason) for event in remote.events() if isinstance(event, ChannelEnded)} == {
        (opened, "the link was lost"),
        (requested, "the link was lost"),
        (asking, "the link was lost"),
        (given_up, "given up"),
    }
    assert remote.mux.channels() == []
    assert remote.mux.next_timeout() is None


def test_fixed_channels_are_answered_and_bounded(peer: PeerOf) -> None:
    remote = peer(LE, limits=L2capLimits(signalling_backlog=3))
    for _ in range(5):
        remote.send_pdu(6, bytes.fromhex("01 03 00 01 10 07 07"))
    remote.send_pdu(4, b"\x1b\0\0")
    assert remote.take_pdus() == [(6, b"\x05\x05")] * 3
    assert remote.mux.statistics()["pdus_on_fixed_channels"] == 6


@pytest.mark.parametrize("cid", [0, 2, 3, 4, 5, 6, 0x3F, 0x40, 0xFFFF])
def test_cve_2020_12351_data_to_channels_that_are_not_there(peer: PeerOf, cid: int) -> None:
    remote = peer(BREDR)
    remote.send_pdu(cid, bytes.fromhex("01 03 00 01 10 07 07"))
    assert (remote.take_pdus(), remote.events(), remote.mux.take_sdus()) == ([], [], [])
    assert remote.mux.statistics()["pdus_without_channel"] == 1


def test_requests_on_the_other_signalling_channel_are_not_heard(peer: PeerOf) -> None:
    remote = peer(LE)
    remote.send_pdu(1, L2capConnectionRequest(0x1001, 0x40).pack(1))
    assert remote.take_pdus() == []
