import mmap
from struct import pack_into, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.xen.ring import BackRing, FrontRing

REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT = 0, 4, 8, 12
SIZE = 64
SLOTS = 32


def entries(count: int, first: int = 0) -> list[bytes]:
    return [(first + number).to_bytes(4, "little") + bytes(SIZE - 4) for number in range(count)]


def pair(index: int = 0) -> tuple[bytearray, FrontRing, BackRing]:
    """Both ends on a page, as after ``index`` requests and responses."""
    page = bytearray(4096)
    front = FrontRing(page, SIZE, SIZE)
    front._ring.request_index = front._ring.response_index = index
    pack_into("<4I", page, 0, index, (index + 1) % 2**32, index, (index + 1) % 2**32)
    return page, front, BackRing(page, SIZE, SIZE)


def word(page: bytearray, offset: int) -> int:
    value: int = unpack_from("<I", page, offset)[0]
    return value


INDICES = pytest.mark.parametrize("index", [0, 1, 2**32 - 1, 2**32 - SLOTS, 2**31 - 7])


def test_the_frontend_initialises_the_page() -> None:
    page = bytearray(b"\xff" * 4096)
    front = FrontRing(page, SIZE, SIZE)
    assert page[:64] == b"\0\0\0\0\1\0\0\0" * 2 + bytes(48)
    assert (front.slots, front.free) == (SLOTS, SLOTS)


@INDICES
def test_requests_and_responses_go_round(index: int) -> None:
    _, front, back = pair(index)
    for turn in range(5):
        requests = entries(SLOTS, turn * 100)
        assert front.put(requests)
        assert front.free == 0
        assert back.take() == requests
        assert back.take() == []
        assert back.put(requests[::-1])
        assert front.take() == requests[::-1]
        assert front.free == SLOTS


@INDICES
def test_only_the_first_after_a_drain_notifies(index: int) -> None:
    _, front, back = pair(index)
    assert [front.put(entries(1)) for _ in range(3)] == [True, False, False]
    assert len(back.take()) == 3
    assert [front.put(entries(1)) for _ in range(2)] == [True, False]
    assert [back.put(entries(1)) for _ in range(3)] == [True, False, False]
    assert len(front.take()) == 3
    assert not front.put([])
    assert not back.put([])


def test_requests_and_responses_of_different_sizes() -> None:
    page = bytearray(4096)
    front, back = FrontRing(page, 2, 4), BackRing(page, 2, 4)
    assert front.slots == 512
    front.put([bytes([i % 256, i // 256]) for i in range(512)])
    assert back.take()[511] == b"\xff\x01"
    back.put([b"abcd"])
    assert front.take() == [b"abcd"]
    assert front.free == 1


@pytest.mark.parametrize("end", [FrontRing, BackRing])
def test_what_our_own_side_may_not_do(end: type[FrontRing] | type[BackRing]) -> None:
    page = bytearray(4096)
    ring = end(page, SIZE, SIZE)
    before = bytes(page)
    with pytest.raises(LocalProtocolError, match="64 bytes"):
        ring.put([bytes(SIZE - 1)])
    with pytest.raises(LocalProtocolError, match="no room for 33"):
        ring.put(entries(SLOTS + 1))
    assert page == before
    with pytest.raises(LocalProtocolError, match="one page"):
        end(bytearray(4095), SIZE, SIZE)


def test_a_backend_answers_no_more_than_it_was_asked() -> None:
    _, front, back = pair()
    front.put(entries(3))
    with pytest.raises(LocalProtocolError):
        back.put(entries(1))  # not taken yet
    back.take()
    back.put(entries(3))
    with pytest.raises(LocalProtocolError):
        back.put(entries(1))


@INDICES
@pytest.mark.parametrize("lie", [SLOTS + 1, 2**31, 2**32 - 1])
def test_a_frontend_that_lies(index: int, lie: int) -> None:
    page, _, back = pair(index)
    pack_into("<I", page, REQ_PROD, (index + lie) % 2**32)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=f"index {(index + lie) % 2**32} is impossible .* {index}"):
            back.take()


@INDICES
@pytest.mark.parametrize("lie", [4, SLOTS, 2**31, 2**32 - 1])
def test_a_backend_that_lies(index: int, lie: int) -> None:
    """No more responses than there are requests in flight, though the ring could hold them."""
    page, front, _ = pair(index)
    front.put(entries(3))
    pack_into("<I", page, RSP_PROD, (index + lie) % 2**32)
    with pytest.raises(RemoteProtocolError):
        front.take()
    assert front.free == SLOTS - 3


def test_requests_beyond_those_that_are_not_answered() -> None:
    page, front, back = pair()
    front.put(entries(SLOTS))
    back.take()
    back.put(entries(2))
    pack_into("<I", page, REQ_PROD, SLOTS + 2)
    assert len(back.take()) == 2
    pack_into("<I", page, REQ_PROD, SLOTS + 3)
    with pytest.raises(RemoteProtocolError):
        back.take()


def test_an_index_that_goes_back() -> None:
    page, front, back = pair()
    front.put(entries(3))
    back.take()
    pack_into("<I", page, REQ_PROD, 2)
    with pytest.raises(RemoteProtocolError):
        back.take()


def test_our_own_indices_are_not_read_from_the_page() -> None:
    page, front, back = pair()
    front.put(entries(2))
    back.take()
    pack_into("<I", page, RSP_PROD, 7)
    assert back.put(entries(2)) in (True, False)
    assert word(page, RSP_PROD) == 2
    pack_into("<I", page, REQ_PROD, 99)
    front.put(entries(1))
    assert word(page, REQ_PROD) == 3


def test_a_backend_takes_up_a_ring_in_use() -> None:
    page, front, back = pair(2**32 - 2)
    front.put(entries(5))
    back.take()
    back.put(entries(2))
    again = BackRing(page, SIZE, SIZE)
    assert again.take() == entries(3, 2)
    again.put(entries(3, 2))
    assert front.take() == entries(5)


def test_a_closed_ring_lets_go_of_its_memory() -> None:
    page = mmap.mmap(-1, 4096)
    for ring in (FrontRing(page, SIZE, SIZE), BackRing(page, SIZE, SIZE)):
        with pytest.raises(BufferError):
            page.close()
        ring.close()
        ring.close()
        with pytest.raises(LocalProtocolError, match="closed"):
            ring.take()
        with pytest.raises(LocalProtocolError, match="closed"):
            ring.put(entries(1))
    page.close()


@given(st.lists(st.tuples(st.sampled_from("pttrt"), st.integers(0, SLOTS)), max_size=80), st.integers(0, 2**32 - 1))
def test_nothing_is_lost_and_no_wake_up_is_missed(steps: list[tuple[str, int]], index: int) -> None:
    """Each end looks at the ring only when it was notified; everything arrives all the same."""
    _, front, back = pair(index)
    sent = answered = received = 0
    unanswered: list[bytes] = []
    for step, amount in [*steps, ("p", 1), ("r", SLOTS), ("r", SLOTS)]:
        if step == "p":
            count = min(amount, front.free)
            notify_back = front.put(entries(count, sent))
            sent += count
            if notify_back:
                unanswered += back.take()
        elif step == "r":
            count = min(amount, len(unanswered))
            notify_front = back.put(unanswered[:count])
            assert unanswered[:count] == entries(count, answered)
            answered += count
            del unanswered[:count]
            if notify_front:
                responses = front.take()
                assert responses == entries(len(responses), received)
                received += len(responses)
    assert sent == received
    assert front.free == SLOTS
