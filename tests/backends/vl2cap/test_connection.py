"""A guest's requests, as its frontend sees them answered: rings in memory, a controller and a peer on a virtual air."""

import asyncio
import errno

import pytest
import structlog
from structlog.testing import capture_logs

from tests.support import air
from usbbtd.backends.vl2cap.connection import GuestConnection
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.guest.connection import Connection
from usbbtd.guest.stream import Stream
from usbbtd.l2capif.frontend import Frontend
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.wire import REQUEST_SIZE, RESPONSE_SIZE, PlainRequest, PlainResponse, pack, unpack
from usbbtd.xen.error import XenError
from usbbtd.xen.ring import FrontRing

octets = air.octets

GUEST, DRIVER = 7, 3
MTU = 2048
ORDER = 2
TRANSPORTS = [air.BREDR, air.LE]
NOBODY = octets(air.NOBODY)
both_transports = pytest.mark.parametrize("transport", TRANSPORTS)


class Guest:
    """Both ends of one device: the guest library's connection, and ``served``, what is tested."""

    def __init__(self, adapter, xen, limits=None, policy=air.ALLOW_ALL):
        self.xen = xen
        self.access = air.access(policy)
        self.broken = []
        self.connection = Connection(xen, DRIVER, 5, self.broken.append)
        nodes = self.connection.nodes
        self.port = int(nodes["event-channel"])
        self.served = GuestConnection(
            GUEST, int(nodes["ring-ref"]), self.port, access=self.access, adapter=adapter, xen=xen,
            limits=limits or FrontendLimits(), broken=self.broken.append, log=structlog.get_logger(),
        )  # fmt: skip

    def send(self, make):
        """Sends a request: a future of its response, whose ``number`` is that of the request."""
        answered = asyncio.get_running_loop().create_future()
        answered.number = self.connection.send(make, answered.set_result)
        return answered

    async def ask(self, make):
        async with asyncio.timeout(air.TIME_LIMIT_S):
            return await self.send(make)

    def stream(self, order=ORDER):
        return Stream(self.connection, order)

    def connect(self, transport=air.BREDR, address=None, psm=None, stream=None, **options):
        shared = (stream or self.stream()).shared
        to = octets(air.PEER[transport][0]) if address is None else address
        arguments = {"mtu": MTU, "ref": shared.ref, "evtchn": shared.port} | options
        return self.send(lambda core: core.connect(to, air.PEER[transport][1], psm or air.PSM[transport], **arguments))

    def accept(self, listener, stream=None):
        shared = (stream or self.stream()).shared
        return self.send(lambda core: core.accept(listener, ref=shared.ref, evtchn=shared.port))

    async def listen(self, transport=air.BREDR, psm=None, **options):
        listening = self.send(lambda core: core.listen(transport, psm or air.PSM[transport], mtu=MTU, **options))
        assert (await listening).ret == 0
        return listening.number

    def release(self, number):
        return self.send(lambda core: core.release(number))

    def close(self):
        self.served.close()
        self.connection.close()


@pytest.fixture
async def xen(plain_xen):
    """Nothing may be left mapped, shared or bound."""
    world = plain_xen()
    yield world
    assert world.held == (0, 0, 0)


@pytest.fixture
async def guest(adapter, xen):
    """Without a dongle, until the test asks for ``dongle``."""
    made = Guest(adapter, xen)
    yield made
    made.close()
    assert made.broken == []


async def test_info_is_answered_with_and_without_a_dongle(guest, adapter, new_dongle):
    info = await guest.ask(lambda core: core.info())
    assert (info.ret, info.powered, info.features, info.address) == (0, 0, 0, bytes(6))
    await adapter.take_dongle(H2Dongle(new_dongle()))
    await adapter.wait_powered()
    info = await guest.ask(lambda core: core.info())
    assert (info.powered, info.address) == (1, octets(air.OUR_ADDRESS))
    assert (info.le_address, info.le_address_type) == (adapter.le_address, 2)
    assert info.le_address[5] >= 0xC0
    assert (info.max_channels, info.channels, info.max_mtu) == (64, 0, FrontendLimits().max_mtu)
    assert info.features == 0b1111


