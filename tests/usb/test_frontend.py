import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usb.conftest import Memory
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.usb.frontend import QUEUE_LIMIT, UsbifFrontend
from usbbtd.usb.wire import standard, usbif

GET_STATUS = standard.pack_setup(standard.DEVICE_IN, standard.GET_STATUS, 0, 0, 2)
IN, OUT = 0x82, 0x02


@pytest.fixture
def memory(new_memory: type[Memory]) -> Memory:
    return new_memory()


@pytest.fixture
def frontend(memory: Memory) -> UsbifFrontend:
    return UsbifFrontend(memory.pool(), ports=4)


def ids(requests: list[bytes]) -> list[int]:
    return [usbif.unpack_request(request)[0][0] for request in requests]


def answer(urb_id: int, status: int = usbif.OK, length: int = 0) -> bytes:
    return usbif.pack_response(urb_id, status, length)


def test_out_data_is_in_the_granted_pages(frontend: UsbifFrontend, memory: Memory) -> None:
    data = bytes(range(256)) * 40
    frontend.send(frontend.open_pipe(1, 1, OUT, usbif.BULK), data)
    (request,) = frontend.take_requests()
    head, segments = usbif.unpack_request(request)
    assert (head[1], head[4]) == (3, len(data))
    assert memory.copy_from(segments) == data
    assert usbif.unpack_pipe(head[2]) == (1, 1, OUT, usbif.BULK)


def test_sixteen_segments_are_the_most(new_memory: type[Memory]) -> None:
    memory = new_memory(16)
    frontend = UsbifFrontend(memory.pool())
    pipe = frontend.open_pipe(1, 1, OUT, usbif.BULK)
    frontend.send(pipe, bytes(0xFFFF))
    (request,) = frontend.take_requests()
    head, segments = usbif.unpack_request(request)
    assert head[1] == 16
    assert memory.copy_from(segments) == bytes(0xFFFF)
    with pytest.raises(LocalProtocolError):
        frontend.send(pipe, bytes(0x10000))
    with pytest.raises(LocalProtocolError):
        UsbifFrontend(memory.pool()[:1]).send(pipe, bytes(usbif.PAGE_SIZE + 1))


def test_standing_urbs_go_back_in_the_order_of_the_answers(frontend: UsbifFrontend, memory: Memory) -> None:
    pipe = frontend.open_pipe(1, 1, IN, usbif.BULK, depth=3)
    frontend.receive_on(pipe, 64)
    requests = frontend.take_requests()
    first, second, third = ids(requests)
    for text, request in zip((b"one", b"two"), requests, strict=False):
        memory.copy_to([(ref, at, 3) for ref, at, _ in usbif.unpack_request(request)[1]], text)
    frontend.receive_responses([answer(second, length=3), answer(first, length=3)])
    assert frontend.take_received() == [(pipe, b"two"), (pipe, b"one")]
    assert frontend.take_requests() == [requests[1], requests[0]]
    frontend.receive_responses([answer(third)])
    assert frontend.take_received() == [(pipe, b"")]


def test_standing_urbs_go_back_when_few_are_left_or_with_something_else(frontend: UsbifFrontend) -> None:
    pipe = frontend.open_pipe(1, 1, IN, usbif.BULK, depth=6)
    out = frontend.open_pipe(1, 1, OUT, usbif.BULK)
    frontend.receive_on(pipe, 64)
    requests = frontend.take_requests()
    frontend.receive_responses([answer(urb_id) for urb_id in ids(requests[:3])])
    assert frontend.take_requests() == []
    assert frontend.statistics()["urbs_in_flight"] == 3
    frontend.receive_responses([answer(ids(requests)[3])])
    assert frontend.take_requests() == requests[:4]
    frontend.receive_responses([answer(ids(requests)[4])])
    assert frontend.take_requests() == []
    frontend.send(out, b"x")
    again, _ = frontend.take_requests()
    assert again == requests[4]


