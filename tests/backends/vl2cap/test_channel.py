"""SDUs between a guest's ring and the air, with their credits, and how a channel ends at either side."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.demo.peers import PeerChannel
from tests.support import air
from usbbtd.backends.vl2cap.channel import END_ERRORS, ChannelPeer, GuestChannel
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.guest.connection import SharedStream
from usbbtd.l2cap import events as l2cap_events
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import ADAPTER_GONE

GUEST, DRIVER = 7, 3
MTU = 2000
PEER = ChannelPeer(bytes(6), air.BREDR, air.PSM[air.BREDR])
OUT_PROD, IN_CONS = 128, 64  # in the page of indices
TRANSPORTS = [air.BREDR, air.LE]
both_transports = pytest.mark.parametrize("transport", TRANSPORTS)


class Rig:
    """A guest's ring of 2 x 4096 octets, and a GuestChannel between it and a channel to the peer."""

    def __init__(self, xen: Any) -> None:
        self.ended: list[Any] = []
        self.failed: list[Any] = []
        self._changed = asyncio.Event()
        self.shared = SharedStream(xen, DRIVER, 1, self, self.failed.append)
        self.ring = self.shared.ring
        self.tested = GuestChannel(structlog.get_logger(), self.ended.append, self.failed.append, PEER)
        self.tested.take_stream(GuestStream(xen, GUEST, self.shared.ref, self.shared.port, 5, self.tested.guest_event))

    def receive_event(self) -> None:
        self._changed.set()

    def connection_lost(self) -> None:
        pass

    async def read(self, count: int) -> list[bytes]:
        """So many SDUs, as a guest that obeys the rules reads them."""
        received: list[Any] = []
        while len(received) < count and not (self.shared.ended and self.ring.peer_error):
            self._changed.clear()
            messages, notify = self.ring.read()
            if notify:
                self.shared.notify()
            received += messages
            if not messages and not self.shared.ended:
                await self._changed.wait()
        return received

    async def write(self, sdus: list[bytes]) -> None:
        while sdus:
            self._changed.clear()
            taken, notify = self.ring.write(sdus)
            if notify:
                self.shared.notify()
            sdus = sdus[taken:]
            if sdus:
                await self._changed.wait()

    async def end(self) -> int:
        """The error in the ring, when there is one."""
        while not self.shared.ended:
            self._changed.clear()
            await self._changed.wait()
        return self.shared.ended

    def lie(self, offset: int, index: int) -> None:
        self.shared._indices[offset : offset + 4] = index.to_bytes(4, "little")
        self.shared.notify()

    def close(self) -> None:
        self.tested.close()
        self.tested.close()
        self.shared.close()


@pytest.fixture
async def rig(plain_xen: Callable[[], Any]) -> AsyncIterator[Rig]:
    xen = plain_xen()
    made = Rig(xen)
    yield made
    made.close()
    assert xen.held == (0, 0, 0)


@pytest.fixture
async def open_rig(rig: Rig, adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote) -> Callable[..., Any]:
    """Opens it to the peer: the peer's end."""

    async def start(transport: int, **options: Any) -> PeerChannel:
        peer.serve(transport, **{"mtu": MTU} | options)
        address, address_type = air.PEER[transport]
        rig.tested.start(await adapter.channels.connect(air.octets(address), address_type, air.PSM[transport], MTU))
        return await peer.accepted.get()

    return start


@both_transports
async def test_every_sdu_goes_through_a_ring_that_holds_two(
    rig: Rig, open_rig: Callable[..., Any], transport: int
) -> None:
    remote = await open_rig(transport)
    sent = [bytes([number]) * MTU for number in range(100)]
    writing = asyncio.create_task(rig.write(sent))
    assert [await remote.recv() for _ in sent] == sent
    await writing
    sending = asyncio.create_task(send_all(remote, sent))
    assert await rig.read(len(sent)) == sent
    await sending
    assert rig.tested.sdus_from_guest == rig.tested.sdus_to_guest == len(sent)


