import mmap
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from struct import pack, pack_into, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.abi._layout import ffi
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.xen.dataring import DataRing

# struct l2capif_data_intf: the half `in` at 0, `out` at 128; in each the producer's line, then the consumer's.
IN, OUT = 0, 128
PROD, CONS_EVENT, ERROR, CONS, PROD_EVENT = 0, 4, 8, 64, 68
HALF = 4096


class Pair:
    """Both ends on one piece of memory, as after ``index`` octets each way."""

    def __init__(self, index: int = 0, half: int = HALF) -> None:
        self.indices = bytearray(4096)
        self.data = bytearray(2 * half)
        for half_at in (IN, OUT):
            for word in (PROD, CONS, CONS_EVENT):
                self.set(half_at + word, index)
        self.front = DataRing(self.indices, self.data, frontend=True)
        self.back = DataRing(self.indices, self.data, frontend=False)

    def get(self, offset: int) -> int:
        value: int = unpack_from("<I", self.indices, offset)[0]
        return value

    def set(self, offset: int, value: int) -> None:
        pack_into("<I", self.indices, offset, value % 2**32)


def read_all(ring: DataRing, limit: int = 65536) -> list[bytes]:
    messages: list[bytes] = []
    while batch := ring.read(limit)[0]:
        messages += batch
    return messages


INDICES = pytest.mark.parametrize("index", [0, 1, 2**32 - 1, 2**32 - 100, 2**31 - 7])


def test_the_offsets_are_those_of_the_header() -> None:
    half = {"producer": 0, "consumer": 64}
    assert {name: ffi.offsetof("struct l2capif_half", name) for name in half} == half
    assert ffi.offsetof("struct l2capif_data_intf", "out") == OUT
    assert [ffi.offsetof("struct l2capif_producer", name) for name in ("prod", "cons_event", "error")] == [0, 4, 8]
    assert ffi.offsetof("struct l2capif_consumer", "prod_event") == 4


@INDICES
def test_messages_of_all_sizes_both_ways(index: int) -> None:
    pair = Pair(index)
    messages = [b"", b"a", bytes(range(256)) * 4, b"", b"xyz" * 500, b"end"]
    for _ in range(4):
        for ends in ((pair.front, pair.back), (pair.back, pair.front)):
            assert ends[0].write(messages) == (6, True)
            assert ends[1].read() == (messages, False)
            assert ends[1].read() == ([], False)
            assert ends[0].consumed() == sum(map(len, messages)) + 6 * 4


def test_the_octets_are_where_the_header_says() -> None:
    pair = Pair()
    pair.front.write([b"out"])
    pair.back.write([b"to the frontend", b""])
    assert pair.data[HALF : HALF + 8] == b"\3\0\0\0out\0"
    assert pair.data[:23] == b"\x0f\0\0\0to the frontend\0\0\0\0"
    assert (pair.get(OUT + PROD), pair.get(IN + PROD)) == (7, 23)
    read_all(pair.front)
    assert (pair.get(IN + CONS), pair.get(IN + PROD_EVENT)) == (23, 24)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_the_longest_message_fills_the_half(order: int) -> None:
    half = 2048 << order
    pair = Pair(2**32 - 5, half)
    assert pair.front.max_message == half - 4
    longest = os.urandom(half - 4)
    assert pair.front.write([longest, b""]) == (1, True)
    assert pair.front.write([b""]) == (0, False)
    assert pair.back.read(1) == ([longest], True)
    with pytest.raises(LocalProtocolError, match="bytes on a ring for"):
        pair.front.write([bytes(half - 3)])


def test_a_batch_that_holds_a_message_too_long_is_not_begun() -> None:
    pair = Pair()
    with pytest.raises(LocalProtocolError):
        pair.front.write([b"short", bytes(HALF)])
    assert pair.back.read() == ([], False)


