import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from bumble import hci
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.bluetooth import LAST_HANDLE
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.hci.acl import AclData
from usbbtd.hci.limits import EARLY_S, LATE_S, MAX_EARLY, MAX_EARLY_HANDLES
from usbbtd.hci.wire.events import NUMBER_OF_COMPLETED_PACKETS

ADDRESS = bytes(6)
FIRST_TO_CONTROLLER, CONTINUATION, FIRST = 0, 1, 2


def make(
    bredr: tuple[int, int] | None = (100, 4),
    le: tuple[int, int] | None = (27, 3),
    links: Sequence[tuple[int, int]] = ((0x40, 0), (0x41, 0), (0x50, 2)),
    *,
    non_flushable: bool = True,
) -> AclData:
    acl = AclData()
    acl.configure(bredr, le, non_flushable=non_flushable)
    for handle, address_type in links:
        acl.add(handle, ADDRESS, address_type, 0, 0.0)
    return acl


def pdu(length: int, fill: int = 0) -> bytes:
    """An L2CAP PDU of `length` octets with its basic header."""
    return struct.pack("<HH", length - 4, 0x40) + bytes((fill + n) % 256 for n in range(length - 4))


def packet(handle: int, boundary: int, data: bytes) -> bytes:
    return struct.pack("<HH", handle | boundary << 12, len(data)) + data


def completed(*entries: tuple[int, int]) -> bytes:
    parameters = bytes((len(entries),)) + b"".join(struct.pack("<HH", *entry) for entry in entries)
    return bytes((NUMBER_OF_COMPLETED_PACKETS, len(parameters))) + parameters


def fragments(handle: int, whole: bytes, places: list[int]) -> list[bytes]:
    """A PDU as a controller may cut it: two octets at least in the first fragment, none empty."""
    bounds = sorted({0, len(whole), *(place for place in places if 2 <= place < len(whole))})
    parts = [whole[start:end] for start, end in pairwise(bounds)]
    return [packet(handle, CONTINUATION if n else FIRST, part) for n, part in enumerate(parts)]


def handles(packets: list[bytes]) -> list[int]:
    return [struct.unpack_from("<H", octets)[0] & 0xFFF for octets in packets]


def take_pdus(acl: AclData) -> list[tuple[int, bytes]]:
    return [(handle, whole) for handle, pdus in acl.take_pdus() for whole in pdus]


