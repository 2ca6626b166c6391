import struct
from typing import Any

import pytest
from bumble.core import PhysicalTransport
from bumble.hci import Address
from bumble.l2cap import L2CAP_PDU
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.hci import events
from usbbtd.hci.advertising_set import AdvertisingParameters
from usbbtd.hci.host import Host
from usbbtd.hci.limits import MAX_EVENTS, RESET_GRACE_S
from usbbtd.hci.losses import LOSSES, Cost
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.events import HciEvent, LeEvent

PEER = bytes.fromhex("0300000000c3")  # C3:00:00:00:00:03, Bumble's device on LE
PEER_PUBLIC = bytes.fromhex("0200000000c2")
VERSION = struct.pack("<BBHBHH", 0, 9, 0, 9, 0x000A, 0)  # what Read_Local_Version_Information returns
TRANSPORTS = (Cost.ADAPTER, Cost.BREDR, Cost.LE)
L2CAP_CID = 0x003E  # a fixed channel, so that Bumble gives us the payload


def pdu(payload: bytes) -> bytes:
    return struct.pack("<HH", len(payload), L2CAP_CID) + payload


def test_ready(scripted: Any) -> None:
    controller = scripted()
    assert controller.host.state == "off"
    controller.host.start(0.0)
    assert controller.host.state == "starting"
    controller.run()
    assert controller.host.state == "up"
    assert controller.host.take_events() == [events.Ready()]
    assert controller.host.address == bytes.fromhex("112233445566")
    assert controller.host.supports_bredr
    assert controller.host.supports_le
    assert controller.commands[0] == (0x0C03, b"")
    assert 0x0C1A not in dict(controller.commands)  # after Reset nobody can connect
    assert controller.host.next_timeout() is None
    with pytest.raises(LocalProtocolError):
        controller.host.start(0.0)


def test_connectable_is_kept_until_the_controller_is_up(scripted: Any) -> None:
    controller = scripted()
    controller.host.set_connectable(True)
    controller.start()
    assert controller.commands[-1] == (0x0C1A, b"\2")


def test_a_random_static_address_is_asked_for() -> None:
    for address in (bytes(6), b"abc", bytes.fromhex("0100000000bf")):
        with pytest.raises(LocalProtocolError):
            Host(random_address=address)


