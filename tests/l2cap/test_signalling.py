"""C-frames, timers and rejects of Vol 3, Part A, 4 and 6.2, against a peer of bytes."""

from collections.abc import Callable
from typing import Any

import pytest

from usbbtd.bluetooth import BREDR, LE
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import ChannelEnded, ChannelOpened, ChannelRefused, EchoReceived
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.wire import (
    CommandReject,
    ConfigurationRequest,
    ConfigurationResponse,
    ConnectionResponse,
    DisconnectionRequest,
    FlowControlCredit,
    InformationRequest,
    InformationResponse,
    L2capConnectionRequest,
    L2capEchoRequest,
    L2capEchoResponse,
    LeConnectionRequest,
    LeConnectionResponse,
    ParameterUpdateRequest,
)

PeerOf = Callable[..., Any]
NOT_UNDERSTOOD = CommandReject(0, b"")


def test_l2cap_cos_ced_bv_09_several_commands_in_one_frame(peer: PeerOf) -> None:
    remote = peer(BREDR)
    remote.send_frame(L2capEchoRequest(b"1").pack(1) + InformationRequest(2).pack(2) + L2capEchoRequest(b"").pack(3))
    assert remote.take() == [
        (1, L2capEchoResponse(b"1")),
        (2, InformationResponse(2, 0, (0x80).to_bytes(4, "little"))),
        (3, L2capEchoResponse(b"")),
    ]


def test_le_frame_has_exactly_one_command(peer: PeerOf) -> None:
    remote = peer(LE)
    command = ParameterUpdateRequest(6, 6, 0, 200)
    remote.send_frame(command.pack(1) + command.pack(2))
    assert remote.take() == [(1, NOT_UNDERSTOOD)]
    assert remote.events() == []


def test_l2cap_cos_ech_bv_01_echo_is_answered(peer: PeerOf) -> None:
    remote = peer(BREDR)
    remote.send_frame(bytes.fromhex("08 c8 0400 70696e67"))
    assert remote.take_pdus() == [(1, bytes.fromhex("09 c8 0400 70696e67"))]


def test_l2cap_cos_ech_bv_02_echo_is_asked_for(peer: PeerOf) -> None:
    remote = peer(BREDR)
    number = remote.mux.echo(remote.handle, b"ping", remote.now)
    identifier, request = remote.take_one()
    assert request == L2capEchoRequest(b"ping")
    remote.send(L2capEchoResponse(b"pong"), identifier)
    assert remote.events() == [EchoReceived(remote.handle, number, b"pong")]


@pytest.mark.parametrize(
    ("kind", "response"),
    [
        pytest.param(1, InformationResponse(1, 1, b""), id="l2cap_iex_connectionless_mtu_not_supported"),
        pytest.param(2, InformationResponse(2, 0, b"\x80\0\0\0"), id="l2cap_exf_bv_05_extended_features"),
        pytest.param(3, InformationResponse(3, 0, b"\x02" + bytes(7)), id="l2cap_fix_bv_01_fixed_channels"),
        pytest.param(0xFFFF, InformationResponse(0xFFFF, 1, b""), id="l2cap_iex_unknown_type"),
    ],
)
def test_information(peer: PeerOf, kind: int, response: InformationResponse) -> None:
    remote = peer(BREDR)
    identifier = remote.send(InformationRequest(kind))
    assert remote.take() == [(identifier, response)]


def test_l2cap_cos_ced_bv_08_rtx_is_doubled(peer: PeerOf) -> None:
    remote = peer(BREDR)
    cid = remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    first = remote.take_one()
    assert first[1] == L2capConnectionRequest(0x1001, cid)
    due = []
    while (timeout := remote.mux.next_timeout()) is not None:
        due.append(timeout - 100.0)
        remote.pass_time(timeout - remote.now)
        if remote.mux.next_timeout() is not None:
            assert remote.take_one() == first
    assert due == [2.0, 6.0, 14.0, 30.0]
    assert remote.take() == []
    assert remote.events() == [ChannelEnded(remote.handle, cid, "the peer did not answer")]