class TestTowardsController:
    @pytest.mark.parametrize("length", [4, 26, 27, 28, 53, 54, 55, 80, 81, 82])
    def test_bumble_reassembles_our_fragments(self, length: int) -> None:
        acl = make(le=(27, 255))
        acl.send_pdus(0x50, [pdu(length)])
        packets = acl.take(0.0)
        assert len(packets) == -(-length // 27)
        got: list[bytes] = []
        assembler = hci.HCI_AclDataPacketAssembler(got.append)
        for n, octets in enumerate(packets):
            theirs = hci.HCI_Packet.from_bytes(b"\x02" + octets)
            assert theirs.connection_handle == 0x50
            assert theirs.pb_flag == (CONTINUATION if n else FIRST_TO_CONTROLLER)
            assert theirs.bc_flag == 0
            assert len(theirs.data) == theirs.data_total_length <= 27
            assembler.feed_packet(theirs)
        assert got == [pdu(length)]

    def test_first_fragments_by_transport_and_age_of_the_controller(self) -> None:
        for non_flushable, boundary in ((True, FIRST_TO_CONTROLLER), (False, FIRST)):
            acl = make(non_flushable=non_flushable)
            acl.send_pdus(0x40, [pdu(10)])
            acl.send_pdus(0x50, [pdu(10)])
            assert acl.take(0.0) == [packet(0x40, boundary, pdu(10)), packet(0x50, FIRST_TO_CONTROLLER, pdu(10))]

    def test_no_more_than_the_controller_has_buffers_for(self) -> None:
        acl = make()
        acl.send_pdus(0x40, [pdu(1000)])
        assert len(acl.take(0.0)) == 4
        assert acl.take(0.0) == []
        acl.completed(completed((0x40, 3)))
        assert len(acl.take(0.0)) == 3

    def test_separate_pools_do_not_wait_for_each_other(self) -> None:
        acl = make()
        acl.send_pdus(0x40, [pdu(1000)])
        acl.send_pdus(0x50, [pdu(1000)])
        assert handles(acl.take(0.0)) == 4 * [0x40] + 3 * [0x50]

    def test_a_shared_pool_is_shared(self) -> None:
        acl = make(le=None)
        acl.send_pdus(0x40, [pdu(1000)])
        acl.send_pdus(0x50, [pdu(1000)])
        packets = acl.take(0.0)
        assert sorted(handles(packets)) == [0x40, 0x40, 0x50, 0x50]
        assert max(map(len, packets)) == 104

    def test_an_le_only_controller(self) -> None:
        acl = make(bredr=None, le=(27, 2), links=[(0x50, 1)])
        acl.send_pdus(0x50, [pdu(100)])
        assert len(acl.take(0.0)) == 2

    def test_links_take_turns(self) -> None:
        acl = make(bredr=(100, 6))
        for handle in (0x40, 0x41):
            acl.send_pdus(handle, [pdu(1000)])
        assert handles(acl.take(0.0)) == 3 * [0x40, 0x41]

    def test_the_last_link_served_is_not_the_first_of_the_next_round(self) -> None:
        acl = make(bredr=(100, 1))
        for handle in (0x40, 0x41):
            acl.send_pdus(handle, [pdu(1000)])
        order = []
        for _ in range(6):
            order += handles(acl.take(0.0))
            acl.completed(completed((order[-1], 1)))
        assert order == 3 * [0x40, 0x41]

    @given(
        st.lists(st.tuples(st.sampled_from([0x40, 0x41, 0x50]), st.integers(4, 400)), max_size=20),
        st.lists(st.tuples(st.sampled_from([0x40, 0x41, 0x50, 0x77]), st.integers(0, 9)), max_size=20),
        st.booleans(),
    )
    def test_order_and_credits_hold_in_any_traffic(self, pdus: Any, completions: Any, shared: bool) -> None:
        """Outstanding never exceeds a pool, each link's PDUs come out whole and in order, and nothing is lost."""
        acl = make(le=None if shared else (27, 3))
        got: dict[int, list[bytes]] = {0x40: [], 0x41: [], 0x50: []}
        assemblers = {handle: hci.HCI_AclDataPacketAssembler(whole.append) for handle, whole in got.items()}
        outstanding = dict.fromkeys(got, 0)

        def take() -> None:
            for octets in acl.take(0.0):
                theirs = hci.HCI_Packet.from_bytes(b"\x02" + octets)
                outstanding[theirs.connection_handle] += 1
                assemblers[theirs.connection_handle].feed_packet(theirs)
            if shared:
                assert sum(outstanding.values()) <= 4
            else:
                assert outstanding[0x40] + outstanding[0x41] <= 4
                assert outstanding[0x50] <= 3

        for n, (handle, length) in enumerate(pdus):
            acl.send_pdus(handle, [pdu(length, n)])
            take()
            if n < len(completions):
                handle, count = completions[n]
                acl.completed(completed((handle, count)))
                if handle in outstanding:
                    outstanding[handle] = max(outstanding[handle] - count, 0)
        take()
        while any(outstanding.values()):
            acl.completed(completed(*outstanding.items()))
            outstanding = dict.fromkeys(got, 0)
            take()
        for handle, whole in got.items():
            assert whole == [pdu(length, n) for n, (to, length) in enumerate(pdus) if to == handle]

    def test_completions_are_clamped_to_what_is_outstanding(self) -> None:
        acl = make()
        acl.send_pdus(0x40, [pdu(150)])
        assert len(acl.take(0.0)) == 2
        acl.completed(completed((0x40, 65535), (0x41, 3), (0x777, 9)))
        assert acl.counters["acl_completed_clamped"] == 2
        acl.send_pdus(0x40, [pdu(1000)])
        assert len(acl.take(0.0)) == 4

    @pytest.mark.parametrize(
        "event", [b"\x13", b"\x13\x00", b"\x13\x01\x01", b"\x13\x05\x02\x40\x00\x01\x00", completed((0x40, 1)) + b"\0"]
    )
    def test_a_count_beyond_the_event_is_refused(self, event: bytes) -> None:
        """As in CVE-2024-51569."""
        acl = make()
        with pytest.raises(RemoteProtocolError):
            acl.completed(event)

    def test_the_end_of_a_link_gives_its_buffers_back(self) -> None:
        acl = make()
        for handle in (0x40, 0x41):
            acl.send_pdus(handle, [pdu(1000)])
        assert len(acl.take(0.0)) == 4
        acl.remove(0x40, 5.0)
        assert acl.statistics()["acl_sent_undelivered"] == 8
        assert handles(acl.take(0.0)) == [0x41, 0x41]
        acl.completed(completed((0x40, 2)))
        assert acl.take(0.0) == []

    def test_writable_until_the_controllers_buffers_could_be_filled_again(self) -> None:
        acl = make()
        assert sorted(acl.writable()) == [0x40, 0x41, 0x50]
        acl.send_pdus(0x40, [pdu(1000)])
        assert sorted(acl.writable()) == [0x41, 0x50]
        acl.take(0.0)
        assert sorted(acl.writable()) == [0x41, 0x50]
        acl.completed(completed((0x40, 4)))
        acl.take(0.0)
        assert sorted(acl.writable()) == [0x40, 0x41, 0x50]
        acl.links[0x41].closing = True
        assert sorted(acl.writable()) == [0x40, 0x50]

    def test_another_link_is_first_each_time(self) -> None:
        acl = make()
        assert {acl.writable()[0] for _ in range(3)} == {0x40, 0x41, 0x50}

    def test_misuse(self) -> None:
        acl = make()
        with pytest.raises(LocalProtocolError):
            acl.send_pdus(0x42, [pdu(10)])
        for _ in range(13):
            acl.send_pdus(0x50, [pdu(65535)])
            acl.send_pdus(0x40, [pdu(65535)])
        acl.send_pdus(0x50, [pdu(65535)])
        with pytest.raises(LocalProtocolError):
            acl.send_pdus(0x50, [pdu(65535)])


class TestFromController:
    @given(
        st.lists(
            st.tuples(st.sampled_from([0x40, 0x41, 0x50]), st.integers(4, 300), st.lists(st.integers(2, 300))),
            max_size=8,
        ),
        st.randoms(),
        st.integers(1, 20),
    )
    def test_pdus_come_whole_from_any_fragments_of_interleaved_links(self, pdus: Any, random: Any, size: int) -> None:
        """In wake-ups of any size."""
        acl = make()
        queues: dict[int, list[bytes]] = {0x40: [], 0x41: [], 0x50: []}
        for n, (handle, length, places) in enumerate(pdus):
            queues[handle] += fragments(handle, pdu(length, n), places)
        packets: list[bytes] = []
        while waiting := [queue for queue in queues.values() if queue]:
            packets.append(random.choice(waiting).pop(0))
        for start in range(0, len(packets), size):
            acl.receive(packets[start : start + size], 0.0)
        got = sorted(take_pdus(acl), key=lambda received: received[0])
        expected = sorted(
            ((handle, pdu(length, n)) for n, (handle, length, _) in enumerate(pdus)), key=lambda sent: sent[0]
        )
        assert got == expected
        assert take_pdus(acl) == []
        assert not any(acl.counters.values())

    @pytest.mark.parametrize("last", [1, 2, 3])
    def test_fragments_of_one_octet(self, last: int) -> None:
        acl = make()
        whole = pdu(8)
        acl.receive([packet(0x40, FIRST, whole[:4])], 0.0)
        for octet in whole[4:-last]:
            acl.receive([packet(0x40, CONTINUATION, bytes((octet,)))], 0.0)
        acl.receive([packet(0x40, CONTINUATION, b"")], 0.0)
        acl.receive([packet(0x40, CONTINUATION, whole[-last:])], 0.0)
        assert take_pdus(acl) == [(0x40, whole)]

    def test_the_flag_that_only_hosts_should_use_is_taken_as_a_start(self) -> None:
        acl = make()
        acl.receive([packet(0x40, FIRST_TO_CONTROLLER, pdu(20))], 0.0)
        assert take_pdus(acl) == [(0x40, pdu(20))]

    @pytest.mark.parametrize(
        ("packets", "counter"),
        [
            ([b""], "acl_malformed"),
            ([b"\x40\x20\x00"], "acl_malformed"),
            ([packet(0x40, FIRST, pdu(10)) + b"x"], "acl_malformed"),
            ([packet(0x40, FIRST, pdu(10))[:-1]], "acl_malformed"),
            ([b"\x40\x20\x02\x00x"], "acl_malformed"),
            ([packet(0x40, 3, pdu(10))], "acl_malformed"),
            ([packet(0x40, FIRST | 4, pdu(10))], "acl_malformed"),
            ([packet(0x40, 3, b"x")], "acl_malformed"),
            ([packet(0x40, FIRST, b"")], "acl_short_start"),
            ([packet(0x40, FIRST, b"\x05")], "acl_short_start"),  # CVE-2019-19195
            ([packet(0x40, CONTINUATION, b"x")], "acl_stray_continuation"),
            ([packet(0x40, CONTINUATION, b"xyz")], "acl_stray_continuation"),
            ([packet(0x40, FIRST, pdu(10) + b"x")], "acl_overrun"),  # CVE-2020-0022
            ([packet(0x40, FIRST, pdu(10)[:8]), packet(0x40, CONTINUATION, b"xyz")], "acl_overrun"),
            ([packet(0x40, FIRST, pdu(10)[:8])], "acl_incomplete"),  # CVE-2019-17517, when the next PDU begins
        ],
    )
    def test_what_is_wrong_is_counted_and_does_not_spoil_the_next(self, packets: list[bytes], counter: str) -> None:
        counters = {name: int(name == counter) for name in AclData().counters}
        acl = make()
        for octets in packets:
            acl.receive([octets], 0.0)
        assert take_pdus(acl) == []
        acl.receive([packet(0x40, FIRST, pdu(30))], 0.0)
        assert (take_pdus(acl), acl.counters) == ([(0x40, pdu(30))], counters)
        in_one_wake_up = make()
        neighbours = [packet(0x41, FIRST, pdu(20)), *packets, packet(0x40, FIRST, pdu(30))]
        in_one_wake_up.receive(neighbours, 0.0)
        assert take_pdus(in_one_wake_up) == [(0x41, pdu(20)), (0x40, pdu(30))]
        assert in_one_wake_up.counters == counters

    def test_data_that_overtakes_the_event_of_its_connection_waits_for_it(self) -> None:
        acl = make()
        acl.receive([packet(0x42, FIRST, pdu(10)[:8])], 0.0)
        acl.receive([packet(0x42, CONTINUATION, pdu(10)[8:])], 0.0)
        assert take_pdus(acl) == []
        acl.add(0x42, bytes(6), 1, 0, 0.0)
        assert take_pdus(acl) == [(0x42, pdu(10))]

    def test_late_data_of_a_link_does_not_reach_the_next_link_with_its_handle(self) -> None:
        acl = make()
        acl.remove(0x40, 5.0)
        acl.handle_timeout(5.0)
        acl.receive([packet(0x40, FIRST, pdu(10))], 0.0)
        acl.add(0x40, bytes(6), 1, 0, 0.0)
        assert take_pdus(acl) == []
        assert acl.counters["acl_unknown_handle"] == 1

    def test_early_data_on_a_handle_that_is_used_again_waits_too(self) -> None:
        acl = make()
        acl.remove(0x40, 5.0)
        due = acl.next_timeout()
        assert due is not None
        acl.handle_timeout(due)
        assert acl.next_timeout() is None
        acl.receive([packet(0x40, FIRST, pdu(10))], 0.0)
        acl.add(0x40, bytes(6), 1, 0, 0.0)
        assert take_pdus(acl) == [(0x40, pdu(10))]

    def test_data_for_connections_that_never_come_is_bounded(self) -> None:
        """And leaves room for a connection that does come: some chips log on handles of their own."""
        acl = make()
        for n in range(3 * MAX_EARLY + 5):
            acl.receive([packet((0x5FF, 0x5FE, 0xC6F)[n % 3], FIRST, pdu(10))], 0.0)
        assert acl.counters["acl_unknown_handle"] == 5
        acl.receive([packet(0x42, FIRST, pdu(10))], 0.0)
        acl.add(0x42, bytes(6), 1, 0, 0.0)
        assert take_pdus(acl) == [(0x42, pdu(10))]
        for n in range(2 * MAX_EARLY_HANDLES):
            acl.receive([packet(0x100 + n, FIRST, pdu(10))], 0.0)
        assert acl.counters["acl_unknown_handle"] == 5 + MAX_EARLY_HANDLES + 3

    @pytest.mark.parametrize("handle", [0xEFF, 0xF00, 0xFFF])
    def test_handles_that_no_connection_has_are_not_kept(self, handle: int) -> None:
        acl = make()
        acl.receive([packet(handle, FIRST, pdu(10))], 0.0)
        assert acl.counters["acl_unknown_handle"] == (handle > LAST_HANDLE)

    def test_early_data_expires(self) -> None:
        acl = make()
        acl.receive([packet(0x60, FIRST, pdu(10))], 0.0)
        acl.receive([packet(0x61, FIRST, pdu(10))], EARLY_S / 2)
        assert acl.next_timeout() == EARLY_S
        acl.add(0x60, bytes(6), 1, 0, EARLY_S)
        acl.handle_timeout(1.5 * EARLY_S)
        acl.add(0x61, bytes(6), 1, 0, 1.5 * EARLY_S)
        assert (take_pdus(acl), acl.counters["acl_unknown_handle"], acl.next_timeout()) == ([], 2, None)

    def test_late_data_is_not_the_next_peers(self) -> None:
        acl = make()
        other = bytes.fromhex("0000000000c0")
        acl.add(0x55, ADDRESS, 1, 0, 0.0)
        acl.remove(0x55, 1.0)
        acl.add(0x55, other, 1, 0, 1.0)
        acl.receive([packet(0x55, FIRST, pdu(10))], 1.0 + LATE_S / 2)
        assert (take_pdus(acl), acl.counters["acl_unknown_handle"]) == ([], 1)
        acl.receive([packet(0x55, FIRST, pdu(11))], 1.0 + LATE_S)
        acl.receive([packet(0x55, FIRST, pdu(12))], 1.0 + LATE_S)
        assert take_pdus(acl) == [(0x55, pdu(11)), (0x55, pdu(12))]
        acl.remove(0x55, 2.0)
        acl.add(0x55, other, 1, 0, 2.0)  # the same peer: whichever link it was sent on
        acl.receive([packet(0x55, FIRST, pdu(13))], 2.0)
        assert take_pdus(acl) == [(0x55, pdu(13))]

    def test_a_pdu_that_goes_wrong_is_gone_with_all_its_fragments(self) -> None:
        acl = make()
        acl.receive([packet(0x40, FIRST, pdu(30)[:10])], 0.0)
        acl.receive([packet(0x40, CONTINUATION, pdu(30)[10:] + b"more")], 0.0)
        acl.receive([packet(0x40, CONTINUATION, pdu(30)[10:])], 0.0)
        assert take_pdus(acl) == []
        assert acl.counters["acl_stray_continuation"] == 1

    @given(st.lists(st.binary(max_size=40)), st.booleans(), st.booleans())
    def test_octets_of_any_kind_are_survived(self, soup: Any, aimed: bool, at_once: bool) -> None:
        acl = make()
        packets = [packet(0x40, octets[0] % 16, octets[1:]) if aimed and octets else octets for octets in soup]
        for wake_up in [packets] if at_once else [[one] for one in packets]:
            acl.receive(wake_up, 0.0)
        for handle, whole in take_pdus(acl):
            assert handle in acl.links
            assert len(whole) == 4 + struct.unpack_from("<H", whole)[0]
        acl.receive([packet(0x40, FIRST, pdu(300)[:100])], 0.0)
        acl.receive([packet(0x40, CONTINUATION, pdu(300)[100:])], 0.0)
        assert take_pdus(acl) == [(0x40, pdu(300))]

    def test_an_ended_link_receives_nothing(self) -> None:
        acl = make()
        acl.receive([packet(0x40, FIRST, pdu(30)[:10])], 0.0)
        acl.remove(0x40, 5.0)
        acl.receive([packet(0x40, CONTINUATION, pdu(30)[10:])], 0.0)
        assert take_pdus(acl) == []
        assert acl.counters["acl_unknown_handle"] == 1

    @pytest.mark.parametrize("handle", [0x40, 0x0F00, 0xFFFF])
    def test_handles_in_use_and_reserved_are_refused(self, handle: int) -> None:
        acl = make()
        with pytest.raises(RemoteProtocolError):
            acl.add(handle, ADDRESS, 0, 0, 0.0)
        assert len(acl.links) == 3


def test_statistics_count_what_went_through() -> None:
    acl = make()
    acl.send_pdus(0x40, [pdu(250)])
    acl.take(0.0)
    acl.receive([packet(0x40, FIRST, pdu(10))], 0.0)
    take_pdus(acl)
    counted = {name: count for name, count in acl.statistics().items() if count}
    assert counted == {"acl_fragments_sent": 3, "acl_pdus_received": 1}
