"""Advertisements of several users: on sets of their own, in turns, and beside links."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hci.conftest import Scripted
from usbbtd.hci import events
from usbbtd.hci.advertising_set import AdvertisingParameters
from usbbtd.hci.limits import MAX_COMMANDS, TURN_S

PEER = bytes.fromhex("0300000000c3")
BEGIN = [0x2006, 0x2008, 0x2009, 0x200A]


def opcodes(commands: Any) -> Any:
    return [opcode for opcode, _ in commands]


def sets(number: int, most: int = 31) -> dict[int, bytes | None]:
    """The answers of a controller with so many advertising sets, which take ``most`` octets."""
    return {
        0x2003: struct.pack("<BQ", 0, 1 << 12),
        0x203A: struct.pack("<BH", 0, most),
        0x203B: bytes((0, number)),
    }


def start(controller: Any, *numbers: int, connectable: bool = True) -> None:
    """Starts advertisements whose data is their number."""
    for number in numbers:
        controller.host.start_advertising(
            number, AdvertisingParameters(bytes((number,)), 100, connectable), controller.now
        )


class OnAir:
    """What a controller has on the air, by its handle, as the commands say that it got. Legacy commands: handle 0."""

    def __init__(self) -> None:
        self.data: dict[int, int] = {}
        self.enabled: dict[int, int] = {}

    def receive(self, commands: list[tuple[int, bytes]]) -> "OnAir":
        for opcode, octets in commands:
            handle = octets[0] if opcode in (0x2035, 0x2036, 0x2037, 0x203C) else 0
            if opcode in (0x2006, 0x2008, 0x2036, 0x2035, 0x203C):
                assert handle not in self.enabled  # a controller would refuse it
            if opcode in (0x2008, 0x2037):
                self.data[handle] = octets[1] if opcode == 0x2008 else octets[4]
            elif opcode in (0x200A, 0x2039):
                handle = octets[2] if opcode == 0x2039 else 0
                if octets[0]:
                    self.enabled[handle] = self.data[handle]
                else:
                    self.enabled.pop(handle, None)
        return self

    @property
    def numbers(self) -> list[int]:
        return sorted(self.enabled.values())


def on_air(controller: Any, seen: OnAir | None = None) -> list[int]:
    return (seen or OnAir()).receive(controller.take()).numbers


class TestSets:
    def test_each_has_its_own_while_there_are_enough(self, scripted: Any) -> None:
        controller = scripted(sets(3)).up()
        start(controller, 5, 6, 7)
        seen = OnAir()
        assert on_air(controller, seen) == [5, 6, 7]
        controller.wait(10 * TURN_S)
        assert controller.take() == []
        controller.host.stop_advertising(6)
        assert on_air(controller, seen) == [5, 7]
        start(controller, 8)
        assert on_air(controller, seen) == [5, 7, 8]

    def test_a_set_that_ends_with_a_connection_begins_anew_and_is_named(self, scripted: Any) -> None:
        controller = scripted(sets(2)).up()
        start(controller, 5, 6)
        controller.take()
        controller.le_link(0x40, PEER, role=1)
        controller.le_event(0x12, struct.pack("<BBHB", 0, 1, 0x40, 0))
        assert controller.host.take_events() == [
            events.Connected(0x40, PEER, 1, 1),
            events.AdvertisementAnswered(0x40, 6),
        ]
        commands = controller.take()
        assert opcodes(commands) == [0x2036, 0x2035, 0x2037, 0x2039]
        assert {octets[0] for _, octets in commands[:3]} == {1}

    def test_a_set_that_ends_by_itself_is_told(self, scripted: Any) -> None:
        controller = scripted(sets(2)).up()
        start(controller, 5, 6)
        controller.take()
        controller.le_event(0x12, struct.pack("<BBHB", 0x43, 0, 0, 0))
        controller.le_event(0x12, struct.pack("<BBHB", 0x43, 0, 0, 0))
        controller.le_event(0x12, struct.pack("<BBHB", 0, 0xEF, 0, 0))
        assert controller.host.take_events() == [events.AdvertisingStopped(5, 0x43)]

    @pytest.mark.parametrize("status", [0x07, 0x0C, 0x0D])
    def test_a_set_for_which_there_is_no_room_is_given_up_and_turns_begin(self, scripted: Any, status: int) -> None:
        controller = scripted(sets(3)).up()
        start(controller, 5)
        controller.take()
        controller.answers[0x2036] = bytes((status,))
        start(controller, 6, 7)
        controller.run()
        controller.answers[0x2036] = b"\0"
        assert controller.host.take_events() == []
        assert controller.host.statistics()["advertising_sets_lost"] == 2
        seen, heard = OnAir(), set()
        for _ in range(3):
            controller.wait(TURN_S)
            heard |= set(on_air(controller, seen))
        assert heard == {5, 6, 7}

    def test_more_data_than_a_controller_takes(self, scripted: Any) -> None:
        controller = scripted(sets(1, 200)).up()
        controller.host.start_advertising(1, AdvertisingParameters(bytes(201), 100, False), 0.0)
        assert controller.host.take_events() == [events.AdvertisingStopped(1, 0x11)]
        controller.host.start_advertising(1, AdvertisingParameters(bytes(200), 100, False), 0.0)
        assert controller.take()[-1][0] == 0x2039
        controller.answers[0x203A] = struct.pack("<BH", 0, 199)
        controller.event(0x10, b"\x42")
        controller.run()
        assert controller.host.take_events() == [events.Ready(), events.AdvertisingStopped(1, 0x11)]


class TestTurns:
    def test_on_a_controller_with_one_set(self, scripted: Any) -> None:
        controller = scripted().up()
        start(controller, 5, 6, 7)
        seen, heard = OnAir(), []
        for _ in range(6):
            heard.append(on_air(controller, seen))
            controller.wait(TURN_S)
        assert heard == [[5], [6], [7], [5], [6], [7]]
        controller.host.stop_advertising(5)
        assert on_air(controller, seen) == [6]
        controller.host.stop_advertising(6)
        assert on_air(controller, seen) == [7]
        assert controller.host.next_timeout() is None

    def test_who_is_on_the_air_longest_leaves(self, scripted: Any) -> None:
        controller = scripted(sets(3)).up()
        start(controller, 5, 6, 7, 8)
        seen, heard = OnAir(), []
        for _ in range(4):
            heard.append(on_air(controller, seen))
            controller.wait(TURN_S)
        assert heard == [[5, 6, 7], [6, 7, 8], [5, 7, 8], [5, 6, 8]]
        assert controller.host.statistics()["advertising_turns"] == 4

    def test_a_turn_does_not_end_before_it_has_begun(self, scripted: Any) -> None:
        """A controller that is slow must not get more and more commands."""
        controller = scripted().up()
        start(controller, 5, 6)
        controller.host.take_commands()
        for turn in range(1, 5):
            controller.host.handle_timeout(turn * TURN_S / 4)
        assert controller.host.statistics()["advertising_turns"] == 0
        for number in range(MAX_COMMANDS):
            start(controller, 7)
            controller.host.start_advertising(5, AdvertisingParameters(bytes((number % 256,)), 100, True), 0.0)
            controller.host.stop_advertising(7)
        assert controller.host.statistics()["commands_dropped"] == 0

    def test_it_goes_on_with_whose_turn_it_was_after_a_reset(self, scripted: Any) -> None:
        controller = scripted().up()
        start(controller, 5, 6, 7)
        controller.wait(TURN_S)
        controller.take()
        controller.event(0x10, b"\x42")
        controller.run()
        assert on_air(controller) == [6]
        controller.wait(2 * TURN_S)
        assert on_air(controller) == [5]

    def test_a_pause_is_nobody_s_turn(self, scripted: Any) -> None:
        controller = scripted().up()
        start(controller, 5, 6)
        controller.take()
        controller.answers[0x200D] = b"\x0c"  # beside advertising, it means
        controller.host.connect(PEER, 2, controller.now)
        assert controller.take()[-1] == (0x200A, b"\0")
        controller.answers[0x200D] = b"\0"
        controller.wait(4 * TURN_S)
        assert not set(opcodes(controller.take())) & {0x2006, 0x200A}
        controller.host.cancel_connect(PEER, 2)
        controller.run()
        controller.le_link(0, bytes(6), status=0x02)
        assert on_air(controller) == [5]

    @settings(max_examples=60, deadline=None)
    @given(
        number_of_sets=st.integers(0, 3),
        steps=st.lists(
            st.tuples(
                st.sampled_from(["start", "stop", "wait", "change", "link", "unlink", "reset"]), st.integers(1, 6)
            ),
            max_size=30,
        ),
    )
    def test_nobody_starves(self, number_of_sets: int, steps: list[tuple[str, int]]) -> None:
        """Whatever happens before: in the end everyone has a turn, and never are there more than sets."""
        controller = Scripted(sets(number_of_sets) if number_of_sets else None).up()
        seen = OnAir()
        wanted: set[int] = set()
        links: set[int] = set()
        for step, number in steps:
            if step == "start":
                start(controller, number)
                wanted.add(number)
            elif step == "stop":
                controller.host.stop_advertising(number)
                wanted.discard(number)
            elif step == "change" and number in wanted:
                start(controller, number)
            elif step == "link" and number not in links and number_of_sets == 0 and seen.numbers:
                seen.enabled.clear()
                links.add(number)
                controller.le_link(number, bytes((number,)) * 6, role=1)
            elif step == "unlink" and number in links:
                links.discard(number)
                controller.unlink(number)
            elif step == "reset":
                controller.event(0x10, b"\x42")
                seen, links = OnAir(), set()
                controller.wait(61)
            else:
                controller.wait(number * TURN_S / 4)
            assert set(on_air(controller, seen)) <= wanted
            assert len(seen.numbers) == min(len(wanted), max(number_of_sets, 1))
        heard: set[int] = set(seen.numbers)
        for _ in range(len(wanted) + 1):
            controller.wait(TURN_S)
            heard |= set(on_air(controller, seen))
        assert heard == wanted
        assert controller.host.statistics()["commands_dropped"] == 0


ADVERTISING_COMMANDS = sorted({*BEGIN, 0x2035, 0x2036, 0x2037, 0x2039, 0x203C})
hostile_steps = st.one_of(
    st.tuples(st.just("start"), st.integers(1, 6), st.booleans()),
    st.tuples(st.just("stop"), st.integers(1, 6)),
    st.tuples(st.just("wait"), st.floats(0, 3)),
    st.tuples(st.just("answer"), st.sampled_from(ADVERTISING_COMMANDS), st.sampled_from([0, 0x07, 0x0C, 0x12, 0x42])),
    st.tuples(st.just("link"), st.integers(1, 3), st.integers(0, 1)),
    st.tuples(st.just("unlink"), st.integers(1, 3)),
    st.tuples(st.just("terminated"), st.integers(0, 4), st.sampled_from([0, 0x3C, 0x43]), st.integers(0, 4)),
    st.tuples(st.just("connect"), st.integers(0x11, 0x13)),
    st.tuples(st.just("connected"), st.integers(0x11, 0x13), st.sampled_from([0, 0x02])),
    st.tuples(st.just("lazy")),
)


def use(controller: Any, step: Any, wanted: set[int]) -> None:
    """Does what users do, and keeps what they want."""
    match step:
        case ("start", number, connectable):
            start(controller, number, connectable=connectable)
            wanted.add(number)
        case ("stop", number):
            controller.host.stop_advertising(number)
            wanted.discard(number)
        case ("wait", seconds):
            controller.wait(seconds)
        case ("connect", handle):
            controller.host.connect(bytes((handle,)) * 6, 2, controller.now)


def lie(controller: Any, step: Any) -> None:
    """Does what a controller must not do, or may."""
    match step:
        case ("answer", opcode, status):
            controller.answers[opcode] = bytes((status,))
        case ("link", handle, role):
            controller.le_link(handle, bytes((handle,)) * 6, role=role)
        case ("unlink", handle):
            controller.unlink(handle)
        case ("terminated", handle, status, link):
            controller.le_event(0x12, struct.pack("<BBHB", status, handle, link, 0))
        case ("connected", handle, status):
            controller.le_link(handle, bytes((handle,)) * 6, status=status, address_type=1)


@settings(max_examples=100, deadline=None)
@given(number_of_sets=st.integers(0, 3), steps=st.lists(hostile_steps, max_size=40))
def test_whatever_a_controller_says_nobody_is_forgotten(number_of_sets: int, steps: list[Any]) -> None:
    """It may refuse, end and connect what it likes: in the end everyone who was not told has a turn."""
    controller = Scripted(sets(number_of_sets) if number_of_sets else None).up()
    wanted: set[int] = set()

    def take() -> None:
        told = controller.host.take_events()
        wanted.difference_update(event.advertisement for event in told if isinstance(event, events.AdvertisingStopped))

    for step in steps:
        use(controller, step, wanted)
        lie(controller, step)
        if step != ("lazy",):  # otherwise it answers what it has later
            controller.run()
        take()
        assert controller.host.state == "up"
    controller.answers.update(dict.fromkeys(ADVERTISING_COMMANDS, b"\0"))
    for peer in (0x11, 0x12, 0x13):
        controller.host.cancel_connect(bytes((peer,)) * 6, 2)
    controller.wait(30)
    for handle in (1, 2, 3, 0x11, 0x12, 0x13):
        controller.unlink(handle)
    controller.run()
    take()
    for number in wanted:
        start(controller, number)
    heard: set[int] = set()
    for _ in range(len(wanted) + 2):
        controller.commands.clear()
        controller.wait(TURN_S)
        heard |= {octets[1] for opcode, octets in controller.commands if opcode == 0x2008}
        heard |= {octets[4] for opcode, octets in controller.commands if opcode == 0x2037}
    advertising = controller.host._advertising
    on_air = [one.number for one in advertising._sets if one.is_on and one.number is not None]
    assert len(on_air) == min(len(wanted), len(advertising._sets))
    assert heard | set(on_air) == wanted
    assert sorted([*on_air, *advertising._waiting]) == sorted(wanted)


class TestLinks:
    def test_advertising_goes_on_after_a_peer_connected(self, scripted: Any) -> None:
        controller = scripted().up()
        start(controller, 1)
        controller.take()
        controller.le_link(1, PEER, role=1)
        assert controller.host.take_events()[-1] == events.AdvertisementAnswered(1, 1)
        assert opcodes(controller.take()) == BEGIN
        controller.le_link(2, b"abcdef", role=0)
        assert controller.take() == []
        controller.host.stop_advertising(1)
        controller.take()
        controller.le_link(3, b"bcdefg", role=1)
        assert opcodes(controller.take()) == [0x0406]  # nobody waits for it any more

    def test_advertising_that_cannot_go_on_with_a_link_goes_on_after_it(self, scripted: Any) -> None:
        controller = scripted().up()
        start(controller, 1)
        controller.take()
        controller.answers[0x200A] = b"\x0c"
        controller.le_link(1, PEER, role=1)
        controller.run()
        assert controller.host.take_events() == [events.Connected(1, PEER, 1, 1), events.AdvertisementAnswered(1, 1)]
        controller.take()
        controller.answers[0x200A] = b"\0"
        controller.unlink(1)
        assert controller.take()[-1] == (0x200A, b"\1")

    def test_a_link_that_comes_while_the_turn_changes_is_that_of_the_turn_before(self, scripted: Any) -> None:
        controller = scripted().up()
        start(controller, 5, 6)
        controller.take()
        controller.host.handle_timeout(TURN_S)
        controller.le_link(1, PEER, role=1)
        assert controller.host.take_events()[-1] == events.AdvertisementAnswered(1, 5)
        assert opcodes(controller.take()) == [0x200A, *BEGIN]

    @pytest.mark.parametrize("opcode", BEGIN)
    def test_advertising_is_refused(self, scripted: Any, opcode: int) -> None:
        """As a non-connectable one every 20 ms is before 5.0: it must not go on with other parameters."""
        controller = scripted({opcode: b"\x12"}).up()
        start(controller, 1, 2, connectable=False)
        controller.run()
        assert controller.host.take_events() == [events.AdvertisingStopped(1, 0x12), events.AdvertisingStopped(2, 0x12)]
        assert controller.take()[-1] == (0x200A, b"\0")
