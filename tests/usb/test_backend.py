from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usb.conftest import Bus, Dongle, Memory
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.usb.backend import UsbifBackend
from usbbtd.usb.wire import standard, usbif
from usbbtd.usb.wire.standard import pack_setup

INTERRUPT_IN, BULK_OUT, BULK_IN = 0x81, 0x02, 0x82
GET_DESCRIPTOR = pack_setup(standard.DEVICE_IN, standard.GET_DESCRIPTOR, 0x0100, 0, 18)
SET_ADDRESS = pack_setup(standard.DEVICE_OUT, standard.SET_ADDRESS, 5, 0, 0)
REF = 100


@pytest.fixture
def bus(new_bus: type[Bus]) -> Bus:
    return new_bus()


@pytest.fixture
def dongle(bus: Bus, new_dongle: type[Dongle]) -> Dongle:
    return bus.plug(new_dongle())


def request(
    urb_id: int = 1,
    *,
    port: int = 1,
    address: int = 5,
    endpoint: int = BULK_IN,
    kind: int = usbif.BULK,
    length: int = 64,
    setup: bytes = usbif.NO_SETUP,
    pieces: list[tuple[int, int, int]] | None = None,
) -> bytes:
    if pieces is None:
        pieces = [(REF, 0, length)] if length else []
    return usbif.pack_request(urb_id, usbif.pack_pipe(port, address, endpoint, kind), length, setup, pieces)


def statuses(backend: UsbifBackend) -> list[tuple[int, int]]:
    return [(urb_id, status) for urb_id, _, status, _, _ in map(usbif.unpack_response, backend.take_responses())]


# Two cores.


def test_data_both_ways(bus: Bus, dongle: Dongle) -> None:
    interrupt = bus.frontend.open_pipe(1, 5, INTERRUPT_IN, usbif.INTERRUPT, depth=4)
    bulk = bus.frontend.open_pipe(1, 5, BULK_IN, usbif.BULK, depth=4)
    out = bus.frontend.open_pipe(1, 5, BULK_OUT, usbif.BULK, depth=4)
    bus.frontend.receive_on(interrupt, 16)
    bus.frontend.receive_on(bulk, usbif.PAGE_SIZE)
    sent = [bytes([index]) * (1 + 37 * index) for index in range(30)]
    for transfer in sent:
        bus.frontend.send(out, transfer)
        dongle.send(BULK_IN, transfer)
    dongle.send(INTERRUPT_IN, b"0123456789abcdef" * 2 + b"!")
    bus.run()
    assert dongle.transfers == [(BULK_OUT, transfer) for transfer in sent]
    received = bus.frontend.take_received()
    assert [data for pipe, data in received if pipe == bulk] == sent
    assert [data for pipe, data in received if pipe == interrupt] == [b"0123456789abcdef"] * 2 + [b"!"]
    assert [(c.status, c.data) for c in bus.frontend.take_completions()] == [(usbif.OK, b"")] * 30


def test_a_transfer_in_sixteen_segments(new_bus: type[Bus], new_dongle: type[Dongle]) -> None:
    bus = new_bus(pages=17)
    dongle = bus.plug(new_dongle())
    data = bytes(index * 7 % 256 for index in range(0xFFFF))
    bus.frontend.send(bus.frontend.open_pipe(1, 5, BULK_OUT, usbif.BULK), data)
    bus.run()
    assert dongle.transfers == [(BULK_OUT, data)]
    pipe = bus.frontend.open_pipe(1, 5, BULK_IN, usbif.BULK)
    bus.frontend.receive_on(pipe, 0xFFC0)
    dongle.send(BULK_IN, data[:0xFF00])
    bus.run()
    assert bus.frontend.take_received() == [(pipe, data[:0xFF00])]


def test_an_event_of_whole_packets_is_followed_by_an_empty_one(bus: Bus, dongle: Dongle) -> None:
    pipe = bus.frontend.open_pipe(1, 5, INTERRUPT_IN, usbif.INTERRUPT, depth=2)
    bus.frontend.receive_on(pipe, 16)
    dongle.send(INTERRUPT_IN, bytes(32))
    bus.run()
    assert [len(data) for _, data in bus.frontend.take_received() if data is not None] == [16, 16, 0]


