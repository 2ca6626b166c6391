"""What of the traffic a capture keeps, and what it costs when nobody looks."""

import pytest

from usbbtd.control import btsnoop, capture
from usbbtd.control.capture import Capture, Captures, LinkFilter, without_payload
from usbbtd.control.protocol import RequestError
from usbbtd.dongles.tap import ACL_DATA, COMMAND, EVENT, Tap
from usbbtd.hci.wire.events import parse_event

ADDRESS = bytes.fromhex("110000eeffc0")
OTHER = bytes.fromhex("220000eeffc0")
DATA, SIGNALLING = 0x0040, 0x0001


def acl(handle: int, cid: int = DATA, payload: bytes = b"payload", flags: int = 2) -> bytes:
    pdu = len(payload).to_bytes(2, "little") + cid.to_bytes(2, "little") + payload
    return (handle | flags << 12).to_bytes(2, "little") + len(pdu).to_bytes(2, "little") + pdu


def event(code: int, parameters: bytes) -> bytes:
    return bytes([code, len(parameters)]) + parameters


def connected(handle: int, address: bytes, status: int = 0) -> bytes:
    return event(0x03, bytes([status]) + handle.to_bytes(2, "little") + address + b"\1\0")


def le_connected(handle: int, address: bytes) -> bytes:
    return event(0x3E, b"\1\0" + handle.to_bytes(2, "little") + b"\0\1" + address + bytes(7))


def disconnected(handle: int) -> bytes:
    return event(0x05, b"\0" + handle.to_bytes(2, "little") + b"\x13")


COMPLETED = event(0x13, b"\1\x40\0\1\0")
COMMAND_COMPLETE = event(0x0E, b"\1\x03\x0c\0")


def test_the_events_of_this_file_are_what_they_are_called() -> None:
    names = [
        type(parse_event(made)).__name__ for made in (connected(1, ADDRESS), le_connected(1, ADDRESS), disconnected(1))
    ]
    assert names == ["ConnectionComplete", "LeConnectionComplete", "DisconnectionComplete"]


def test_by_handle_a_link_is_followed_to_its_end() -> None:
    links = LinkFilter({0x40}, None)
    assert links.wants(ACL_DATA, acl(0x40))
    assert links.wants(ACL_DATA, acl(0x40, flags=1))
    assert not links.wants(ACL_DATA, acl(0x41))
    assert not links.wants(COMMAND, b"\x03\x0c\x00")
    assert not links.wants(EVENT, COMPLETED)
    assert not links.wants(EVENT, disconnected(0x41))
    assert links.wants(EVENT, disconnected(0x40))
    assert not links.wants(EVENT, connected(0x40, OTHER))
    assert not links.wants(ACL_DATA, acl(0x40))


def test_by_address_every_link_of_the_peer_is_followed() -> None:
    links = LinkFilter(set(), ADDRESS)
    assert not links.wants(EVENT, connected(0x40, OTHER))
    assert not links.wants(ACL_DATA, acl(0x40))
    assert links.wants(EVENT, connected(0x41, ADDRESS, status=4))
    assert not links.wants(ACL_DATA, acl(0x41))
    for connecting in (connected(0x42, ADDRESS), le_connected(0x42, ADDRESS)):
        assert links.wants(EVENT, connecting)
        assert links.wants(ACL_DATA, acl(0x42))
        assert links.wants(EVENT, disconnected(0x42))
        assert not links.wants(ACL_DATA, acl(0x42))


def test_an_event_that_is_broken_is_nobodys() -> None:
    links = LinkFilter({0x40}, ADDRESS)
    assert not links.wants(EVENT, disconnected(0x40)[:-1])
    assert not links.wants(EVENT, b"")
    assert links.wants(ACL_DATA, acl(0x40))


@pytest.mark.parametrize(
    ("packet", "kept"),
    [
        (acl(0x40), 8),
        (acl(0x40, flags=0), 8),
        (acl(0x40, payload=b""), 8),
        (acl(0x40, SIGNALLING), 15),
        (acl(0x40, 0x0005), 15),
        (acl(0x40, 0x0006), 8),  # the security manager's: keys
        (acl(0x40, SIGNALLING, flags=1), 4),
        (acl(0x40)[:6], 6),
    ],
)
def test_without_payload_only_headers_and_signalling_are_left(packet: bytes, kept: int) -> None:
    assert without_payload(packet) == packet[:kept] + bytes(len(packet) - kept)


async def test_records_come_in_order_and_without_payload_where_asked() -> None:
    whole, cut = Capture(None, payload=True), Capture(None, payload=False)
    for each in (whole, cut):
        each.receive(False, COMMAND, [b"\x03\x0c\x00"])
        each.receive(True, EVENT, [COMMAND_COMPLETE])
        each.receive(True, ACL_DATA, [acl(0x40), acl(0x40)])
    (all_of_it, count), (heads, _) = await whole.take(), await cut.take()
    assert count == 4
    assert len(heads) == len(all_of_it)
    assert heads.count(b"payload") == 0
    assert all_of_it.count(b"payload") == 2
    assert [bytes([kind]) in record for kind, record in zip((1, 4, 2, 2), _records(all_of_it), strict=True)] == [
        True
    ] * 4


async def test_a_client_that_does_not_read_loses_packets_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MAX_WAITING", 100)
    slow = Capture(None, payload=True)
    for _ in range(10):
        slow.receive(True, ACL_DATA, [acl(0x40)])
    records, count = await slow.take()
    assert (count, slow.dropped) == (2, 8)
    assert [record[12:16] for record in _records(records)] == [bytes(4)] * 2
    slow.receive(True, ACL_DATA, [acl(0x40)])
    records, _ = await slow.take()
    assert records[12:16] == (8).to_bytes(4, "big")


async def test_nothing_is_handed_over_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "TURN_S", 0.01)
    nothing = Capture(LinkFilter(set(), ADDRESS), payload=True)
    nothing.receive(True, ACL_DATA, [acl(0x40)])
    assert await nothing.take() == (b"", 0)


def test_the_tap_is_in_while_somebody_captures() -> None:
    taps: list[Tap | None] = []
    captures = Captures(taps.append)
    with captures.open(None, payload=True), captures.open(None, payload=True):
        assert taps[-1] is not None
    assert taps[-1] is None


def test_no_more_captures_than_may_be() -> None:
    captures = Captures(lambda _: None)
    opened = [captures.open(None, payload=True) for _ in range(capture.MAX_CAPTURES)]
    for each in opened:
        each.__enter__()
    with pytest.raises(RequestError, match="4 captures run already"), captures.open(None, payload=True):
        pass
    for each in opened:
        each.__exit__(None, None, None)
    with captures.open(None, payload=True):
        pass


def _records(records: bytes) -> list[bytes]:
    found = []
    while records:
        end = btsnoop.OVERHEAD - 1 + int.from_bytes(records[4:8], "big")
        found.append(records[:end])
        records = records[end:]
    return found
