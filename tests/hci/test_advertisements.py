"""Extended reports in fragments, and those that are of no use, by the octets of Vol 4, Part E, 7.7.65.13."""

import struct

import pytest

from usbbtd.hci.advertisements import Advertisements
from usbbtd.hci.events import Advertisement
from usbbtd.hci.limits import MAX_ADVERTISEMENT, MAX_PARTIAL
from usbbtd.hci.wire.events import LeAdvertisingReport, LeExtendedAdvertisingReport

PEER, OTHER = bytes.fromhex("0300000000c3"), bytes.fromhex("0400000000c4")
WHOLE, MORE, TRUNCATED = 0, 1, 2


def fragment(
    data: bytes, status: int = MORE, *, address: bytes = PEER, kind: int = 1, sid: int = 5, properties: int = 1
) -> LeExtendedAdvertisingReport:
    fields = (properties | status << 5, kind, address, 1, 1, sid, 127, -40, 0, 0, bytes(6), len(data))
    return LeExtendedAdvertisingReport(1, struct.pack("<HB6sBBBbbHB6sB", *fields) + data)


def counted(advertisements: Advertisements) -> dict[str, int]:
    return {name.removeprefix("reports_"): count for name, count in advertisements.counters.items() if count}


def test_fragments_are_put_together() -> None:
    advertisements = Advertisements()
    assert advertisements.receive(fragment(b"a" * 229)) == []
    assert advertisements.receive(fragment(b"b")) == []
    assert advertisements.receive(fragment(b"c", WHOLE)) == [Advertisement(PEER, 2, 0, -40, b"a" * 229 + b"bc")]
    assert advertisements.receive(fragment(b"d", WHOLE)) == [Advertisement(PEER, 2, 0, -40, b"d")]
    assert counted(advertisements) == {}


@pytest.mark.parametrize(
    "other",
    [
        fragment(b"x", WHOLE, address=OTHER),
        fragment(b"x", WHOLE, kind=0),
        fragment(b"x", WHOLE, sid=6),
        fragment(b"x", WHOLE, properties=0x0B),  # its scan response
    ],
)
def test_fragments_of_others_are_apart(other: LeExtendedAdvertisingReport) -> None:
    advertisements = Advertisements()
    advertisements.receive(fragment(b"a"))
    (found,) = advertisements.receive(other)
    assert found.data == b"x"
    (found,) = advertisements.receive(fragment(b"b", WHOLE))
    assert found.data == b"ab"


def test_what_was_cut_off_is_dropped_and_the_next_begins_anew() -> None:
    advertisements = Advertisements()
    advertisements.receive(fragment(b"a"))
    assert advertisements.receive(fragment(b"b", TRUNCATED)) == []
    assert advertisements.receive(fragment(b"c", TRUNCATED)) == []
    (found,) = advertisements.receive(fragment(b"d", WHOLE))
    assert found.data == b"d"
    assert counted(advertisements) == {"incomplete": 2}


def test_fragments_without_end() -> None:
    advertisements = Advertisements()
    for _ in range(MAX_ADVERTISEMENT // 200 + 1):
        assert advertisements.receive(fragment(b"a" * 200)) == []
    assert counted(advertisements) == {"incomplete": 1}


def test_advertisers_without_end() -> None:
    advertisements = Advertisements()
    for number in range(MAX_PARTIAL + 2):
        advertisements.receive(fragment(b"a", address=bytes((number,)) * 6))
    assert counted(advertisements) == {"incomplete": 2}
    assert [
        advertisements.receive(fragment(b"b", WHOLE, address=bytes((number,)) * 6))[0].data for number in (0, 1, 2)
    ] == [b"b", b"b", b"ab"]


def test_who_has_no_address_is_nobody() -> None:
    advertisements = Advertisements()
    for status in (WHOLE, MORE, TRUNCATED):
        assert advertisements.receive(fragment(b"a", status, address=bytes(6), kind=0xFF)) == []
    assert counted(advertisements) == {"anonymous": 3}


@pytest.mark.parametrize(("kind", "address_type"), [(0, 1), (1, 2), (2, 1), (3, 2)])
def test_address_types(kind: int, address_type: int) -> None:
    advertisements = Advertisements()
    assert advertisements.receive(fragment(b"", WHOLE, kind=kind))[0].address_type == address_type
    legacy = LeAdvertisingReport(1, struct.pack("<BB6sBb", 0, kind, PEER, 0, -40))
    assert advertisements.receive(legacy)[0].address_type == address_type


@pytest.mark.parametrize("kind", [4, 0x7F, 0xFE])
def test_address_types_that_there_are_not(kind: int) -> None:
    advertisements = Advertisements()
    assert advertisements.receive(fragment(b"", WHOLE, kind=kind)) == []
    assert advertisements.receive(LeAdvertisingReport(1, struct.pack("<BB6sBb", 0, kind, PEER, 0, -40))) == []
    assert counted(advertisements) == {"malformed": 2}


def test_an_event_that_is_cut_short() -> None:
    advertisements = Advertisements()
    whole = fragment(b"abc", WHOLE)
    assert advertisements.receive(LeExtendedAdvertisingReport(1, whole.reports[:-1])) == []
    assert advertisements.receive(LeExtendedAdvertisingReport(2, whole.reports)) == []
    assert counted(advertisements) == {"malformed": 2}
