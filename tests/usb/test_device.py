import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usb.conftest import Dongle
from usbbtd.errors import LocalProtocolError
from usbbtd.usb.device import QUEUE_LIMIT
from usbbtd.usb.wire import descriptors, standard, usbif
from usbbtd.usb.wire.standard import pack_setup

INTERRUPT_IN, BULK_OUT, BULK_IN = 0x81, 0x02, 0x82
SET_CONFIGURATION = pack_setup(standard.DEVICE_OUT, standard.SET_CONFIGURATION, 1, 0, 0)


@pytest.fixture
def dongle(new_dongle: type[Dongle]) -> Dongle:
    device = new_dongle()
    assert device.control(SET_CONFIGURATION, b"") == b""
    return device


def descriptor(kind: int, number: int = 0, length: int = 255) -> bytes:
    return pack_setup(standard.DEVICE_IN, standard.GET_DESCRIPTOR, kind << 8 | number, 0, length)


def read(dongle: Dongle, setup: bytes) -> bytes:
    data = dongle.control(setup, b"")
    assert data is not None
    return data


def test_descriptors(dongle: Dongle) -> None:
    assert descriptors.parse_device(read(dongle, descriptor(descriptors.DEVICE))).vendor_id == 0x1209
    configuration = read(dongle, descriptor(descriptors.CONFIGURATION))
    assert descriptors.parse_total_length(configuration) == len(configuration)
    assert descriptors.parse_string(read(dongle, descriptor(descriptors.STRING, 3))) == "0001"
    assert dongle.control(descriptor(descriptors.STRING, 0), b"") == bytes.fromhex("04030904")
    assert len(read(dongle, descriptor(descriptors.DEVICE, length=8))) == 8
    for kind, number in ((descriptors.STRING, 9), (descriptors.DEVICE, 1), (descriptors.CONFIGURATION, 1), (6, 0)):
        assert dongle.control(descriptor(kind, number), b"") is None


def test_configuration(new_dongle: type[Dongle]) -> None:
    dongle = new_dongle()
    get = pack_setup(standard.DEVICE_IN, standard.GET_CONFIGURATION, 0, 0, 1)
    assert dongle.control(get, b"") == b"\0"
    assert not dongle.has_endpoint(BULK_IN)
    assert dongle.control(pack_setup(standard.DEVICE_OUT, standard.SET_CONFIGURATION, 2, 0, 0), b"") is None
    dongle.control(SET_CONFIGURATION, b"")
    assert dongle.control(get, b"") == b"\1"
    assert dongle.has_endpoint(BULK_IN)
    assert not dongle.has_endpoint(0x83)  # isochronous: not in this model
    dongle.control(pack_setup(standard.DEVICE_OUT, standard.SET_CONFIGURATION, 0, 0, 0), b"")
    assert dongle.control(get, b"") == b"\0"


def test_interfaces(dongle: Dongle) -> None:
    def interface(request_type: int, request: int, number: int, value: int = 0, length: int = 2) -> bytes | None:
        return dongle.control(pack_setup(request_type, request, value, number, length), b"")

    assert interface(standard.INTERFACE_IN, standard.GET_STATUS, 0) == b"\0\0"
    assert interface(standard.INTERFACE_IN, standard.GET_INTERFACE, 1) == b"\0"
    assert interface(standard.INTERFACE_OUT, standard.SET_INTERFACE, 1, 1, 0) == b""
    assert interface(standard.INTERFACE_IN, standard.GET_INTERFACE, 1) == b"\1"
    assert interface(standard.INTERFACE_OUT, standard.SET_INTERFACE, 1, 2, 0) is None
    assert interface(standard.INTERFACE_OUT, standard.SET_INTERFACE, 2, 0, 0) is None


def test_halt(dongle: Dongle) -> None:
    status = pack_setup(standard.ENDPOINT_IN, standard.GET_STATUS, 0, BULK_IN, 2)
    halt = pack_setup(standard.ENDPOINT_OUT, standard.SET_FEATURE, standard.ENDPOINT_HALT, BULK_IN, 0)
    assert dongle.control(status, b"") == b"\0\0"
    assert dongle.control(halt, b"") == b""
    assert dongle.control(status, b"") == b"\1\0"
    assert dongle.is_halted(BULK_IN)
    assert dongle.control(standard.clear_halt(BULK_IN), b"") == b""
    assert not dongle.is_halted(BULK_IN)
    assert dongle.control(standard.clear_halt(0x8F), b"") is None