def test_reading_in_pieces() -> None:
    pair = Pair()
    messages = [bytes([number]) * 100 for number in range(20)]
    pair.front.write(messages)
    assert pair.back.read(250)[0] == messages[:2]
    assert pair.back.read(300)[0] == messages[2:5]
    assert pair.back.read(0)[0] == messages[5:6]
    pair.front.write([b""] * 400)
    assert read_all(pair.back) == messages[6:] + [b""] * 400


def test_notifications_are_held_off_until_the_reader_has_found_it_empty() -> None:
    pair = Pair()
    assert [pair.front.write([b"m"])[1] for _ in range(3)] == [True, False, False]
    pair.back.read()
    assert not pair.front.write([b"m"])[1], "the reader has not looked again"
    assert read_all(pair.back) == [b"m"]
    assert pair.front.write([b"m"])[1]
    assert not pair.front.write([])[1]


@INDICES
def test_a_full_ring_asks_for_the_room_of_the_next_message(index: int) -> None:
    pair = Pair(index)
    kilobyte = bytes(1020)
    assert pair.front.write([kilobyte] * 5 + [bytes(2044)]) == (4, True)
    assert pair.get(OUT + CONS_EVENT) == (index + 1024) % 2**32
    assert pair.front.write([bytes(2044)]) == (0, False)
    assert pair.back.read(1000)[1] is False, "not enough yet"
    assert pair.back.read(1000)[1] is True
    assert pair.back.read(1000)[1] is False, "once"
    assert pair.front.write([bytes(2044)]) == (1, False)


def test_consumed_octets_bring_a_notification_when_asked_for() -> None:
    pair = Pair(2**32 - 150)
    pair.front.write([bytes(96)] * 3)
    assert not pair.front.expect_consumed(150)
    assert [pair.back.read(1)[1] for _ in range(3)] == [False, True, False]
    assert pair.front.expect_consumed(150)
    assert pair.front.consumed() == 300
    assert pair.front.consumed() == 0
    assert not pair.front.expect_consumed(1)


def test_spinning_ends_with_what_it_looks_for() -> None:
    pair = Pair(2**32 - 3)
    assert not pair.back.spin(1000)
    pair.front.write([b"message"])
    long = 10**9
    start = time.monotonic()
    assert pair.back.spin(long)
    assert not pair.front.spin(1000, for_room=True)
    pair.back.read()
    assert pair.front.spin(long, for_room=True)
    assert time.monotonic() - start < 1
    assert pair.front.consumed() == 11
    assert not pair.front.spin(1000, for_room=True)
    assert not pair.back.spin(1000)
    assert pair.front.write([b"m"]) == (1, False), "the reader has not asked for a notification"


def test_an_error_is_seen_behind_the_last_message() -> None:
    pair = Pair()
    pair.back.write([b"last"])
    assert pair.front.peer_error == 0
    pair.back.set_error(-107)
    assert pair.front.peer_error == 0
    assert read_all(pair.front) == [b"last"]
    assert pair.front.peer_error == -107
    assert pair.back.peer_error == 0
    with pytest.raises(LocalProtocolError):
        pair.back.write([b"more"])
    assert pair.front.write([b"the other way"]) == (1, True)
    assert read_all(pair.back) == [b"the other way"]


def test_an_end_takes_up_where_it_was() -> None:
    pair = Pair(2**32 - 3)
    pair.front.write([b"one", b"two"])
    pair.back.read(1)
    again = DataRing(pair.indices, pair.data, frontend=False)
    assert read_all(again) == [b"two"]


@pytest.mark.parametrize(("indices", "data"), [(4096, 4096), (4096, 3 * 4096), (4096, 8191), (515, 8192)])
def test_memory_of_a_wrong_size(indices: int, data: int) -> None:
    with pytest.raises(LocalProtocolError):
        DataRing(bytearray(indices), bytearray(data), frontend=True)