def test_the_last_standing_urb_goes_back_at_once_where_others_have_failed(frontend: UsbifFrontend) -> None:
    pipe = frontend.open_pipe(1, 1, IN, usbif.BULK, depth=4)
    frontend.receive_on(pipe, 64)
    requests = frontend.take_requests()
    frontend.receive_responses([answer(urb_id, usbif.STALL) for urb_id in ids(requests[:3])])
    frontend.receive_responses([answer(ids(requests)[3])])
    assert frontend.take_requests() == [requests[3]]


def test_a_standing_urb_that_fails_stays_away_until_the_pipe_is_filled_again(frontend: UsbifFrontend) -> None:
    pipe = frontend.open_pipe(1, 1, IN, usbif.BULK, depth=2)
    frontend.receive_on(pipe, 64)
    first, _ = ids(frontend.take_requests())
    frontend.receive_responses([answer(first, usbif.STALL)])
    assert frontend.take_failures() == [(pipe, usbif.STALL)]
    assert frontend.take_requests() == []
    frontend.receive_on(pipe, 64)
    frontend.receive_on(pipe, 64)
    assert len(frontend.take_requests()) == 1


def test_no_more_than_the_depth_in_flight_and_the_rest_in_order(frontend: UsbifFrontend, memory: Memory) -> None:
    pipe = frontend.open_pipe(1, 1, OUT, usbif.BULK, depth=2)
    numbers = [frontend.send(pipe, bytes([value])) for value in range(5)]
    sent, done = [], []
    while requests := frontend.take_requests():
        assert len(requests) <= 2
        sent += [memory.copy_from(usbif.unpack_request(request)[1]) for request in requests]
        frontend.receive_responses([answer(urb_id, length=1) for urb_id in ids(requests)])
        done += [completion.urb for completion in frontend.take_completions()]
    assert sent == [bytes([value]) for value in range(5)]
    assert done == numbers


def test_a_full_ring_is_shared_fairly_and_keeps_a_slot_for_unlinks(frontend: UsbifFrontend) -> None:
    greedy = frontend.open_pipe(1, 1, OUT, usbif.BULK, depth=16)
    modest = frontend.open_pipe(2, 2, OUT, usbif.BULK, depth=16)
    for _ in range(20):
        frontend.send(greedy, b"g")
    for _ in range(7):
        frontend.send(modest, b"m")
    requests = frontend.take_requests()
    assert len(requests) == usbif.URB_SLOTS - 1
    assert sum(usbif.unpack_pipe(usbif.unpack_request(request)[0][2])[0] == 2 for request in requests) == 7
    assert frontend.take_requests() == []
    frontend.close_pipe(greedy)
    (unlink,) = frontend.take_requests()
    head, _ = usbif.unpack_request(unlink)
    assert head[2] & usbif.UNLINK


def test_pages_that_are_not_there_are_waited_for(new_memory: type[Memory]) -> None:
    frontend = UsbifFrontend(new_memory(3).pool())
    big = frontend.open_pipe(1, 1, OUT, usbif.BULK, depth=4)
    small = frontend.open_pipe(2, 2, OUT, usbif.BULK, depth=4)
    frontend.send(big, bytes(2 * usbif.PAGE_SIZE))
    frontend.send(big, bytes(2 * usbif.PAGE_SIZE))
    frontend.send(small, b"s")
    first, other = ids(frontend.take_requests())
    frontend.receive_responses([answer(other, length=1)])
    assert frontend.take_requests() == []
    frontend.receive_responses([answer(first, length=2 * usbif.PAGE_SIZE)])
    assert len(frontend.take_requests()) == 1


