"""A guest's requests, as its frontend sees them answered: rings in memory, a controller and a peer on a virtual air."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.support import air
from usbbtd.backends.vl2cap.connection import GuestConnection
from usbbtd.guest.connection import Connection
from usbbtd.guest.stream import Stream
from usbbtd.l2capif import nodes
from usbbtd.l2capif.frontend import Frontend
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.wire import (
    REQUEST_SIZE,
    RESPONSE_SIZE,
    ChannelResponse,
    PlainRequest,
    PlainResponse,
    pack,
    unpack,
)
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.xen.error import XenError
from usbbtd.xen.ring import FrontRing

octets = air.octets
FEATURES = [getattr(nodes, name) for name in dir(nodes) if name.startswith("FEATURE_")]

GUEST, DRIVER = 7, 3
MTU = 2048
ORDER = 2
TRANSPORTS = [air.BREDR, air.LE]
NOBODY = octets(air.NOBODY)
both_transports = pytest.mark.parametrize("transport", TRANSPORTS)


def ignore(_reason: object) -> None:
    pass


class Answer(asyncio.Future[Any]):
    """The response to a request, whose ``number`` is that of the request."""

    number: int


class Guest:
    """Both ends of one device: the guest library's connection, and ``served``, what is tested."""

    def __init__(
        self, adapter: SharedAdapter, xen: Any, limits: FrontendLimits | None = None, policy: str = air.ALLOW_ALL
    ) -> None:
        self.xen = xen
        self.access = air.access(policy, is_bonded=lambda peer: adapter.security.is_bonded_for(*peer, "work"))
        self.broken: list[Any] = []
        self.connection = Connection(xen, DRIVER, 5, self.broken.append, FEATURES)
        nodes = self.connection.nodes
        self.port = int(nodes["event-channel"])
        self.served = GuestConnection(
            GUEST, int(nodes["ring-ref"]), self.port, guest="work", access=self.access, adapter=adapter, xen=xen,
            limits=limits or FrontendLimits(), broken=self.broken.append, log=structlog.get_logger(),
        )  # fmt: skip

    def send(self, make: Callable[..., Any]) -> Answer:
        answered = Answer()
        answered.number = self.connection.send(make, answered.set_result)
        return answered

    async def ask(self, make: Callable[..., Any]) -> Any:
        async with asyncio.timeout(air.TIME_LIMIT_S):
            return await self.send(make)

    def stream(self, order: int = ORDER) -> Stream:
        return Stream(self.connection, order)

    def connect(
        self,
        transport: int = air.BREDR,
        address: bytes | None = None,
        psm: int | None = None,
        stream: Stream | None = None,
        **options: Any,
    ) -> Answer:
        shared = (stream or self.stream()).shared
        to = octets(air.PEER[transport][0]) if address is None else address
        arguments = {"mtu": MTU, "ref": shared.ref, "evtchn": shared.port} | options
        return self.send(lambda core: core.connect(to, air.PEER[transport][1], psm or air.PSM[transport], **arguments))

    def accept(self, listener: int, stream: Stream | None = None) -> Answer:
        shared = (stream or self.stream()).shared
        return self.send(lambda core: core.accept(listener, ref=shared.ref, evtchn=shared.port))

    async def listen(self, transport: int = air.BREDR, psm: int | None = None, **options: Any) -> int:
        listening = self.send(lambda core: core.listen(transport, psm or air.PSM[transport], mtu=MTU, **options))
        assert (await listening).ret == 0
        return listening.number

    def release(self, number: int) -> Answer:
        return self.send(lambda core: core.release(number))

    def close(self) -> None:
        self.served.close()
        self.connection.close()


@pytest.fixture
async def xen(plain_xen: Callable[[], Any]) -> AsyncIterator[Any]:
    """Nothing may be left mapped, shared or bound."""
    world = plain_xen()
    yield world
    assert world.held == (0, 0, 0)


@pytest.fixture
async def guest(adapter: SharedAdapter, xen: Any) -> AsyncIterator[Guest]:
    """Without a dongle, until the test asks for ``dongle``."""
    made = Guest(adapter, xen)
    yield made
    made.close()
    assert made.broken == []