def test_a_halted_endpoint_stalls_until_it_is_cleared(bus: Bus, dongle: Dongle) -> None:
    pipe = bus.frontend.open_pipe(1, 5, BULK_IN, usbif.BULK, depth=3)
    bus.frontend.receive_on(pipe, 64)
    bus.run()
    dongle.halt(BULK_IN)
    bus.run()
    assert bus.frontend.take_failures() == [(pipe, usbif.STALL)] * 3
    assert bus.control(5, standard.clear_halt(BULK_IN)) == (usbif.OK, b"")
    bus.frontend.receive_on(pipe, 64)
    dongle.send(BULK_IN, b"again")
    bus.run()
    assert bus.frontend.take_received() == [*3 * [(pipe, None)], (pipe, b"again")]


def test_unlink_answers_both(bus: Bus, dongle: Dongle) -> None:
    pipe = bus.frontend.open_pipe(1, 5, BULK_IN, usbif.BULK, depth=4)
    bus.frontend.receive_on(pipe, 64)
    bus.run()
    assert bus.backend.statistics()["urbs_waiting"] == 4
    bus.frontend.close_pipe(pipe)
    bus.run()
    assert bus.backend.statistics()["urbs_waiting"] == 0
    assert bus.frontend.statistics()["urbs_in_flight"] == 0


def test_unplug_answers_what_waits(bus: Bus, dongle: Dongle) -> None:
    pipe = bus.frontend.open_pipe(1, 5, BULK_IN, usbif.BULK, depth=4)
    bus.frontend.receive_on(pipe, 64)
    bus.run()
    bus.backend.unplug(1)
    bus.backend.unplug(1)
    bus.run()
    assert bus.frontend.take_failures() == [(pipe, usbif.NODEV)] * 4
    assert bus.frontend.take_port_changes() == [(1, usbif.SPEED_NONE)]
    assert bus.control(5, GET_DESCRIPTOR)[0] == usbif.NODEV


def test_a_device_starts_again_at_address_0(bus: Bus, dongle: Dongle, new_dongle: type[Dongle]) -> None:
    dongle.send(BULK_IN, b"old")
    status, data = bus.control(0, GET_DESCRIPTOR)
    assert (status, len(data)) == (usbif.OK, 18)
    assert bus.control(0, SET_ADDRESS) == (usbif.OK, b"")
    assert not dongle.configured
    assert dongle.queued(BULK_IN) == 0
    bus.backend.unplug(1)
    bus.plug(new_dongle(), address=7)


def test_address_0_lets_two_requests_through(bus: Bus, new_dongle: type[Dongle]) -> None:
    bus.backend.plug(1, new_dongle())
    bus.run()
    assert bus.control(0, pack_setup(standard.DEVICE_OUT, standard.SET_CONFIGURATION, 1, 0, 0))[0] == usbif.INVAL
    assert bus.control(5, GET_DESCRIPTOR)[0] == usbif.NODEV
    assert bus.control(0, pack_setup(standard.DEVICE_OUT, standard.SET_ADDRESS, 128, 0, 0))[0] == usbif.STALL
    assert bus.control(0, SET_ADDRESS)[0] == usbif.OK
    assert bus.control(5, GET_DESCRIPTOR)[0] == usbif.OK
    assert bus.control(5, pack_setup(standard.DEVICE_OUT, standard.SET_ADDRESS, 6, 0, 0))[0] == usbif.OK
    assert bus.control(6, GET_DESCRIPTOR)[0] == usbif.OK


def test_two_devices_have_two_addresses(bus: Bus, dongle: Dongle, new_dongle: type[Dongle]) -> None:
    bus.backend.plug(2, new_dongle())
    assert bus.control(0, SET_ADDRESS, port=2)[0] == usbif.STALL
    assert bus.control(0, pack_setup(standard.DEVICE_OUT, standard.SET_ADDRESS, 6, 0, 0), port=2)[0] == usbif.OK
    assert bus.control(5, GET_DESCRIPTOR, port=2)[0] == usbif.NODEV


def test_a_class_request_and_a_stall(bus: Bus, dongle: Dongle) -> None:
    assert bus.control(5, pack_setup(0x20, 0, 0, 0, 3), bytes.fromhex("030c00")) == (usbif.OK, b"")
    assert dongle.commands == [bytes.fromhex("030c00")]
    assert bus.control(5, pack_setup(0xC0, 1, 0, 0, 3))[0] == usbif.STALL


