"""BR/EDR channels of Vol 3, Part A, 6 and 7, against a peer of bytes. Names as in the SIG's test suite."""

from collections.abc import Callable
from typing import Any

import pytest

from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import ChannelEnded, ChannelOpened, ChannelRefused, ChannelRequested
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.options import mtu_option
from usbbtd.l2cap.wire import (
    CommandReject,
    ConfigurationRequest,
    ConfigurationResponse,
    ConnectionResponse,
    DisconnectionRequest,
    DisconnectionResponse,
    L2capConnectionRequest,
)

PeerOf = Callable[..., Any]

FLUSH_NEVER = bytes.fromhex("0202ffff")


def reasons(remote: Any) -> list[str]:
    return [event.reason for event in remote.events() if isinstance(event, ChannelEnded)]


def test_l2cap_cos_ced_bv_01_and_bv_05_connect(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.mux.connect(remote.handle, 0x1001, 1691, remote.now)
    identifier, request = remote.take_one()
    assert request == L2capConnectionRequest(0x1001, cid)
    remote.send(ConnectionResponse(0x70, cid, 1, 2), identifier)  # pending first
    remote.send(ConnectionResponse(0x70, cid, 0, 0), identifier)
    identifier, request = remote.take_one()
    assert request == ConfigurationRequest(0x70, 0, mtu_option(1691))
    remote.send(ConfigurationResponse(cid, 0, 0, mtu_option(1691)), identifier)
    assert remote.events() == []
    identifier = remote.send(ConfigurationRequest(cid, 0, mtu_option(48)))
    assert remote.take() == [(identifier, ConfigurationResponse(0x70, 0, 0, mtu_option(48)))]
    assert remote.events() == [ChannelOpened(remote.handle, cid, 0x1001, 48, 1691)]


def test_l2cap_cos_ced_bv_03_data(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open(mtu=100)
    for sdu in (b"", b"a", b"b" * 100):
        remote.send_pdu(cid, sdu)
        remote.mux.send_sdu(remote.handle, cid, sdu)
    assert remote.mux.take_sdus() == [(remote.handle, cid, sdu) for sdu in (b"", b"a", b"b" * 100)]
    assert remote.mux.take_sdus() == []
    assert remote.take_pdus() == [(0x70, sdu) for sdu in (b"", b"a", b"b" * 100)]
    with pytest.raises(LocalProtocolError):
        remote.mux.send_sdu(remote.handle, cid, bytes(673))
    remote.mux.release_sdus(remote.handle, cid, 3)
    with pytest.raises(LocalProtocolError):
        remote.mux.release_sdus(remote.handle, cid, 1)


@pytest.mark.parametrize("answer_first", [True, False])
def test_l2cap_cos_ced_bv_11_accept(peer: PeerOf, answer_first: bool) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 200, remote.now)
    (_, accepted), (identifier, request) = remote.take()
    assert accepted == ConnectionResponse(cid, 0x70, 0, 0)
    assert request == ConfigurationRequest(0x70, 0, mtu_option(200))
    commands = [(ConfigurationResponse(cid, 0, 0, b""), identifier), (ConfigurationRequest(cid, 0, b""), 77)]
    for command, number in commands if answer_first else commands[::-1]:
        assert remote.events() == []
        remote.send(command, number)
    assert remote.events() == [ChannelOpened(remote.handle, cid, 0x1001, 672, 200)]


def test_l2cap_cos_ced_bv_04_disconnect_by_peer(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open()
    identifier = remote.send(DisconnectionRequest(cid, 0x70))
    assert remote.take() == [(identifier, DisconnectionResponse(cid, 0x70))]
    assert reasons(remote) == ["the peer disconnected"]
    identifier = remote.send(DisconnectionRequest(cid, 0x70))
    assert remote.take() == [(identifier, CommandReject(2, bytes((cid, 0, 0x70, 0))))]


def test_l2cap_cos_ced_bv_12_disconnect(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open()
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.mux.disconnect(remote.handle, cid, remote.now)
    identifier, request = remote.take_one()
    assert request == DisconnectionRequest(0x70, cid)
    remote.send(DisconnectionResponse(0x71, cid), identifier)
    remote.send_pdu(cid, b"too late")
    assert remote.mux.take_sdus() == []
    assert remote.events() == []
    remote.send(DisconnectionResponse(0x70, cid), identifier)
    assert reasons(remote) == ["disconnected"]
    assert remote.mux.channels() == []
    assert remote.mux.next_timeout() is None


def test_queued_sdus_leave_before_the_disconnection(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open()
    for number in range(3):
        remote.mux.send_sdu(remote.handle, cid, bytes((number,)))
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.mux.disconnect(remote.handle, cid, remote.now)
    with pytest.raises(LocalProtocolError):
        remote.mux.send_sdu(remote.handle, cid, b"too late")
    pdus = remote.take_pdus()
    assert pdus == [(0x70, bytes((number,))) for number in range(3)]
    assert remote.take_one()[1] == DisconnectionRequest(0x70, cid)
    assert not remote.mux.has_pdus()


def test_disconnection_waits_for_the_queue_only_so_long(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open()
    remote.mux.send_sdu(remote.handle, cid, b"stuck")
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.pass_time(5)
    assert remote.take_one()[1] == DisconnectionRequest(0x70, cid)
    remote.pass_time(30)
    assert reasons(remote) == ["the peer did not answer"]
    assert remote.mux.next_timeout() is None


@pytest.mark.parametrize("result", [2, 3, 4, 6, 7, 0xFFFF])
@pytest.mark.parametrize(("dcid", "scid"), [(0, None), (0, 0), (0x70, 0), (0xFFFF, 0xFFFF), (0x70, 0x70)])
def test_refused_by_the_peer(peer: PeerOf, result: int, dcid: int, scid: int | None) -> None:
    """4.3: neither channel identifier of a refusal means anything. None: our own end."""
    remote = peer()
    cid = remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    remote.send(ConnectionResponse(dcid, cid if scid is None else scid, result, 0), remote.take_one()[0])
    assert remote.events() == [ChannelRefused(remote.handle, cid, result)]
    assert remote.mux.channels() == []


@pytest.mark.parametrize(
    ("psm", "scid", "result"),
    [
        pytest.param(0x1003, 0x70, 2, id="nobody_listens"),
        pytest.param(0x0000, 0x70, 2, id="cve_2022_42896_psm_0"),
        pytest.param(0x1001, 0x3F, 6, id="l2cap_cid_source_cid_is_fixed"),
        pytest.param(0x1001, 0x00, 6, id="l2cap_cid_source_cid_0"),
        pytest.param(0x1001, 0x71, 7, id="l2cap_cid_source_cid_in_use"),
    ],
)
def test_requests_that_are_refused(peer: PeerOf, psm: int, scid: int, result: int) -> None:
    remote = peer()
    remote.dcid = 0x71
    remote.open()
    identifier = remote.send(L2capConnectionRequest(psm, scid))
    assert remote.take() == [(identifier, ConnectionResponse(0, scid, result, 0))]
    assert remote.events() == []


def test_refuse(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    with pytest.raises(LocalProtocolError):
        remote.mux.refuse(remote.handle, cid, 0, remote.now)
    remote.mux.refuse(remote.handle, cid, 3, remote.now)
    assert remote.take_one()[1] == ConnectionResponse(0, 0x70, 3, 0)
    assert remote.events() == []
    for answer in (remote.mux.accept, remote.mux.refuse):  # nobody waits for these
        answer(remote.handle, cid, 672, remote.now)
    assert (remote.take(), remote.events()) == ([], [])


def test_a_request_is_postponed_until_its_peer_is_authenticated(peer: PeerOf) -> None:
    remote = peer(limits=L2capLimits(postponed_s=50.0))
    cid = remote.ask()
    remote.mux.postpone(remote.handle, cid, remote.now)
    assert remote.take_one()[1] == ConnectionResponse(cid, remote.dcid, 1, 1)
    remote.pass_time(49)
    assert remote.take() == []
    assert remote.state(cid) == "WAIT_CONNECT"
    remote.mux.refuse(remote.handle, cid, 3, remote.now)
    assert remote.take_one()[1] == ConnectionResponse(0, remote.dcid, 3, 0)
    remote.mux.postpone(remote.handle, cid, remote.now)  # it is gone
    assert remote.take() == []


def test_a_postponed_request_is_refused_where_nobody_answers(peer: PeerOf) -> None:
    remote = peer(limits=L2capLimits(postponed_s=50.0))
    cid = remote.ask()
    remote.pass_time(1)  # pending, for no reason that is told yet
    remote.mux.postpone(remote.handle, cid, remote.now)
    assert [command for _, command in remote.take()] == [
        ConnectionResponse(cid, remote.dcid, 1, status) for status in (0, 1)
    ]
    remote.pass_time(51)
    assert remote.take_one()[1] == ConnectionResponse(0, remote.dcid, 4, 0)
    assert remote.state(cid) is None


def test_a_request_is_pending_then_refused_where_nobody_answers(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    remote.pass_time(0.5)
    assert remote.take_one()[1] == ConnectionResponse(cid, 0x70, 1, 0)
    remote.pass_time(9.4)
    assert remote.take() == []
    remote.pass_time(0.2)
    assert remote.take_one()[1] == ConnectionResponse(0, 0x70, 4, 0)
    assert reasons(remote) == ["nobody accepted it"]


@pytest.mark.parametrize("dcid", [0x00, 0x01, 0x3F, 0x71])
def test_an_answer_with_an_impossible_channel_identifier(peer: PeerOf, dcid: int) -> None:
    remote = peer()
    remote.dcid = 0x71
    remote.open()
    cid = remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    remote.send(ConnectionResponse(dcid, cid, 0, 0), remote.take_one()[0])
    assert reasons(remote) == [f"the peer answered with the channel identifier {dcid:#06x}"]
    assert len(remote.mux.channels()) == 1
    remote.mux.send_sdu(remote.handle, 0x40, b"the other lives")


def test_l2cap_cos_cfd_bv_01_continuation(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    _, (identifier, _) = remote.take()
    remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)
    first = remote.send(ConfigurationRequest(cid, 1, bytes.fromhex("0102 00")))  # not even an option is whole
    last = remote.send(ConfigurationRequest(cid, 0, bytes.fromhex("02 0202ffff")))
    assert remote.take() == [
        (first, ConfigurationResponse(0x70, 1, 0, b"")),
        (last, ConfigurationResponse(0x70, 0, 0, mtu_option(512) + FLUSH_NEVER)),
    ]
    assert remote.events() == [ChannelOpened(remote.handle, cid, 0x1001, 512, 672)]


def test_continuation_of_the_answer_is_asked_for(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    _, (identifier, _) = remote.take()
    remote.send(ConfigurationResponse(cid, 1, 1, bytes.fromhex("0102")), identifier)
    identifier, request = remote.take_one()
    assert request == ConfigurationRequest(0x70, 0, b"")
    remote.send(ConfigurationResponse(cid, 0, 1, bytes.fromhex("6400")), identifier)
    assert remote.take_one()[1] == ConfigurationRequest(0x70, 0, mtu_option(100))


def test_l2cap_cos_cfd_bv_03_unacceptable_then_acceptable(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open_by_mux()
    assert remote.state(cid) == "OPEN"
    cid = remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    remote.send(ConnectionResponse(0x72, cid, 0, 0), remote.take_one()[0])
    identifier, _ = remote.take_one()
    remote.send(ConfigurationRequest(cid, 0, mtu_option(47)), 90)
    assert remote.take() == [(90, ConfigurationResponse(0x72, 0, 1, mtu_option(48)))]
    remote.send(ConfigurationRequest(cid, 0, bytes.fromhex("0409 0300000000000000 00")), 91)
    assert remote.take() == [(91, ConfigurationResponse(0x72, 0, 1, bytes.fromhex("0409") + bytes(9)))]
    remote.send(ConfigurationRequest(cid, 0, mtu_option(48)), 92)
    assert remote.take() == [(92, ConfigurationResponse(0x72, 0, 0, mtu_option(48)))]
    remote.send(ConfigurationRequest(cid, 0, mtu_option(47)), 93)  # it changes its mind, for the worse
    assert remote.take() == [(93, ConfigurationResponse(0x72, 0, 1, mtu_option(48)))]
    remote.send(ConfigurationResponse(cid, 0, 1, mtu_option(100)), identifier)
    identifier, request = remote.take_one()
    assert request == ConfigurationRequest(0x72, 0, mtu_option(100))
    remote.send(ConfigurationResponse(cid, 0, 0, mtu_option(100)), identifier)
    assert remote.events() == []
    remote.send(ConfigurationRequest(cid, 0, mtu_option(60)), 94)
    assert remote.events() == [ChannelOpened(remote.handle, cid, 0x1001, 60, 100)]


def test_an_answer_that_leaves_our_end_of_the_channel_empty(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    identifier, _ = remote.take_one()
    remote.send(ConnectionResponse(0, 0, 1, 0), identifier)  # pending
    assert remote.mux.next_timeout() == remote.now + 60
    remote.send(ConnectionResponse(0x70, 0x7F, 0, 0), identifier)  # names another channel
    assert remote.take() == []
    remote.send(ConnectionResponse(0x70, 0, 0, 0), identifier)
    identifier, _ = remote.take_one()
    remote.send(ConfigurationResponse(0x7F, 0, 0, b""), identifier)
    assert remote.state(cid) == "WAIT_CONFIG_REQ_RSP"
    remote.send(ConfigurationResponse(0, 0, 0, b""), identifier)
    remote.send(ConfigurationRequest(cid, 0, b""))
    assert remote.events() == [ChannelOpened(remote.handle, cid, 0x1001, 672, 672)]


def test_a_peer_that_wants_its_own_options_in_our_request(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    _, (identifier, _) = remote.take()
    remote.send(ConfigurationResponse(cid, 0, 1, FLUSH_NEVER), identifier)
    identifier, request = remote.take_one()
    assert request == ConfigurationRequest(0x70, 0, mtu_option(672) + FLUSH_NEVER)
    remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)
    assert remote.state(cid) == "WAIT_CONFIG_REQ"


@pytest.mark.parametrize(
    ("result", "options"),
    [(2, b""), (3, b"\x01\x02\x00\x02"), (5, b""), (0xFFFF, b"\xff\xff")],
)
def test_l2cap_cos_cfd_our_request_is_rejected(peer: PeerOf, result: int, options: bytes) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    _, (identifier, _) = remote.take()
    remote.send(ConfigurationResponse(cid, 0, result, options), identifier)
    assert reasons(remote) == [f"the peer rejected our configuration with result {result:#06x}"]
    assert remote.take_one()[1] == DisconnectionRequest(0x70, cid)


def test_cve_2017_1000251_pending_with_options(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    _, (identifier, _) = remote.take()
    remote.send(ConfigurationResponse(cid, 0, 4, bytes.fromhex("0102") + b"\x00" * 600), identifier)
    assert remote.take() == []
    assert remote.mux.next_timeout() == remote.now + 60
    remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)
    assert remote.state(cid) == "WAIT_CONFIG_REQ"


@pytest.mark.parametrize("options", ["0101", "01", "7f"])
def test_cve_2019_3459_malformed_options_are_rejected(peer: PeerOf, options: str) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    remote.take()
    identifier = remote.send(ConfigurationRequest(cid, 0, bytes.fromhex(options)))
    assert remote.take() == [(identifier, ConfigurationResponse(0x70, 0, 2, b""))]
    assert remote.state(cid) == "WAIT_CONFIG_REQ_RSP"


@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param(lambda cid: ConfigurationRequest(cid, 0, mtu_option(47)), id="cve_2022_45934_unacceptable"),
        pytest.param(lambda cid: ConfigurationRequest(cid, 1, b""), id="cve_2022_45934_continued"),
        pytest.param(lambda cid: ConfigurationRequest(cid, 0, mtu_option(48)), id="cve_2022_45934_acceptable"),
    ],
)
def test_256_configuration_requests(peer: PeerOf, request_of: Callable[[int], ConfigurationRequest]) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    remote.take()
    answered = 0
    while remote.state(cid) != "WAIT_DISCONNECT":
        remote.send(request_of(cid))
        answered += 1
    assert answered == 17
    assert reasons(remote) == ["the peer's configuration does not end"]
    assert remote.take()[-1][1] == DisconnectionRequest(0x70, cid)
    for _ in range(256):
        identifier = remote.send(request_of(cid))
        assert remote.take() == [(identifier, CommandReject(2, bytes((cid, 0, 0x70, 0))))]


def test_options_without_end(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    for _ in range(2):
        remote.send(ConfigurationRequest(cid, 1, bytes(600)))
    assert reasons(remote) == ["the peer's configuration does not end"]


def test_a_peer_that_accepts_nothing(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    identifier, request = remote.take()[-1]
    while isinstance(request, ConfigurationRequest):
        remote.send(ConfigurationResponse(cid, 0, 1, b"\xff"), identifier)
        identifier, request = remote.take_one()
    assert request == DisconnectionRequest(0x70, cid)
    assert reasons(remote) == ["the peer accepts no configuration"]


@pytest.mark.parametrize("answer", [CommandReject(0, b""), None])
def test_a_peer_that_cannot_be_configured(peer: PeerOf, answer: CommandReject | None) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    identifier, _ = remote.take()[-1]
    if answer is None:
        remote.pass_time(30)
        assert len([command for _, command in remote.take() if isinstance(command, ConfigurationRequest)]) == 3
    else:
        remote.send(answer, identifier)
    assert len(reasons(remote)) == 1
    assert remote.state(cid) == "WAIT_DISCONNECT"


def test_cve_2026_31498_configuration_request_on_an_open_channel(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open(mtu=300)
    remote.mux.send_sdu(remote.handle, cid, b"queued")
    remote.send(ConfigurationRequest(cid, 0, mtu_option(1000)), 50)
    (first, (identifier, request)) = remote.take()  # and no data while in CONFIG
    assert first == (50, ConfigurationResponse(0x70, 0, 0, mtu_option(1000)))
    assert request == ConfigurationRequest(0x70, 0, mtu_option(300))
    assert remote.state(cid) == "WAIT_CONFIG_RSP"
    remote.mux.send_sdu(remote.handle, cid, b"queued too")
    remote.send_pdu(cid, b"under way")
    assert remote.mux.take_sdus() == [(remote.handle, cid, b"under way")]
    remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)
    assert remote.state(cid) == "OPEN"
    assert remote.events() == []
    assert remote.take_pdus() == [(0x70, b"queued"), (0x70, b"queued too")]


def test_an_open_channel_may_be_configured_again_and_again(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open(mtu=300)
    for _ in range(40):
        remote.send(ConfigurationRequest(cid, 0, b""))
        _, (identifier, request) = remote.take()
        # what the owner was told of our MTU stays true
        remote.send(ConfigurationResponse(cid, 0, 1, mtu_option(100)), identifier)
        identifier, again = remote.take_one()
        assert request == again == ConfigurationRequest(0x70, 0, mtu_option(300))
        remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)
        assert remote.state(cid) == "OPEN"
    assert remote.events() == []


def test_reconfiguration_cannot_take_back_the_mtu(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open()
    identifier = remote.send(ConfigurationRequest(cid, 0, mtu_option(48)))
    assert remote.take() == [(identifier, ConfigurationResponse(0x70, 0, 1, mtu_option(672)))]
    assert remote.state(cid) == "OPEN"
    remote.mux.send_sdu(remote.handle, cid, bytes(672))


def test_disconnect_while_reconfiguring(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open()
    remote.mux.send_sdu(remote.handle, cid, b"stays")
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.send(ConfigurationRequest(cid, 0, b""))
    remote.take()
    remote.pass_time(5)
    assert DisconnectionRequest(0x70, cid) in [command for _, command in remote.take()]


def test_a_late_answer_to_the_configuration_of_a_channel_that_ends(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    _, (identifier, _) = remote.take()
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)
    assert remote.state(cid) == "WAIT_DISCONNECT"
    remote.pass_time(2)
    assert [command for _, command in remote.take()] == [DisconnectionRequest(0x70, cid)] * 2


def test_timers_that_end_each_other(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open()
    remote.mux.send_sdu(remote.handle, cid, b"sdu")
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.send(ConfigurationRequest(cid, 0, b""))
    for _ in range(10):  # each time, all that runs is due at once
        remote.now += 100
        remote.mux.handle_timeout(remote.now)
    assert len(reasons(remote)) == 1
    assert remote.mux.next_timeout() is None


def test_configuration_of_channels_that_are_not_there(peer: PeerOf) -> None:
    remote = peer()
    asking = remote.ask()
    for cid, data in ((0x55, "55000000"), (asking, f"{asking:02x}007000")):
        identifier = remote.send(ConfigurationRequest(cid, 0, b""))
        assert remote.take() == [(identifier, CommandReject(2, bytes.fromhex(data)))]


def test_an_sdu_beyond_our_mtu_closes(peer: PeerOf) -> None:
    remote = peer()
    cid = remote.open(mtu=48)
    remote.send_pdu(cid, bytes(49))
    remote.send_pdu(cid, bytes(10))
    assert remote.mux.take_sdus() == []
    assert reasons(remote) == ["the peer sent an SDU of 49 bytes, our MTU is 48"]
    assert remote.take_one()[1] == DisconnectionRequest(0x70, cid)


@pytest.mark.parametrize("size", [0, 500])
def test_a_guest_that_does_not_read_loses_the_channel(peer: PeerOf, size: int) -> None:
    remote = peer(limits=L2capLimits(unread_bytes=10_000))
    cid = remote.open()
    for _ in range(10_000 // (size + 64)):
        remote.send_pdu(cid, bytes(size))
        remote.mux.take_sdus()
    remote.mux.release_sdus(remote.handle, cid, 1)
    remote.send_pdu(cid, bytes(size))
    assert remote.events() == []
    remote.send_pdu(cid, bytes(size))
    assert reasons(remote) == ["the guest did not read"]
    remote.mux.release_sdus(remote.handle, cid, 2)


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("by_mux", [True, False])
def test_l2cap_cos_ced_bi_disconnect_at_every_step(peer: PeerOf, steps: int, by_mux: bool) -> None:
    remote = peer()
    cid = remote.ask()
    remote.pass_time(0.6)  # the peer was told our end, so that it may disconnect
    remote.take()
    if steps > 0:
        remote.mux.accept(remote.handle, cid, 672, remote.now)
        _, (identifier, _) = remote.take()
    if steps > 1:
        remote.send(ConfigurationRequest(cid, 1, b""))
    if steps > 2:
        remote.send(ConfigurationRequest(cid, 0, b""))
    if steps > 3:
        remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)
    if steps > 4:
        remote.send(ConfigurationRequest(cid, 0, b""))
    remote.take()
    if by_mux:
        remote.mux.disconnect(remote.handle, cid, remote.now)
        answer, request = remote.take_one()
        if steps:
            assert request == DisconnectionRequest(0x70, cid)
            remote.send(DisconnectionResponse(0x70, cid), answer)
        else:
            assert request == ConnectionResponse(0, 0x70, 4, 0)
    else:
        answer = remote.send(DisconnectionRequest(cid, 0x70))
        assert remote.take() == [(answer, DisconnectionResponse(cid, 0x70))]
    assert len(reasons(remote)) == 1
    assert remote.mux.channels() == []
    assert remote.mux.next_timeout() is None
    again = remote.send(L2capConnectionRequest(0x1001, 0x70))
    assert [type(event) for event in remote.events()] == [ChannelRequested]
    assert again


@pytest.mark.parametrize("result", [0, 1, 2])
def test_a_connection_that_is_given_up(peer: PeerOf, result: int) -> None:
    remote = peer()
    cid = remote.mux.connect(remote.handle, 0x1001, 672, remote.now)
    identifier, _ = remote.take_one()
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.mux.disconnect(remote.handle, cid, remote.now)
    assert reasons(remote) == ["given up"]
    if result == 1:
        remote.send(ConnectionResponse(0x70, cid, 1, 0), identifier)
    remote.send(ConnectionResponse(0x70, cid, result & 2, 0), identifier)
    if result < 2:
        identifier, request = remote.take_one()
        assert request == DisconnectionRequest(0x70, cid)
        remote.send(CommandReject(2, bytes.fromhex("70004000")), identifier)
    assert remote.mux.channels() == []
    assert remote.events() == []