async def test_it_tells_what_a_guest_has_and_what_all_its_channels_carried(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    peer.serve_echo(air.BREDR)
    await guest.listen(psm=0x1077)
    stream = guest.stream()
    opened = await guest.connect(stream=stream)
    await stream.send([b"four", b""])
    received: list[Any] = []
    while len(received) < 2:
        received += await stream.receive_many()
    info = guest.served.info(GUEST, 2)
    (channel,) = info.channels
    assert (channel.domid, channel.devid, channel.object, channel.state) == (GUEST, 2, opened.id, "open")
    assert (channel.address, channel.psm) == (air.PEER[air.BREDR][0], air.PSM[air.BREDR])
    assert (info.listeners, info.scans, info.advertising) == ([("BR/EDR", 0x1077)], [], False)
    assert info.counters["channels"] == 1
    assert info.traffic == (2, 4, 2, 4)
    assert (await guest.release(opened.id)).ret == 0
    info = guest.served.info(GUEST, 2)
    assert (info.channels, info.traffic) == ([], (2, 4, 2, 4))


async def release(guest: Guest, opened: ChannelResponse, peer: air.Remote, dongle: air.DirectDongle) -> None:
    await guest.release(opened.id)


async def peer_disconnects(guest: Guest, opened: ChannelResponse, peer: air.Remote, dongle: air.DirectDongle) -> None:
    await (await peer.accepted.get()).close()


async def link_ends(guest: Guest, opened: ChannelResponse, peer: air.Remote, dongle: air.DirectDongle) -> None:
    await peer.links[air.BREDR].disconnect()


async def dongle_goes(guest: Guest, opened: ChannelResponse, peer: air.Remote, dongle: air.DirectDongle) -> None:
    dongle.unplug()


async def device_closes(guest: Guest, opened: ChannelResponse, peer: air.Remote, dongle: air.DirectDongle) -> None:
    guest.served.close()


async def policy_changes(guest: Guest, opened: ChannelResponse, peer: air.Remote, dongle: air.DirectDongle) -> None:
    change(guest, "")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (release, "the guest released it"),
        (peer_disconnects, "the peer disconnected"),
        (link_ends, "the link was lost"),
        (dongle_goes, "the adapter has gone"),
        (device_closes, "the guest's device was closed"),
        (policy_changes, "policy does not allow it any more"),
    ],
)
async def test_the_end_of_every_channel_is_told_once(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, end: Any, reason: str
) -> None:
    peer.serve(air.BREDR)
    with capture_logs() as logs:
        stream = guest.stream()
        opened = await guest.connect(stream=stream)
        await stream.send([b"four", b""])
        await air.turns(lambda: guest.served.info(GUEST, 0).traffic.sdus_from_guest == 2)
        refused = await guest.connect(psm=0x1003)
        assert refused.ret != 0
        await end(guest, opened, peer, dongle)
        await air.turns(lambda: any(log["event"] == "channel closed" for log in logs))
        guest.served.close()
    began, ended = (log for log in logs if log["event"] in ("channel open", "channel closed"))
    assert [began[fact] for fact in ("object", "addr", "psm")] == [ended[fact] for fact in ("object", "addr", "psm")]
    assert (began["event"], ended["event"], ended["reason"]) == ("channel open", "channel closed", reason)
    assert ended["duration_s"] >= 0
    traffic = ("sdus_to_guest", "bytes_to_guest", "sdus_from_guest", "bytes_from_guest")
    assert [ended[fact] for fact in traffic] == [0, 0, 2, 4]


async def test_it_tells_what_a_guest_waits_for(guest: Guest, dongle: air.DirectDongle, peer: air.Remote) -> None:
    guest.connect(address=NOBODY)
    await asyncio.sleep(0)
    (channel,) = guest.served.info(GUEST, 0).channels
    assert (channel.state, channel.address, channel.handle, channel.tx_mtu) == ("opening", air.NOBODY, None, None)
    assert guest.served.statistics()["channels"] == 1


async def test_two_guests_want_one_psm_and_both_advertise(
    guest: Guest, adapter: SharedAdapter, dongle: air.DirectDongle
) -> None:
    other = Guest(adapter, guest.xen)
    await guest.listen()
    refused = await other.ask(lambda core: core.listen(air.BREDR, air.PSM[air.BREDR], mtu=MTU))
    assert refused.ret == -errno.EADDRINUSE
    assert (await guest.ask(lambda core: core.advertise(b""))).ret == 0
    assert (await other.ask(lambda core: core.advertise(b""))).ret == 0
    guest.served.close()
    await other.listen()
    other.close()