def test_plugging_is_reported_when_somebody_asks_and_only_what_is_news(
    new_memory: type[Memory], new_dongle: type[Dongle]
) -> None:
    memory = new_memory()
    backend = UsbifBackend(2, memory.copy_from, memory.copy_to)
    dongle = new_dongle()
    for _ in range(3):
        backend.plug(1, dongle)
        backend.unplug(1)
    backend.plug(1, dongle)
    backend.plug(2, new_dongle())
    assert backend.take_conn_responses() == []
    backend.receive_conn_requests([usbif.pack_conn_request(7), usbif.pack_conn_request(8)])
    assert [usbif.unpack_conn_response(r) for r in backend.take_conn_responses()] == [(7, 1, 2), (8, 2, 2)]
    backend.unplug(1)
    backend.plug(1, dongle)
    backend.receive_conn_requests([usbif.pack_conn_request(9)] * 3)
    assert [usbif.unpack_conn_response(r) for r in backend.take_conn_responses()] == [(9, 1, 0), (9, 1, 2)]
    with pytest.raises(LocalProtocolError):
        backend.plug(1, dongle)
    with pytest.raises(LocalProtocolError):
        backend.plug(3, dongle)


# A frontend that does what it may not.


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ({"port": 0}, usbif.INVAL),
        ({"port": 2}, usbif.NODEV),
        ({"port": 31}, usbif.NODEV),
        ({"address": 6}, usbif.NODEV),
        ({"address": 0}, usbif.NODEV),
        ({"endpoint": 0x8F}, usbif.STALL),
        ({"endpoint": 0x80}, usbif.STALL),
        ({"kind": usbif.ISOCHRONOUS}, usbif.SHUTDOWN),
        ({"length": 0}, usbif.INVAL),
        ({"length": 64, "pieces": []}, usbif.INVAL),
        ({"length": 64, "pieces": [(REF, 0, 65)]}, usbif.INVAL),
        ({"length": 64, "pieces": [(REF, 4033, 64)]}, usbif.INVAL),
        ({"length": 64, "pieces": [(REF, 0xFFFF, 0xFFFF)]}, usbif.INVAL),
        ({"endpoint": BULK_OUT, "pieces": [(1, 0, 64)]}, usbif.SHUTDOWN),
        ({"kind": usbif.CONTROL, "endpoint": 0x81, "length": 18, "setup": GET_DESCRIPTOR}, usbif.INVAL),
        ({"kind": usbif.CONTROL, "endpoint": 0x80, "length": 17, "setup": GET_DESCRIPTOR}, usbif.INVAL),
        ({"kind": usbif.CONTROL, "endpoint": 0x00, "length": 18, "setup": GET_DESCRIPTOR}, usbif.INVAL),
        (
            {"kind": usbif.CONTROL, "endpoint": 0x80, "length": 18, "setup": GET_DESCRIPTOR, "pieces": [(1, 0, 18)]},
            usbif.SHUTDOWN,
        ),
    ],
)  # fmt: skip
def test_a_bad_request_is_answered(bus: Bus, dongle: Dongle, bad: dict[Any, Any], status: int) -> None:
    bus.backend.receive_requests([request(77, **bad)])
    assert statuses(bus.backend) == [(77, status)]
    assert bus.backend.statistics()["urbs_waiting"] == 0


def test_too_many_segments(bus: Bus, dongle: Dongle) -> None:
    bad = bytearray(request(3, length=64, pieces=[(REF, 0, 4)] * 16))
    bad[2:4] = (17).to_bytes(2, "little")
    bus.backend.receive_requests([bytes(bad)])
    assert statuses(bus.backend) == [(3, usbif.INVAL)]


def test_memory_that_was_not_granted_costs_the_transfer(bus: Bus, dongle: Dongle) -> None:
    bus.backend.receive_requests([request(1, pieces=[(1, 0, 64)]), request(2)])
    dongle.send(BULK_IN, b"lost")
    dongle.send(BULK_IN, b"kept")
    assert statuses(bus.backend) == [(1, usbif.SHUTDOWN), (2, usbif.OK)]