def test_a_closed_ring_lets_go_of_its_memory() -> None:
    indices, data = mmap.mmap(-1, 4096), mmap.mmap(-1, 8192)
    ring = DataRing(indices, data, frontend=True)
    ring.close()
    ring.close()
    indices.close()
    data.close()
    uses: list[Callable[[], object]] = [ring.read, ring.consumed, lambda: ring.write([b""]), lambda: ring.set_error(-1)]
    uses += [lambda: ring.peer_error, lambda: ring.expect_consumed(1)]
    for use in uses:
        with pytest.raises(LocalProtocolError, match="closed"):
            use()


@INDICES
@pytest.mark.parametrize("lie", [HALF + 1, 2**31, 2**32 - 1])
def test_a_producer_that_lies(index: int, lie: int) -> None:
    pair = Pair(index)
    pair.set(OUT + PROD, index + lie)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="impossible on a data ring of 4096 bytes"):
            pair.back.read()
    assert pair.get(OUT + CONS) == index


@INDICES
@pytest.mark.parametrize("lie", [101, HALF, 2**31, 2**32 - 1])
def test_a_consumer_that_lies(index: int, lie: int) -> None:
    """Past what was sent, or back."""
    pair = Pair(index)
    pair.front.write([bytes(96)])
    pair.set(OUT + CONS, index + lie)
    uses: list[Callable[[], object]] = [lambda: pair.front.write([b""]), pair.front.consumed]
    uses.append(lambda: pair.front.expect_consumed(1))
    for use in uses:
        with pytest.raises(RemoteProtocolError, match="impossible"):
            use()
    assert pair.get(OUT + PROD) == (index + 100) % 2**32


def test_a_consumer_that_goes_back() -> None:
    pair = Pair()
    pair.front.write([bytes(96)] * 2)
    read_all(pair.back)
    assert pair.front.consumed() == 200
    pair.set(OUT + CONS, 100)
    with pytest.raises(RemoteProtocolError):
        pair.front.consumed()


@pytest.mark.parametrize("length", [97, HALF - 3, HALF, 2**31, 2**32 - 4, 2**32 - 1])
def test_a_length_that_lies(length: int) -> None:
    pair = Pair()
    pair.front.write([b"good", bytes(96)])
    pair.data[HALF + 8 : HALF + 12] = pack("<I", length)
    assert pair.back.read()[0] == [b"good"], "what came before is not lost"
    with pytest.raises(RemoteProtocolError, match=f"message of {length} bytes cannot be at 8"):
        pair.back.read()


@pytest.mark.parametrize("octets", [1, 2, 3])
def test_half_a_length(octets: int) -> None:
    pair = Pair()
    pair.set(OUT + PROD, octets)
    with pytest.raises(RemoteProtocolError):
        pair.back.read()


def test_our_own_indices_are_not_read_from_the_page() -> None:
    pair = Pair()
    pair.front.write([b"one"])
    for word in (OUT + CONS, IN + PROD):  # the backend's own, overwritten by the frontend
        pair.set(word, 12345)
    assert read_all(pair.back) == [b"one"]
    assert pair.back.write([b"two"])[0] == 1
    assert (pair.get(OUT + CONS), pair.get(IN + PROD)) == (7, 7)


def test_indices_that_were_impossible_from_the_beginning() -> None:
    pair = Pair()
    pair.set(IN + PROD, 5000)
    pair.set(OUT + PROD, 5000)
    back = DataRing(pair.indices, pair.data, frontend=False)
    with pytest.raises(RemoteProtocolError):
        back.write([b"m"])
    with pytest.raises(RemoteProtocolError):
        back.read()