def test_other_requests_go_to_the_subclass_or_stall(dongle: Dongle) -> None:
    assert dongle.control(pack_setup(0x20, 0, 0, 0, 3), b"cmd") == b""
    assert dongle.commands == [b"cmd"]
    assert dongle.control(pack_setup(0xC0, 1, 0, 0, 3), b"") is None
    assert dongle.control(pack_setup(standard.DEVICE_IN, standard.GET_STATUS, 0, 0, 2), b"") == b"\0\0"
    assert dongle.control(pack_setup(standard.DEVICE_OUT, standard.SET_FEATURE, 1, 0, 0), b"") is None


def test_nothing_is_sent_to_nobody(new_dongle: type[Dongle]) -> None:
    dongle = new_dongle()
    woken = []
    dongle.wake = lambda: woken.append(1)
    dongle.send(BULK_IN, b"x")
    assert (dongle.dropped, dongle.queued(BULK_IN), woken) == (1, 0, [])
    dongle.control(SET_CONFIGURATION, b"")
    dongle.send(BULK_IN, b"x")
    assert (dongle.queued(BULK_IN), woken) == (1, [1])
    dongle.unplugged()
    assert dongle.queued(BULK_IN) == 0
    with pytest.raises(LocalProtocolError):
        dongle.send(BULK_OUT, b"x")


def test_the_queue_is_bounded(dongle: Dongle) -> None:
    for _ in range(QUEUE_LIMIT + 3):
        dongle.send(BULK_IN, b"x")
    assert (dongle.queued(BULK_IN), dongle.dropped) == (QUEUE_LIMIT, 3)


@pytest.mark.parametrize(
    ("size", "room", "pieces"),
    [
        (0, 64, [0]),
        (5, 64, [5]),
        (63, 64, [63]),
        (64, 64, [64, 0]),  # exactly one packet: the empty one follows
        (64, 128, [64]),  # the empty packet ended the URB
        (65, 64, [64, 1]),
        (65, 128, [65]),
        (128, 128, [128, 0]),
        (1025, 4096, [1025]),
        (1025, 1088, [1025]),
        (200, 192, [192, 8]),
    ],
)
def test_transfers_end_with_a_short_packet(dongle: Dongle, size: int, room: int, pieces: list[int]) -> None:
    data = bytes(index % 251 for index in range(size))
    dongle.send(BULK_IN, data)
    taken = []
    while (transfer := dongle.take_transfer(BULK_IN, room)) is not None:
        status, piece = transfer
        assert status == usbif.OK
        taken.append(piece)
    assert [len(piece) for piece in taken] == pieces
    assert b"".join(taken) == data


def test_a_packet_without_room_babbles(dongle: Dongle) -> None:
    dongle.send(BULK_IN, bytes(100))
    assert dongle.take_transfer(BULK_IN, 65) == (usbif.BABBLE, b"")
    dongle.send(BULK_IN, bytes(65))
    assert dongle.take_transfer(BULK_IN, 65) == (usbif.OK, bytes(65))


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 5), min_size=1))
def test_every_transfer_comes_through_any_whole_packets(
    new_dongle: type[Dongle], transfers: list[bytes], rooms: list[int]
) -> None:
    dongle = new_dongle()
    dongle.control(SET_CONFIGURATION, b"")
    for transfer in transfers:
        dongle.send(BULK_IN, transfer)
    rebuilt, current = [], b""
    turn = 0
    while (taken := dongle.take_transfer(BULK_IN, room := 64 * rooms[turn % len(rooms)])) is not None:
        status, piece = taken
        assert status == usbif.OK
        current += piece
        if len(piece) < room:  # short: the transfer has ended
            rebuilt.append(current)
            current = b""
        turn += 1
    assert rebuilt == transfers


@given(st.binary(min_size=8, max_size=8), st.binary(max_size=32))
def test_any_setup_is_answered_or_stalls(new_dongle: type[Dongle], setup: bytes, data: bytes) -> None:
    dongle = new_dongle()
    dongle.control(SET_CONFIGURATION, b"")
    answer = dongle.control(setup, data)
    assert answer is None or len(answer) <= int.from_bytes(setup[6:8], "little")