@both_transports
async def test_sdus_of_all_sizes_go_there_and_back(guest, dongle, peer, transport):
    peer.serve_echo(transport)
    stream = guest.stream()
    opened = await guest.connect(transport, stream=stream)
    assert (opened.ret, opened.address, opened.psm) == (0, octets(air.PEER[transport][0]), air.PSM[transport])
    assert opened.tx_mtu == opened.rx_mtu == MTU
    sent = [bytes([number % 256]) * size for number, size in enumerate(air.SIZES * 5)]
    sending = asyncio.create_task(stream.send(sent))
    received = []
    while len(received) < len(sent):
        received += await stream.receive_many()
    assert received == sent
    await sending


async def test_it_tells_what_a_guest_has_and_what_all_its_channels_carried(guest, dongle, peer):
    peer.serve_echo(air.BREDR)
    await guest.listen(psm=0x1077)
    stream = guest.stream()
    opened = await guest.connect(stream=stream)
    await stream.send([b"four", b""])
    received = []
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


async def release(guest, opened, peer, dongle):
    await guest.release(opened.id)


async def peer_disconnects(guest, opened, peer, dongle):
    await (await peer.accepted.get()).close()


async def link_ends(guest, opened, peer, dongle):
    await peer.links[air.BREDR].disconnect()


async def dongle_goes(guest, opened, peer, dongle):
    dongle.unplug()


async def device_closes(guest, opened, peer, dongle):
    guest.served.close()


async def policy_changes(guest, opened, peer, dongle):
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
async def test_the_end_of_every_channel_is_told_once(guest, dongle, peer, end, reason):
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


async def test_it_tells_what_a_guest_waits_for(guest, dongle, peer):
    guest.connect(address=NOBODY)
    await asyncio.sleep(0)
    (channel,) = guest.served.info(GUEST, 0).channels
    assert (channel.state, channel.address, channel.handle, channel.tx_mtu) == ("opening", air.NOBODY, None, None)
    assert guest.served.statistics()["channels"] == 1


@both_transports
async def test_a_listener_gets_its_peers_in_order_and_their_data(guest, dongle, peer, transport):
    listener = await guest.listen(transport)
    advertising = guest.send(lambda core: core.advertise(b"", interval_ms=20))
    assert (await advertising).ret == 0
    streams = [guest.stream(), guest.stream()]
    accepting = [guest.accept(listener, stream) for stream in streams]
    connection = await peer.connect(transport)
    for number, stream in enumerate(streams):
        remote = await peer.open(connection, transport)
        opened = await accepting[number]
        assert (opened.ret, opened.address) == (0, octets(air.PEER[transport][0]))
        await remote.send(bytes([number]))
        assert await stream.receive() == bytes([number])
        await stream.send([b"answer"])
        assert await remote.recv() == b"answer"


async def test_a_peer_waits_in_the_backlog_and_one_too_many_is_refused(guest, dongle, peer):
    listener = await guest.listen(backlog=1)
    connection = await peer.connect(air.BREDR)
    waiting = asyncio.create_task(peer.open(connection, air.BREDR))
    await air.turns(lambda: guest.served.statistics()["offers"] == 1)
    with pytest.raises(Exception, match="NO_RESOURCES"):
        await peer.open(connection, air.BREDR)
    assert (await guest.accept(listener)).ret == 0
    await waiting


async def test_a_peer_that_went_away_is_not_accepted_the_accept_waits_for_the_next(guest, dongle, peer):
    listener = await guest.listen()
    connection = await peer.connect(air.BREDR)
    gone = asyncio.create_task(peer.open(connection, air.BREDR))
    await air.turns(lambda: guest.served.statistics()["offers"] == 1)
    dongle.held = True
    accepting = guest.accept(listener)
    await connection.disconnect()
    dongle.release()
    await air.turns(lambda: not peer.links)
    connection = await peer.connect(air.BREDR)
    await peer.open(connection, air.BREDR)
    assert (await accepting).ret == 0
    gone.cancel()


# Error codes


async def test_without_a_dongle(guest):
    stream = guest.stream()
    assert (await guest.connect()).ret == -errno.ENODEV
    shared = stream.shared
    assert (await guest.ask(lambda core: core.scan(ref=shared.ref, evtchn=shared.port))).ret == -errno.ENODEV
    assert guest.served.statistics()["channels"] == 0
    await guest.listen()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"ref": 999_999}, errno.EFAULT),
        ({"evtchn": 999_999}, errno.EFAULT),
        ({"mtu": 8189}, errno.EINVAL),  # a ring of order 2 takes 8188
        ({"mtu": 47}, errno.EINVAL),
        ({"psm": 0x100}, errno.EINVAL),
        ({"security": 2}, errno.EOPNOTSUPP),
        ({"security": 1}, errno.EINVAL),
    ],
)
async def test_a_connect_that_cannot_be(guest, dongle, bad, error):
    assert (await guest.connect(**bad)).ret == -error
    assert guest.xen.mapped == 1
    assert dongle.commands[-1][:2] != b"\x05\x04"  # the peer was not bothered