class TestSilence:
    def test_a_controller_that_never_answers(self, scripted: Any) -> None:
        controller = scripted({0x0C03: None}).start()
        controller.wait(4.0)
        assert [opcode for opcode, _ in controller.commands] == [0x0C03, 0x0C03]
        assert controller.host.take_events() == []
        controller.wait(4.0)
        assert controller.host.take_events() == [
            events.Failed(
                "the controller did not answer Reset (0x0C03); "
                "it had been reset because it did not answer Reset (0x0C03)"
            )
        ]
        assert controller.host.state == "failed"
        assert controller.host.next_timeout() is None

    def test_a_command_that_we_can_do_without_is_not_sent_again(self, scripted: Any) -> None:
        controller = scripted({0x080F: None}).start()
        controller.wait(10.0)
        assert controller.host.state == "up"
        assert [opcode for opcode, _ in controller.commands].count(0x080F) == 1
        assert controller.host.take_events() == [events.Ready()]

    def test_a_command_that_users_need(self, scripted: Any) -> None:
        controller = scripted({0x0C1A: None})
        controller.host.set_connectable(True)
        controller.start()
        controller.wait(20.0)
        assert controller.host.take_events() == [
            events.Ready(),
            events.Ready(),
            events.CommandGivenUp("WriteScanEnable", 0x0C1A, Cost.LISTENING),
            events.Ready(),
        ]
        assert controller.host.lost == {Cost.LISTENING: "peers are not let in: WriteScanEnable is never answered"}
        controller.commands.clear()
        controller.host.set_connectable(True)
        controller.run()
        assert controller.commands == []
        assert controller.host.take_events() == []

    def test_a_command_that_nothing_works_without(self, scripted: Any) -> None:
        controller = scripted({0x1003: None}).start()
        controller.wait(10.0)
        (failed,) = controller.host.take_events()
        assert "did not answer ReadLocalSupportedFeatures (0x1003)" in failed.reason

    @pytest.mark.parametrize("silent", [{0x200B}, {0x200C}, {0x200B, 0x200C}, {0x2041}, {0x2042}])
    def test_a_controller_that_never_answers_scanning_scans_no_more(self, scripted: Any, silent: set[int]) -> None:
        """Whatever else it does goes on, however often it is told to scan."""
        extended = {0x1002: bytes(1) + (7 << 36 * 8 + 5 | 3 << 37 * 8 + 6).to_bytes(64, "little")}
        controller = scripted(dict.fromkeys(silent) | (extended if min(silent) > 0x2040 else {})).up()
        for _ in range(4):
            controller.host.start_scan(active=True, duplicates=False)
            controller.wait(60.0)
            told = controller.host.take_events()
            assert told[-2:] == [events.Ready(), events.ScanStopped(0x01)] or told == [events.ScanStopped(0x01)]
        assert list(controller.host.lost) == [Cost.SCANNING]
        assert controller.host.state == "up"
        assert controller.host.statistics()["resets"] == 2
        enabled = [parameters[0] for code, parameters in controller.commands if code in {0x200C, 0x2042} - silent]
        assert not enabled or not enabled[-1]  # it is not left scanning

    @pytest.mark.parametrize("silent", [0x2006, 0x2008, 0x2009, 0x200A])
    def test_a_controller_that_never_answers_advertising(self, scripted: Any, silent: int) -> None:
        controller = scripted({silent: None}).up()
        for _ in range(4):
            controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
            controller.wait(60.0)
        assert controller.host.take_events()[-1] == events.AdvertisingStopped(1, 0x01)
        assert list(controller.host.lost) == [Cost.ADVERTISING]
        assert controller.host.statistics()["resets"] == 2
        enabled = [parameters[0] for code, parameters in controller.commands if code == 0x200A != silent]
        assert not enabled or not enabled[-1]

    @pytest.mark.parametrize(("silent", "kind"), [(0x0405, 0), (0x200D, 2)])
    def test_a_controller_that_never_answers_connecting(self, scripted: Any, silent: int, kind: int) -> None:
        controller = scripted({silent: None}).up()
        for _ in range(4):
            controller.host.connect(PEER, kind, controller.now)
            controller.wait(RESET_GRACE_S + 1)  # it may ask as slowly as it likes
            assert isinstance(controller.host.take_events()[-1], events.Ready | events.ConnectFailed)
        assert controller.host.state == "up"
        assert controller.host.statistics()["resets"] == 2

    def test_a_controller_that_answers_nothing_users_want(self, scripted: Any) -> None:
        """Each is asked for, in turns: it stays up, and none is asked for ever."""
        wanted = {made.CODE for made, loss in LOSSES.items() if loss.cost not in (*TRANSPORTS, Cost.NOTHING)}
        controller = scripted(dict.fromkeys(wanted)).up()
        for _ in range(40):
            controller.host.set_connectable(True)
            controller.host.connect(PEER, 0, controller.now)
            controller.host.start_scan(active=True, duplicates=False)
            controller.host.connect(PEER, 2, controller.now)
            controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
            controller.wait(7.0)
        assert controller.host.state == "up"
        controller.take()
        for _ in range(2):
            controller.host.start_scan(active=True, duplicates=False)
            controller.host.connect(PEER, 2, controller.now)
            controller.wait(20.0)
        assert controller.commands == []

    def test_everything_is_answered_and_comes_back_after_the_reset(self, scripted: Any) -> None:
        controller = scripted()
        controller.host.set_connectable(True)
        controller.up()
        controller.host.start_scan(active=True, duplicates=False)
        controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
        controller.bredr_link(0x40, PEER)
        controller.le_link(0x50, PEER)
        controller.host.send_pdus(0x40, [pdu(b"x")])
        bredr = controller.host.connect(b"abcdef", 0, 0.0)
        le = controller.host.connect(b"bcdefg", 2, 0.0)
        controller.take()
        controller.answers[0x0406] = None
        controller.host.disconnect(0x50)
        controller.wait(5.0)
        assert controller.host.take_events() == [
            events.Disconnected(0x40, 0x03),
            events.Disconnected(0x50, 0x03),
            events.ConnectFailed(b"abcdef", 0, 0x03, bredr),
            events.ConnectFailed(b"bcdefg", 2, 0x03, le),
            events.Ready(),
        ]
        opcodes = [opcode for opcode, _ in controller.commands]
        assert opcodes[:2] == [0x0406, 0x0C03]
        assert opcodes[-7:] == [0x200B, 0x200C, 0x2006, 0x2008, 0x2009, 0x200A, 0x0C1A]
        assert controller.host.take_acl(0.0) == []
        assert controller.host.statistics()["resets"] == 1

    def test_silence_again_and_again_is_the_end(self, scripted: Any) -> None:
        """About a command that is answered in between."""
        controller = scripted().up()
        controller.host.start_scan(active=True, duplicates=False)
        controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
        controller.take()
        for _ in range(2):
            controller.answers[0x0C1A] = None
            controller.host.set_connectable(True)
            controller.run()
            controller.answers[0x0C1A] = b"\0"
            attempt = controller.host.connect(PEER, 0, controller.now)
            controller.wait(5.0)
        told = controller.host.take_events()
        assert told[:2] == [events.ConnectFailed(PEER, 0, 0x03, attempt - 1), events.Ready()]
        assert told[2:5] == [
            events.ConnectFailed(PEER, 0, 0x03, attempt),
            events.ScanStopped(0x03),
            events.AdvertisingStopped(1, 0x03),
        ]
        assert "did not answer WriteScanEnable (0x0C1A)" in told[5].reason
        assert len(told) == 6

    def test_a_second_silence_long_after_is_forgiven(self, scripted: Any) -> None:
        controller = scripted().up()
        for silent in (0x0405, 0x200D):
            controller.answers[silent] = None
            controller.host.connect(PEER, 2 * (silent == 0x200D), controller.now)
            controller.wait(RESET_GRACE_S + 5.0)
        assert controller.host.state == "up"

    def test_a_hardware_error_is_as_bad_as_silence(self, scripted: Any) -> None:
        controller = scripted().up()
        controller.bredr_link(0x40, PEER)
        controller.event(0x10, b"\x42")
        controller.run()
        assert controller.host.take_events()[-2:] == [events.Disconnected(0x40, 0x03), events.Ready()]
        controller.event(0x10, b"\x43")
        assert "hardware error 0x43" in controller.host.take_events()[0].reason

    def test_a_failed_controller_may_be_started_again(self, scripted: Any) -> None:
        controller = scripted({0x0C03: None}).start()
        controller.wait(10.0)
        controller.answers[0x0C03] = b"\0"
        controller.host.take_events()
        controller.start()
        assert controller.host.take_events() == [events.Ready()]

    def test_a_late_time_in_calls_without_one_is_no_silence(self, scripted: Any) -> None:
        """start_scan() is not told the time: its command must still get all the time that a command has."""
        controller = scripted().up()
        controller.host.start_scan(active=True, duplicates=False)
        controller.host.take_commands()
        controller.host.handle_timeout(1000.0)
        controller.host.handle_timeout(1001.9)
        assert controller.host.state == "up"
        controller.host.handle_timeout(1002.0)
        assert controller.host.state == "starting"