# Policy


RULES = f"""
[[rule]]
guest = "work"
action = ["connect", "listen"]
peer = "{air.PEER_ADDRESS}"
psm = {air.PSM[air.BREDR]}
verdict = "allow"
[[rule]]
guest = "work"
action = ["connect", "listen"]
peer = "{air.PEER_LE_ADDRESS}/random"
spsm = {air.PSM[air.LE]}
verdict = "allow"
[[rule]]
guest = "other"
action = "any"
verdict = "allow"
"""
OTHERS_ONLY = '[[rule]]\nguest = "other"\naction = "any"\nverdict = "allow"'
STRANGERS_ONLY = f'''
[[rule]]
guest = "any"
action = "any"
peer = ["{air.PEER_ADDRESS}", "{air.PEER_LE_ADDRESS}"]
verdict = "deny"
[[rule]]
guest = "any"
action = "any"
verdict = "allow"
'''


async def end_of(stream: Stream) -> int | None:
    """What the guest reads after the last message."""
    try:
        while True:
            await stream.receive()
    except ConnectionError as error:
        return error.errno


def change(guest: Guest, policy: str) -> None:
    guest.access.change(air.guest_policy(policy))
    guest.served.review(FrontendLimits())


@both_transports
async def test_what_policy_allows_is_done_and_nothing_else(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    guest = Guest(adapter, xen, policy=RULES)
    peer.serve_echo(transport)
    assert (await guest.connect(transport)).ret == 0
    commands = len(dongle.commands)
    assert (await guest.connect(transport, NOBODY)).ret == -errno.EACCES
    assert (await guest.connect(transport, psm=air.PSM[transport] + 2)).ret == -errno.EACCES
    assert (await guest.ask(lambda core: core.listen(transport, air.PSM[transport] + 2, mtu=MTU))).ret == -errno.EACCES
    shared = guest.stream().shared
    assert (await guest.ask(lambda core: core.scan(ref=shared.ref, evtchn=shared.port))).ret == -errno.EACCES
    assert (await guest.ask(lambda core: core.advertise(b""))).ret == -errno.EACCES
    assert len(dongle.commands) == commands  # the air heard nothing of it
    await guest.listen(transport)
    guest.close()


@both_transports
async def test_a_peer_that_may_not_come_is_refused_with_the_reason(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote, transport: int
) -> None:
    guest = Guest(adapter, xen, policy=STRANGERS_ONLY)
    await guest.listen(transport)
    assert (await guest.ask(lambda core: core.advertise(b"", interval_ms=20))).ret == 0
    connection = await peer.connect(transport)
    with pytest.raises(Exception, match=r"SECURITY|AUTHORIZATION"):
        await peer.open(connection, transport)
    assert guest.served.statistics()["offers"] == 0
    guest.close()


@both_transports
async def test_a_channel_that_is_not_allowed_any_more_ends_and_others_go_on(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, transport: int, adapter: SharedAdapter
) -> None:
    peer.serve(transport)
    other = air.LE - transport
    peer.serve_echo(other)
    ended, kept = guest.stream(), guest.stream()
    connecting = guest.connect(transport, stream=ended)
    assert (await connecting).ret == 0
    assert (await guest.connect(other, stream=kept)).ret == 0
    remote = await peer.accepted.get()
    await remote.send(b"before")
    assert await ended.receive() == b"before"
    change(guest, RULES.replace(air.PEER[transport][0], "C0:FF:EE:00:00:55"))
    with pytest.raises(ConnectionError):
        await remote.recv()
    assert await end_of(ended) == errno.EACCES
    await kept.send([b"still here"])
    assert await kept.receive() == b"still here"
    assert (await guest.release(connecting.number)).ret == 0
    assert (await guest.connect(transport)).ret == -errno.EACCES


async def test_a_connect_under_way_that_is_not_allowed_any_more_is_answered(
    guest: Guest, dongle: air.DirectDongle, adapter: SharedAdapter
) -> None:
    connecting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: adapter.links._attempts)
    change(guest, RULES)
    assert (await connecting).ret == -errno.EACCES
    assert guest.xen.mapped == 1
    await air.turns(lambda: not adapter.links._attempts)