def test_l2cap_tim_le_requests_are_not_repeated(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.mux.connect(remote.handle, 0x80, 672, remote.now)
    remote.take_one()
    assert remote.mux.next_timeout() == 130.0
    remote.pass_time(30)
    assert remote.take() == []
    assert remote.events() == [ChannelEnded(remote.handle, cid, "the peer did not answer")]


def test_l2cap_tim_ertx_runs_after_pending(peer: PeerOf) -> None:
    remote = peer(BREDR)
    cid = remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    identifier, _ = remote.take_one()
    remote.send(ConnectionResponse(0, cid, 1, 2), identifier)
    assert remote.mux.next_timeout() == 160.0
    remote.pass_time(60)
    assert remote.take() == []
    assert remote.events() == [ChannelEnded(remote.handle, cid, "the peer did not answer")]


def test_a_repeated_request_gets_the_same_answer_once_more(peer: PeerOf) -> None:
    remote = peer(BREDR)
    cid = remote.open()
    request = ConfigurationRequest(cid, 0, b"")
    remote.send(request, 200)
    answers = remote.take()
    assert answers[0] == (200, ConfigurationResponse(remote.dcid, 0, 0, b""))
    remote.send(request, 200)
    assert remote.take() == answers[:1]


def test_repeated_identifier_while_the_answer_is_pending(peer: PeerOf) -> None:
    """As CVE-2026-23395 for the enhanced requests: the second request does not make a second channel."""
    remote = peer(BREDR)
    remote.mux.listen(BREDR, 0x1001)
    for _ in range(3):
        remote.send(L2capConnectionRequest(0x1001, 0x0070), 9)
    (requested,) = remote.events()
    remote.mux.accept(remote.handle, requested.cid, 672, remote.now)
    assert remote.take()[0] == (9, ConnectionResponse(requested.cid, 0x0070, 0, 0))
    remote.send(L2capConnectionRequest(0x1001, 0x0070), 9)
    assert remote.take() == [(9, ConnectionResponse(requested.cid, 0x0070, 0, 0))]
    assert len(remote.mux.channels()) == 1


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param("20 07 0000", id="l2cap_cos_rej_bi_01_unknown_code"),
        pytest.param("0c 07 0500 0100400001", id="create_channel"),
        pytest.param("17 07 0a00 8000 4000 4000 0100 4000", id="ecfc_not_spoken"),
        pytest.param("19 07 0600 4000 4000 4000", id="ecfc_reconfiguration_not_spoken"),
        pytest.param("14 07 0a00 8000 4000 0002 1700 0a00", id="le_request_on_bredr"),
        pytest.param("02 07 0300 010040", id="ced_bi_short_connection_request"),
        pytest.param("02 07 0500 0100400000", id="ced_bi_long_connection_request"),
        pytest.param("02 07 0400 0100", id="ced_bi_cut_off"),
        pytest.param("0a 07 ffff 0200", id="cve_2019_17517_length_beyond_the_frame"),
        pytest.param("04 07 0200 4000", id="short_configuration_request"),
        pytest.param("06 07 0000", id="empty_disconnection_request"),
    ],
)
def test_rejected_as_not_understood(peer: PeerOf, octets: str) -> None:
    remote = peer(BREDR)
    remote.mux.listen(BREDR, 0x0001)
    remote.send_frame(bytes.fromhex(octets))
    assert remote.take() == [(7, NOT_UNDERSTOOD)]
    assert remote.events() == []


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param("", id="empty"),
        pytest.param("08", id="ced_bi_one_octet"),
        pytest.param("08 07 00", id="ced_bi_three_octets"),
        pytest.param("08 00 0000", id="identifier_0"),
        pytest.param("01 07 0200 0000", id="reject_of_nothing"),
        pytest.param("03 07 0800 4000 4000 0000 0000", id="ced_bi_response_to_nothing"),
        pytest.param("03 07 0800 4000", id="response_cut_off"),
        pytest.param("18 07 0800 4000 4000 0100 0000", id="ecfc_response"),
        pytest.param("0d 07 0000", id="amp_response"),
    ],
)
def test_ignored(peer: PeerOf, octets: str) -> None:
    remote = peer(BREDR)
    remote.send_frame(bytes.fromhex(octets))
    assert remote.take() == []
    assert remote.events() == []


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param("14 07 0900 8000 4000 0002 1700 0a", id="short_connection_request"),
        pytest.param("02 07 0400 0110 4000", id="l2cap_le_rej_bi_02_bredr_request"),
        pytest.param("08 07 0000", id="le_has_no_echo"),
        pytest.param("12 07 0600 0600 0600 0000", id="short_parameter_update"),
    ],
)
def test_rejected_on_le(peer: PeerOf, octets: str) -> None:
    remote = peer(LE)
    remote.send_frame(bytes.fromhex(octets))
    assert remote.take() == [(7, NOT_UNDERSTOOD)]


