"""The mux as its owner sees it: queues, fairness, misuse, and whatever a peer may send."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.bluetooth import BREDR, LE
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap.events import ChannelEnded, ChannelRefused, ChannelRequested
from usbbtd.l2cap.limits import SDU_OVERHEAD, L2capLimits
from usbbtd.l2cap.mux import Mux
from usbbtd.l2cap.wire import BASIC_HEADER, L2capEchoRequest, L2capEchoResponse, SignallingCommand

PeerOf = Callable[..., Any]


@pytest.mark.parametrize("transport", [BREDR, LE])
def test_signalling_first_then_one_of_each_channel(peer: PeerOf, transport: int) -> None:
    remote = peer(transport)
    cids = []
    for dcid in (0x70, 0x71, 0x72):
        remote.dcid = dcid
        cids.append(remote.open())
    for cid, count in zip(cids, (4, 2, 1), strict=True):
        for _ in range(count):
            remote.mux.send_sdu(remote.handle, cid, b"")
    remote.send_frame(bytes((0xFF, 1, 0, 0)))
    assert remote.mux.has_pdus()
    order = []
    while pdus := remote.mux.take_pdus(remote.handle, 2):
        assert len(pdus) <= 2
        order += [int.from_bytes(pdu[2:4], "little") for pdu in pdus]
    assert order == [1 if transport == BREDR else 5, 0x70, 0x71, 0x72, 0x70, 0x71, 0x70, 0x70]
    assert not remote.mux.has_pdus()


@pytest.mark.parametrize("transport", [BREDR, LE])
def test_room_and_writable(peer: PeerOf, transport: int) -> None:
    remote = peer(transport, limits=L2capLimits(queue_bytes=1000))
    cid = remote.open(credits=100) if transport == LE else remote.open()
    assert remote.mux.room(remote.handle, cid) == 1000
    count = 0
    while remote.mux.room(remote.handle, cid) > 0:
        remote.mux.send_sdu(remote.handle, cid, bytes(36))
        count += 1
    assert count == 1000 // (36 + SDU_OVERHEAD)
    with pytest.raises(LocalProtocolError):
        remote.mux.send_sdu(remote.handle, cid, b"")
    assert remote.mux.take_writable() == []
    remote.mux.take_pdus(remote.handle, 4)
    assert remote.mux.take_writable() == []
    remote.mux.take_pdus(remote.handle, 1)
    assert remote.mux.take_writable() == [(remote.handle, cid)]
    assert remote.mux.take_writable() == []
    assert remote.mux.room(remote.handle, cid) == 500
    assert remote.mux.room(remote.handle, 0x99) == remote.mux.room(0x99, cid) == 0


def test_listen() -> None:
    mux = Mux()
    for transport, psm in ((BREDR, 0), (BREDR, 0x1000), (BREDR, 0x0101), (LE, 0), (LE, 0x100)):
        with pytest.raises(LocalProtocolError):
            mux.listen(transport, psm)
    mux.listen(LE, 0x81)
    mux.listen(BREDR, 0x81)
    with pytest.raises(LocalProtocolError):
        mux.listen(LE, 0x81)
    mux.unlisten(LE, 0x81)
    mux.unlisten(LE, 0x81)
    mux.listen(LE, 0x81)


def test_misuse(peer: PeerOf) -> None:
    remote = peer(BREDR)
    mux, handle = remote.mux, remote.handle
    misuses: list[Callable[[], object]] = [
        lambda: mux.add_link(handle, LE, 0, 0.0),
        lambda: mux.connect(handle, 0x1000, 672, 0.0),
        lambda: mux.connect(handle, 0x1001, 47, 0.0),
        lambda: mux.connect(handle, 0x1001, 65536, 0.0),
        lambda: mux.connect(0x99, 0x1001, 672, 0.0),
        lambda: mux.send_sdu(handle, 0x40, b""),
        lambda: mux.send_sdu(0x99, 0x40, b""),
        lambda: mux.echo(0x99, b"", 0.0),
        lambda: mux.refuse(handle, 0x40, 0, 0.0),
    ]
    for misuse in misuses:
        with pytest.raises(LocalProtocolError):
            misuse()
    for gone in (handle, 0x99):  # what is answered may be gone
        mux.accept(gone, 0x40, 672, 0.0)
        mux.refuse(gone, 0x40, 4, 0.0)
        mux.disconnect(gone, 0x40, 0.0)
        mux.release_sdus(gone, 0x40, 1)
        assert not mux.answer_parameters(gone, True)
    assert mux.take_pdus(0x99, 5) == []
    assert not mux.has_pdus()
    mux.handle_timeout(1e9)
    assert mux.take_events() == []


@pytest.mark.parametrize("transport", [BREDR, LE])
def test_for_people(peer: PeerOf, transport: int) -> None:
    remote = peer(transport)
    cid = remote.open()
    remote.send_pdu(cid, b"\0\0")
    remote.mux.send_sdu(remote.handle, cid, b"abc")
    (row,) = remote.mux.channels()
    assert (row.handle, row.cid, row.dcid, row.psm) == (remote.handle, cid, 0x70, remote.psm)
    assert (row.transport, row.state, row.rx_mtu, row.unread) == (transport, "OPEN", 1024, 1)
    assert row.queued == 3 + SDU_OVERHEAD
    assert remote.mux.take_sdus()
    statistics = remote.mux.statistics()
    assert (statistics["links"], statistics["channels"], statistics["sdus_received"]) == (1, 1, 1)


@pytest.mark.parametrize("pdu", [b"", b"\0", b"\0\0\1", b"\1\0\1\0", b"\0\0\1\0x", b"\xff\xff\1\0"])
def test_cve_2019_17517_length_of_the_pdu(peer: PeerOf, pdu: bytes) -> None:
    remote = peer(BREDR)
    remote.mux.receive_pdus(remote.handle, [pdu], remote.now)
    assert remote.mux.statistics()["pdus_malformed"] == 1
    assert remote.take_pdus() == []


def test_a_pdu_of_no_use_loses_none_of_its_neighbours(peer: PeerOf) -> None:
    remote = peer(BREDR)
    requests = [L2capEchoRequest(bytes((number,))).pack(number) for number in (1, 2, 3)]
    frames = [BASIC_HEADER.pack(len(request), 1) + request for request in requests]
    strays = [b"", b"\0\0\1", BASIC_HEADER.pack(2, 1) + b"x", BASIC_HEADER.pack(1, 0x44) + b"x"]
    remote.mux.receive_pdus(remote.handle, [frames[0], *strays, *frames[1:]], remote.now)
    answers = [(number, L2capEchoResponse(bytes((number,)))) for number in (1, 2, 3)]
    assert remote.take() == answers
    assert remote.mux.statistics() | {"pdus_malformed": 3, "pdus_without_channel": 1} == remote.mux.statistics()
    remote.mux.receive_pdus(0x99, [b"", *frames], remote.now)
    assert remote.mux.statistics() | {"pdus_malformed": 4, "pdus_without_link": 3} == remote.mux.statistics()


CIDS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 0x3F, 0x40, 0x41, 0x42, 0x70, 0x71, 0xFFFF])
WORDS = st.one_of(CIDS, st.sampled_from([22, 23, 48, 0x80, 0x1001, 0x8000]), st.integers(0, 0xFFFF))


def command(code: int, identifier: int, words: list[int], tail: bytes, wrong: int) -> bytes:
    data = b"".join(word.to_bytes(2, "little") for word in words) + tail
    return bytes((code, identifier)) + ((len(data) + wrong) & 0xFFFF).to_bytes(2, "little") + data


COMMAND = st.builds(
    command,
    st.one_of(st.sampled_from(sorted(SignallingCommand.registry)), st.integers(0, 255)),
    st.integers(0, 6),
    st.lists(WORDS, max_size=5),
    st.binary(max_size=8),
    st.sampled_from([0, 0, 0, 0, 1, -1]),
)
PDU = st.one_of(
    st.tuples(st.sampled_from([1, 5]), st.lists(COMMAND, min_size=1, max_size=3).map(b"".join)),
    st.tuples(CIDS, st.binary(max_size=40)),
)


@pytest.mark.parametrize("transport", [BREDR, LE])
@given(
    steps=st.lists(st.one_of(PDU, st.sampled_from(["accept", "connect", "time", "work", "disconnect"])), max_size=25)
)
def test_whatever_a_peer_sends(peer: PeerOf, transport: int, steps: list[Any]) -> None:
    """Nothing raises; every channel ends exactly once; nothing is left over when the link is gone."""
    remote = peer(transport)
    remote.mux.listen(transport, remote.psm)
    waiting: list[int] = []
    begun: list[int] = []
    ended: list[int] = []
    for step in steps:
        if isinstance(step, tuple):
            remote.send_pdu(*step)
        elif step == "accept" and waiting:
            remote.mux.accept(remote.handle, waiting.pop(), 64, remote.now)
        elif step == "connect":
            begun.append(remote.mux.connect(remote.handle, remote.psm, 64, remote.now))
        elif step == "time":
            remote.pass_time(7)
        elif step == "work":
            work(remote)
        elif step == "disconnect":
            for row in remote.mux.channels():
                remote.mux.disconnect(remote.handle, row.cid, remote.now)
        note(remote, waiting, begun, ended)
    remote.mux.remove_link(remote.handle)
    note(remote, waiting, begun, ended)
    assert sorted(ended) == sorted(begun)
    assert remote.mux.next_timeout() is None


def work(remote: Any) -> None:
    for row in remote.mux.channels():
        if row.tx_mtu and remote.mux.room(remote.handle, row.cid) > 0:
            remote.mux.send_sdu(remote.handle, row.cid, b"sdu")
    remote.take_pdus()
    for handle, cid, _ in remote.mux.take_sdus():
        remote.mux.release_sdus(handle, cid, 1)


def note(remote: Any, waiting: list[int], begun: list[int], ended: list[int]) -> None:
    for event in remote.events():
        if isinstance(event, ChannelRequested):
            begun.append(event.cid)
            waiting.append(event.cid)
        elif isinstance(event, (ChannelEnded, ChannelRefused)):
            ended.append(event.cid)
            if event.cid in waiting:
                waiting.remove(event.cid)