def test_a_closed_pipe_says_nothing_more_and_its_slots_come_back(frontend: UsbifFrontend) -> None:
    pipe = frontend.open_pipe(1, 1, IN, usbif.BULK, depth=3)
    frontend.receive_on(pipe, 64)
    flying = ids(frontend.take_requests())
    frontend.receive_responses([answer(flying[0], length=5)])
    frontend.take_received()
    frontend.close_pipe(pipe)
    frontend.close_pipe(pipe)
    unlinks = frontend.take_requests()
    assert {usbif.unlink_id(usbif.unpack_request(unlink)[0][5]) for unlink in unlinks} == {*flying[1:]}
    frontend.receive_responses(
        [answer(flying[1], usbif.IOERROR), answer(flying[2], length=9)] + [answer(urb_id) for urb_id in ids(unlinks)]
    )
    assert (frontend.take_received(), frontend.take_failures(), frontend.take_completions()) == ([], [], [])
    statistics = frontend.statistics()
    assert (statistics["urbs_in_flight"], statistics["urbs_waiting"], statistics["urbs_cancelled"]) == (0, 0, 2)
    everything = frontend.open_pipe(1, 1, OUT, usbif.BULK, depth=16)
    for _ in range(16):
        frontend.send(everything, b"x")
    assert len(frontend.take_requests()) == usbif.URB_SLOTS - 1


def test_an_unlink_that_waited_too_long_spares_who_has_the_id_now(frontend: UsbifFrontend) -> None:
    pipes = [frontend.open_pipe(1, 1, OUT, usbif.BULK, depth=16) for _ in range(2)]
    for _ in range(15):
        frontend.send(pipes[0], b"x")
    flying = ids(frontend.take_requests())
    frontend.close_pipe(pipes[0])
    assert len(frontend.take_requests()) == 1  # the reserved slot; fourteen unlinks wait
    frontend.receive_responses([answer(urb_id, usbif.NODEV) for urb_id in flying])
    for _ in range(15):
        frontend.send(pipes[1], b"y")
    requests = frontend.take_requests()
    assert not any(usbif.unpack_request(request)[0][2] & usbif.UNLINK for request in requests)


def test_the_buffer_of_a_control_request_is_what_its_setup_says(frontend: UsbifFrontend) -> None:
    pipe = frontend.open_pipe(1, 1, 0, usbif.CONTROL)
    with pytest.raises(LocalProtocolError):
        frontend.control(pipe, standard.pack_setup(0x20, 0, 0, 0, 4), b"123")
    frontend.control(pipe, GET_STATUS)
    (request,) = frontend.take_requests()
    head, segments = usbif.unpack_request(request)
    assert (head[4], [size for _, _, size in segments]) == (2, [2])
    assert usbif.unpack_pipe(head[2]) == (1, 1, 0x80, usbif.CONTROL)


def test_what_our_own_side_may_not_do(frontend: UsbifFrontend) -> None:
    pipe = frontend.open_pipe(1, 1, OUT, usbif.BULK)
    for _ in range(QUEUE_LIMIT):
        assert frontend.room(pipe) > 0
        frontend.send(pipe, b"x")
    assert frontend.room(pipe) == 0
    with pytest.raises(LocalProtocolError):
        frontend.send(pipe, b"x")
    frontend.close_pipe(pipe)
    with pytest.raises(LocalProtocolError):
        frontend.send(pipe, b"x")


def test_the_conn_ring_is_filled_and_refilled(frontend: UsbifFrontend) -> None:
    requests = frontend.take_conn_requests()
    assert sorted(map(usbif.unpack_conn_request, requests)) == list(range(512))
    frontend.receive_conn_responses([usbif.pack_conn_response(17, 4, usbif.SPEED_FULL)])
    assert frontend.take_conn_requests() == [usbif.pack_conn_request(17)]
    assert frontend.take_port_changes() == [(4, usbif.SPEED_FULL)]
    frontend.receive_conn_responses([usbif.pack_conn_response(17, 4, usbif.SPEED_FULL)])
    assert frontend.take_port_changes() == []
    frontend.receive_conn_responses([usbif.pack_conn_response(17, 4, usbif.SPEED_NONE)])
    assert frontend.take_port_changes() == [(4, usbif.SPEED_NONE)]


