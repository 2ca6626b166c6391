"""What came in one wake-up overtakes itself: answers to what is gone, in every order and cut in every way.

The controller is scripted, all else is real: the pump of the dongle, the adapter, and a guest's rings.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog
from bumble.link import LocalLink
from hypothesis import example, given
from hypothesis import strategies as st

from tests.backends.vl2cap import test_connection as connection
from tests.radio.test_adapter import advertise
from tests.support import air, plain_xen
from tests.support.pairing import AirAgent
from usbbtd.bluetooth import LEVEL_ENCRYPTED
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import Offer
from usbbtd.radio.errors import RadioError, Unreachable
from usbbtd.security.terms import ENTER_PASSKEY

octets = air.octets

HANDLES = (0x040, 0x041)
PEERS = (octets("C0:FF:EE:00:00:21"), octets("C0:FF:EE:00:00:22"))
NOTHING = '[[rule]]\nguest = "any"\naction = "advertise"\nverdict = "allow"\n'


class ScriptedDongle(air.DirectDongle):
    """Bumble's controller brings it up; from then on only the test speaks."""

    scripted = False

    def send_control(self, setup: bytes, data: bytes) -> None:
        if self.scripted:
            self.commands.append(data)
        else:
            super().send_control(setup, data)

    def send_bulk(self, transfers: list[bytes]) -> int:
        return len(transfers) if self.scripted else super().send_bulk(transfers)

    def on_packet(self, packet: bytes) -> None:
        if not self.scripted:
            super().on_packet(packet)

    def wake_up(self, interrupts: list[bytes], bulks: list[bytes]) -> None:
        """One wake-up, with what the two endpoints had."""
        if not self.closed:
            events = b"".join(interrupts)
            size = self.interrupt_packet_size
            self.inject([events[at : at + size] for at in range(0, len(events), size)], bulks)


def new_adapter(log: Any) -> SharedAdapter:
    return SharedAdapter(
        random_address=octets(air.OUR_LE_ADDRESS), command_timeout_s=2.0, limits=L2capLimits(mps=1021), log=log
    )


async def plug(adapter: SharedAdapter) -> ScriptedDongle:
    """An adapter's dongle, up."""
    dongle = ScriptedDongle(LocalLink())
    await adapter.take_dongle(H2Dongle(dongle))
    async with asyncio.timeout(air.TIME_LIMIT_S):
        await adapter.wait_powered()
    dongle.scripted = True
    return dongle


# What a controller says.


def event(code: int, parameters: bytes) -> bytes:
    return bytes((code, len(parameters))) + parameters


def connected(handle: int, peer: bytes, transport: int, role: int) -> list[bytes]:
    if transport == air.LE:
        parameters = struct.pack("<BBHBB6sHHHB", 1, 0, handle, role, 1, peer, 24, 0, 500, 0)
        return [event(0x3E, parameters)]
    complete = event(0x03, struct.pack("<BH6sBB", 0, handle, peer, 1, 0))
    return [event(0x04, peer + b"\x00\x00\x00\x01"), complete] if role else [complete]


def ask_for(adapter: SharedAdapter, dongle: ScriptedDongle, peer: bytes, transport: int) -> None:
    """Has the host make a link to a peer: it ends those that it did not want."""
    controller = air.controller_of(adapter)
    controller.host.connect(peer, 2 * transport, controller.now())
    dongle.wake_up([], [])
    dongle.wake_up([answer(dongle.commands[-1][:2], 0, complete=False)], [])


def disconnected(handle: int, status: int = 0) -> bytes:
    return event(0x05, struct.pack("<BHB", status, handle, 0x13))


def completed(handle: int, count: int) -> bytes:
    return event(0x13, struct.pack("<BHH", 1, handle, count))


def answer(opcode: bytes, status: int, *, complete: bool) -> bytes:
    return event(0x0E, b"\x01" + opcode + bytes((status,))) if complete else event(0x0F, bytes((status, 1)) + opcode)


def acl(handle: int, cid: int, payload: bytes) -> bytes:
    return struct.pack("<HHHH", handle | 0x2000, len(payload) + 4, len(payload), cid) + payload