@pytest.mark.parametrize("late", [False, True])
def test_a_controller_that_tells_of_its_reset_twice(scripted: Any, late: bool) -> None:
    """As CSR's do: the command after the reset is lost, or it is answered all the same."""
    controller = scripted({0x1001: None})
    controller.host.start(controller.now)
    controller.run()
    assert [opcode for opcode, _ in controller.commands] == [0x0C03, 0x1001]
    del controller.answers[0x1001]
    controller.event(0x0E, b"\1\3\x0c\0")
    if late:
        controller.event(0x0E, b"\1\1\x10" + VERSION)
    controller.answers[0x1001] = VERSION
    controller.run()
    assert [opcode for opcode, _ in controller.commands].count(0x1001) == 2
    assert controller.host.state == "up"
    assert controller.host.take_events() == [events.Ready()]
    statistics = controller.host.statistics()
    assert (statistics["resets"], statistics["resets_unasked"]) == (0, 1)


def test_a_controller_that_tells_of_nothing_but_resets(scripted: Any) -> None:
    controller = scripted({0x1001: None}).start()
    for _ in range(100):
        controller.wait(0.1)
        controller.event(0x0E, b"\1\3\x0c\0")
    assert controller.host.state == "failed"


@pytest.mark.parametrize("pending", [False, True])
def test_a_controller_that_was_reset_by_itself_has_forgotten_everything(scripted: Any, pending: bool) -> None:
    controller = scripted({0x0406: None}).up()
    controller.bredr_link(0x40, PEER)
    controller.take()
    if pending:
        controller.host.disconnect(0x40)
        controller.run()
    controller.event(0x0E, b"\1\3\x0c\0")
    controller.run()
    assert controller.host.take_events() == [events.Disconnected(0x40, 0x03), events.Ready()]
    assert [opcode for opcode, _ in controller.commands if opcode != 0x0406][:2] == [0x0C03, 0x1001]


