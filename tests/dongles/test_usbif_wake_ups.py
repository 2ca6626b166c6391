"""What a USB backend says and what a dongle's driver does, in every order and cut in every way.

The backend is scripted, octet by octet; all else is real: the pump of the USB controller, its core, and the dongles.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.dongle import SimulatedDongle
from tests.support import plain_xen
from usbbtd.dongles import usbif_frontend
from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.dongles.usb_dongle import UsbDongle
from usbbtd.dongles.usbif_dongle import ONE_EACH, QUEUED
from usbbtd.usb.wire import standard, usbif
from usbbtd.xen.ring import BackRing

DOMID = 3
PORTS = 3
HCI_COMMAND = standard.pack_setup(0x20, 0, 0, 0, 3)
SET_ADDRESS = 5
BROKEN = "the USB backend broke the protocol"
TURNS = 8  # of the loop: in these, whatever has come is dealt with


class Backend:
    """The other end of one connection. ``asked``: the requests that are not answered, as (head, segments)."""

    def __init__(self, xen: Any, nodes: dict[str, str]) -> None:
        self.xen = xen
        self.pages = [xen.map(DOMID, [int(nodes[node])]) for node in ("urb-ring-ref", "conn-ring-ref")]
        urbs, conns = (page.memory for page in self.pages)
        self.urbs = BackRing(urbs, usbif.URB_REQUEST_SIZE, usbif.URB_RESPONSE_SIZE)
        self.conns = BackRing(conns, usbif.CONN_REQUEST_SIZE, usbif.CONN_RESPONSE_SIZE)
        self.channel = xen.bind_interdomain(DOMID, int(nodes["event-channel"]), lambda: None)
        self.asked: list[Any] = []
        self.conn_ids: list[Any] = []
        self.cancelled: set[Any] = set()
        self.devices = {port: SimulatedDongle() for port in range(1, PORTS + 1)}
        self.lied = False

    def take(self) -> None:
        for request in map(usbif.unpack_request, self.urbs.take()):
            if request[0][2] & usbif.UNLINK:
                self.cancelled |= {usbif.unlink_id(request[0][5])} & {head[0] for head, _ in self.asked}
            self.asked.append(request)
        self.conn_ids += map(usbif.unpack_conn_request, self.conns.take())

    def change_port(self, port: int, speed: int) -> None:
        if self.conn_ids:
            self.conns.put([usbif.pack_conn_response(self.conn_ids.pop(0), port, speed)])

    def answer(
        self,
        request: tuple[tuple[int, int, int, int, int, bytes], list[Any]]
        | tuple[tuple[int, int, int, int, int, bytes], list[tuple[int, int, int]]],
        status: int,
        length: int,
        lie: str | None = None,
    ) -> None:
        """``length``: of what an IN request transfers, where it is no control request. To notify is another step."""
        self.asked.remove(request)
        self.cancelled.discard(request[0][0])
        (urb_id, _, pipe, _, room, special), segments = request
        port, _, endpoint, kind = usbif.unpack_pipe(pipe)
        count = 0
        if not pipe & usbif.UNLINK and status == usbif.OK:
            count = room
            if kind == usbif.CONTROL:
                answer = b"" if special[1] == SET_ADDRESS else self.devices[port].control(special, bytes(room))
                status = usbif.STALL if answer is None else status
                count = self.write(segments, answer or b"") if special[0] & usbif.IN else room
            elif endpoint & usbif.IN:
                count = min(length, room)
        if lie is not None:
            self.lied = True
            urb_id, count = (urb_id ^ 1, count) if lie == "id" else (urb_id, room + 1)
        self.urbs.put([usbif.pack_response(urb_id, status, count)])

    def write(self, segments: list[tuple[int, int, int]], data: bytes) -> int:
        ((ref, offset, _),) = segments
        page = self.xen.map(DOMID, [ref])
        page.memory[offset : offset + len(data)] = data
        page.close()
        return len(data)

    def answer_all(self, *, standing: bool) -> int:
        """With success; what stands on IN endpoints only when it is cancelled, or where it may not.

        Returns how many were answered.
        """
        self.take()
        before = len(self.asked)
        for request in tuple(self.asked):
            urb_id, _, pipe, *_ = request[0]
            _, _, endpoint, kind = usbif.unpack_pipe(pipe)
            stands = standing and kind != usbif.CONTROL and endpoint & usbif.IN and not pipe & usbif.UNLINK
            if not stands or urb_id in self.cancelled:
                self.answer(request, usbif.IOERROR if urb_id in self.cancelled else usbif.OK, 0)
        self.channel.notify()
        return before - len(self.asked)

    def close(self) -> None:
        self.channel.close()
        self.urbs.close()
        self.conns.close()
        for page in self.pages:
            page.close()


class Driver:
    """Of one dongle. ``moods``: what it does, in turn, from within what it is told."""

    def __init__(self, dongle: UsbDongle, moods: list[str]) -> None:
        self.dongle, self.moods = dongle, moods
        self.started = self.over = False

    def receive(self, interrupts: Sequence[bytes | None], bulks: Sequence[bytes | None]) -> None:
        assert not self.over
        assert interrupts or bulks
        self.react()

    def dongle_ready_to_send(self) -> None:
        assert not self.over
        self.react()

    def dongle_lost(self, reason: str) -> None:
        assert not self.over
        assert reason
        self.over = True

    def react(self) -> None:
        if self.moods:
            self.do(self.moods.pop(0), 3)

    def do(self, what: str, count: int) -> None:
        match what:
            case _ if self.over:
                pass
            case "start" if not self.started:
                self.started = True
                self.dongle.start(self)
            case "control" if self.started:
                for _ in range(count):
                    self.dongle.send_control(HCI_COMMAND, bytes(3))
            case "bulk" if self.started:
                assert 0 <= self.dongle.send_bulk([bytes(100)] * count) <= count
            case "close":
                self.dongle.close()
                self.over = True


class World:
    def __init__(self, moods: list[str], depths: Any) -> None:
        self.now = 0.0
        self.xen = cast(Any, plain_xen.PlainXen())
        self.moods = moods
        self.drivers: list[Any] = []
        self.broken: list[Any] = []
        self.connection = usbif_frontend._Connection(
            self.xen, DOMID, self.take_dongle, name="vusb 0", ports=PORTS, depths=depths,
            broken=self.broken.append, log=structlog.get_logger(),
        )  # fmt: skip
        self.backend = Backend(self.xen, self.connection.nodes)
        self.closing: asyncio.Task[None] | None = None

    async def take_dongle(self, dongle: Dongle) -> None:
        assert isinstance(dongle, H2Dongle)
        self.drivers.append(Driver(dongle.usb, self.moods))

    async def do(self, step: tuple[Any, ...]) -> None:
        backend = self.backend
        match step:
            case ("turn", count):
                await turn(count)
            case ("late", seconds):
                self.now += seconds
            case ("close",) if self.closing is None:
                self.closing = asyncio.ensure_future(self.connection.close("over"))
            case ("drive", which, what, count) if self.drivers:
                self.drivers[-1 - which % len(self.drivers)].do(what, count)
            case ("take",):
                backend.take()
            case ("wake",):
                backend.channel.notify()
            case ("port", port, speed):
                backend.change_port(port, speed)
            case ("serve", rounds):
                for _ in range(rounds):
                    backend.answer_all(standing=True)
                    await turn(3)
            case ("answer", which, status, length, *lie) if backend.asked:
                backend.answer(backend.asked[which % len(backend.asked)], status, length, *lie)

    async def settle(self, *, standing: bool) -> None:
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.backend.answer_all(standing=standing) else quiet + 1
            await turn(3)

    def check_rest(self) -> None:
        """Everything has been answered that is not to stand: each once, or these counts were wrong."""
        core = self.connection._core
        open_dongles = {dongle for dongle in self.connection._dongles.values() if not dongle.closed.is_set()}
        standing = sum(dongle.depths.standing for dongle in open_dongles if dongle.started)
        assert core.statistics()["urbs_waiting"] == 0
        assert core.statistics()["urbs_in_flight"] == len(self.backend.asked) <= standing
        assert [dongle._bulk_out_count for dongle in open_dongles if dongle._bulk_out_count] == []
        used = [urb for urb in core._urbs if urb is not None]
        assert sorted(core._free_pages + [page for urb in used for page in urb.pages]) == list(range(16))
        assert (len(core._free_ids), len(core._free_ids)) == (16 - len(used), len({*core._free_ids}))


async def turn(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def play(steps: list[Any], moods: list[str], depths: Any) -> None:
    loop = asyncio.get_running_loop()
    unheard = []
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    world = World(list(moods), depths)
    loop.time = lambda: world.now  # type: ignore[method-assign]
    with structlog.testing.capture_logs() as entries:
        for step in steps:
            await world.do(step)
            assert [entry for entry in entries if entry.get("exc_info")] == []
        await turn(TURNS)
        assert all(reason.startswith(BROKEN) for reason in world.broken)
        assert world.backend.lied or not world.broken
        if not world.backend.lied and world.closing is None:
            await world.settle(standing=True)
            world.check_rest()
        await world.do(("close",))
        await turn(TURNS)
        assert world.closing
        if not world.backend.lied and not world.closing.done():
            await world.settle(standing=False)
            assert world.closing.done()
            assert world.connection._core.statistics()["urbs_in_flight"] == 0
        world.now += usbif_frontend.EMPTY_S  # all the patience there is with a backend that lies
        await turn(TURNS)
        await world.closing
        world.backend.close()
    assert world.xen.held == (0, 0, 0)
    assert (world.connection._dongles, world.connection._futures) == ({}, {})
    assert [driver for driver in world.drivers if driver.started and not driver.over] == []
    for driver in world.drivers:
        driver.dongle.send_control(HCI_COMMAND, bytes(3))
        assert driver.dongle.send_bulk([b"x"]) == 1  # taken, and dropped
    world.connection.receive()
    assert [entry for entry in entries if entry.get("exc_info")] == unheard == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


numbers, ports = st.integers(0, 5), st.sampled_from((1, 1, 1, 2, 3))
statuses = st.sampled_from(
    (usbif.OK, usbif.OK, usbif.OK, usbif.STALL, usbif.IOERROR, usbif.BABBLE, usbif.NODEV, usbif.SHUTDOWN, -22)
)
lengths = st.sampled_from((0, 3, 16, 4096))
turns = st.tuples(st.just("turn"), st.sampled_from((1, 1, 2, 3, TURNS)))
carries = st.sampled_from([("take",), ("wake",), ("serve", 1)])
answers = st.tuples(st.just("answer"), numbers, statuses, lengths)
drives = st.tuples(
    st.just("drive"), st.integers(0, 1), st.sampled_from(("start", "start", "control", "bulk", "bulk", "close")),
    st.sampled_from((1, 3, 20)),
)  # fmt: skip
plugs = st.tuples(st.just("port"), ports, st.sampled_from((usbif.SPEED_NONE, usbif.SPEED_FULL, usbif.SPEED_HIGH)))
lies = st.tuples(st.just("answer"), numbers, statuses, lengths, st.sampled_from(("id", "length")))
rare = st.one_of(plugs, plugs, plugs, lies, st.sampled_from([("close",), ("late", 1.5), ("late", 6.0)]))
single = st.one_of(turns, turns, carries, carries, answers, answers, drives, drives, rare)


@st.composite
def visits(draw: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """A dongle is plugged in, found out and used, and pulled out, with whatever happens meanwhile."""
    between = st.lists(st.one_of(turns, answers, single), max_size=2)
    port, which = draw(ports), 0
    visit = [("take",), ("port", port, usbif.SPEED_FULL), ("wake",), *draw(between), ("turn", 3), ("serve", 12)]
    visit += [*draw(between), ("drive", which, "start", 1), *draw(between), ("turn", 2), ("take",)]
    visit += draw(st.lists(st.one_of(drives, drives, answers, answers, carries, turns), min_size=3, max_size=12))
    return [*visit, ("port", port, usbif.SPEED_NONE), *draw(between), ("wake",), *draw(between)]


steps = st.lists(st.one_of(visits(), visits(), single.map(lambda one: [one])), min_size=1, max_size=5).map(
    lambda several: [step for steps in several for step in steps]
)
moods = st.lists(st.sampled_from(("", "", "control", "bulk", "close")), max_size=6)


@settings(max_examples=2 * settings().max_examples)
@given(steps=steps, moods=moods, depths=st.sampled_from((ONE_EACH, QUEUED)))
def test_whatever_a_backend_says_is_dealt_with_once_and_nothing_is_left(
    steps: list[Any], moods: list[str], depths: Any
) -> None:
    asyncio.run(play(steps, moods, depths))