@pytest.mark.parametrize(("order", "first_ref", "error"), [(0, None, errno.EINVAL), (6, None, errno.EINVAL),
                                                           (7, None, errno.EINVAL), (0xFFFFFFFF, None, errno.EINVAL),
                                                           (ORDER, 999_999, errno.EFAULT)])  # fmt: skip
async def test_a_page_of_indices_that_makes_no_sense(guest, dongle, order, first_ref, error):
    for make in ("connect", "scan"):
        stream = guest.stream()
        memory = stream.shared._indices
        memory[256:260] = order.to_bytes(4, "little")
        if first_ref is not None:
            memory[260:264] = first_ref.to_bytes(4, "little")
        if make == "connect":
            answer = await guest.connect(stream=stream)
        else:
            answer = await guest.ask(lambda core, of=stream.shared: core.scan(ref=of.ref, evtchn=of.port))
        assert answer.ret == -error


async def test_an_accept_with_a_bad_ring_is_answered_when_the_peer_is_there_who_is_refused(guest, dongle, peer):
    listener = await guest.listen()
    accepting = guest.send(lambda core: core.accept(listener, ref=999_999, evtchn=1))
    connection = await peer.connect(air.BREDR)
    with pytest.raises(Exception, match="NO_RESOURCES"):
        await peer.open(connection, air.BREDR)
    assert (await accepting).ret == -errno.EFAULT


@both_transports
async def test_a_refusal_carries_the_peers_result(guest, dongle, peer, transport):
    answer = await guest.connect(transport)
    assert (answer.ret, answer.result, answer.status) == (-errno.ECONNREFUSED, 2, 0)


@both_transports
async def test_a_peer_that_does_not_answer_in_time(guest, dongle, transport):
    answer = await guest.connect(transport, NOBODY, timeout_s=0.05)
    assert (answer.ret, answer.result, answer.status) == (-errno.ETIMEDOUT, 0, 0)


async def test_a_link_that_cannot_be_made_carries_the_hci_status(guest, dongle, adapter):
    connecting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: adapter.links._attempts)
    dongle.inject([b"\x03\x0b\x04\x00\x00" + NOBODY + b"\x01\x00"])  # Connection Complete: page timeout
    answer = await connecting
    assert (answer.ret, answer.status) == (-errno.ETIMEDOUT, 4)


async def test_info_tells_of_dongles_that_come_and_go(guest, adapter, new_dongle):
    info = await guest.ask(lambda core: core.info())
    said = []
    for _ in range(2):
        waiting = guest.send(lambda core, seen=info.generation: core.info(seen))
        if not info.powered:
            dongle = new_dongle()
            await adapter.take_dongle(H2Dongle(dongle))
        else:
            dongle.unplug()
        info = await waiting
        said.append((info.ret, info.powered, any(info.le_address)))
    assert said == [(0, 1, True), (0, 0, False)]


async def test_info_tells_of_another_limit(guest):
    info = await guest.ask(lambda core: core.info())
    waiting = guest.send(lambda core: core.info(info.generation))
    guest.served.review(FrontendLimits())  # the same
    guest.served.review(FrontendLimits(channels=3))
    assert (await waiting).max_channels == 3
    assert (await waiting).generation == info.generation + 1


@pytest.mark.parametrize("reason", [0x08, 0x13])
async def test_a_link_that_ends_under_a_connect_carries_its_reason(guest, dongle, adapter, peer, reason):
    connecting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: adapter.links._attempts)
    # Connection Complete, then, with the L2CAP request unanswered, Disconnection Complete.
    dongle.inject([b"\x03\x0b\x00\x77\x00" + NOBODY + b"\x01\x00"])
    await air.turns(lambda: adapter.channels._opening)
    dongle.inject([b"\x05\x04\x00\x77\x00" + bytes([reason])])
    answer = await connecting
    assert (answer.ret, answer.status) == (-errno.ETIMEDOUT, reason)


async def test_a_dongle_that_goes_while_a_peer_is_called(guest, dongle):
    connecting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: len(dongle.commands) and dongle.commands[-1][:2] == b"\x05\x04")
    dongle.unplug()
    assert (await connecting).ret == -errno.ENODEV