async def send_all(remote: PeerChannel, sdus: list[bytes]) -> None:
    for sdu in sdus:
        await remote.send(sdu)


async def test_what_the_guest_wrote_before_the_channel_was_open_is_sent_then(
    rig: Rig, open_rig: Callable[..., Any]
) -> None:
    await rig.write([b"early"])
    await asyncio.sleep(0)
    remote = await open_rig(air.BREDR)
    assert await remote.recv() == b"early"


async def test_an_le_peer_stalls_while_the_guest_does_not_read_and_goes_on_when_it_does(
    rig: Rig, open_rig: Callable[..., Any]
) -> None:
    remote = await open_rig(air.LE)
    sent = [bytes([number]) * MTU for number in range(200)]
    sending = asyncio.create_task(send_all(remote, sent))
    await air.turns(lambda: remote._channel.credits == 0)
    assert not sending.done()
    assert await rig.read(len(sent)) == sent
    await sending


async def test_a_guest_that_does_not_read_loses_its_bredr_channel(
    rig: Rig, open_rig: Callable[..., Any], adapter: SharedAdapter
) -> None:
    remote = await open_rig(air.BREDR)
    for _ in range(adapter._limits.unread_bytes // MTU + 2):
        await remote.send(bytes(MTU))
    await air.turns(lambda: rig.ended == [l2cap_events.NOT_READ])
    kept = await rig.read(1 << 30)
    assert adapter._limits.unread_bytes * 3 / 4 < len(kept) * MTU <= adapter._limits.unread_bytes
    assert rig.shared.ended == -errno.ENOBUFS


async def test_a_guest_waits_while_the_peer_takes_nothing(rig: Rig, open_rig: Callable[..., Any]) -> None:
    remote = await open_rig(air.LE, max_credits=1)
    remote._channel.peer_credits_threshold = -1  # Bumble gives no credits back any more
    writing = asyncio.create_task(rig.write([bytes(MTU)] * 200))
    await air.turns(lambda: remote._channel.peer_credits == 0)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not writing.done()
    assert rig.ended == []
    writing.cancel()


# Ends


@both_transports
async def test_the_last_sdus_of_a_peer_come_before_the_end(
    rig: Rig, open_rig: Callable[..., Any], transport: int
) -> None:
    remote = await open_rig(transport)
    sent = [bytes([number]) * 100 for number in range(20)]
    await send_all(remote, sent)
    await remote.close()
    assert await rig.end() == -errno.ENOTCONN
    assert await rig.read(len(sent)) == sent
    assert rig.ended == [l2cap_events.PEER_DISCONNECTED]


async def test_more_than_the_ring_holds_comes_before_the_end(rig: Rig, open_rig: Callable[..., Any]) -> None:
    remote = await open_rig(air.LE)
    sent = [bytes([number]) * MTU for number in range(6)]
    await send_all(remote, sent)
    await remote.close()
    await air.turns(lambda: rig.ended)
    assert rig.shared.ended == 0
    assert await rig.read(len(sent)) == sent
    assert await rig.end() == -errno.ENOTCONN


async def test_a_guest_that_has_sent_everything_hears_when_the_peer_has_it(
    rig: Rig, open_rig: Callable[..., Any]
) -> None:
    remote = await open_rig(air.BREDR)
    sent = [bytes([number]) * 100 for number in range(20)]
    await rig.write(sent)
    rig.ring.set_error(-errno.ENOTCONN)
    rig.shared.notify()
    assert [await remote.recv() for _ in sent] == sent
    assert await rig.end() == -errno.ENOTCONN
    with pytest.raises(ConnectionError):
        await remote.recv()


async def test_a_lost_dongle_is_told(rig: Rig, open_rig: Callable[..., Any], dongle: air.DirectDongle) -> None:
    await open_rig(air.BREDR)
    dongle.unplug()
    assert await rig.end() == -errno.ENODEV
    assert rig.ended == [ADAPTER_GONE]


async def test_a_lost_link_is_told(rig: Rig, open_rig: Callable[..., Any], peer: air.Remote) -> None:
    await open_rig(air.BREDR)
    await peer.links[air.BREDR].disconnect()
    assert await rig.end() == -errno.ETIMEDOUT


def test_reasons_that_are_not_the_peers_breach_have_errors_of_their_own() -> None:
    assert set(END_ERRORS.values()) == {
        -errno.ENOTCONN, -errno.ETIMEDOUT, -errno.ENOBUFS, -errno.ENODEV, -errno.EPERM,
    }  # fmt: skip


@pytest.mark.parametrize(
    "breach",
    [
        lambda rig: rig.lie(OUT_PROD, 4097),
        lambda rig: rig.lie(OUT_PROD, 1),
        lambda rig: rig.lie(IN_CONS, 1),
        lambda rig: rig.ring.write([bytes(MTU + 1)]) and rig.shared.notify(),
        lambda rig: rig.ring.set_error(-errno.EBADMSG) or rig.shared.notify(),
    ],
    ids=["prod beyond the ring", "half a length", "cons beyond prod", "SDU beyond tx_mtu", "its own error"],
)
async def test_a_guest_that_breaks_its_ring_is_disconnected_and_logged_once(
    rig: Rig, open_rig: Callable[..., Any], breach: Callable[..., Any]
) -> None:
    remote = await open_rig(air.BREDR)
    with capture_logs() as logs:
        for _ in range(5):
            breach(rig)
            for _ in range(10):
                await asyncio.sleep(0)
        assert await rig.end() == -errno.EBADMSG
        with pytest.raises(ConnectionError):
            await remote.recv()
        rig.lie(IN_CONS, 0x7FFFFFFF)
        await asyncio.sleep(0)
    assert [log["event"] for log in logs] == ["channel broken by the guest", "channel closed"]
    assert len(rig.ended) == 1


async def test_a_ring_that_was_broken_while_the_channel_opened(rig: Rig, open_rig: Callable[..., Any]) -> None:
    rig.lie(OUT_PROD, 0x7FFFFFFF)
    for _ in range(10):
        await asyncio.sleep(0)
    assert rig.ended == []
    await open_rig(air.BREDR)
    assert await rig.end() == -errno.EBADMSG


async def test_a_ring_that_is_found_broken_at_the_end_is_logged_once(rig: Rig, open_rig: Callable[..., Any]) -> None:
    remote = await open_rig(air.LE)
    await remote.send(b"unread")
    await air.turns(lambda: rig.tested.sdus_to_guest == 1)
    with capture_logs() as logs:
        rig.shared._indices[IN_CONS : IN_CONS + 4] = b"\xff" * 4
        await remote.close()
        await air.turns(lambda: rig.ended)
        for _ in range(5):
            rig.shared.notify()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert len([log for log in logs if "broken" in log["event"]]) <= 1
    assert len(rig.ended) == 1


# For whoever looks


@both_transports
async def test_it_tells_what_it_is_and_what_it_carried(rig: Rig, open_rig: Callable[..., Any], transport: int) -> None:
    named = GUEST, 0, 5
    assert rig.tested.info(*named, "opening")[:7] == (*named, "opening", "00:00:00:00:00:00", "BR/EDR", PEER.psm)
    remote = await open_rig(transport)
    sdus = [bytes(size) for size in (0, 1, 700, MTU)]
    await rig.write(sdus)
    assert [await remote.recv() for _ in sdus] == sdus
    await send_all(remote, sdus[1:])
    assert await rig.read(3) == sdus[1:]
    carried = (3, sum(map(len, sdus)), 4, sum(map(len, sdus)))
    channel, info = rig.tested._channel, rig.tested.info(*named, "open")
    assert channel
    assert (info.handle, info.cid, info.tx_mtu, info.rx_mtu) == (channel.handle, channel.cid, channel.tx_mtu, MTU)
    assert rig.tested.traffic() == info[-4:] == carried
    rig.tested.channel_closed("the peer disconnected")
    ended = rig.tested.info(*named, "ended")
    assert (ended.handle, ended.cid, ended.rx_mtu, *ended[-4:]) == (None, None, None, *carried)
    channel.close()