def test_a_broken_controller_is_refused_with_the_reason(scripted: Any) -> None:
    controller = scripted({0x1005: struct.pack("<BHBHH", 0, 10, 0, 4, 0)}).start()
    assert controller.host.take_events() == [
        events.Failed("the controller claims 4 ACL buffers of 10 octets: too few or too small")
    ]
    controller.bredr_link(0x40, PEER)
    controller.event(0x0E, b"\1\3\x0c\0")
    assert controller.host.statistics()["events_ignored"] == 2


def test_data_goes_both_ways_within_the_buffers(scripted: Any) -> None:
    controller = scripted().up()
    controller.bredr_link(0x40, PEER)
    controller.le_link(0x50, PEER)
    host = controller.host
    host.send_pdus(0x40, [pdu(bytes(1000))])
    host.send_pdus(0x50, [pdu(bytes(1000))])
    packets = host.take_acl(0.0)
    assert [len(packet) - 4 for packet in packets] == 4 * [100] + 3 * [27]
    assert host.writable_links() == []
    controller.completed((0x40, 4), (0x50, 3))
    assert len(host.take_acl(0.0)) == 7
    host.receive_acl([struct.pack("<HH", 0x2040, 8) + pdu(b"abcd")], 0.0)
    assert host.take_pdus() == [(0x40, [pdu(b"abcd")])]
    controller.unlink(0x40)
    with pytest.raises(LocalProtocolError):
        host.send_pdus(0x40, [pdu(b"")])


def test_advertisements_that_nobody_takes_are_dropped_and_nothing_else(scripted: Any) -> None:
    controller = scripted().up()
    controller.host.start_scan(active=True, duplicates=True)
    controller.take()
    for _ in range(MAX_EVENTS + 10):
        controller.le_event(0x02, b"\1\0\1" + PEER + b"\0\0")
    controller.bredr_link(0x40, PEER)
    told = controller.host.take_events()
    assert len(told) == MAX_EVENTS + 1
    assert isinstance(told[-1], events.Connected)
    assert controller.host.statistics()["advertisements_dropped"] == 10


def test_every_event_of_the_registries_is_handled(scripted: Any) -> None:
    """With zeros for parameters: nothing is left to a KeyError."""
    for registry in (HciEvent.registry, LeEvent.registry):
        for made in registry.values():
            controller = scripted().up()
            controller.host.receive_event(made.parse(bytes(made.LAYOUT.size)).pack(), 0.0)
            assert controller.host.statistics()["events_ignored"] == 0