def signal(handle: int, transport: int, code: int, identifier: int, *fields: Any) -> bytes:
    data = struct.pack(f"<{len(fields)}H", *fields)
    return acl(handle, 5 if transport else 1, struct.pack("<BBH", code, identifier, len(data)) + data)


#: Where nobody waits for the guest: each is refused at once.
REFUSING = {air.BREDR: 0x1003, air.LE: 0x82}


def request(handle: int, transport: int, psm: int | None = None, identifier: int = 1, scid: int = 0x50) -> bytes:
    psm = air.PSM[transport] if psm is None else psm
    if transport == air.BREDR:
        return signal(handle, air.BREDR, 2, identifier, psm, scid)
    return signal(handle, air.LE, 0x14, identifier, psm, scid, 64, 64, 1)


def parameters(handle: int) -> bytes:
    """The peer wants other connection parameters."""
    return signal(handle, air.LE, 0x12, 1, 24, 40, 0, 500)


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def bugs(entries: list[Any]) -> list[Any]:
    """Log entries with a traceback."""
    return [entry for entry in entries if entry.get("exc_info")]


@pytest.fixture
async def scripted(log: list[Any]) -> AsyncIterator[tuple[SharedAdapter, ScriptedDongle]]:
    adapter = new_adapter(structlog.get_logger())
    dongle = await plug(adapter)
    yield adapter, dongle
    assert bugs(log) == []
    adapter.close()


@pytest.mark.parametrize("transport", air.TRANSPORTS)
async def test_who_asks_and_leaves_in_one_wake_up_is_refused(
    scripted: tuple[SharedAdapter, ScriptedDongle], transport: int
) -> None:
    adapter, dongle = scripted
    advertise(adapter)
    adapter.channels.listen(transport, air.PSM[transport], adapter.channels.refuse)
    dongle.wake_up(connected(0x40, PEERS[0], transport, 1), [])
    dongle.wake_up([disconnected(0x40)], [request(0x40, transport)])
    assert adapter.statistics()["links"] == 0
    dongle.wake_up(connected(0x40, PEERS[0], transport, 1), [])
    assert adapter.statistics()["links"] == 1  # it works on


@pytest.mark.parametrize("transport", air.TRANSPORTS)
async def test_who_asks_and_leaves_in_one_wake_up_is_accepted(
    scripted: tuple[SharedAdapter, ScriptedDongle], transport: int
) -> None:
    adapter, dongle = scripted
    advertise(adapter)
    accepting = []

    def accept(offer: Offer) -> None:
        accepting.append(asyncio.ensure_future(adapter.channels.accept(offer, air.MTU)))

    adapter.channels.listen(transport, air.PSM[transport], accept)
    dongle.wake_up(connected(0x40, PEERS[0], transport, 1), [])
    dongle.wake_up([disconnected(0x40)], [request(0x40, transport)])
    with pytest.raises(Unreachable):
        await accepting[0]


@pytest.mark.parametrize("after", [air.BREDR, air.LE, None])
async def test_parameters_are_asked_for_on_a_link_that_ends(
    scripted: tuple[SharedAdapter, ScriptedDongle], after: int | None
) -> None:
    """What has the handle by now is not meant."""
    adapter, dongle = scripted
    ask_for(adapter, dongle, PEERS[0], air.LE)
    dongle.wake_up(connected(0x40, PEERS[0], air.LE, 0), [])
    next_link = [] if after is None else connected(0x40, PEERS[1], after, 0)
    if after is not None:
        ask_for(adapter, dongle, PEERS[1], after)
    sent = len(dongle.commands)
    dongle.wake_up([disconnected(0x40), *next_link], [parameters(0x40)])
    assert [command[:2] for command in dongle.commands[sent:]] == []
    assert adapter.statistics()["links"] == len(next_link)