async def test_two_guests_want_one_psm_and_one_advertising_set(guest, adapter, dongle):
    other = Guest(adapter, guest.xen)
    await guest.listen()
    refused = await other.ask(lambda core: core.listen(air.BREDR, air.PSM[air.BREDR], mtu=MTU))
    assert refused.ret == -errno.EADDRINUSE
    assert (await guest.ask(lambda core: core.advertise(b""))).ret == 0
    assert (await other.ask(lambda core: core.advertise(b""))).ret == -errno.EADDRINUSE
    guest.served.close()
    await other.listen()
    assert (await other.ask(lambda core: core.advertise(b""))).ret == 0
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


async def end_of(stream):
    """What the guest reads after the last message."""
    try:
        while True:
            await stream.receive()
    except ConnectionError as error:
        return error.errno


def change(guest, policy):
    guest.access.change(air.guest_policy(policy))
    guest.served.review(FrontendLimits())


@both_transports
async def test_what_policy_allows_is_done_and_nothing_else(adapter, xen, dongle, peer, transport):
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
async def test_a_peer_that_may_not_come_is_refused_with_the_reason(adapter, xen, dongle, peer, transport):
    guest = Guest(adapter, xen, policy=STRANGERS_ONLY)
    await guest.listen(transport)
    assert (await guest.ask(lambda core: core.advertise(b"", interval_ms=20))).ret == 0
    connection = await peer.connect(transport)
    with pytest.raises(Exception, match=r"SECURITY|AUTHORIZATION"):
        await peer.open(connection, transport)
    assert guest.served.statistics()["offers"] == 0
    guest.close()


@both_transports
async def test_a_channel_that_is_not_allowed_any_more_ends_and_others_go_on(guest, dongle, peer, transport, adapter):
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


async def test_a_connect_under_way_that_is_not_allowed_any_more_is_answered(guest, dongle, adapter):
    connecting = guest.connect(air.BREDR, NOBODY)
    await air.turns(lambda: adapter.links._attempts)
    change(guest, RULES)
    assert (await connecting).ret == -errno.EACCES
    assert guest.xen.mapped == 1
    await air.turns(lambda: not adapter.links._attempts)


async def test_a_listener_that_is_not_allowed_any_more_answers_what_waits(guest, dongle, peer, adapter):
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


async def test_a_peer_that_waits_and_may_not_any_more_is_refused(guest, dongle, peer):
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


async def test_a_scan_and_an_advertisement_that_are_not_allowed_any_more_end(guest, dongle, adapter):
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


async def test_channels_by_a_rule_and_unread_bytes(adapter, xen, dongle, peer):
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


async def test_connects_a_minute(adapter, xen, dongle, peer):
    guest = Guest(adapter, xen, policy=f'{air.ALLOW_ALL}[[limits]]\nguest = "work"\nconnects_per_minute = 2')
    answers = [(await guest.connect()).ret for _ in range(3)]
    assert answers == [-errno.ECONNREFUSED, -errno.ECONNREFUSED, -errno.EAGAIN]
    guest.close()


# RELEASE in every state


async def test_connect_and_release_in_one_batch(guest, dongle, peer):
    peer.serve(air.BREDR)
    stream = guest.stream()
    connecting = guest.connect(stream=stream)
    releasing = guest.release(connecting.number)
    assert (await connecting).ret == -errno.ENOTCONN
    assert (await releasing).ret == 0
    assert guest.xen.mapped == 1
    assert guest.served.statistics()["channels"] == 0


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13, 21, 34])
async def test_release_at_any_moment_of_a_connect(guest, dongle, peer, adapter, turns):
    peer.serve(air.BREDR)
    connecting = guest.connect()
    for _ in range(turns):
        await asyncio.sleep(0)
    releasing = guest.release(connecting.number)
    assert (await releasing).ret == 0
    assert (await connecting).ret in (0, -errno.ENOTCONN)
    assert guest.xen.mapped == 1
    await air.turns(lambda: adapter.statistics()["l2cap_channels"] == 0 and adapter.links._attempts == {})


async def test_release_of_a_listener_answers_what_waits_there(guest, dongle, peer):
    listener = await guest.listen()
    accepting = [guest.accept(listener) for _ in range(3)]
    await air.turns(lambda: guest.served.statistics()["in_flight"] == 3)
    assert (await guest.release(listener)).ret == 0
    assert [(await each).ret for each in accepting] == [-errno.ENOTCONN] * 3
    await guest.listen()


