"""LE credit based channels, Vol 3, Part A, 3.4 and 10.1, against a peer of bytes. Names as in the SIG's test suite."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.bluetooth import LE
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import ChannelEnded, ChannelOpened, ChannelRefused
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.wire import (
    DisconnectionRequest,
    DisconnectionResponse,
    FlowControlCredit,
    LeConnectionRequest,
    LeConnectionResponse,
)

PeerOf = Callable[..., Any]


def reasons(remote: Any) -> list[str]:
    return [event.reason for event in remote.events() if isinstance(event, ChannelEnded)]


def segment(sdu: bytes, mps: int) -> list[bytes]:
    octets = len(sdu).to_bytes(2, "little") + sdu
    return [octets[offset : offset + mps] for offset in range(0, len(octets), mps)]


def test_l2cap_le_cfc_bv_01_connect(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.mux.connect(remote.handle, 0x80, 2048, remote.now)
    identifier, request = remote.take_one()
    assert request == LeConnectionRequest(0x80, cid, 2048, 1024, 32)
    remote.send(LeConnectionResponse(0x70, 23, 23, 0, 0), identifier)
    assert remote.events() == [ChannelOpened(remote.handle, cid, 0x80, 23, 2048)]


def test_l2cap_le_cfc_bv_03_accept(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.ask(mtu=100, mps=50, credits=1)
    assert remote.take() == []
    remote.mux.accept(remote.handle, cid, 65535, remote.now)
    assert remote.take_one()[1] == LeConnectionResponse(cid, 65535, 1024, 4 * 65, 0)
    assert remote.events() == [ChannelOpened(remote.handle, cid, 0x80, 100, 65535)]


def test_small_mtus_promise_a_small_mps(peer: PeerOf) -> None:
    remote = peer(LE)
    remote.mux.connect(remote.handle, 0x80, 23, remote.now)
    assert remote.take_one()[1] == LeConnectionRequest(0x80, 0x40, 23, 25, 32)


@pytest.mark.parametrize("result", [*range(1, 0x0C), 0xFFFF])
@pytest.mark.parametrize("rest", [(0, 0, 0, 0), (0x70, 64, 64, 1), (0xFFFF, 1, 1, 0xFFFF)])
def test_l2cap_le_cfc_bv_04_refused_by_the_peer(peer: PeerOf, result: int, rest: tuple[int, int, int, int]) -> None:
    remote = peer(LE)
    cid = remote.mux.connect(remote.handle, 0x80, 64, remote.now)
    remote.send(LeConnectionResponse(*rest, result), remote.take_one()[0])
    assert remote.events() == [ChannelRefused(remote.handle, cid, result)]
    assert remote.mux.channels() == []


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        pytest.param((0x81, 0x50, 64, 64, 1), 0x0002, id="l2cap_le_cfc_bv_05_nobody_listens"),
        pytest.param((0x00, 0x50, 64, 64, 1), 0x0002, id="spsm_0"),
        pytest.param((0x100, 0x50, 64, 64, 1), 0x0002, id="spsm_256"),
        pytest.param((0x80, 0x3F, 64, 64, 1), 0x0009, id="l2cap_le_cfc_bv_18_invalid_source_cid_low"),
        pytest.param((0x80, 0x80, 64, 64, 1), 0x0009, id="l2cap_le_cfc_bv_18_invalid_source_cid_high"),
        pytest.param((0x80, 0x70, 64, 64, 1), 0x000A, id="l2cap_le_cfc_bv_19_source_cid_in_use"),
        pytest.param((0x80, 0x50, 22, 64, 1), 0x000B, id="l2cap_le_cfc_bv_31_mtu_22"),
        pytest.param((0x80, 0x50, 64, 22, 1), 0x000B, id="l2cap_le_cfc_bv_31_mps_22"),
        pytest.param((0x80, 0x50, 64, 0, 1), 0x000B, id="cve_2026_31498_mps_0"),
        pytest.param((0x80, 0x50, 64, 65534, 1), 0x000B, id="mps_65534"),
    ],
)
def test_requests_that_are_refused(peer: PeerOf, request_: tuple[int, int, int, int, int], result: int) -> None:
    remote = peer(LE)
    remote.open()
    identifier = remote.send(LeConnectionRequest(*request_))
    assert remote.take() == [(identifier, LeConnectionResponse(0, 0, 0, 0, result))]
    assert remote.events() == []


def test_l2cap_le_cfc_bv_16_no_resources(peer: PeerOf) -> None:
    remote = peer(LE, limits=L2capLimits(channels=1))
    remote.open()
    identifier = remote.send(LeConnectionRequest(0x80, 0x71, 64, 64, 1))
    assert remote.take() == [(identifier, LeConnectionResponse(0, 0, 0, 0, 4))]


def test_refuse_and_silence(peer: PeerOf) -> None:
    remote = peer(LE)
    remote.mux.refuse(remote.handle, remote.ask(), 5, remote.now)
    assert remote.take_one()[1] == LeConnectionResponse(0, 0, 0, 0, 5)
    remote.ask()
    remote.pass_time(10)
    assert remote.take_one()[1] == LeConnectionResponse(0, 0, 0, 0, 4)
    assert reasons(remote) == ["nobody accepted it"]


@pytest.mark.parametrize(
    ("dcid", "mtu", "mps", "disconnects"),
    [
        pytest.param(0x3F, 64, 64, False, id="dcid_low"),
        pytest.param(0x80, 64, 64, False, id="dcid_high"),
        pytest.param(0x70, 64, 64, False, id="dcid_in_use"),
        pytest.param(0x71, 22, 64, True, id="mtu_22"),
        pytest.param(0x71, 64, 22, True, id="mps_22"),
        pytest.param(0x71, 64, 0, True, id="cve_2026_31498_mps_0"),
    ],
)
def test_answers_that_cannot_be(peer: PeerOf, dcid: int, mtu: int, mps: int, disconnects: bool) -> None:
    remote = peer(LE)
    remote.open()
    cid = remote.mux.connect(remote.handle, 0x80, 64, remote.now)
    remote.send(LeConnectionResponse(dcid, mtu, mps, 1, 0), remote.take_one()[0])
    assert len(reasons(remote)) == 1
    assert [command for _, command in remote.take()] == ([DisconnectionRequest(dcid, cid)] if disconnects else [])


def test_a_connection_that_is_given_up(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.mux.connect(remote.handle, 0x80, 64, remote.now)
    remote.mux.disconnect(remote.handle, cid, remote.now)
    assert reasons(remote) == ["given up"]
    remote.send(LeConnectionResponse(0x70, 64, 64, 1, 0), remote.take_one()[0])
    identifier, request = remote.take_one()
    assert request == DisconnectionRequest(0x70, cid)
    remote.send(DisconnectionResponse(0x70, cid), identifier)
    assert (remote.mux.channels(), remote.events()) == ([], [])


@given(sizes=st.lists(st.integers(0, 512), max_size=8), mps=st.integers(23, 600), step=st.integers(1, 5))
def test_l2cap_le_cfc_bv_06_segmentation(peer: PeerOf, sizes: list[int], mps: int, step: int) -> None:
    """Frames are the peer's MPS at most, and never more than it gave credits for."""
    remote = peer(LE)
    cid = remote.open(mps=mps, credits=0)
    sdus = [bytes((number,)) * size for number, size in enumerate(sizes)]
    for sdu in sdus:
        remote.mux.send_sdu(remote.handle, cid, sdu)
    expected = [(0x70, frame) for sdu in sdus for frame in segment(sdu, mps)]
    assert remote.take_pdus() == []
    while expected:
        remote.send(FlowControlCredit(0x70, step))
        assert remote.take_pdus() == expected[:step]
        del expected[:step]
    assert not remote.mux.has_pdus()