some_events = st.builds(
    lambda code, parameters: bytes((code, len(parameters))) + parameters,
    st.sampled_from([0x13, 0x3E, *HciEvent.registry]) | st.integers(0, 255),
    st.binary(max_size=40),
)
small_le_events = st.builds(
    lambda code, parameters: bytes((0x3E, len(parameters) + 1, code)) + parameters,
    st.sampled_from(list(LeEvent.registry)),
    st.binary(max_size=60),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a class
@given(
    st.lists(st.tuples(st.booleans(), some_events | small_le_events | st.binary(max_size=40)), max_size=30),
    st.booleans(),
)
def test_octets_of_any_kind_are_survived(scripted: Any, soup: Any, started: bool) -> None:
    """Nothing but RemoteProtocolError comes out, and afterwards the controller can still be used, or restarted."""
    controller = scripted()
    if started:
        controller.up()
        controller.le_link(0x50, PEER)
        controller.host.connect(b"abcdef", 0, 0.0)
    else:
        controller.host.start(0.0)
    for is_event, octets in soup:
        try:
            if is_event:
                controller.host.receive_event(octets, controller.now)
            else:
                controller.host.receive_acl([octets], controller.now)
        except RemoteProtocolError:
            pass
        controller.host.take_pdus()
        controller.host.take_acl(0.0)
    controller.credits = 1
    controller.event(0x0E, b"\1\0\0")
    controller.wait(2 * RESET_GRACE_S)
    if controller.host.state == "failed":
        controller.start()
    assert controller.host.state == "up"
    controller.take()
    taken = {link.handle for link in controller.host.links()}
    handle = next(handle for handle in range(1, 0x0EFF) if handle not in taken)
    controller.advertise()
    controller.le_link(handle, b"zyxwvu", role=1)
    assert events.Connected(handle, b"zyxwvu", 1, 1) in controller.host.take_events()
    controller.host.receive_acl([struct.pack("<HH", 0x2000 | handle, 8) + pdu(b"abcd")], 0.0)
    assert controller.host.take_pdus() == [(handle, [pdu(b"abcd")])]


class TestBumble:
    """Against Bumble's controller, with a Bumble device on the air."""

    def collect(self, on: Any) -> list[bytes]:
        """What the peer receives on our channel."""
        got: list[bytes] = []
        on.peer.l2cap_channel_manager.register_fixed_channel(L2CAP_CID, lambda handle, payload: got.append(payload))
        return got

    async def exchange(self, on: Any, handle: int, peer_connection: Any, *, sizes: list[int]) -> None:
        got = self.collect(on)
        sent = [bytes(n % 251 for n in range(size)) for size in sizes]
        for payload in sent:
            on.host.send_pdus(handle, [pdu(payload)])
            peer_connection.device.host.send_l2cap_pdu(peer_connection.handle, L2CAP_CID, payload)
        on.pump()
        await on.until(lambda: len(on.pdus) == len(sent) and len(got) == len(sent))
        assert got == sent
        assert [payload for _, payload in on.pdus] == [pdu(payload) for payload in sent]
        assert [bytes(L2CAP_PDU(L2CAP_CID, payload)) for payload in sent] == [whole for _, whole in on.pdus]
        await on.until(lambda: on.host.links()[0].outstanding == 0)

    @pytest.mark.parametrize("extended", [False, True])
    async def test_le_central(self, on_bumble: Any, extended: bool) -> None:
        on = await on_bumble(extended=extended)
        await on.event(events.Ready)
        assert on.host.controller.extended == extended
        assert on.host.address == bytes(on.controller.public_address)
        await on.peer.start_advertising(advertising_data=b"\2\1\6", auto_restart=True)
        on.host.start_scan(active=False, duplicates=True)
        on.pump()
        advertisement = await on.event(events.Advertisement)
        assert advertisement == events.Advertisement(PEER, 2, 0, -50, b"\2\1\6")
        on.host.stop_scan()
        on.host.connect(PEER, 2, 0.0)
        on.pump()
        connected = await on.event(events.Connected)
        assert connected[1:4] == (PEER, 2, 0)
        peer_connection = await on.until(lambda: next(iter(on.peer.connections.values()), None))
        assert bytes(peer_connection.peer_address) == on.host.random_address
        await self.exchange(on, connected.handle, peer_connection, sizes=[0, 1, 23, 60, 500, 2000])
        on.host.update_connection(connected.handle, 6, 12, 0, 200)
        on.pump()
        assert await on.event(events.ConnectionUpdated) == events.ConnectionUpdated(connected.handle, 12, 0, 200)
        on.host.disconnect(connected.handle)
        on.pump()
        assert (await on.event(events.Disconnected)).handle == connected.handle
        await on.until(lambda: not on.peer.connections)

    @pytest.mark.parametrize("extended", [False, True])
    async def test_le_peripheral(self, on_bumble: Any, extended: bool) -> None:
        on = await on_bumble(extended=extended)
        on.host.start_advertising(1, AdvertisingParameters(b"\2\1\6", 100, True), 0.0)
        on.pump()
        address = Address.from_string_for_transport("C0:00:00:00:00:01", 2)
        for _ in range(2):
            connecting = on.peer.connect(address)
            peer_connection = await connecting
            connected = await on.event(events.Connected)
            assert connected[1:4] == (PEER, 2, 1)
            await on.until(lambda: on.controller.is_advertising)
            await self.exchange(on, connected.handle, peer_connection, sizes=[100])
            on.pdus.clear()
            await peer_connection.disconnect()
            assert await on.event(events.Disconnected) == events.Disconnected(connected.handle, 0x13)

    async def test_several_advertisements_on_sets_of_their_own(self, on_bumble: Any) -> None:
        on = await on_bumble(extended=True)
        texts = [b"\x03\xff\x01\x00", b"\xff\xff" + bytes(254) + b"\xc8\xff" + bytes(199)]  # one of them in pieces

        def on_air() -> list[bytes]:
            return [bytes(one.data) for one in on.controller.advertising_sets.values() if one.enabled]

        for number, text in enumerate(texts):
            on.host.start_advertising(number, AdvertisingParameters(text, 20, True), 0.0)
        await on.until(lambda: on_air() == texts)
        await on.peer.connect(Address.from_string_for_transport("C0:00:00:00:00:01", 2))
        connected = await on.event(events.Connected)
        assert connected[1:4] == (PEER, 2, 1)
        # Both have one address, and Bumble's controller connects by its first set.
        assert await on.event(events.AdvertisementAnswered) == events.AdvertisementAnswered(connected.handle, 0)
        await on.until(lambda: on_air() == texts)
        on.host.stop_advertising(0)
        await on.until(lambda: on_air() == texts[1:])

    async def test_classic_outgoing(self, on_bumble: Any) -> None:
        on = await on_bumble()
        await on.peer.set_connectable(True)
        on.host.connect(PEER_PUBLIC, 0, 0.0)
        on.pump()
        connected = await on.event(events.Connected)
        assert connected[1:4] == (PEER_PUBLIC, 0, 0)
        peer_connection = await on.until(lambda: next(iter(on.peer.connections.values()), None))
        await self.exchange(on, connected.handle, peer_connection, sizes=[0, 1, 247, 248, 3000])
        await peer_connection.disconnect()
        assert await on.event(events.Disconnected) == events.Disconnected(connected.handle, 0x13)

    async def test_classic_incoming(self, on_bumble: Any) -> None:
        on = await on_bumble()
        on.host.set_connectable(True)
        on.pump()
        peer_connection = await on.peer.connect(on.controller.public_address, transport=PhysicalTransport.BR_EDR)
        connected = await on.event(events.Connected)
        assert connected[1:4] == (PEER_PUBLIC, 0, 1)
        await self.exchange(on, connected.handle, peer_connection, sizes=[10, 1000])


def silent_to(scripted: Any, opcodes: set[int]) -> Any:
    """A controller that never answers these commands, and the host that was started on it and waited for it."""
    controller = scripted(dict.fromkeys(opcodes))
    controller.start()
    controller.wait(4.0 * 2 * (len(opcodes) + 1))
    return controller


def asked_at_start(scripted: Any) -> set[int]:
    controller = scripted().start()
    return {opcode for opcode, _ in controller.commands}


def test_silence_is_no_worse_than_a_refusal(scripted: Any) -> None:
    """One by one, and to all at once that is not the end."""
    costs = {opcode: LOSSES[commands.HciCommand.registry[opcode]].cost for opcode in asked_at_start(scripted)}
    costs[0x2001] = Cost.NOTHING  # with the legacy commands
    for opcode, cost in costs.items():
        host = silent_to(scripted, {opcode}).host
        assert host.state == ("failed" if cost is Cost.ADAPTER else "up")
        if host.state == "up":
            assert (host.supports_bredr, host.supports_le) == (cost is not Cost.BREDR, cost is not Cost.LE)
            assert list(host.lost) == [cost] * (cost is not Cost.NOTHING)
    harmless = {opcode for opcode, cost in costs.items() if cost is Cost.NOTHING}
    assert silent_to(scripted, harmless).host.lost == {}
    harmless |= {opcode for opcode, cost in costs.items() if cost is Cost.LE}
    host = silent_to(scripted, harmless).host
    assert (host.supports_bredr, host.supports_le) == (True, False)


def test_a_reset_may_cost_a_transport(scripted: Any) -> None:
    """Who scans or advertises hears of it."""
    controller = scripted().up()
    controller.host.start_scan(active=True, duplicates=False)
    controller.host.start_advertising(1, AdvertisingParameters(b"", 100, True), 0.0)
    controller.take()
    controller.answers[0x0C01] = b"\x01"
    controller.event(0x10, b"\x42")
    controller.run()
    assert controller.host.take_events() == [
        events.Ready(),
        events.ScanStopped(0x11),
        events.AdvertisingStopped(1, 0x11),
    ]
    assert not controller.host.supports_le


def test_a_page_scan_that_is_refused_is_told(scripted: Any) -> None:
    controller = scripted({0x0C1A: b"\x0c"}).up()
    controller.host.set_connectable(True)
    controller.run()
    controller.host.set_connectable(False)
    controller.run()
    assert controller.host.take_events() == [events.PageScanRefused(0x0C)]
