"""A program's calls and what a backend says to them, in every order and cut in every way.

The backend is scripted, octet by octet; all else is real: the guest's adapter, the pump of its device, and its rings.
"""

import asyncio
import errno
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import scripted_backend as scripted
from tests.support.scripted_backend import Shared
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.guest import AddressType
from usbbtd.guest.adapter import Adapter
from usbbtd.guest.connection import Connection
from usbbtd.guest.errors import AdapterError, AdapterGone
from usbbtd.l2capif.nodes import FEATURE_INFO_WAIT
from usbbtd.xen.error import XenError

DRIVER = 3
PEER = "C0:FF:EE:00:00:01"
MTU = scripted.MTU
PSM = {"bredr": 0x1001, "le": 0x81}
RELEASE = scripted.RELEASE
INDICES_SIZE = scripted.INDICES_SIZE
OPENINGS = [(what, transport) for what in ("connect", "listen") for transport in PSM]
CALLS = [
    ("scan",), ("advertise", b""), ("ready",), ("pair",), ("agent",), ("advertise", b"\x02\x0a\x00"),
    ("info", 1), ("info", 40), *OPENINGS,
]  # fmt: skip
TURNS = 8  # of the loop: in these, whatever has come is dealt with


class World:
    """One program, with an adapter that is connected to a backend, or not."""

    def __init__(self, spin_ns: int = 0) -> None:
        self.xen = cast(Any, scripted.Xen())
        self.adapter = Adapter(self.xen, 0, spin_ns=spin_ns)  # not served: the steps do what ``serve_l2capif`` does
        self.now = 0.0
        self.connection: Any = None
        self.backend: Any = None
        self.broken: list[Any] = []  # why the present connection is of no use
        self.calls: list[Any] = []  # under way
        self.advertising: list[Any] = []
        self.ready: list[Any] = []
        self.wrong: list[Any] = []  # what none of them may raise
        self.enough = asyncio.Event()
        self.objects: list[Any] = []

    # The device.

    def plug(self, *, tells: bool) -> None:
        if self.connection is None:
            self.broken = []
            with suppress(XenError):
                features = [FEATURE_INFO_WAIT] if tells else []
                self.connection = Connection(self.xen, DRIVER, 1, self.broken.append, features)
                self.backend = scripted.Backend(self.xen, self.connection.nodes)
                self.adapter._receive_connection(self.connection)

    def lose(self, *, backend_first: bool) -> None:
        """Nothing of the connection is left."""
        if (connection := self.connection) is None:
            return
        for end in (self.backend, connection) if backend_first else (connection, self.backend):
            end.close()
        self.adapter._lose_connection("it was taken away")
        core = connection._core.statistics()
        assert (core["objects"], core["in_flight"], connection._answered) == (0, 0, {})
        assert (connection._streams, connection._releases, connection._lent) == (set(), set(), set())
        assert self.xen.held == (0, 0, 0)
        assert [reason for reason in self.broken if "bug" in reason] == []
        self.connection = self.backend = None

    # The program.

    def call(self, work: Coroutine[Any, Any, Any], calls: list[Any] | None = None) -> None:
        among = self.calls if calls is None else calls

        def end(task: asyncio.Task[Any]) -> None:
            among.remove(task)
            if task.cancelled():
                return
            if (error := task.exception()) is None:
                if hasattr(task.result(), "close"):
                    self.objects.append(task.result())
            elif not (isinstance(error, AdapterError) and str(error)) and "another task waits" not in str(error):
                self.wrong.append(error)

        task = asyncio.ensure_future(work)
        among.append(task)
        task.add_done_callback(end)

    async def advertise(self, scan_response: bytes) -> None:
        async with self.adapter.advertise(b"\x02\x01\x06", scan_response=scan_response):
            await self.enough.wait()

    async def answer(self) -> None:
        async with self.adapter.agent(self.is_asked):
            await self.enough.wait()

    async def is_asked(self, _prompt: object) -> bool:
        return True

    @staticmethod
    def use(what: Any, how: str, sizes: list[int]) -> Any:
        match type(what).__name__, how:
            case "Channel", "take":
                return what.recv()
            case "Channel", "give":
                return what.send_many([bytes(min(size, what.tx_mtu)) for size in sizes])
            case "Channel", "abort":
                return what.abort()
            case "Listener", "take" | "give":
                return what.accept()
            case "Scan", "take" | "give":
                return what.__anext__()
        return what.close()

    async def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("turn", count):
                await turn(count)
            case ("plug", tells):
                self.plug(tells=tells)
            case ("lose", backend_first):
                self.lose(backend_first=backend_first)
            case ("poor", poor):
                self.xen.poor = poor
            case ("late",):
                self.now += 1.5
            case ("cancel", which) if tasks := self.calls + self.advertising:
                tasks[which % len(tasks)].cancel()
            case ("forget", which) if self.objects:
                del self.objects[-1 - which % len(self.objects)]
            case ("use", which, how, sizes) if self.objects:
                self.call(self.use(self.objects[-1 - which % len(self.objects)], how, sizes))
            case _ if step in CALLS:
                self.ask(step)
            case _ if self.backend is not None:
                self.say(step)

    def ask(self, step: tuple[Any, ...]) -> None:
        """What the program asks the adapter for."""
        match step:
            case ("connect", transport):
                kind: AddressType = "random" if transport == "le" else "bredr"
                self.call(self.adapter.connect(PEER, PSM[transport], address_type=kind, mtu=MTU))
            case ("listen", transport):
                self.call(self.adapter.listen(PSM[transport], transport=transport, mtu=MTU))
            case ("scan",):
                with suppress(AdapterError):
                    self.objects.append(self.adapter.scan())
            case ("advertise", scan_response):
                self.call(self.advertise(scan_response), self.advertising)
            case ("agent",):
                self.call(self.answer(), self.advertising)
            case ("pair",):
                self.call(self.adapter.pair(PEER))
            case ("info", count):
                for _ in range(count):
                    self.call(self.adapter.read_info())
            case ("ready",):
                self.call(self.adapter.wait_ready(), self.ready)

    def say(self, step: tuple[Any, ...]) -> None:
        """What the backend does."""
        backend = self.backend
        match step:
            case ("take",):
                backend.take()
            case ("answer", which, ret):
                backend.answer(which, ret)
            case ("lie", which, ret, field, value):
                backend.answer(which, ret, (field, value))
            case ("index",):
                backend.page.memory[8:12] = b"\xff\xff\xff\x7f"
            case ("change",):
                backend.generation += 1
            case ("wake",):
                backend.channel.notify()
            case (kind, which, *how) if backend.streams:
                stream = list(backend.streams.values())[-1 - which % len(backend.streams)]
                with suppress(RemoteProtocolError, LocalProtocolError):
                    self.stream(stream, kind, *how)

    def stream(self, shared: Shared, kind: str, *how: Any) -> None:
        match kind, how:
            case "write", (sizes,):
                shared.stream.write([size if isinstance(size, bytes) else bytes(size) for size in sizes])
            case "read", ():
                while shared.stream.read(1 << 20):
                    pass
                shared.stream.take_consumed()
            case "end", (error,):
                shared.stream.end(-error)
            case "scribble", (at, value):
                shared.scribble(at, value.to_bytes(4, "little"))
                shared.stream.notify()

    # The end.

    async def finish(self) -> None:
        """All is answered and all ends, so nobody waits; all is closed, so nothing is left."""
        self.backend.generation |= 1
        await self.answer_all()
        assert self.broken or self.calls == self.ready == []
        self.enough.set()
        for each in self.objects:
            self.call(each.close())
        await self.answer_all()
        if not self.broken:
            assert self.calls == self.advertising == []
            core, asked = self.connection._core.statistics(), len(self.backend.asked)
            assert (core["objects"], core["in_flight"], len(self.connection._answered)) == (0, asked, asked)
            assert self.connection._ring.free == self.connection._ring.slots - asked
            assert (self.connection._streams, self.connection._releases) == (set(), set())
            assert self.xen.held == (1, 1, 2)

    async def answer_all(self) -> None:
        for pause_s in (0.3, 0.3, 0, 0, 0, 0):  # less than a channel lingers
            if not self.broken:
                self.backend.answer_all()
            self.now += pause_s
            await turn(TURNS)

    async def use_up(self, what: Any) -> None:
        while True:  # a scan has reports that came before
            await self.use(what, "give", [0])

    async def check_refused(self) -> None:
        """What is done with anything of a connection that has ended."""
        with pytest.raises(AdapterGone):
            await self.adapter.read_info()
        for each in self.objects:
            with pytest.raises(AdapterError):
                await self.use_up(each)
            await each.close()