@given(sizes=st.lists(st.integers(0, 300), max_size=8), mps=st.integers(2, 64))
def test_l2cap_le_cfc_bv_07_reassembly(peer: PeerOf, sizes: list[int], mps: int) -> None:
    """The peer's segments may be smaller than our MPS: it never waits for credits in the middle of an SDU."""
    remote = peer(LE, limits=L2capLimits(mps=64))
    cid = remote.open()
    sdus = [bytes((number,)) * size for number, size in enumerate(sizes)]
    credits_ = 4 * 17  # four SDUs of 1024 bytes in frames of 64
    for sdu in sdus:
        for frame in segment(sdu, mps):
            assert credits_
            remote.send_pdu(cid, frame)
            credits_ += sum(command.credits for _, command in remote.take()) - 1
        assert remote.mux.take_sdus() == [(remote.handle, cid, sdu)]
        remote.mux.release_sdus(remote.handle, cid, 1)
        credits_ += sum(command.credits for _, command in remote.take())
        assert credits_ <= 4 * 17
    assert remote.events() == []


def test_credits_come_back_as_the_guest_reads(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.open()
    for _ in range(32):
        remote.send_pdu(cid, b"\0\0")
    assert len(remote.mux.take_sdus()) == 32
    assert remote.take() == []
    remote.mux.release_sdus(remote.handle, cid, 1)  # the peer stands still: at once
    assert remote.take_one()[1] == FlowControlCredit(cid, 1)
    remote.mux.release_sdus(remote.handle, cid, 15)  # it has one: in batches
    assert remote.take() == []
    remote.mux.release_sdus(remote.handle, cid, 1)
    assert remote.take_one()[1] == FlowControlCredit(cid, 16)
    with pytest.raises(LocalProtocolError):
        remote.mux.release_sdus(remote.handle, cid, 16)


def test_an_sdu_gives_back_as_many_credits_as_it_cost(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.open()
    for _ in range(16):
        remote.send_pdu(cid, b"\x02\0a")
        remote.send_pdu(cid, b"b")
    assert remote.mux.take_sdus() == [(remote.handle, cid, b"ab")] * 16
    remote.mux.release_sdus(remote.handle, cid, 16)
    assert remote.take_one()[1] == FlowControlCredit(cid, 32)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        pytest.param(["01"], "without the length", id="cve_2026_31512_one_octet"),
        pytest.param([""], "without the length", id="cve_2026_31512_empty"),
        pytest.param(["0104" + "00" * 1025], "of 1027 bytes, our MPS is 1024", id="l2cap_le_cfc_bi_27_beyond_mps"),
        pytest.param(["0104" + "00" * 1000], "an SDU of 1025 bytes, our MTU is 1024", id="l2cap_le_cfc_bi_26_mtu"),
        pytest.param(["ffff"], "an SDU of 65535 bytes", id="l2cap_le_cfc_bi_26_no_payload"),
        pytest.param(["0100 0000"], "beyond the length", id="l2cap_le_cfc_bi_28_first_segment"),
        pytest.param(["0300 0000", "0000"], "beyond the length", id="l2cap_le_cfc_bi_28_next_segment"),
        pytest.param(["0000"] * 33, "without credits", id="l2cap_le_cfc_bi_01_no_credits"),
        pytest.param(["0900", ""], "an empty segment", id="empty_segment"),
    ],
)
def test_violations_close_the_channel(peer: PeerOf, frames: list[str], reason: str) -> None:
    remote = peer(LE)
    cid = remote.open()
    remote.dcid = 0x71
    other = remote.open()
    for frame in [*frames, "0100 00"]:  # what comes after the violation is not delivered
        assert not any(sdu for _, _, sdu in remote.mux.take_sdus())
        remote.send_pdu(cid, bytes.fromhex(frame))
    assert not any(sdu for _, _, sdu in remote.mux.take_sdus())
    assert remote.take_one()[1] == DisconnectionRequest(0x70, cid)
    (told,) = reasons(remote)
    assert reason in told
    assert remote.mux.statistics()["channels_failed"] == 1
    remote.mux.send_sdu(remote.handle, other, b"the other lives")
    assert remote.take_pdus() == [(0x71, b"\x0f\0the other lives")]