async def test_release_of_a_waiting_accept(guest, dongle, peer):
    listener = await guest.listen()
    accepting = guest.accept(listener)
    assert (await guest.release(accepting.number)).ret == 0
    assert (await accepting).ret == -errno.ENOTCONN


async def test_accept_and_release_in_one_batch_refuses_the_peer_that_waited(guest, dongle, peer):
    listener = await guest.listen()
    connection = await peer.connect(air.BREDR)
    opening = asyncio.create_task(peer.open(connection, air.BREDR))
    await air.turns(lambda: guest.served.statistics()["offers"] == 1)
    accepting = guest.accept(listener)
    releasing = guest.release(accepting.number)
    assert (await accepting).ret == -errno.ENOTCONN
    assert (await releasing).ret == 0
    with pytest.raises(Exception, match="NO_RESOURCES"):
        await asyncio.wait_for(opening, 5)


async def test_release_of_an_open_channel_a_scan_and_an_advertisement(guest, dongle, peer, adapter):
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


async def test_release_of_a_channel_that_died(guest, dongle, peer):
    peer.serve(air.BREDR)
    stream = guest.stream()
    connecting = guest.connect(stream=stream)
    await connecting
    await (await peer.accepted.get()).close()
    with pytest.raises(ConnectionError):
        await stream.receive()
    assert (await guest.ask(lambda core: core.info())).channels == 1
    assert (await guest.release(connecting.number)).ret == 0
    assert (await guest.ask(lambda core: core.info())).channels == 0


# The command ring and the end


async def test_limits_are_the_guests_own(adapter, xen, dongle):
    guest = Guest(adapter, xen, FrontendLimits(channels=1, listeners=1, requests=2))
    await guest.listen()
    assert (await guest.ask(lambda core: core.listen(air.LE, 0x80, mtu=MTU))).ret == -errno.EMFILE
    first = guest.connect(air.BREDR, NOBODY)
    assert (await guest.connect(air.BREDR, NOBODY)).ret == -errno.EMFILE
    guest.close()
    assert (await first).ret == -errno.ENODEV


class RawGuest:
    """A frontend without the core that keeps ours honest."""

    def __init__(self, adapter, xen):
        self.page = xen.share(DRIVER, 1)
        self.ring = FrontRing(self.page.memory, REQUEST_SIZE, RESPONSE_SIZE)
        self.channel = xen.bind_unbound(DRIVER, lambda: None)
        self.served = GuestConnection(
            GUEST, self.page.refs[0], self.channel.port, access=air.access(), adapter=adapter, xen=xen,
            limits=FrontendLimits(), broken=[].append, log=structlog.get_logger(),
        )  # fmt: skip

    async def put(self, *requests):
        """Until all are there."""
        expected = self.served.statistics()["requests"] + len(requests)
        self.ring.put(requests)
        self.channel.notify()
        await air.turns(lambda: self.served.statistics()["requests"] == expected)

    def answers(self):
        """(req_id, ret)"""
        return [(answer.req_id, answer.ret) for answer in (unpack(PlainResponse, each) for each in self.ring.take())]

    def close(self):
        self.served.close()
        self.ring.close()
        self.channel.close()
        self.page.close()


@pytest.fixture
async def raw_guest(adapter, xen):
    made = RawGuest(adapter, xen)
    yield made
    made.close()


async def test_unknown_commands_and_garbage_are_answered(raw_guest):
    await raw_guest.put(pack(PlainRequest(1, 7, 0)), b"\xff" * 64, pack(PlainRequest(3, 0, 0, 2)))
    assert raw_guest.answers() == [(1, -errno.EOPNOTSUPP), (0xFFFFFFFF, -errno.EOPNOTSUPP), (3, -errno.EINVAL)]


async def test_closing_answers_what_is_in_flight_on_the_ring(raw_guest, dongle):
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


async def test_lying_indices_close_the_device_and_nothing_is_left(adapter, xen, dongle):
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
async def test_a_ring_that_cannot_be_had_leaves_nothing(adapter, xen, ref, port):
    connection = Connection(xen, DRIVER, 5, [].append)
    nodes = connection.nodes
    with pytest.raises(XenError):
        GuestConnection(
            GUEST, ref or int(nodes["ring-ref"]), port or int(nodes["event-channel"]), access=air.access(),
            adapter=adapter, xen=xen, limits=FrontendLimits(), broken=[].append,
            log=structlog.get_logger(),
        )  # fmt: skip
    assert xen.mapped == 0
    connection.close()