async def turn(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


ANSWERED = [("turn", 2), ("take",), ("answer", 0, 0), ("wake",), ("turn", 3)]


def test_a_scan_that_was_closed_is_not_asked_for() -> None:
    """Its pages are not shared any more."""
    asyncio.run(play([("scan",), ("use", 0, "close", [0]), ("use", 0, "take", [0]), ("turn", 2)], orderly=True))


def test_a_listener_is_closed_while_an_accept_waits_for_a_release() -> None:
    opening = [("listen", "bredr"), *ANSWERED, ("connect", "bredr"), *ANSWERED]
    ends = [("use", 0, "abort", [0]), ("turn", 1), ("use", 1, "take", [0]), ("turn", 1), ("use", 1, "close", [0])]
    asyncio.run(play([*opening, *ends, ("turn", 1)], orderly=True))


async def test_a_channel_whose_ring_is_broken_does_not_linger() -> None:
    world = World()
    world.plug(tells=True)
    for step in [("connect", "bredr"), *ANSWERED, ("use", 0, "give", [1]), ("turn", 2)]:
        await world.do(step)
    (stream,) = world.backend.streams.values()
    stream.scribble(0, b"\xff\xff\xff\x7f")
    world.call(world.objects[0].close())
    await turn(3)
    world.backend.take()
    assert RELEASE in [request.cmd for request in world.backend.asked]
    world.backend.answer_all()
    await turn(TURNS)
    assert world.calls == []
    world.lose(backend_first=True)


async def play(steps: list[tuple[Any, ...]], orderly: bool, spin_ns: int = 0) -> None:
    loop = asyncio.get_running_loop()
    world = World(spin_ns)
    unheard: list[Any] = []
    loop.time = lambda: world.now  # type: ignore[method-assign]
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    sys.unraisablehook = unheard.append
    world.plug(tells=True)
    for step in steps:
        await world.do(step)
        assert unheard == world.wrong == []
    await turn(TURNS)
    world.xen.poor = False
    if orderly and world.connection is not None and not world.broken:
        await world.finish()
    world.lose(backend_first=True)
    await turn(TURNS)
    assert world.calls == []
    world.enough.set()
    for call in world.ready:
        call.cancel()
    await turn(TURNS)
    await world.check_refused()
    world.objects.clear()
    assert world.wrong == world.calls == world.advertising == world.ready == []
    assert (unheard, world.xen.held, asyncio.all_tasks()) == ([], (0, 0, 0), {asyncio.current_task()})


numbers, transports, truth = st.integers(0, 5), st.sampled_from(("bredr", "le")), st.booleans()
sizes = st.lists(st.sampled_from((0, 1, 700, MTU, MTU)), min_size=1, max_size=5)
NAMES = ("ECONNREFUSED", "ETIMEDOUT", "EACCES", "EAGAIN", "EMFILE", "EADDRINUSE", "ENODEV", "EOPNOTSUPP", "ENOTCONN")
errors = st.sampled_from([0, 0, 0, -4095, *(-getattr(errno, name) for name in NAMES)])
fields = st.sampled_from(
    ("req_id", "cmd", "id", "ret", "address_type", "psm", "tx_mtu", "rx_mtu", "powered", "le_address_type")
)
values = st.sampled_from((0, 1, 2, 3, 7, 22, 48, 255))
turns = st.tuples(st.just("turn"), st.sampled_from((1, 1, 2, 3, TURNS)))
takes = st.just(("take",))
answers = st.tuples(st.just("answer"), numbers, errors)
wakes = st.just(("wake",))
calls = st.sampled_from(3 * OPENINGS + CALLS[:7])
latest = st.sampled_from((0, 0, 0, 1, 2))
use = st.tuples(st.just("use"), latest, st.sampled_from(("take", "take", "give", "give", "close", "abort")), sizes)
uses = st.one_of(use, use, use, st.tuples(st.sampled_from(("forget", "cancel")), numbers))
streams = st.one_of(
    st.tuples(st.just("write"), latest, sizes | st.lists(st.sampled_from(scripted.MESSAGES), max_size=3)),
    st.tuples(st.just("read"), latest),
    st.tuples(st.just("end"), latest, st.sampled_from((errno.ENOTCONN, errno.ETIMEDOUT, 4000, -1))),
)
spoils = st.one_of(
    st.tuples(st.just("lie"), numbers, errors, fields, values),
    st.tuples(st.just("scribble"), numbers, st.sampled_from(range(0, INDICES_SIZE, 4)), values | st.just(0x7FFF_FFFF)),
    st.just(("index",)),
)
device = st.tuples(st.sampled_from(("lose", "plug", "plug", "poor")), truth)
rare = st.one_of(
    device, device, spoils, st.sampled_from([("late",), ("late",), ("change",), ("change",), ("info", 40)])
)
single = st.one_of(turns, turns, takes, answers, wakes, calls, calls, uses, uses, streams, streams, rare)


@st.composite
def stories(draw: Callable[..., Any]) -> list[tuple[Any, ...]]:
    """Something is asked for, answered and used, with whatever happens meanwhile."""
    between = st.lists(st.one_of(turns, turns, uses, single), max_size=2)
    answer = st.one_of(st.just(("answer", 0, 0)), st.just(("answer", 0, 0)), answers)
    story = [draw(calls), ("turn", 2), *draw(between)]
    for _ in range(draw(st.integers(1, 2))):
        for step in (("take",), draw(answer), ("wake",), ("turn", 3)):
            story += [step, *draw(between)]
        story += draw(st.lists(st.one_of(use, use, streams, turns), min_size=3, max_size=8))
    return story


steps = st.lists(st.one_of(stories(), stories(), single.map(lambda one: [one])), min_size=3, max_size=9).map(
    lambda several: [step for steps in several for step in steps]
)


@given(steps=steps, orderly=st.sampled_from((True, True, False)), spin_ns=st.sampled_from((0, 1)))
@settings(max_examples=2 * settings().max_examples)
def test_whatever_a_program_asks_is_answered_and_nothing_is_left(
    steps: list[tuple[Any, ...]], orderly: bool, spin_ns: int
) -> None:
    hook = sys.unraisablehook
    try:
        asyncio.run(play(steps, orderly, spin_ns))
    finally:
        sys.unraisablehook = hook