async def test_a_listener_that_is_not_allowed_any_more_answers_what_waits(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, adapter: SharedAdapter
) -> None:
    listener = await guest.listen()
    accepting = [guest.accept(listener) for _ in range(2)]
    await air.turns(lambda: guest.served.statistics()["in_flight"] == 2)
    change(guest, OTHERS_ONLY)
    assert [(await each).ret for each in accepting] == [-errno.EACCES] * 2
    assert (await guest.accept(listener)).ret == -errno.EACCES
    assert adapter.statistics()["listeners"] == 0
    other = Guest(adapter, guest.xen)
    await other.listen()
    assert (await guest.release(listener)).ret == 0  # and takes nothing of the other's
    assert adapter.statistics()["listeners"] == 1
    other.close()


async def test_a_peer_that_waits_and_may_not_any_more_is_refused(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    listener = await guest.listen()
    connection = await peer.connect(air.BREDR)
    waiting = asyncio.create_task(peer.open(connection, air.BREDR))
    await air.turns(lambda: guest.served.statistics()["offers"] == 1)
    change(guest, STRANGERS_ONLY)
    with pytest.raises(Exception, match="SECURITY"):
        await waiting
    accepting = guest.accept(listener)  # the listener is still allowed, for others
    assert (await guest.release(listener)).ret == 0
    assert (await accepting).ret == -errno.ENOTCONN


async def test_a_scan_and_an_advertisement_that_are_not_allowed_any_more_end(
    guest: Guest, dongle: air.DirectDongle, adapter: SharedAdapter
) -> None:
    stream = guest.stream()
    scanning = guest.send(lambda core: core.scan(ref=stream.shared.ref, evtchn=stream.shared.port))
    advertising = guest.send(lambda core: core.advertise(b""))
    assert [(await each).ret for each in (scanning, advertising)] == [0, 0]
    change(guest, OTHERS_ONLY)
    assert await end_of(stream) == errno.EACCES
    other = Guest(adapter, guest.xen)
    assert (await other.ask(lambda core: core.advertise(b""))).ret == 0
    for each in (scanning, advertising):
        assert (await guest.release(each.number)).ret == 0
    other.close()


async def test_channels_by_a_rule_and_unread_bytes(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    guest = Guest(adapter, xen, policy=f"{air.ALLOW_ALL}channels = 1\nunread_bytes = 5000")
    peer.serve(air.BREDR)
    first = guest.connect()
    assert (await first).ret == 0
    assert (await guest.connect()).ret == -errno.EMFILE
    remote = await peer.accepted.get()
    for _ in range(3):  # 2112 octets each, with what an SDU costs
        await remote.send(bytes(MTU))
    with pytest.raises(ConnectionError):
        await remote.recv()
    assert (await guest.release(first.number)).ret == 0
    assert (await guest.connect()).ret == 0
    guest.close()


async def test_connects_a_minute(adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle, peer: air.Remote) -> None:
    guest = Guest(adapter, xen, policy=f'{air.ALLOW_ALL}[[limits]]\nguest = "work"\nconnects_per_minute = 2')
    answers = [(await guest.connect()).ret for _ in range(3)]
    assert answers == [-errno.ECONNREFUSED, -errno.ECONNREFUSED, -errno.EAGAIN]
    guest.close()


# RELEASE


async def test_release_of_an_open_channel_a_scan_and_an_advertisement(
    guest: Guest, dongle: air.DirectDongle, peer: air.Remote, adapter: SharedAdapter
) -> None:
    peer.serve(air.BREDR)
    connecting = guest.connect()
    scanned = guest.stream().shared
    scanning = guest.send(lambda core: core.scan(ref=scanned.ref, evtchn=scanned.port))
    advertising = guest.send(lambda core: core.advertise(b""))
    for made in (connecting, scanning, advertising):
        assert (await made).ret == 0
        assert (await guest.release(made.number)).ret == 0
    assert guest.xen.mapped == 1
    await air.turns(lambda: adapter.statistics()["l2cap_channels"] == 0)
    remote = await peer.accepted.get()
    with pytest.raises(ConnectionError):
        await remote.recv()


# The command ring and the end


async def test_limits_are_the_guests_own(adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle) -> None:
    guest = Guest(adapter, xen, FrontendLimits(channels=1, listeners=1, requests=2))
    await guest.listen()
    assert (await guest.ask(lambda core: core.listen(air.LE, 0x80, mtu=MTU))).ret == -errno.EMFILE
    first = guest.connect(air.BREDR, NOBODY)
    assert (await guest.connect(air.BREDR, NOBODY)).ret == -errno.EMFILE
    guest.close()
    assert (await first).ret == -errno.ENODEV


class RawGuest:
    """A frontend without the core that keeps ours honest."""

    def __init__(self, adapter: SharedAdapter, xen: Any) -> None:
        self.page = xen.share(DRIVER, 1)
        self.ring = FrontRing(self.page.memory, REQUEST_SIZE, RESPONSE_SIZE)
        self.channel = xen.bind_unbound(DRIVER, lambda: None)
        self.served = GuestConnection(
            GUEST, self.page.refs[0], self.channel.port, guest="work", access=air.access(), adapter=adapter, xen=xen,
            limits=FrontendLimits(), broken=ignore, log=structlog.get_logger(),
        )  # fmt: skip

    async def put(self, *requests: Any) -> None:
        """Until all are there."""
        expected = self.served.statistics()["requests"] + len(requests)
        self.ring.put(requests)
        self.channel.notify()
        await air.turns(lambda: self.served.statistics()["requests"] == expected)

    def answers(self) -> list[tuple[int, int]]:
        """(req_id, ret)"""
        return [(answer.req_id, answer.ret) for answer in (unpack(PlainResponse, each) for each in self.ring.take())]

    def close(self) -> None:
        self.served.close()
        self.ring.close()
        self.channel.close()
        self.page.close()


@pytest.fixture
async def raw_guest(adapter: SharedAdapter, xen: Any) -> AsyncIterator[RawGuest]:
    made = RawGuest(adapter, xen)
    yield made
    made.close()


async def test_unknown_commands_and_garbage_are_answered(raw_guest: RawGuest) -> None:
    await raw_guest.put(pack(PlainRequest(1, 10, 0)), b"\xff" * 64, pack(PlainRequest(3, 0, 0, 2)))
    assert raw_guest.answers() == [(1, -errno.EOPNOTSUPP), (0xFFFFFFFF, -errno.EOPNOTSUPP), (3, -errno.EINVAL)]


async def test_closing_answers_what_is_in_flight_on_the_ring(raw_guest: RawGuest, dongle: air.DirectDongle) -> None:
    no_ring = {"ref": 999_999, "evtchn": 1}
    core = Frontend()
    listener = core.listen(air.BREDR, air.PSM[air.BREDR], mtu=MTU)
    await raw_guest.put(*core.take_requests(32))
    assert raw_guest.answers() == [(listener, 0)]
    accepting = core.accept(listener, **no_ring)
    await raw_guest.put(*core.take_requests(32))
    assert raw_guest.answers() == []
    raw_guest.served.close()
    raw_guest.served.close()
    assert raw_guest.answers() == [(accepting, -errno.ENODEV)]


async def test_lying_indices_close_the_device_and_nothing_is_left(
    adapter: SharedAdapter, xen: Any, dongle: air.DirectDongle
) -> None:
    guest = Guest(adapter, xen)
    waiting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: guest.served.statistics()["in_flight"] == 1)
    guest.connection._ring._page[0:4] = (1 << 31).to_bytes(4, "little")
    guest.connection._channel.notify()
    await air.turns(lambda: guest.broken)
    assert guest.broken[0].startswith("command ring: ")
    guest.close()
    assert (await waiting).ret == -errno.ENODEV
    await air.turns(lambda: adapter.links._attempts == {})


@pytest.mark.parametrize(("ref", "port"), [(999_999, None), (None, 999_999)])
async def test_a_ring_that_cannot_be_had_leaves_nothing(
    adapter: SharedAdapter, xen: Any, ref: int | None, port: int | None
) -> None:
    connection = Connection(xen, DRIVER, 5, ignore)
    nodes = connection.nodes
    with pytest.raises(XenError):
        GuestConnection(
            GUEST, ref or int(nodes["ring-ref"]), port or int(nodes["event-channel"]), guest="work",
            access=air.access(), adapter=adapter, xen=xen, limits=FrontendLimits(), broken=ignore,
            log=structlog.get_logger(),
        )  # fmt: skip
    assert xen.mapped == 0
    connection.close()
