"""The frontend's pump against backends that behave, and some that do not."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from tests.support.domain import Domain, DomainCode, DomainProcess, NewDomain
from tests.support.echo_backend import serve
from usbbtd.errors import LocalProtocolError
from usbbtd.guest.connection import Connection, serve_l2capif
from usbbtd.l2capif import wire
from usbbtd.l2capif.wire import Response
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.ring import BackRing
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action

PEER = bytes.fromhex("010000eeffc0")
ECHO, REFUSES, NEVER_ANSWERS = 0x1001, 0x1003, 0x1009
ORDER = 2


@pytest.fixture
def start(new_domain: NewDomain) -> Callable[[DomainCode, DomainCode], tuple[DomainProcess, Domain, Domain]]:
    """Starts a frontend and a backend: the frontend's process, and both domains."""

    def both(frontend: DomainCode, backend: DomainCode) -> tuple[DomainProcess, Domain, Domain]:
        guest, driver = new_domain(), new_domain()
        guest.world.attach_vl2cap(guest.domid, driver.domid)
        driver.start(backend, guest.domid)
        return guest.start(frontend), guest, driver

    return both


@asynccontextmanager
async def served() -> AsyncIterator[tuple[asyncio.Queue[Connection], asyncio.Queue[str]]]:
    """The connections as they come, and the reasons as they go."""
    connections: asyncio.Queue[Connection] = asyncio.Queue()
    reasons: asyncio.Queue[str] = asyncio.Queue()
    async with Xen.open() as xen:
        serving = asyncio.create_task(serve_l2capif(xen, 0, connections.put_nowait, reasons.put_nowait))
        try:
            yield connections, reasons
        finally:
            serving.cancel()
            await asyncio.wait([serving])


class User:
    """Of a data ring: keeps what it is told."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.lost = 0

    def receive_event(self) -> None:
        self.event.set()

    def connection_lost(self) -> None:
        self.lost += 1


def connecting(connection: Connection, psm: int, user: User) -> tuple[int, asyncio.Future[Response]]:
    answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    shared = connection.share(ORDER, user)
    number = connection.send(
        lambda core: core.connect(PEER, 0, psm, mtu=512, ref=shared.ref, evtchn=shared.port), answered.set_result
    )
    return number, answered


async def requests() -> None:
    async with served() as (connections, reasons):
        connection = await connections.get()
        assert connection.max_page_order == 4
        user = User()

        # Requests beyond the ring's slots wait, and all are answered.
        answers: list[Response] = []
        done = asyncio.Event()

        def answered(response: Response) -> None:
            answers.append(response)
            if len(answers) == 100:
                done.set()

        numbers = [connection.send(lambda core: core.info(), answered) for _ in range(100)]
        await done.wait()
        assert sorted(answer.req_id for answer in answers) == numbers

        _, refused = connecting(connection, REFUSES, user)
        response = await refused
        assert isinstance(response, wire.ChannelResponse)
        assert (response.ret, response.result) == (-errno.ECONNREFUSED, 2)

        number, opened = connecting(connection, ECHO, user)
        assert (await opened).ret == 0
        released = asyncio.Event()
        connection.release(number, released.set)
        await connection.wait_released()
        assert released.is_set()
        await connection.wait_released()

        # What is in flight when the connection ends is answered, once.
        _, never = connecting(connection, NEVER_ANSWERS, user)
        connection.close()
        connection.close()
        assert (await never).ret == -errno.ENODEV
        assert user.lost == 3  # the rings were not unshared
        released.clear()
        connection.release(number, released.set)
        assert released.is_set()
        with pytest.raises(LocalProtocolError):
            connection.share(ORDER, user)
        with pytest.raises(LocalProtocolError):
            connection.send(lambda core: core.info(), answered)
        assert reasons.empty()


def test_requests(start: Callable[..., tuple[DomainProcess, Domain, Domain]]) -> None:
    process, guest, _ = start(requests, serve)
    process.result()
    counts = guest.world.statistics()[guest.domid]
    assert (counts["shared"], counts["ports"]) == (0, 0)


async def lying_backend(guest: int) -> None:
    async with Xen.open() as xen:
        await serve_lies(xen, guest)


async def serve_lies(xen: Xen, guest: int) -> None:
    """Answers what nobody asked, in each connection another way."""
    lies = [
        wire.pack(wire.PlainResponse(77, 0, 0, 0)),  # no such request
        wire.pack(wire.PlainResponse(1, 4, 0, 0)),  # another command than asked
        wire.pack(wire.InfoResponse(1, 0, 0, 1)),  # ret is positive
        None,  # rsp_prod is beyond the ring
    ]
    device = XenbusDevice(xen.store, "backend", f"backend/vl2cap/{guest}/0")
    undo: list[Callable[[], None]] = []

    async def perform(action: Action) -> Mapping[str, str] | None:
        match action:
            case Action.PUBLISH:
                return {"versions": "9,1", "max-page-order": "1"}
            case Action.ATTACH:
                ref = await device.read_other_int("ring-ref", 0, 1 << 32)
                port = await device.read_other_int("event-channel", 0, 1 << 32)
                page = xen.grants.map(device.other_domid, [ref])
                ring = BackRing(page.memory, wire.REQUEST_SIZE, wire.RESPONSE_SIZE)

                def lie() -> None:
                    if ring.take():
                        if (response := lies.pop(0)) is None:
                            page.memory[8:12] = b"\xff\xff\xff\x7f"
                        else:
                            ring.put([response])
                        channel.notify()

                channel = xen.evtchn.bind_interdomain(device.other_domid, port, lie)
                undo[:] = [channel.close, ring.close, page.close]
            case Action.DETACH:
                while undo:
                    undo.pop(0)()
        return None

    await device.run(perform)


async def lied_to() -> list[str]:
    async with served() as (connections, reasons):
        said = []
        for _ in range(4):
            connection = await connections.get()
            answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            connection.send(lambda core: core.info(), answered.set_result)
            assert (await answered).ret == -errno.ENODEV
            assert connection.closed
            said.append(await reasons.get())
        return said


def test_a_lying_backend_is_left_and_tried_again(
    start: Callable[..., tuple[DomainProcess, Domain, Domain]],
) -> None:
    process, _, _ = start(lied_to, lying_backend)
    for said, expected in zip(
        process.result(),
        [
            "a response to request 77, which is not in flight",
            "InfoResponse(req_id=1, cmd=4",
            "InfoResponse(req_id=1, cmd=0, id=0, ret=1",
            "the other end's index 2147483647 is impossible on a ring of 32 entries",
        ],
        strict=True,
    ):
        assert said.startswith("the backend broke the protocol of the command ring: ")
        assert expected in said


async def reasons_only() -> str:
    async with served() as (connections, reasons):
        reason = await reasons.get()
        assert connections.empty()
        return reason


async def nobody(guest: int) -> None:
    pass


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ({}, "/versions is '', without 1"),
        ({"versions": "2,11"}, "/versions is '2,11', without 1"),
        ({"versions": "1", "max-page-order": "0"}, "/max-page-order is '0', not a number from 1 to 4294967295"),
    ],
)
def test_a_backend_of_another_kind(
    nodes: dict[str, str], reason: str, start: Callable[..., tuple[DomainProcess, Domain, Domain]]
) -> None:
    process, guest, driver = start(reasons_only, nobody)
    path = f"{driver.home}/backend/vl2cap/{guest.domid}/0"
    guest.world.change_store(
        write=[(f"{path}/{node}", value, None) for node, value in (nodes | {"state": "2"}).items()]
    )
    assert process.result() == path + reason
