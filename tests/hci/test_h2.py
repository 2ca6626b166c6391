import struct
from itertools import pairwise

import pytest
from bumble import hci
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.hci.h2 import AclReassembler, EventReassembler, ResetAnswer, control_setup
from usbbtd.hci.wire.commands import Disconnect, HciCommand, Reset


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Pieces of a stream, some of them empty."""
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


events = st.binary(max_size=255).map(lambda parameters: bytes((0x3E, len(parameters))) + parameters)
acl_packets = st.binary(max_size=300).map(lambda data: struct.pack("<HH", 0x2040, len(data)) + data)


@given(st.lists(events, max_size=6), st.lists(st.integers(0)))
def test_events_come_whole_from_any_transfers(packets: list[bytes], places: list[int]) -> None:
    reassembler = EventReassembler()
    received = [packet for transfer in cut(b"".join(packets), places) for packet in reassembler.receive(transfer)]
    assert received == packets


@given(st.lists(acl_packets, max_size=6), st.lists(st.integers(0)))
def test_acl_packets_come_whole_from_any_transfers(packets: list[bytes], places: list[int]) -> None:
    reassembler = AclReassembler()
    received = [packet for transfer in cut(b"".join(packets), places) for packet in reassembler.receive(transfer)]
    assert received == packets


@pytest.mark.parametrize("zero_length_packet", [False, True])
@pytest.mark.parametrize("octets", [14, 15, 30, 31, 46, 62])
def test_an_event_of_whole_interrupt_packets_needs_no_end_mark(octets: int, zero_length_packet: bool) -> None:
    event = bytes((0xFF, octets)) + bytes(range(octets))
    transfers = [event[start : start + 16] for start in range(0, len(event), 16)]
    reassembler = EventReassembler()
    for _ in range(3):
        assert [packet for transfer in transfers for packet in reassembler.receive(transfer)] == [event]
        if zero_length_packet:
            assert reassembler.receive(b"") == []


def test_a_transfer_that_is_one_packet_is_not_copied() -> None:
    packet = struct.pack("<HH", 0x2040, 200) + bytes(200)
    assert AclReassembler().receive(packet)[0] is packet


RESET_ANSWERS = [bytes.fromhex("0e0401030c00"), bytes.fromhex("0f040001030c")]


@pytest.mark.parametrize("answer", RESET_ANSWERS, ids=["complete", "status"])
@given(st.lists(events, max_size=3), st.lists(events, max_size=3), st.lists(st.integers(0)))
def test_the_answer_to_reset_is_found_wherever_transfers_end(
    answer: bytes, before: list[bytes], after: list[bytes], places: list[int]
) -> None:
    found = ResetAnswer()
    transfers = cut(b"".join((*before, answer, *after)), places)
    number, begun = next(
        (number, begun) for number, transfer in enumerate(transfers, 1) if (begun := found.receive(transfer))
    )
    reassembler = EventReassembler()
    received = [packet for transfer in (begun, *transfers[number:]) for packet in reassembler.receive(transfer)]
    assert received == [answer, *after]


@pytest.mark.parametrize("answer", RESET_ANSWERS, ids=["complete", "status"])
@given(st.lists(st.binary(max_size=16).filter(lambda transfer: b"\x03\x0c" not in transfer)), st.booleans())
def test_the_answer_to_reset_is_found_after_the_end_of_what_was_lost(
    answer: bytes, lost: list[bytes], fails: bool
) -> None:
    found = ResetAnswer()
    assert not any(map(found.receive, [*lost, None] if fails else lost))
    assert found.receive(answer + b"\x3e") == answer + b"\x3e"


@pytest.mark.parametrize("command", [Reset(), Disconnect(0x40, 0x13)])
def test_setup_packet(command: HciCommand) -> None:
    """The fields as Vol 4, Part B, 2.2.1 gives them; the command itself as Bumble writes it, without its H4 octet."""
    octets = command.pack()
    request_type, request, value, index, length = struct.unpack("<BBHHH", control_setup(octets))
    assert (request_type, request, value, index) == (0x20, 0, 0, 0)
    assert length == len(octets) == len(bytes(hci.HCI_Packet.from_bytes(b"\x01" + octets))) - 1
