"""The list of bonded peers that a controller knows by private addresses. Vol 4, Part E, 7.8.38 to 7.8.44, 7.8.77."""

from typing import Any

import pytest

from usbbtd.errors import LocalProtocolError
from usbbtd.hci import events
from usbbtd.hci.advertising_set import AdvertisingParameters
from usbbtd.hci.limits import MAX_RESOLVED
from usbbtd.hci.resolving import ResolvingEntry

PEER, OTHER = b"abcdef", b"uvwxyz"
IRK, OURS = bytes(range(16)), bytes(16)
ENTRY = ResolvingEntry(1, PEER, IRK, OURS)
RANDOM_ENTRY = ResolvingEntry(2, OTHER, IRK, IRK)
NO_STATES = {0x201C: bytes(9)}  # it cannot scan while it connects
DISABLE, ENABLE, CLEAR = (0x202D, b"\0"), (0x202D, b"\1"), (0x2029, b"")


def added(*entries: ResolvingEntry) -> list[tuple[int, bytes]]:
    made = []
    for entry in entries:
        identity = bytes((entry.address_type - 1,)) + entry.address
        made += [(0x2027, identity + entry.peer_irk + entry.our_irk), (0x204E, identity + b"\1")]
    return made


def test_the_list_is_replaced_as_a_whole(scripted: Any) -> None:
    controller = scripted(secure=True).up()
    security = controller.host.security
    security.set_resolving_list([ENTRY])
    assert controller.take() == [CLEAR, *added(ENTRY), ENABLE]
    security.set_resolving_list([ENTRY, RANDOM_ENTRY])
    assert controller.take() == [DISABLE, CLEAR, *added(ENTRY, RANDOM_ENTRY), ENABLE]
    security.set_resolving_list([])
    assert controller.take() == [DISABLE, CLEAR]


def test_a_controller_that_cannot(scripted: Any) -> None:
    controller = scripted({0x1002: bytes(65)}, secure=True).up()
    controller.host.security.set_resolving_list([ENTRY])
    assert controller.take() == []


def test_what_is_wanted_before_the_controller_is_up_or_after_a_reset(scripted: Any) -> None:
    controller = scripted(secure=True)
    controller.host.security.set_resolving_list([ENTRY])
    controller.host.start_scan(active=False, duplicates=False)
    controller.start()
    filled = [CLEAR, *added(ENTRY), ENABLE]
    assert controller.take()[-6:-2] == filled
    controller.event(0x10, b"\x42")
    assert controller.take()[-6:-2] == filled


def test_activities_pause_for_it(scripted: Any) -> None:
    controller = scripted(secure=True).up()
    controller.host.start_scan(active=False, duplicates=False)
    controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
    began = controller.take()
    controller.host.security.set_resolving_list([ENTRY])
    ends = [(0x200C, b"\0\0"), (0x200A, b"\0")]
    assert controller.take() == [*ends, CLEAR, *added(ENTRY), ENABLE, *began]
    assert controller.host.take_events() == []


@pytest.mark.parametrize("answers", [{}, NO_STATES])
def test_it_waits_for_the_end_of_an_attempt(scripted: Any, answers: dict[int, bytes]) -> None:
    controller = scripted(answers, secure=True).up()
    controller.host.start_scan(active=False, duplicates=False)
    controller.host.connect(PEER, 1, 0.0)
    began = controller.take()[:2]
    controller.host.security.set_resolving_list([RANDOM_ENTRY])
    controller.host.security.set_resolving_list([ENTRY])
    assert controller.take() == []
    controller.le_link(1, PEER)
    paused = [] if answers else [(0x200C, b"\0\0")]
    assert controller.take() == [*paused, CLEAR, *added(ENTRY), ENABLE, *began]


def test_what_is_refused_for_now_is_told_again(scripted: Any) -> None:
    controller = scripted({0x2027: b"\x0c"}, secure=True).up()
    controller.host.security.set_resolving_list([ENTRY])
    controller.take()
    controller.answers[0x2027] = b"\x07"  # it is full
    for _ in range(2):
        controller.host.connect(PEER, 1, 0.0)
        controller.run()
        controller.le_link(1, PEER, status=0x3E)
    assert [opcode for opcode, _ in controller.take()] == [0x200D, 0x202D, 0x2029, 0x2027, 0x204E, 0x202D, 0x200D]


def test_a_peer_is_known_by_its_identity(scripted: Any) -> None:
    controller = scripted(secure=True).up()
    controller.host.security.set_resolving_list([RANDOM_ENTRY])
    controller.take()
    controller.host.connect(OTHER, 2, 0.0)
    controller.run()
    controller.le_event(0x0A, b"\0\x50\0\0\3" + OTHER + bytes(6) + b"hidden" + bytes(7))
    assert controller.host.take_events() == [events.Connected(0x50, OTHER, 2, 0, b"hidden")]
    controller.wait(10.0)
    assert controller.host.take_events() == []  # the attempt has ended


def test_the_list_is_bounded(scripted: Any) -> None:
    controller = scripted(secure=True).up()
    controller.host.security.set_resolving_list([ENTRY] * (MAX_RESOLVED + 1))
    assert len(controller.take()) == 2 + 2 * MAX_RESOLVED


def test_keys_are_whole_and_never_shown(scripted: Any) -> None:
    security = scripted(secure=True).up().host.security
    for entry in (ENTRY._replace(peer_irk=b""), ENTRY._replace(our_irk=bytes(17))):
        with pytest.raises(LocalProtocolError):
            security.set_resolving_list([entry])
    assert repr([ENTRY]) == "[ResolvingEntry(1, b'abcdef', ...)]"