def test_an_endpoint_that_is_no_more_answers_what_waits(bus: Bus, dongle: Dongle) -> None:
    bus.backend.receive_requests([request(1), request(2)])
    assert statuses(bus.backend) == []
    bus.backend.receive_requests(
        [request(3, kind=usbif.CONTROL, endpoint=0, length=0, setup=pack_setup(0, standard.SET_CONFIGURATION, 0, 0, 0))]
    )
    assert statuses(bus.backend) == [(3, usbif.OK), (1, usbif.STALL), (2, usbif.STALL)]


def test_an_unlink_of_nothing(bus: Bus, dongle: Dongle) -> None:
    pipe = usbif.pack_pipe(1, 5, BULK_IN, usbif.BULK)
    bus.backend.receive_requests([request(1), usbif.pack_unlink(2, pipe, 9), usbif.pack_unlink(3, pipe, 1)])
    assert statuses(bus.backend) == [(2, usbif.OK), (1, usbif.IOERROR), (3, usbif.OK)]
    bus.backend.receive_requests([usbif.pack_unlink(4, usbif.pack_pipe(2, 5, BULK_IN, usbif.BULK), 1)])
    bus.backend.receive_requests([usbif.pack_unlink(5, usbif.pack_pipe(0, 0, 0, 0), 1)])
    assert statuses(bus.backend) == [(4, usbif.NODEV), (5, usbif.NODEV)]


def test_more_requests_than_the_ring_holds(bus: Bus, dongle: Dongle) -> None:
    bus.backend.receive_requests([request(urb_id) for urb_id in range(16)])
    with pytest.raises(RemoteProtocolError):
        bus.backend.receive_requests([request(16)])
    bus.backend.receive_conn_requests([])
    with pytest.raises(RemoteProtocolError):
        bus.backend.receive_conn_requests([usbif.pack_conn_request(0)] * 513)


small = st.sampled_from([0, 1, 2, 5, 16, 17, 64, 4096, 0xFFFF])
shaped = st.builds(
    lambda urb_id, port, address, endpoint, kind, length, setup, pieces, unlink: (
        usbif.pack_unlink(urb_id, usbif.pack_pipe(port, address, endpoint, kind), length)
        if unlink
        else usbif.pack_request(urb_id, usbif.pack_pipe(port, address, endpoint, kind), length, setup, pieces)
    ),
    st.integers(0, 20), st.sampled_from([0, 1, 1, 1, 2, 31]), st.sampled_from([0, 5, 5, 5, 9]),
    st.sampled_from([0, 0x80, INTERRUPT_IN, BULK_OUT, BULK_IN, 0x8F]), st.integers(0, 3), small,
    st.sampled_from([GET_DESCRIPTOR, SET_ADDRESS, standard.clear_halt(BULK_IN)]) | st.binary(min_size=8, max_size=8),
    st.lists(st.tuples(st.sampled_from([REF, REF + 1, 1]), small, small), max_size=3), st.booleans(),
)  # fmt: skip


@given(
    st.lists(st.one_of(shaped, st.binary(min_size=148, max_size=148)), max_size=60), st.lists(st.binary(max_size=200))
)
def test_a_frontend_that_says_anything_gets_one_answer_each(
    new_bus: type[Bus], new_dongle: type[Dongle], requests: list[bytes], transfers: list[bytes]
) -> None:
    bus = new_bus()
    dongle = bus.plug(new_dongle())
    for transfer in transfers:
        dongle.send(BULK_IN, transfer)
    outstanding: list[Any] = []
    for each in requests:
        if len(outstanding) == usbif.URB_SLOTS:
            bus.backend.unplug(1)  # answers all that wait
            outstanding = _take_answers(bus.backend, outstanding)
            assert outstanding == []
            bus.backend.plug(1, dongle)
        outstanding.append(int.from_bytes(each[:2], "little"))
        bus.backend.receive_requests([each])
        outstanding = _take_answers(bus.backend, outstanding)
    bus.backend.unplug(1)
    assert _take_answers(bus.backend, outstanding) == []


def _take_answers(backend: UsbifBackend, outstanding: list[int]) -> list[Any]:
    for urb_id, _ in statuses(backend):
        outstanding.remove(urb_id)
    return outstanding
