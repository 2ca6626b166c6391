import struct
from typing import Any

import pytest

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.hci import events
from usbbtd.hci.limits import ACCEPT_S, END_RETRY_S, END_S, END_TRIES, MAX_LINKS, STALL_CHECK_S, STALL_CHECKS

EXTENDED_ONLY = {0x1002: bytes(1) + (7 << 36 * 8 + 5 | 3 << 37 * 8 + 6).to_bytes(64, "little")}
BD_ADDR = bytes.fromhex("112233445566")  # of scripted controllers
PEER, OTHER = bytes.fromhex("0300000000c3"), bytes.fromhex("0400000000c4")


def request(controller: Any, address: bytes, link_type: int = 1) -> None:
    controller.event(0x04, struct.pack("<6s3sB", address, bytes(3), link_type))


def events_of(controller: Any) -> Any:
    controller.run()
    return controller.host.take_events()


def test_bredr_connect(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.connect(PEER, 0, 0.0)
    assert controller.take() == [(0x0405, struct.pack("<6sHBBHB", PEER, 0xCC18, 2, 0, 0, 1))]
    controller.bredr_link(0x40, PEER)
    assert events_of(controller) == [events.Connected(0x40, PEER, 0, 0, own_address=BD_ADDR)]
    assert controller.host.links() == [(0x40, PEER, 0, 0, 0, 0)]
    controller.host.connect(PEER, 0, 0.0)
    assert controller.take() == []


@pytest.mark.parametrize("status", [0x04, 0x0D])
def test_bredr_connect_fails(scripted: Any, status: int) -> None:
    controller = scripted().up()
    attempt = controller.host.connect(PEER, 0, 0.0)
    controller.run()
    controller.bredr_link(0, OTHER, 0x05)
    controller.bredr_link(0, PEER, status)
    assert events_of(controller) == [events.ConnectFailed(PEER, 0, status, attempt)]


def test_bredr_cancel(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.connect(PEER, 0, 0.0)
    controller.host.connect(OTHER, 0, 0.0)
    controller.take()
    controller.host.cancel_connect(PEER, 0)
    assert controller.host.take_events() == []
    assert controller.take() == [(0x0408, PEER)]
    controller.bredr_link(0, PEER, 0x02)
    assert controller.take()[0][1][:6] == OTHER


def test_a_page_without_an_end_is_given_up(scripted: Any) -> None:
    controller = scripted().up()
    attempt = controller.host.connect(PEER, 0, 0.0)
    controller.wait(39.0)
    assert controller.host.take_events() == []
    controller.wait(2.0)
    assert controller.host.take_events() == [events.ConnectFailed(PEER, 0, 0x04, attempt)]
    assert controller.take()[-1] == (0x0408, PEER)


def test_bredr_accept(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.set_connectable(True)
    assert controller.take() == [(0x0C1A, b"\2")]
    request(controller, PEER)
    assert controller.take() == [(0x0409, PEER + b"\1")]
    controller.bredr_link(0x40, PEER)
    assert events_of(controller) == [events.Connected(0x40, PEER, 0, 1, own_address=BD_ADDR)]


def test_a_page_while_nobody_listens(scripted: Any) -> None:
    """It may have begun while somebody did. The peer whom we are about to page is let in; we would meet otherwise."""
    controller = scripted().up()
    controller.host.set_connectable(True)
    controller.host.set_connectable(False)
    assert controller.take() == [(0x0C1A, b"\2"), (0x0C1A, b"\0")]
    request(controller, OTHER)
    assert controller.take() == [(0x040A, OTHER + b"\x0f")]
    controller.bredr_link(0, OTHER, 0x0F)
    assert controller.host.statistics()["links_refused"] == 1
    attempt = controller.host.connect(PEER, 0, 0.0)
    request(controller, OTHER)
    request(controller, PEER)
    assert controller.take() == [
        (0x0405, struct.pack("<6sHBBHB", PEER, 0xCC18, 2, 0, 0, 1)),
        (0x040A, OTHER + b"\x0f"),
        (0x0409, PEER + b"\1"),
    ]
    controller.bredr_link(0, PEER, 0x10)  # its page came to nothing, ours stands
    assert events_of(controller) == []
    controller.bredr_link(0, PEER, 0x04)
    assert events_of(controller) == [events.ConnectFailed(PEER, 0, 0x04, attempt)]


@pytest.mark.parametrize(("link_type", "opcode"), [(0, 0x040A), (2, 0x042A)])
def test_voice_is_refused(scripted: Any, link_type: int, opcode: int) -> None:
    controller = scripted().up()
    controller.host.set_connectable(True)
    controller.take()
    request(controller, PEER, link_type)
    assert controller.take() == [(opcode, PEER + b"\x0d")]
    controller.event(0x03, struct.pack("<BH6sBB", 0, 0x40, PEER, link_type, 0))
    assert controller.host.links() == []


def test_incoming_links_are_bounded(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.set_connectable(True)
    controller.take()
    for n in range(MAX_LINKS):
        request(controller, bytes((n,)) * 6)
    assert {opcode for opcode, _ in controller.take()} == {0x0409}
    request(controller, PEER)
    assert controller.take() == [(0x040A, PEER + b"\x0d")]
    controller.bredr_link(0, bytes(6), 0x10)
    request(controller, PEER)
    assert controller.take() == [(0x0409, PEER + b"\1")]


def test_a_request_that_ended_before_we_accepted_takes_no_place(scripted: Any) -> None:
    controller = scripted({0x0409: b"\x02"}).up()
    controller.host.set_connectable(True)
    for n in range(2 * MAX_LINKS):
        request(controller, bytes((n,)) * 6)
        assert controller.take()[-1][0] == 0x0409


def test_both_sides_at_once(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.set_connectable(True)
    controller.host.connect(PEER, 0, 0.0)
    request(controller, PEER)
    controller.run()
    controller.bredr_link(0x40, PEER)
    controller.run()
    assert controller.commands[-1] == (0x0408, PEER)
    controller.bredr_link(0, PEER, 0x0B)
    assert events_of(controller) == [events.Connected(0x40, PEER, 0, 1, own_address=BD_ADDR)]
    assert controller.host.next_timeout() is None


def crossed_on_le(scripted: Any) -> Any:
    """Returns a controller that connects to a peer, and to another one after it, when the first connects to us."""
    controller = scripted().up()
    controller.advertise()
    controller.host.connect(PEER, 2, 0.0)
    controller.host.connect(OTHER, 2, 0.0)
    controller.take()
    controller.le_link(0x50, PEER, role=1, address_type=1)
    assert events_of(controller)[0] == events.Connected(0x50, PEER, 2, 1)
    assert 0x200E in [opcode for opcode, _ in controller.take()]  # otherwise it would go on until it has two links
    return controller


def test_a_peer_of_le_that_connects_meanwhile_ends_our_attempt(scripted: Any) -> None:
    controller = crossed_on_le(scripted)
    controller.le_link(0, bytes(6), status=0x02)
    assert [(opcode, parameters[6:12]) for opcode, parameters in controller.take()] == [(0x200D, OTHER)]


def test_the_link_of_an_attempt_that_was_ended_too_late_goes(scripted: Any) -> None:
    controller = crossed_on_le(scripted)
    controller.le_link(0x51, PEER, address_type=1, asked=False)
    taken = controller.take()
    assert (0x0406, struct.pack("<HB", 0x51, 0x13)) in taken
    assert [parameters[6:12] for opcode, parameters in taken if opcode == 0x200D] == [OTHER]
    assert [link.handle for link in controller.host.links()] == [0x50]


@pytest.mark.parametrize("by_command", [True, False])
@pytest.mark.parametrize("status", [0x0B, 0x0C])
def test_the_peer_was_faster(scripted: Any, status: int, by_command: bool) -> None:
    controller = scripted({0x0405: bytes((status,))} if by_command else {}).up()
    controller.host.connect(PEER, 0, 0.0)
    controller.take()
    if not by_command:
        controller.bredr_link(0, PEER, status)
    request(controller, PEER)
    assert controller.take() == [(0x0409, PEER + b"\1")]
    controller.bredr_link(0x40, PEER)
    assert events_of(controller) == [events.Connected(0x40, PEER, 0, 1, own_address=BD_ADDR)]
    controller.wait(60.0)
    assert controller.take() == []


def test_the_peer_that_should_have_been_faster_does_not_come(scripted: Any) -> None:
    controller = scripted({0x0405: b"\x0b"}).up()
    attempt = controller.host.connect(PEER, 0, 0.0)
    controller.wait(10.0)
    assert controller.host.take_events() == [events.ConnectFailed(PEER, 0, 0x0B, attempt)]
    assert [opcode for opcode, _ in controller.take()] == [0x0405] * 3
    assert controller.host.next_timeout() is None


@pytest.mark.parametrize(
    ("address", "address_type"),
    [(bytes.fromhex("112233445566"), 0), (bytes.fromhex("112233445566"), 1), (bytes.fromhex("0100000000c0"), 2)],
)
def test_nobody_connects_to_himself(scripted: Any, address: bytes, address_type: int) -> None:
    controller = scripted().up()
    attempt = controller.host.connect(address, address_type, 0.0)
    assert controller.host.take_events() == [events.ConnectFailed(address, address_type, 0x0F, attempt)]
    assert controller.take() == []


def test_a_peer_that_has_our_own_address(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.set_connectable(True)
    controller.take()
    request(controller, bytes.fromhex("112233445566"))
    assert controller.take() == [(0x040A, bytes.fromhex("112233445566") + b"\x0f")]


@pytest.mark.parametrize("link", ["bredr_link", "le_link"])
def test_a_link_that_is_told_twice(scripted: Any, link: str) -> None:
    controller = scripted().up()
    getattr(controller, link)(0x40, PEER)
    (connected,) = events_of(controller)
    getattr(controller, link)(0x40, PEER)
    assert events_of(controller) == []
    assert controller.host.statistics()["link_events_stray"] == 1
    controller.unlink(0x40)
    assert events_of(controller) == [events.Disconnected(0x40, 0x13)]
    getattr(controller, link)(0x40, PEER)
    assert events_of(controller) == [connected]


@pytest.mark.parametrize("link", ["bredr_link", "le_link"])
def test_a_handle_that_is_given_anew_ends_the_link_that_had_it(scripted: Any, link: str) -> None:
    controller = scripted().up()
    controller.bredr_link(0x40, PEER)
    controller.bredr_link(0x41, bytes(6))
    controller.host.take_events()
    getattr(controller, link)(0x40, OTHER)
    first, second = events_of(controller)
    assert first == events.Disconnected(0x40, 0x1F)
    assert (second.handle, second.address) == (0x40, OTHER)
    assert sorted(link.handle for link in controller.host.links()) == [0x40, 0x41]


def test_a_peer_whose_end_was_lost_comes_again(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.set_connectable(True)
    controller.bredr_link(0x40, PEER)
    controller.take()
    request(controller, PEER)
    controller.run()
    controller.bredr_link(0x40, PEER)
    assert events_of(controller) == [
        events.Disconnected(0x40, 0x1F),
        events.Connected(0x40, PEER, 0, 1, own_address=BD_ADDR),
    ]


def test_role_changes_are_noted(scripted: Any) -> None:
    controller = scripted().up()
    controller.bredr_link(0x40, PEER)
    controller.event(0x12, b"\0" + PEER + b"\1")
    controller.event(0x12, b"\0" + OTHER + b"\1")
    assert controller.host.links()[0].role == 1
    controller.event(0x12, b"\x21" + PEER + b"\0")
    assert controller.host.links()[0].role == 1


@pytest.mark.parametrize(("address_type", "reported"), [(1, 0), (2, 1), (1, 2), (2, 3)])
def test_le_connect(scripted: Any, address_type: int, reported: int) -> None:
    controller = scripted().up()
    controller.host.connect(PEER, address_type, 0.0)
    assert controller.take() == [
        (0x200D, struct.pack("<HHBB6sBHHHHHH", 0x60, 0x30, 0, address_type - 1, PEER, 1, 12, 24, 0, 500, 0, 0))
    ]
    controller.le_link(0x50, PEER, address_type=reported)
    assert events_of(controller) == [events.Connected(0x50, PEER, address_type, 0)]


@pytest.mark.parametrize("extended", [False, True])
def test_a_peer_of_le_that_is_to_see_the_public_address(scripted: Any, extended: bool) -> None:
    controller = scripted(EXTENDED_ONLY if extended else {}).up()
    created, own_type = (0x2043, 1) if extended else (0x200D, 12)
    controller.host.connect(PEER, 2, 0.0, from_public=True)
    ((opcode, parameters),) = controller.take()
    assert (opcode, parameters[own_type]) == (created, 0)
    controller.le_link(0x50, PEER, address_type=1)
    assert events_of(controller) == [events.Connected(0x50, PEER, 2, 0, own_address=BD_ADDR)]
    controller.host.disconnect(0x50)
    controller.run()
    controller.event(0x05, b"\0\x50\0\x16")
    controller.host.connect(PEER, 2, 0.0)
    assert controller.take()[-1][1][own_type] == 1
    controller.le_link(0x50, PEER, address_type=1)
    assert events_of(controller)[-1] == events.Connected(0x50, PEER, 2, 0)


def test_others_of_le_do_not_see_the_public_address(scripted: Any) -> None:
    """Who connects to us meanwhile sees our random address; so does whom the controller claims it has reached."""
    controller = scripted().up()
    controller.advertise()
    controller.host.connect(PEER, 2, 0.0, from_public=True)
    controller.run()
    controller.le_link(0x50, PEER, role=1, address_type=1)
    controller.run()
    controller.le_link(0, bytes(6), status=0x02)
    controller.le_link(0x51, OTHER, address_type=1)
    assert [event for event in events_of(controller) if isinstance(event, events.Connected)] == [
        events.Connected(0x50, PEER, 2, 1), events.Connected(0x51, OTHER, 2, 0),
    ]  # fmt: skip


def test_links_that_nobody_has_asked_for_are_ended(scripted: Any) -> None:
    """A controller that lies gets no keys of peers by them."""
    controller = scripted().up()
    controller.host.connect(OTHER, 0, 0.0)
    controller.host.connect(OTHER, 2, 0.0)
    controller.take()
    controller.bredr_link(0x40, PEER, asked=False)
    controller.le_link(0x50, PEER, address_type=1, asked=False)
    controller.le_link(0x51, OTHER, role=1, address_type=1)
    assert events_of(controller) == []
    assert controller.commands == [(0x0406, struct.pack("<HB", handle, 0x13)) for handle in (0x40, 0x50, 0x51)]
    assert controller.host.links() == []
    controller.unlink(0x40)
    assert events_of(controller) == []
    assert controller.host.statistics()["links_unasked"] == 3
    controller.bredr_link(0x40, OTHER, asked=False)
    controller.le_link(0x50, OTHER, address_type=1, asked=False)
    assert [event[:3] for event in events_of(controller)] == [(0x40, OTHER, 0), (0x50, OTHER, 2)]


def test_a_link_to_a_private_address_may_be_told_with_the_identity(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.connect(OTHER, 2, 0.0)
    controller.run()
    controller.le_event(0x0A, struct.pack("<BHBB6s6s6sHHHB", 0, 0x50, 0, 3, PEER, bytes(6), OTHER, 24, 0, 500, 0))
    assert events_of(controller) == [events.Connected(0x50, PEER, 2, 0, OTHER)]
    assert controller.host.next_timeout() is None  # the attempt for the private address has ended


def test_a_controller_that_does_not_tell_its_address(scripted: Any) -> None:
    controller = scripted({0x1009: bytes(7)}).up()
    controller.bredr_link(0x40, PEER)
    assert events_of(controller) == [events.Connected(0x40, PEER, 0, 0)]


def test_the_enhanced_event_is_understood(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.connect(PEER, 2, 0.0)
    controller.run()
    parameters = struct.pack("<BHBB6s6s6sHHHB", 0, 0x50, 0, 1, PEER, bytes(6), bytes(6), 24, 0, 500, 0)
    controller.le_event(0x0A, parameters)
    assert events_of(controller) == [events.Connected(0x50, PEER, 2, 0)]


def test_le_connects_take_turns_and_cancel(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.connect(PEER, 2, 0.0)
    controller.host.connect(OTHER, 2, 0.0)
    controller.wait(5.5)
    assert [opcode for opcode, _ in controller.commands[-2:]] == [0x200D, 0x200E]
    controller.le_link(0, bytes(6), status=0x02)
    assert controller.take()[-1][1][6:12] == OTHER
    controller.host.cancel_connect(PEER, 2)
    controller.host.cancel_connect(OTHER, 2)
    controller.run()
    controller.le_link(0, bytes(6), status=0x02)
    assert events_of(controller) == []
    assert controller.host.next_timeout() is None


def test_bredr_and_le_are_made_side_by_side(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.connect(PEER, 0, 0.0)
    controller.host.connect(PEER, 2, 0.0)
    assert [opcode for opcode, _ in controller.take()] == [0x0405, 0x200D]
    controller.le_link(0x50, PEER, address_type=1)
    controller.bredr_link(0x40, PEER)
    assert events_of(controller) == [
        events.Connected(0x50, PEER, 2, 0),
        events.Connected(0x40, PEER, 0, 0, own_address=BD_ADDR),
    ]


def test_a_transport_that_the_controller_lacks(scripted: Any) -> None:
    controller = scripted({0x1003: bytes(9)}).up()
    attempt = controller.host.connect(PEER, 2, 0.0)
    assert controller.host.take_events() == [events.ConnectFailed(PEER, 2, 0x11, attempt)]
    assert controller.take() == []


def test_a_controller_that_is_not_up(scripted: Any) -> None:
    controller = scripted()
    attempt = controller.host.connect(PEER, 2, 0.0)
    assert controller.host.take_events() == [events.ConnectFailed(PEER, 2, 0x03, attempt)]


def test_disconnect(scripted: Any) -> None:
    controller = scripted().up()
    controller.bredr_link(0x40, PEER)
    controller.take()
    controller.host.disconnect(0x40)
    controller.host.disconnect(0x40)
    controller.host.disconnect(0x41)
    assert controller.take() == [(0x0406, b"\x40\x00\x13")]
    controller.unlink(0x40, 0x16)
    controller.unlink(0x40, 0x16)
    assert events_of(controller) == [events.Disconnected(0x40, 0x16)]
    assert controller.host.links() == []


def test_disconnect_of_a_link_that_the_controller_no_longer_has(scripted: Any) -> None:
    controller = scripted({0x0406: b"\x02"}).up()
    controller.bredr_link(0x40, PEER)
    controller.host.take_events()
    controller.host.disconnect(0x40)
    assert events_of(controller) == [events.Disconnected(0x40, 0x02)]


class TestLinksThatDoNotEnd:
    """The controller is to end a link, and does not: for us it has ended after a while, and the peer can be reached."""

    @staticmethod
    def check_reachable(controller: Any, reason: int) -> None:
        assert controller.host.take_events()[-1] == events.Disconnected(0x40, reason)
        assert (controller.host.links(), controller.host.writable_links()) == ([], [])
        controller.answers[0x0406] = b"\0"
        controller.host.connect(PEER, 0, controller.now)
        assert 0x0405 in dict(controller.take())
        controller.bredr_link(0x40, PEER)
        assert len(controller.host.links()) == 1

    @pytest.mark.parametrize("status", [0x0C, 0x12])
    def test_told_again_after_a_refusal_and_given_up(self, scripted: Any, status: int) -> None:
        controller = scripted({0x0406: bytes((status,))}).up()
        controller.bredr_link(0x40, PEER)
        controller.take()
        controller.host.disconnect(0x40, 0xFF)
        controller.host.disconnect(0x40, 0xFF)  # already asked for
        for _ in range(END_TRIES):
            assert controller.take() == [(0x0406, b"\x40\x00\xff")]
            assert len(controller.host.links()) == 1
            controller.wait(END_RETRY_S)
        self.check_reachable(controller, 0x16)
        assert controller.host.statistics()["links_abandoned"] == 1

    def test_ends_at_the_second_time(self, scripted: Any) -> None:
        controller = scripted({0x0406: b"\x0c"}).up()
        controller.bredr_link(0x40, PEER)
        controller.host.disconnect(0x40)
        controller.take()
        controller.answers[0x0406] = b"\0"
        controller.wait(END_RETRY_S)
        assert controller.take() == [(0x0406, b"\x40\x00\x13")]
        controller.unlink(0x40)
        self.check_reachable(controller, 0x13)

    def test_nothing_follows_the_status(self, scripted: Any) -> None:
        controller = scripted().up()
        controller.bredr_link(0x40, PEER)
        controller.host.disconnect(0x40)
        controller.take()
        controller.wait(END_S - 0.1)
        assert len(controller.host.links()) == 1
        controller.wait(0.1)
        self.check_reachable(controller, 0x16)

    def test_the_end_fails_as_there_is_no_such_connection(self, scripted: Any) -> None:
        controller = scripted().up()
        controller.bredr_link(0x40, PEER)
        controller.host.disconnect(0x40)
        controller.take()
        controller.event(0x05, struct.pack("<BHB", 0x02, 0x40, 0))
        self.check_reachable(controller, 0x00)

    def test_the_end_fails_for_another_reason(self, scripted: Any) -> None:
        controller = scripted().up()
        controller.bredr_link(0x40, PEER)
        controller.event(0x05, struct.pack("<BHB", 0x1F, 0x40, 0))  # nobody has asked for it
        assert controller.host.writable_links() == [0x40]
        controller.host.disconnect(0x40)
        controller.take()
        for _ in range(END_TRIES):
            controller.event(0x05, struct.pack("<BHB", 0x1F, 0x40, 0))
            controller.wait(END_RETRY_S)
            controller.run()
        self.check_reachable(controller, 0x16)

    def test_buffers_that_never_come_back(self, scripted: Any) -> None:
        """The other link starves until the one that keeps the buffers is ended."""
        controller = scripted().up()
        controller.bredr_link(0x40, OTHER)
        controller.bredr_link(0x41, PEER)
        controller.take()
        host = controller.host
        for _ in range(4):
            host.send_pdus(0x40, [bytes((0, 0, 0x40, 0))])
        assert len(host.take_acl(controller.now)) == 4
        host.send_pdus(0x41, [bytes((0, 0, 0x41, 0))])
        for _ in range(STALL_CHECKS - 1):
            controller.wait(STALL_CHECK_S)
        assert controller.take() == []
        assert host.take_acl(controller.now) == []
        controller.wait(STALL_CHECK_S)
        assert controller.take() == [(0x0406, b"\x40\x00\x1f")]
        controller.wait(END_S)
        assert [packet[:2] for packet in host.take_acl(controller.now)] == [b"\x41\x00"]
        assert host.statistics()["acl_links_stalled"] == 1

    def test_a_slow_link_is_not_stalled(self, scripted: Any) -> None:
        controller = scripted().up()
        controller.bredr_link(0x40, OTHER)
        controller.take()
        for _ in range(8):
            controller.host.send_pdus(0x40, [bytes((0, 0, 0x40, 0))])
        for _ in range(3 * STALL_CHECKS):
            controller.host.take_acl(controller.now)
            controller.wait(STALL_CHECK_S)
            controller.event(0x13, struct.pack("<BHH", 1, 0x40, 1))
            controller.host.send_pdus(0x40, [bytes((0, 0, 0x40, 0))])
        assert controller.take() == []

    def test_a_peer_that_was_accepted_and_never_comes(self, scripted: Any) -> None:
        controller = scripted().up()
        controller.host.set_connectable(True)
        for round_ in range(2):
            for number in range(MAX_LINKS + 1):
                controller.event(0x04, bytes((number, round_, 0, 0, 0, 0xC0)) + b"\0\0\0\1")
            answered = [opcode for opcode, _ in controller.take()]
            assert (answered.count(0x0409), answered.count(0x040A)) == (MAX_LINKS, 1)
            controller.wait(ACCEPT_S)


def test_a_new_link_waits_until_the_old_one_has_ended(scripted: Any) -> None:
    controller = scripted().up()
    controller.bredr_link(0x40, PEER)
    controller.host.disconnect(0x40)
    controller.take()
    controller.host.connect(PEER, 0, 0.0)
    assert controller.take() == []
    controller.unlink(0x40)
    assert [opcode for opcode, _ in controller.take()] == [0x0405]


def test_connection_update(scripted: Any) -> None:
    controller = scripted().up()
    controller.le_link(0x50, PEER)
    controller.bredr_link(0x40, PEER)
    controller.take()
    controller.host.update_connection(0x50, 6, 12, 1, 200)
    controller.host.update_connection(0x51, 6, 12, 1, 200)
    assert controller.take() == [(0x2013, struct.pack("<HHHHHHH", 0x50, 6, 12, 1, 200, 0, 0))]
    for status, handle in ((0, 0x50), (0x3B, 0x50), (0, 0x51)):
        controller.le_event(0x03, struct.pack("<BHHHH", status, handle, 12, 1, 200))
    assert events_of(controller) == [events.ConnectionUpdated(0x50, 12, 1, 200)]
    with pytest.raises(LocalProtocolError):
        controller.host.update_connection(0x40, 6, 12, 1, 200)


@pytest.mark.parametrize(
    ("wish", "sound"),
    [
        ((6, 6, 0, 10), True),
        ((24, 40, 0, 42), True),
        ((24, 40, 4, 51), True),
        ((24, 40, 4, 50), False),
        ((6, 3200, 0, 801), True),
        ((6, 3200, 0, 800), False),
        ((5, 6, 0, 10), False),
        ((7, 6, 0, 10), False),
        ((6, 3201, 0, 3200), False),
        ((6, 6, 500, 3200), False),
        ((6, 6, 0, 9), False),
        ((6, 6, 0, 3201), False),
        ((0, 0, 0, 0), False),
    ],
)
def test_the_peer_gets_the_parameters_that_it_asks_for_if_they_are_sound(
    scripted: Any, wish: tuple[int, int, int, int], sound: bool
) -> None:
    """Ranges of Vol 4, Part E, 7.8.31."""
    controller = scripted().up()
    controller.le_link(0x50, PEER)
    controller.take()
    controller.le_event(0x06, struct.pack("<HHHHH", 0x50, *wish))
    assert controller.take() == [
        (0x2020, struct.pack("<HHHHHHH", 0x50, *wish, 0, 0)) if sound else (0x2021, b"\x50\x00\x3b")
    ]


def test_a_controller_that_lies_about_handles(scripted: Any) -> None:
    controller = scripted().up()
    controller.bredr_link(0x40, PEER)
    controller.host.take_events()
    with pytest.raises(RemoteProtocolError):
        controller.le_link(0x0F00, OTHER)
    assert events_of(controller) == []
    assert len(controller.host.links()) == 1