@pytest.mark.parametrize("bad", [(512, 1, 2), (0, 0, 2), (0, 5, 2), (0, 255, 2), (0, 1, 4)])
def test_a_conn_response_that_cannot_be(frontend: UsbifFrontend, bad: tuple[int, int, int]) -> None:
    with pytest.raises(RemoteProtocolError):
        frontend.receive_conn_responses([usbif.pack_conn_response(*bad)])


@pytest.mark.parametrize("length", [-1, 65, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("status", [usbif.OK, usbif.STALL])
def test_a_length_that_was_not_asked_for(frontend: UsbifFrontend, length: int, status: int) -> None:
    frontend.receive_on(frontend.open_pipe(1, 1, IN, usbif.BULK), 64)
    (urb_id,) = ids(frontend.take_requests())
    with pytest.raises(RemoteProtocolError, match="64 were asked for"):
        frontend.receive_responses([answer(urb_id, status, length)])


@pytest.mark.parametrize("which", ["unknown", "not in flight", "twice", "twice, standing"])
def test_an_answer_to_nothing(frontend: UsbifFrontend, which: str) -> None:
    pipe = frontend.open_pipe(1, 1, IN, usbif.BULK)
    if which == "twice, standing":
        frontend.receive_on(pipe, 64)
    else:
        frontend.control(frontend.open_pipe(1, 1, 0, usbif.CONTROL), GET_STATUS)
    (urb_id,) = ids(frontend.take_requests())
    bad = {"unknown": [answer(16)], "not in flight": [answer(urb_id ^ 1)]}.get(which, [answer(urb_id)] * 2)
    with pytest.raises(RemoteProtocolError, match="not in flight"):
        frontend.receive_responses(bad)


def test_the_answer_to_an_unlink_may_come_once(frontend: UsbifFrontend) -> None:
    pipe = frontend.open_pipe(1, 1, IN, usbif.BULK)
    frontend.receive_on(pipe, 64)
    frontend.take_requests()
    frontend.close_pipe(pipe)
    (unlink,) = ids(frontend.take_requests())
    with pytest.raises(RemoteProtocolError):
        frontend.receive_responses([answer(unlink), answer(unlink)])


@given(st.lists(st.one_of(st.binary(min_size=16, max_size=16), st.builds(
    answer, st.integers(0, 16), st.sampled_from([0, -19, -32, -108, 5]), st.integers(-1, 66))), max_size=40),
    st.lists(st.binary(min_size=4, max_size=4), max_size=20))  # fmt: skip
def test_a_backend_that_says_anything(responses: list[bytes], conn_responses: list[bytes]) -> None:
    pages = [(ref, memoryview(bytearray(usbif.PAGE_SIZE))) for ref in range(16)]
    frontend = UsbifFrontend(pages, ports=4)
    inward = frontend.open_pipe(1, 1, IN, usbif.BULK, depth=4)
    outward = frontend.open_pipe(1, 1, OUT, usbif.BULK, depth=4)
    control = frontend.open_pipe(1, 1, 0, usbif.CONTROL)
    frontend.take_conn_requests()
    try:
        for index, response in enumerate(responses):
            frontend.receive_on(inward, 64)
            if frontend.room(outward):
                frontend.send(outward, bytes(64))
            if frontend.room(control):
                frontend.control(control, GET_STATUS)
            if index == 20:
                frontend.close_pipe(inward)
                inward = frontend.open_pipe(1, 1, IN, usbif.BULK, depth=4)
            frontend.take_requests()
            frontend.receive_responses([response])
            assert all(len(data) <= 64 for _, data in frontend.take_received() if data is not None)
        frontend.receive_conn_responses(conn_responses)
    except RemoteProtocolError:
        return
    assert frontend.statistics()["urbs_in_flight"] <= usbif.URB_SLOTS