@pytest.mark.parametrize("after", [air.BREDR, air.LE])
async def test_parameters_are_asked_for_when_another_link_ends_first(
    scripted: tuple[SharedAdapter, ScriptedDongle], after: int
) -> None:
    """The end of one link hands over what waits on all: the host must not be further than that yet."""
    adapter, dongle = scripted
    for handle, peer in zip(HANDLES, PEERS, strict=True):
        ask_for(adapter, dongle, peer, air.LE)
        dongle.wake_up(connected(handle, peer, air.LE, 0), [])
    next_peer = octets("C0:FF:EE:00:00:23")
    ask_for(adapter, dongle, next_peer, after)
    sent = len(dongle.commands)
    ends = [disconnected(handle) for handle in HANDLES]
    dongle.wake_up([*ends, *connected(HANDLES[1], next_peer, after, 0)], [parameters(HANDLES[1])])
    assert (dongle.closed, adapter.statistics()["links"]) == (False, 1)
    assert dongle.commands[sent:] == []


async def test_who_gives_up_opening_ends_no_channel_that_has_its_numbers_by_now(
    scripted: tuple[SharedAdapter, ScriptedDongle],
) -> None:
    """The task that was cancelled runs behind a wake-up in which its link has ended, and another has come."""
    adapter, dongle = scripted
    offers: list[Any] = []
    adapter.channels.listen(air.BREDR, air.PSM[air.BREDR], offers.append)
    dongle.wake_up(connected(0x40, PEERS[0], air.BREDR, 1), [])
    opening = asyncio.create_task(adapter.channels.connect(PEERS[0], 0, air.PSM[air.BREDR], air.MTU))
    for _ in range(3):
        await asyncio.sleep(0)
    ((handle, cid),) = adapter.channels._opening
    opening.cancel()
    dongle.wake_up([disconnected(0x40), *connected(0x40, PEERS[1], air.BREDR, 1)], [])
    # Data is not taken for the old link's.
    air.controller_of(adapter).now = lambda: asyncio.get_running_loop().time() + 1
    dongle.wake_up([], [request(0x40, air.BREDR)])
    assert [(offer.handle, offer.cid) for offer in offers] == [(handle, cid)]
    await asyncio.wait([opening])
    await asyncio.sleep(0)
    assert opening.cancelled()
    assert (len(offers), mux_of(adapter).statistics()["channels"]) == (1, 1)


def mux_of(adapter: SharedAdapter) -> Any:
    assert adapter._stack
    return adapter._stack.mux


# What is a bug costs its own device, and nobody else's.


class Bug(Exception):
    pass


def fail(*_: Any) -> None:
    raise Bug