LIES = st.tuples(
    st.sampled_from([half + word for half in (IN, OUT) for word in (PROD, CONS_EVENT, ERROR, CONS, PROD_EVENT)]),
    st.integers(0, 2**32 - 1) | st.integers(0, 9000),
    st.sampled_from(["read", "write", "consumed", "expect_consumed"]),
)


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.booleans(), st.lists(LIES, max_size=20))
def test_garbage_is_an_error_and_nothing_else(
    index: int, length: int, frontend: bool, lies: list[tuple[int, int, str]]
) -> None:
    pair = Pair(index)
    pair.data[:] = pack("<I", length) * (2 * HALF // 4)
    ring = DataRing(pair.indices, pair.data, frontend=frontend)
    arguments: dict[str, tuple[object, ...]] = {"write": ([b"abc"] * 9,), "expect_consumed": (9,)}
    for word, lie, use in lies:
        pair.set(word, lie)
        with suppress(RemoteProtocolError):
            getattr(ring, use)(*arguments.get(use, ()))
        assert -(2**31) <= ring.peer_error < 2**31


SIZES = st.lists(st.integers(0, 64) | st.integers(0, HALF - 4), max_size=12)


@given(
    st.lists(st.tuples(st.just("write"), SIZES) | st.tuples(st.just("read"), st.integers(0, 9000)), max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_against_a_model(steps: list[tuple[str, list[int] | int]], index: int) -> None:
    """The model is a list of messages and the two rules of notification, as the header's text has them."""
    pair = Pair(index)
    ring: list[bytes] = []
    prod = cons = reported = 0  # counted from `index`, without wrapping
    prod_event, cons_event = 1, 0
    number = 0
    for step, argument in steps:
        if isinstance(argument, list):
            messages = []
            for size in argument:
                number += 1
                messages.append(bytes([number % 256]) * size)
            fit, new = 0, prod
            for message in messages:
                if new + 4 + len(message) - cons > HALF:
                    cons_event = new + 4 + len(message) - HALF
                    break
                fit, new = fit + 1, new + 4 + len(message)
            assert pair.front.write(messages) == (fit, prod < prod_event <= new), step
            ring += messages[:fit]
            prod = new
        else:
            expected: list[bytes] = []
            new, size = cons, 0
            while ring and len(expected) < 256 and (not expected or size + len(ring[0]) <= argument):
                size += len(ring[0])
                new += 4 + len(ring[0])
                expected.append(ring.pop(0))
            if not expected:
                prod_event = cons + 1
            assert pair.back.read(argument) == (expected, cons < cons_event <= new), step
            cons = new
            assert pair.front.consumed() == cons - reported
            reported = cons


def produce(indices: mmap.mmap, data: mmap.mmap, wake: int, woken: int, messages: int) -> None:
    """Sends numbered messages of many sizes; sleeps whenever the ring is full."""
    ring = DataRing(indices, data, frontend=True)
    pending = [number.to_bytes(4, "little") * (1 + number * 7 % 300) for number in range(messages)]
    while pending:
        count, notify = ring.write(pending[:7])
        del pending[:count]
        if notify:
            os.write(wake, b"!")
        if count < min(7, len(pending) + count):
            os.read(woken, 1)


def test_two_processes_never_sleep_past_each_other() -> None:
    """Each end sleeps in earnest until it is notified: a lost notification would stop both for ever."""
    total = 6000
    indices, data = mmap.mmap(-1, 4096), mmap.mmap(-1, 8192)
    to_consumer, to_producer = os.pipe(), os.pipe()
    ring = DataRing(indices, data, frontend=False)
    producer = get_context("fork").Process(target=produce, args=(indices, data, to_consumer[1], to_producer[0], total))
    producer.start()
    received: list[bytes] = []
    while len(received) < total:
        messages, notify = ring.read(1000)
        received += messages
        if notify:
            os.write(to_producer[1], b"!")
        if not messages:
            assert select.select([to_consumer[0]], [], [], 10)[0], f"asleep after {len(received)} messages"
            os.read(to_consumer[0], 1)
    producer.join()
    assert received == [number.to_bytes(4, "little") * (1 + number * 7 % 300) for number in range(total)]
    for descriptor in (*to_consumer, *to_producer):
        os.close(descriptor)
