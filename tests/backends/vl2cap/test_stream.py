"""The backend's end of a data ring against the frontend's: what goes in comes out, and is counted once."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.errors import RemoteProtocolError
from usbbtd.guest.connection import SharedStream
from usbbtd.xen.error import XenError

GUEST, DRIVER = 7, 3
MAX_ORDER = 5
PROD, CONS = 0, 64  # of `in`, in the page of indices
TIME_LIMIT_S = 10


class FrontUser:
    def __init__(self) -> None:
        self.events = 0

    def receive_event(self) -> None:
        self.events += 1

    def connection_lost(self) -> None:
        pass


def events_of(shared: SharedStream) -> int:
    assert isinstance(shared.user, FrontUser)
    return shared.user.events


@contextmanager
def opened(xen: Any, handler: Callable[..., Any] = lambda: None) -> Iterator[tuple[SharedStream, GuestStream]]:
    """(the guest's end, ours), with halves of 4096 octets"""
    shared = SharedStream(xen, DRIVER, 1, FrontUser(), lambda _: None)
    stream = GuestStream(xen, GUEST, shared.ref, shared.port, MAX_ORDER, handler)
    yield shared, stream
    stream.close()
    stream.close()
    shared.close()
    assert xen.held == (0, 0, 0)


@pytest.fixture
async def xen(plain_xen: Callable[[], Any]) -> Any:
    return plain_xen()


async def test_messages_go_both_ways(xen: Any) -> None:
    with opened(xen) as (shared, stream):
        stream.write([b"", b"one"])
        assert shared.ring.read()[0] == [b"", b"one"]
        shared.ring.write([b"two", b""])
        assert stream.read(4096) == [b"two", b""]
        assert stream.read(4096) == []


async def test_what_does_not_fit_waits_and_moves_up_as_the_guest_reads(xen: Any) -> None:
    with opened(xen) as (shared, stream):
        sent = [bytes([number]) * 1000 for number in range(20)]
        stream.write(sent)
        assert stream.queued == 20 - 4  # of 4096 octets
        received = []
        while messages := shared.ring.read()[0]:
            received += messages
            stream.take_consumed()
        assert received == sent
        assert stream.queued == 0


async def test_the_end_comes_after_what_waits(xen: Any) -> None:
    with opened(xen) as (shared, stream):
        sent = [bytes([number]) * 1000 for number in range(10)]
        stream.write(sent)
        stream.end(-errno.ENOTCONN)
        assert shared.ended == 0
        received = []
        while not shared.ended:
            received += shared.ring.read()[0]
            stream.take_consumed()
        received += shared.ring.read()[0]
        assert received == sent
        assert shared.ended == -errno.ENOTCONN


async def test_the_guest_is_woken_when_there_is_something(xen: Any) -> None:
    with opened(xen) as (shared, stream):
        stream.write([b"first"])
        await asyncio.sleep(0)
        assert events_of(shared) == 1
        stream.write([b"second"])  # it has not looked yet
        await asyncio.sleep(0)
        assert events_of(shared) == 1
        stream.end(-errno.ETIMEDOUT)
        await asyncio.sleep(0)
        assert events_of(shared) == 2


@pytest.mark.parametrize("order", [0, MAX_ORDER + 1, 1 << 31])
async def test_a_ring_of_an_order_that_is_not_offered(xen: Any, order: int) -> None:
    shared = SharedStream(xen, DRIVER, 1, FrontUser(), lambda _: None)
    shared._indices[256:260] = order.to_bytes(4, "little")
    with pytest.raises(RemoteProtocolError, match=f"ring_order {order} "):
        GuestStream(xen, GUEST, shared.ref, shared.port, MAX_ORDER, lambda: None)
    assert xen.mapped == 0
    shared.close()


@pytest.mark.parametrize("wrong", ["indices", "data", "port"])
async def test_what_cannot_be_mapped_or_bound_leaves_nothing(xen: Any, wrong: str) -> None:
    shared = SharedStream(xen, DRIVER, 1, FrontUser(), lambda _: None)
    ref, port = shared.ref, shared.port
    if wrong == "indices":
        ref = 1 << 30
    elif wrong == "port":
        port = 1 << 30
    else:
        shared._indices[264:268] = b"\xff" * 4
    with pytest.raises(XenError):
        GuestStream(xen, GUEST, ref, port, MAX_ORDER, lambda: None)
    assert xen.mapped == 0
    shared.close()


@pytest.mark.parametrize("cons", [1, 0xFFFFFFFF, 1 << 31])
async def test_a_guest_that_lies_about_what_it_has_read(xen: Any, cons: int) -> None:
    with opened(xen) as (shared, stream):
        shared._indices[CONS : CONS + 4] = cons.to_bytes(4, "little")
        with pytest.raises(RemoteProtocolError):
            stream.take_consumed()


@given(st.lists(st.lists(st.integers(0, 1500), max_size=8), max_size=12), st.data())
async def test_each_message_comes_once_and_is_counted_once_when_the_guest_has_read_it(
    plain_xen: Callable[[], Any], batches: list[list[int]], data: st.DataObject
) -> None:
    """However writing and reading alternate. Who writes looks at the ring when it is told to, and not otherwise."""
    xen = plain_xen()
    counted = 0
    read: list[Any] = []

    def look() -> None:
        nonlocal counted
        counted += stream.take_consumed()

    def read_some(limit: int) -> list[bytes]:
        messages, notify = shared.ring.read(limit)
        read.extend(messages)
        if notify:
            shared.notify()
        return messages

    with opened(xen, handler=look) as (shared, stream):
        sent = [[bytes([number]) * size for size in sizes] for number, sizes in enumerate(batches)]
        for batch in sent:
            if stream.write(batch):
                look()
            for _ in range(data.draw(st.integers(0, 2))):
                read_some(data.draw(st.integers(1, 4096)))
            if data.draw(st.booleans()):
                await asyncio.sleep(0)
            assert counted <= len(read)
        expected = [message for batch in sent for message in batch]
        async with asyncio.timeout(TIME_LIMIT_S):
            while len(read) < len(expected):
                read_some(4096)
                await asyncio.sleep(0)  # who writes has its turn
        assert read == expected
        look()
        assert counted == len(read)