@pytest.mark.parametrize("where", ["receive", "flush", "timeout", "start"])
async def test_a_bug_of_the_radio_costs_the_dongle_and_the_next_one_works(
    log: list[Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = new_adapter(structlog.get_logger())
    if where == "start":
        dongle = ScriptedDongle(LocalLink())
        monkeypatch.setattr(dongle, "start", fail)
        await adapter.take_dongle(H2Dongle(dongle))
    else:
        dongle = await plug(adapter)
        controller = air.controller_of(adapter)
        if where == "receive":
            advertise(adapter)
            monkeypatch.setattr(adapter, "owner_of", fail)
            dongle.wake_up(connected(0x40, PEERS[0], air.LE, 1), [])
        else:
            monkeypatch.setattr(controller, "now", fail)
            controller._loop.call_soon(controller._flush if where == "flush" else controller._timeout)
            await asyncio.sleep(0)
        monkeypatch.undo()
    assert (dongle.closed, adapter.powered, adapter.statistics()["links"]) == (True, False, 0)
    (bug,) = bugs(log)
    assert (bug["event"], bug["log_level"], type(bug["exc_info"])) == ("radio failed", "error", Bug)
    assert (await plug(adapter)).closed is False
    adapter.close()


@pytest.mark.parametrize("where", ["receive_requests", "offer", "complete_channel", "end_object"])
async def test_a_bug_of_a_guest_costs_its_device(log: list[Any], where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the guest beside it, the links and the dongle go on."""
    adapter = new_adapter(structlog.get_logger())
    dongle = await plug(adapter)
    guests = [connection.Guest(adapter, plain_xen.PlainXen()) for _ in range(2)]
    listening: dict[connection.Guest, connection.Answer] = {}
    for guest, psm in zip(guests, (0x1001, 0x1005), strict=True):
        listening[guest] = guest.send(lambda core, psm=psm: core.listen(air.BREDR, psm, mtu=48, backlog=2))
        await listening[guest]
    stream = guests[0].stream(2)
    accepting = guests[0].accept(listening[guests[0]].number, stream)
    await asyncio.sleep(0)
    monkeypatch.setattr(guests[0].served._core, where, fail)
    dongle.wake_up(connected(0x40, PEERS[0], air.BREDR, 1), [request(0x40, air.BREDR)])
    dongle.wake_up([], [request(0x40, air.BREDR, 0x1005, 2, 0x51)])
    for _ in range(4):
        await asyncio.sleep(0)
    # The peer's side of the configuration of the channel that was accepted, then its end.
    configured = [signal(0x40, air.BREDR, 5, 1, 0x40, 0, 0), signal(0x40, air.BREDR, 4, 3, 0x40, 0)]
    dongle.wake_up([], configured)
    for _ in range(4):
        await asyncio.sleep(0)
    dongle.wake_up([], [signal(0x40, air.BREDR, 6, 4, 0x40, 0x50)])
    if where == "receive_requests":
        guests[0].send(lambda core: core.info())
    for _ in range(4):
        await asyncio.sleep(0)
    assert (len(guests[0].broken), guests[1].broken) == (1, [])
    (bug,) = bugs(log)
    assert (bug["event"], type(bug["exc_info"])) == ("guest failed", Bug)
    info = guests[1].send(lambda core: core.info())
    for guest in guests:
        guest.close()
    assert (info.done(), dongle.closed, adapter.statistics()["listeners"]) == (True, False, 0)
    assert (accepting.done(), guests[0].xen.held, guests[1].xen.held) == (True, (0, 0, 0), (0, 0, 0))
    adapter.close()


async def test_a_bug_in_the_end_of_one_object_leaves_no_other(log: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not its PSM, for one: the guest that comes back wants it again."""
    adapter = new_adapter(structlog.get_logger())
    guest = connection.Guest(adapter, plain_xen.PlainXen())
    for psm in (0x1001, 0x1005, 0x1007):
        await guest.send(lambda core, psm=psm: core.listen(air.BREDR, psm, mtu=48, backlog=2))
    with monkeypatch.context() as patched:
        patched.setattr(guest.served._core.server(2).server, "close", fail)
        with pytest.raises(Bug):
            guest.served.close()
    assert (list(adapter.channels._listeners), guest.access.open_grants) == ([(air.BREDR, 0x1005)], 0)
    guest.connection.close()
    assert guest.xen.held == (0, 0, 0)
    adapter.close()


# Everything at once.

handles, peers, transports = st.sampled_from(HANDLES), st.sampled_from(PEERS), st.sampled_from(air.TRANSPORTS)
words = st.sampled_from((0x0000, 0x0001, 0x0040, 0x0041, 0x0050, 0x0051, 0x0080, 0x1001)) | st.integers(0, 0xFFFF)
requests = st.builds(
    lambda handle, transport, refusing, identifier: request(
        handle, transport, REFUSING[transport] if refusing else None, identifier, 0x50 + identifier
    ),
    handles, transports, st.booleans(), st.integers(1, 4),
)  # fmt: skip
signals = st.builds(
    lambda handle, transport, code, identifier, fields: signal(handle, transport, code, identifier, *fields),
    handles, transports, st.integers(1, 0x1A), st.integers(0, 4), st.lists(words, max_size=6),
)  # fmt: skip
data = st.builds(acl, handles, st.sampled_from((0x40, 0x41, 0x3F)), st.binary(max_size=40))
pairing_features = st.builds(
    lambda code, io, flags: bytes((code, io, 0, flags, 16, 7, 7)),
    st.sampled_from((1, 2)), st.integers(0, 4), st.sampled_from((0x01, 0x05, 0x09, 0x0D)),
)  # fmt: skip
smp_codes, smp_sizes = st.integers(1, 14), st.sampled_from((1, 7, 16, 64))
smp_pdus = st.builds(lambda code, size: bytes((code, *range(size))), smp_codes, smp_sizes)
smp = st.builds(acl, handles, st.just(6), st.one_of(pairing_features, st.just(b"\x0b\x05"), smp_pdus))
bulks = st.tuples(
    st.just("bulk"), st.one_of(requests, requests, signals, data, smp, smp, st.builds(parameters, handles))
)
#: Events about the security of a link, by what they name: a handle or an address, with what comes before and after.
_BY_HANDLE = (
    (0x08, b"\0", b"\0"), (0x08, b"\0", b"\1"), (0x08, b"\0", b"\2"), (0x08, b"\x06", b"\0"), (0x30, b"\0", b""),
    (0x06, b"\0", b""), (0x06, b"\x05", b""), (0x3E, b"\x05", bytes(10)), (0x3E, b"\x05", bytes(range(10))),
)  # fmt: skip
_BY_ADDRESS = (
    (0x17, b"", b""), (0x16, b"", b""), (0x31, b"", b""), (0x32, b"", b"\1\0\1"), (0x32, b"", b"\3\0\3"),
    (0x33, b"", b"\1\2\3\0"), (0x33, b"", b"\xff" * 4), (0x34, b"", b""), (0x35, b"", b""), (0x36, b"\0", b""),
    (0x36, b"\5", b""), (0x3B, b"", b"\1\2\3\0"),
    *((0x18, b"", bytes((*range(16), key_type))) for key_type in range(9)),
)  # fmt: skip
said_of_links = st.builds(
    lambda of, handle: event(of[0], of[1] + struct.pack("<H", handle) + of[2]), st.sampled_from(_BY_HANDLE), handles
)
said_of_peers = st.builds(lambda of, peer: event(of[0], of[1] + peer + of[2]), st.sampled_from(_BY_ADDRESS), peers)
secrecy = st.tuples(st.just("event"), st.one_of(said_of_links, said_of_peers))
wishes = st.tuples(st.sampled_from(("reach", "pair")), handles, st.integers(2, 4))
people = st.tuples(st.just("people"), st.booleans())
links = st.tuples(st.just("link"), handles, peers, transports, st.integers(0, 1))
ends = st.tuples(st.just("end"), handles, st.sampled_from((0, 0, 0, 0x02, 0x1F)))
completions = st.tuples(st.just("event"), st.builds(completed, handles, st.integers(0, 3)))
statuses = st.sampled_from((0x00, 0x02, 0x04, 0x0B, 0x0C, 0x1F))
answers = st.tuples(st.just("answer"), st.integers(0, 3), statuses, st.booleans())
guest_requests = st.one_of(
    st.tuples(st.just("connect"), transports, st.integers(0, 1)),
    st.tuples(st.just("listen"), transports),
    st.tuples(st.just("echo"), st.integers(0, 1)),
    st.tuples(st.sampled_from(("accept", "release")), st.integers(0, 5)),
    st.sampled_from([("scan",), ("advertise",), ("info",), ("forbid",), ("allow",)]),
)
wakes = st.sampled_from([("wake",), ("wake",), ("wake",), ("turn",)])
losses = st.sampled_from([("late",), ("unplug",), ("broken",)])
secured = st.one_of(secrecy, wishes, people)
single = st.one_of(bulks, links, ends, completions, answers, secured, secured, guest_requests, wakes, losses)


@st.composite
def visits(draw: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """A peer comes, asks and goes, with whatever happens meanwhile, cut into wake-ups anywhere."""
    handle, transport = draw(handles), draw(transports)
    psms = st.sampled_from((air.PSM[transport], REFUSING[transport]))
    asks = st.one_of(
        st.builds(lambda psm, scid: request(handle, transport, psm, 1 + scid, 0x50 + scid), psms, st.integers(0, 3)),
        st.just(parameters(handle)),
    ).map(lambda packet: ("bulk", packet))
    between = st.lists(st.one_of(wakes, wakes, single), max_size=2)
    visit = [("end", handle, 0), ("link", handle, draw(peers), transport, draw(st.integers(0, 1))), *draw(between)]
    for ask in draw(st.lists(asks, min_size=1, max_size=3)):
        visit += [ask, *draw(between)]
    return [*visit, ("end", handle, 0), *draw(between)]


steps = st.lists(st.one_of(visits(), visits(), single.map(lambda one: [one])), max_size=12).map(
    lambda several: [step for steps in several for step in steps]
)


class World:
    """One guest of one adapter, and what was asked for."""

    def __init__(self, log: Any) -> None:
        self.xen = plain_xen.PlainXen()
        self.adapter = new_adapter(log)
        self.guest = connection.Guest(self.adapter, self.xen, FrontendLimits(channels=3))
        self.asked: list[Any] = []
        self.made: list[Any] = []
        self.released: set[Any] = set()
        self.listeners: list[Any] = []
        self.streams: list[Any] = []
        self.bulks: list[Any] = []
        self.interrupts: list[Any] = []
        self.up: set[Any] = set()  # handles in use
        self.dongle: Any = None
        for transport in air.TRANSPORTS:
            self.adapter.channels.listen(transport, REFUSING[transport], self.adapter.channels.refuse, LEVEL_ENCRYPTED)
        self.advertiser = advertise(self.adapter)
        self.late_s = 0.0
        self.agent = AirAgent(answer=lambda _: None, pin_allowed=True)
        self.adapter.agents.register(self.agent)
        self.wishing: list[Any] = []

    async def plug(self) -> None:
        self.dongle = await plug(self.adapter)
        loop = asyncio.get_running_loop()
        self.controller.now = lambda: loop.time() + self.late_s
        self.up.clear()

    @property
    def controller(self) -> Any:
        return self.adapter._controller

    async def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("bulk", packet):
                self.bulks.append(packet)
            case ("link", handle, peer, transport, role) if handle not in self.up:
                self.link(handle, peer, transport, role)
            case ("end", handle, status):
                self.up -= set() if status else {handle}
                self.interrupts.append(disconnected(handle, status))
            case ("answer", which, status, complete) if self.dongle.commands:
                opcode = self.dongle.commands[-1 - which % len(self.dongle.commands)][:2]
                self.interrupts.append(answer(opcode, status, complete=complete))
            case ("event", packet):
                self.interrupts.append(packet)
            case ("reach" | "pair" | "people", *_):
                self.secure(step)
            case ("wake",):
                bulks, self.bulks = self.bulks, []
                interrupts, self.interrupts = self.interrupts, []
                self.dongle.wake_up(interrupts, bulks)
                if self.dongle.closed:
                    await self.plug()
            case ("turn",):
                for _ in range(6):
                    await asyncio.sleep(0)
            case ("late",):
                self.late_s += 45
                if self.controller is not None:
                    self.controller._timeout()
            case ("unplug" | "broken" as kind,) if not self.dongle.closed:
                self.dongle.unplug() if kind == "unplug" else self.dongle.inject([b"\x03\x01\x00"])
                await self.plug()
            case _:
                self.ask(step)

    def link(self, handle: int, peer: bytes, transport: int, role: int) -> None:
        self.up.add(handle)
        if not role and self.controller is not None:  # what nobody wants is not let in
            self.controller.host.connect(peer, 2 * transport, self.controller.now())
        self.interrupts += connected(handle, peer, transport, role)

    def secure(self, step: tuple[Any, ...]) -> None:
        security, links = self.adapter.security, self.adapter.links.by_handle
        match step:
            case ("reach", handle, level) if link := links.get(handle):
                self.wishing.append(asyncio.ensure_future(security.reach(link, level, self.agent)))
            case ("pair", handle, level) if link := links.get(handle):
                pairing = security.pair(link.address, link.address_type, level, self.agent)
                self.wishing.append(asyncio.ensure_future(pairing))
            case ("people", accept):
                for prompt in self.agent.prompts[-2:]:
                    prompt.answer(accept, 66051 if prompt.kind == ENTER_PASSKEY else b"1234")

    def ask(self, step: tuple[Any, ...]) -> None:
        if self.guest.connection.full:
            return
        match step:
            case ("connect", transport, which):
                self.keep(self.guest.connect(transport, PEERS[which], stream=self.stream()))
            case ("listen", transport):
                listening = self.guest.send(
                    lambda core: core.listen(transport, air.PSM[transport], mtu=connection.MTU, backlog=1)
                )
                self.listeners.append(listening.number)
                self.keep(listening)
            case ("accept", which) if listeners := [each for each in self.listeners if each in self.objects()]:
                self.keep(self.guest.accept(listeners[which % len(listeners)], self.stream()))
            case ("release", which) if objects := self.objects():
                number = objects[which % len(objects)]
                if number in self.listeners:
                    self.listeners.remove(number)
                self.released.add(number)
                self.asked.append(self.guest.release(number))
            case ("scan",):
                shared = self.stream().shared
                self.keep(self.guest.send(lambda core: core.scan(ref=shared.ref, evtchn=shared.port)))
            case ("advertise",):
                self.keep(self.guest.send(lambda core: core.advertise(b"\x02\x01\x06")))
            case ("echo", which):
                self.asked.append(self.guest.send(lambda core: core.echo(PEERS[which], b"ping")))
            case ("info",):
                self.asked.append(self.guest.send(lambda core: core.info()))
            case ("forbid" | "allow" as kind,):
                policy = air.guest_policy(NOTHING if kind == "forbid" else air.ALLOW_ALL)
                self.guest.access.change(policy)
                self.guest.served.review(FrontendLimits(channels=3))

    def stream(self) -> Any:
        self.streams.append(self.guest.stream(2))
        return self.streams[-1]

    def keep(self, request: asyncio.Future[Any]) -> None:
        """Of a request that makes an object."""
        self.asked.append(request)
        self.made.append(request)

    def check_book(self) -> None:
        """The grants that count are those of objects and of peers that wait; all else has given its own back."""
        core = self.guest.served._core
        grants = [found.server.grant for found in core.objects() if found.server is not None]
        grants += [offer.grant for offer in core.offers()]
        assert self.guest.access.open_grants == sum(grant.open for grant in grants)
        assert self.guest.access._open == Counter((grant.rule, grant.is_channel) for grant in grants if grant.open)

    def objects(self) -> list[Any]:
        """Those that may be there, answered or not."""
        return [
            request.number
            for request in self.made
            if request.number not in self.released and not (request.done() and request.result().ret)
        ]


async def play(steps: list[Any], entries: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    unheard = []
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    world = World(structlog.get_logger())
    await world.plug()
    for step in steps:
        await world.do(step)
        assert bugs(entries) == []
        world.check_book()
    await world.do(("wake",))
    await world.do(("turn",))
    world.guest.served.close()
    world.guest.connection.close()
    for _ in range(6):
        await asyncio.sleep(0)
    assert all(request.done() for request in world.asked)
    for transport in air.TRANSPORTS:
        world.adapter.channels.unlisten(transport, REFUSING[transport])
    world.adapter.air.stop_advertising(world.advertiser)
    world.adapter.close()
    for wish in await asyncio.gather(*world.wishing, return_exceptions=True):
        assert not isinstance(wish, Exception) or isinstance(wish, RadioError), wish
    assert not world.adapter.security._pursuits
    assert not world.adapter.security._asked
    assert not any(world.adapter.statistics().values())
    assert world.xen.held == (0, 0, 0)
    assert (world.guest.access.open_grants, world.guest.served._core.objects()) == (0, [])
    assert world.adapter.echoes._waiters == {}
    for _ in range(3):
        await asyncio.sleep(0)
    assert (unheard, bugs(entries), world.guest.broken) == ([], [], [])
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert left == set()


#: A peer asks for a channel on a link of LE that ends in the same wake-up.
ASKED_AND_GONE = [
    ("link", 64, b"!\x00\x00\xee\xff\xc0", 0, 0),
    ("wake",),
    ("bulk", b"@ \x0c\x00\x08\x00\x01\x00\x02\x01\x04\x00\x03\x10P\x00"),
    ("end", 64, 0),
]


@example(steps=ASKED_AND_GONE)
@given(steps=steps)
def test_nothing_that_comes_in_any_wake_up_is_a_bug_or_is_left(steps: list[Any]) -> None:
    with structlog.testing.capture_logs() as entries:
        asyncio.run(play(steps, entries))