def test_l2cap_le_cfc_bv_15_more_than_65535_credits(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.open(credits=0xFFFE)
    remote.send(FlowControlCredit(0x70, 1))
    assert remote.events() == []
    remote.send(FlowControlCredit(0x70, 1))
    assert reasons(remote) == ["the peer gave more than 65535 credits"]
    assert remote.take_one()[1] == DisconnectionRequest(0x70, cid)


def test_credits_of_no_use_are_ignored(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.open()
    remote.send(FlowControlCredit(0x71, 1))
    remote.send(FlowControlCredit(cid, 1))  # our end: it means its own
    remote.send(FlowControlCredit(0x70, 0))
    assert (remote.take(), remote.events()) == ([], [])
    assert remote.mux.statistics()["signalling_ignored"] == 3


def test_nothing_is_sent_before_the_channel_is_open(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.ask()
    remote.send(FlowControlCredit(0x70, 1))
    remote.send_pdu(cid, b"\0\0")
    with pytest.raises(LocalProtocolError):
        remote.mux.send_sdu(remote.handle, cid, b"")
    assert remote.mux.take_sdus() == []


def test_queued_sdus_leave_before_the_disconnection_as_credits_come(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.open(credits=1)
    for _ in range(3):
        remote.mux.send_sdu(remote.handle, cid, b"sdu")
    remote.mux.disconnect(remote.handle, cid, remote.now)
    assert remote.take_pdus() == [(0x70, b"\x03\0sdu")]
    remote.send(FlowControlCredit(0x70, 9))
    assert remote.take_pdus() == [(0x70, b"\x03\0sdu")] * 2
    assert remote.take_one()[1] == DisconnectionRequest(0x70, cid)


def test_a_violation_while_the_queue_drains(peer: PeerOf) -> None:
    remote = peer(LE, limits=L2capLimits(queue_bytes=100))
    cid = remote.open(credits=1)
    for _ in range(2):
        remote.mux.send_sdu(remote.handle, cid, b"sdu")
    remote.mux.disconnect(remote.handle, cid, remote.now)
    assert remote.take_pdus() == [(0x70, b"\x03\0sdu")]
    assert remote.mux.take_writable() == []  # nobody may write any more
    remote.send(FlowControlCredit(0x70, 0xFFFF))
    remote.send(FlowControlCredit(0x70, 1))
    assert remote.take_one()[1] == DisconnectionRequest(0x70, cid)
    remote.pass_time(6)
    assert remote.take() == []


def test_disconnect_by_peer_in_the_middle_of_an_sdu(peer: PeerOf) -> None:
    remote = peer(LE)
    cid = remote.open()
    remote.mux.send_sdu(remote.handle, cid, bytes(512))
    remote.send_pdu(cid, b"\x09\0half")
    identifier = remote.send(DisconnectionRequest(cid, 0x70))
    assert remote.take() == [(identifier, DisconnectionResponse(cid, 0x70))]
    assert reasons(remote) == ["the peer disconnected"]
    assert not remote.mux.has_pdus()
    remote.mux.release_sdus(remote.handle, cid, 1)