@pytest.mark.parametrize(("transport", "mtu"), [(BREDR, 672), (LE, 64)])
def test_l2cap_cos_ced_bi_01_frame_beyond_the_signalling_mtu(peer: PeerOf, transport: int, mtu: int) -> None:
    remote = peer(transport)
    responses = L2capEchoResponse(b"").pack(3)
    remote.send_frame(responses + L2capEchoRequest(bytes(mtu - 8)).pack(4))
    # 672 is allowed; on LE two commands are not
    assert [identifier for identifier, _ in remote.take()] == ([4] if transport == BREDR else [])
    remote.send_frame(responses + L2capEchoRequest(bytes(mtu - 7)).pack(5))
    assert remote.take() == [(5, CommandReject(1, mtu.to_bytes(2, "little")))]
    remote.send_frame(L2capEchoResponse(bytes(mtu)).pack(6))
    assert remote.take() == []


def test_l2cap_ced_bi_responses_that_do_not_match_are_ignored(peer: PeerOf) -> None:
    remote = peer(BREDR)
    cid = remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    identifier, _ = remote.take_one()
    remote.send(ConnectionResponse(0x70, cid, 0, 0), identifier + 1)  # another identifier
    remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)  # another kind of response
    remote.send(ConnectionResponse(0x70, cid + 1, 0, 0), identifier)  # another channel
    remote.send_frame(bytes((3, identifier, 2, 0, 0x70, 0)))  # too short
    assert remote.state(cid) == "WAIT_CONNECT_RSP"
    assert remote.mux.statistics()["signalling_ignored"] == 4
    remote.send(ConnectionResponse(0x70, cid, 0, 0), identifier)
    assert remote.state(cid) == "WAIT_CONFIG_REQ_RSP"
    remote.send(ConnectionResponse(0x70, cid, 0, 0), identifier)  # once more
    assert remote.mux.statistics()["signalling_ignored"] == 5


@pytest.mark.parametrize("transport", [BREDR, LE])
@pytest.mark.parametrize("reject", [NOT_UNDERSTOOD, CommandReject(1, b"\x17\0"), CommandReject(2, bytes(4))])
def test_a_peer_that_knows_no_channels_refuses(peer: PeerOf, transport: int, reject: CommandReject) -> None:
    remote = peer(transport)
    cid = remote.mux.connect(remote.handle, remote.psm, 672, remote.now)
    remote.send(reject, remote.take_one()[0])
    assert remote.events() == [ChannelRefused(remote.handle, cid, 2)]
    assert remote.mux.channels() == []


def test_identifiers_are_never_0_and_not_reused_in_flight(peer: PeerOf) -> None:
    remote = peer(LE)
    waiting = remote.mux.connect(remote.handle, 0x80, 672, remote.now)
    held, _ = remote.take_one()
    seen = []
    for _ in range(600):
        cid = remote.mux.connect(remote.handle, 0x81, 672, remote.now)
        identifier, _ = remote.take_one()
        seen.append(identifier)
        remote.send(LeConnectionResponse(0, 0, 0, 0, 4), identifier)
        assert remote.events() == [ChannelRefused(remote.handle, cid, 4)]
    assert set(seen) == set(range(1, 256)) - {held}
    assert seen[:254] == seen[254:508]  # as late as possible the same again
    remote.send(LeConnectionResponse(0x40, 64, 64, 1, 0), held)
    assert remote.events() == [ChannelOpened(remote.handle, waiting, 0x80, 64, 672)]


def test_requests_are_dropped_while_the_backlog_is_full(peer: PeerOf) -> None:
    remote = peer(BREDR, limits=L2capLimits(signalling_backlog=5))
    for identifier in range(1, 21):
        remote.send(L2capEchoRequest(b"x" * 600), identifier)
        remote.send_frame(bytes((8, identifier)) + bytes(1000))
    assert [identifier for identifier, _ in remote.take()] == [1, 1, 2, 2, 3]
    assert remote.mux.statistics()["signalling_dropped"] == 17
    remote.send(L2capEchoRequest(b""), 30)
    assert remote.take() == [(30, L2capEchoResponse(b""))]


def test_255_requests_are_the_limit(peer: PeerOf) -> None:
    remote = peer(BREDR, limits=L2capLimits(echoes=1000))
    for _ in range(255):
        remote.mux.echo(remote.handle, b"", remote.now)
    with pytest.raises(LocalProtocolError):
        remote.mux.echo(remote.handle, b"", remote.now)


def test_nothing_runs_after_the_link(peer: PeerOf) -> None:
    remote = peer(BREDR)
    remote.open()
    remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    remote.mux.echo(remote.handle, b"", remote.now)
    remote.mux.remove_link(remote.handle)
    assert remote.mux.next_timeout() is None
    assert remote.mux.take_pdus(remote.handle, 10) == []
    remote.send(DisconnectionRequest(0x40, 0x70))
    remote.send(FlowControlCredit(0x70, 1))
    remote.send(LeConnectionRequest(0x80, 0x40, 64, 64, 1))
    assert remote.mux.statistics()["pdus_without_link"] == 3
