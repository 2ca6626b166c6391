"""The pump between a dongle and the cores: a controller on a virtual air, and an user that keeps what it hears."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import structlog
from bumble import hci
from bumble.link import LocalLink

from tests.support import air
from tests.support.fixtures import NewDongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.dongles.tap import ACL_DATA, COMMAND, EVENT
from usbbtd.hci import events as hci_events
from usbbtd.l2cap import events as l2cap_events
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.controller import STUCK_S, Controller
from usbbtd.radio.stack import L2capStack

octets = air.octets

MTU = 2048
RESET, WRITE_SCAN_ENABLE = (
    code.to_bytes(2, "little") for code in (hci.HCI_RESET_COMMAND, hci.HCI_WRITE_SCAN_ENABLE_COMMAND)
)


class Sdu(NamedTuple):
    data: bytes


class User:
    """Uses a controller, and the links and channels of its ``stack``.

    ``heard``: events and SDUs, in the order in which they came. ``others``: owners of links that the stack does not
    have, by the peer's address.
    """

    stack: L2capStack

    def __init__(self) -> None:
        self.others: dict[Any, Any] = {}
        self.heard: list[Any] = []
        self.lost: list[Any] = []
        self.writable: list[Any] = []
        self._changed = asyncio.Event()

    def receive_sdus(self, sdus: list[tuple[int, int, bytes]]) -> None:
        self._hear(*(Sdu(sdu) for _, _, sdu in sdus))

    def owner_of(self, link: Any) -> Any:
        return self.others.get(link.address, self.stack)

    def link_up(self, stack: Any, link: Any) -> None:
        self._hear(link)

    def link_down(self, link: Any) -> None:
        self._hear(link)

    def receive_hci_event(self, event: Any) -> None:
        self._hear(event)

    def receive_l2cap_event(self, event: Any) -> None:
        self._hear(event)

    def link_ending(self, link: Any) -> None:
        pass

    def channels_writable(self, channels: Any) -> None:
        self.writable += channels
        self._changed.set()

    def controller_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self._changed.set()

    def of(self, kind: Any) -> Any:
        return [event for event in self.heard if isinstance(event, kind)]

    def sdus(self) -> Any:
        return [sdu.data for sdu in self.of(Sdu)]

    async def hear(self, kind: Any) -> Any:
        """The last event of a kind; waits for the first."""
        await self.until(lambda: self.of(kind))
        return self.of(kind)[-1]

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(air.TIME_LIMIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _hear(self, *events: Any) -> None:
        self.heard += events
        self._changed.set()


@pytest.fixture
async def user() -> User:
    return User()


@pytest.fixture
async def dongle(new_dongle: NewDongle) -> air.DirectDongle:
    return new_dongle()


def new_controller(dongle: Any, user: Any) -> Controller:
    made = Controller(
        dongle, user, random_address=octets(air.OUR_LE_ADDRESS), command_timeout_s=0.05, log=structlog.get_logger()
    )
    user.stack = L2capStack(made, user, user, limits=L2capLimits(mps=1021))
    return made


@pytest.fixture
async def controller(dongle: air.DirectDongle, user: User) -> AsyncIterator[Controller]:
    """Not started."""
    made = new_controller(H2Dongle(dongle), user)
    yield made
    made.close("the test is over")


def usb_of(controller: Controller) -> Any:
    assert isinstance(controller.dongle, H2Dongle)
    return controller.dongle.usb


async def start(controller: Controller, user: User) -> None:
    controller.start()
    await user.hear(hci_events.Ready)


async def link_up(controller: Controller, user: User, transport: int) -> int:
    address, address_type = air.PEER[transport]
    controller.host.connect(octets(address), address_type, controller.now())
    controller.flush_soon()
    return int((await user.hear(hci_events.Connected)).handle)


async def open_channel(controller: Controller, user: User, transport: int) -> tuple[int, int]:
    handle = await link_up(controller, user, transport)
    cid = user.stack.mux.connect(handle, air.PSM[transport], MTU, controller.now())
    controller.flush_soon()
    await user.hear(l2cap_events.ChannelOpened)
    return handle, cid


@pytest.mark.parametrize("transport", [air.BREDR, air.LE])
async def test_sdus_of_all_sizes_go_there_and_back(
    controller: Controller, user: User, peer: air.Remote, transport: int
) -> None:
    peer.serve_echo(transport)
    await start(controller, user)
    handle, cid = await open_channel(controller, user, transport)
    sent = [bytes([number]) * size for number, size in enumerate(air.SIZES)]
    for sdu in sent:
        user.stack.mux.send_sdu(handle, cid, sdu)
    controller.flush_soon()
    await user.until(lambda: len(user.sdus()) == len(sent))
    assert user.sdus() == sent


@pytest.mark.parametrize("transport", [air.BREDR, air.LE])
async def test_what_a_peer_sent_comes_before_its_disconnection_also_in_one_wake_up(
    controller: Controller, user: User, peer: air.Remote, dongle: air.DirectDongle, transport: int
) -> None:
    peer.serve(transport)
    await start(controller, user)
    await open_channel(controller, user, transport)
    remote = await peer.accepted.get()
    begin = len(user.heard)
    dongle.held = True
    for number in range(5):
        await remote.send(bytes([number]) * 100)
    (connection,) = peer.device.connections.values()
    await connection.disconnect()
    dongle.release()
    await user.hear(hci_events.Disconnected)
    kinds = [type(event) for event in user.heard[begin:]]
    assert kinds == [Sdu] * 5 + [l2cap_events.ChannelEnded, hci_events.Disconnected]
    assert user.of(l2cap_events.ChannelEnded)[0].reason == l2cap_events.LINK_LOST


async def test_an_opening_comes_before_its_first_data_also_in_one_wake_up(
    controller: Controller, user: User, peer: air.Remote, dongle: air.DirectDongle
) -> None:
    await start(controller, user)
    user.stack.mux.listen(air.BREDR, air.PSM[air.BREDR])
    controller.host.set_connectable(True)
    controller.flush_soon()
    connection = await peer.connect(air.BREDR)
    opening = asyncio.create_task(peer.open(connection, air.BREDR))
    requested = await user.hear(l2cap_events.ChannelRequested)
    user.stack.mux.accept(requested.handle, requested.cid, MTU, controller.now())
    controller.flush_soon()
    remote = await opening
    dongle.held = True
    await remote.send(b"first")
    closing = asyncio.create_task(remote.close())
    await air.turns(lambda: not closing.done() and len(dongle.waiting) >= 2)
    dongle.release()
    await user.hear(l2cap_events.ChannelEnded)
    await closing
    kinds = [type(event) for event in user.heard]
    assert kinds.index(l2cap_events.ChannelOpened) < kinds.index(Sdu) < kinds.index(l2cap_events.ChannelEnded)


async def test_a_dongle_with_little_room_is_filled_as_it_empties(
    controller: Controller, user: User, peer: air.Remote, dongle: air.DirectDongle
) -> None:
    peer.serve_echo(air.BREDR)
    await start(controller, user)
    handle, cid = await open_channel(controller, user, air.BREDR)
    dongle.bulk_room = 0
    sent = [bytes([number]) * 2000 for number in range(40)]
    rest = list(sent)
    while rest and user.stack.mux.room(handle, cid) > 0:
        user.stack.mux.send_sdu(handle, cid, rest.pop(0))
    assert rest  # the queue was full before
    controller.flush_soon()
    await air.turns(lambda: not user.stack.mux.has_pdus() or dongle.bulk_room == 0)
    assert user.sdus() == []

    def next_one() -> bool:
        dongle.make_room(1)
        if rest and user.stack.mux.room(handle, cid) > 0:
            user.stack.mux.send_sdu(handle, cid, rest.pop(0))
            controller.flush_soon()
        return len(user.sdus()) == len(sent)

    await air.turns(next_one)
    assert user.sdus() == sent
    assert (handle, cid) in user.writable


@pytest.mark.parametrize(
    ("low", "high", "latency", "timeout", "accepted"),
    [
        (6, 6, 0, 10, True),
        (24, 40, 4, 500, True),
        (40, 24, 0, 500, False),
        (24, 40, 4, 50, False),  # 4 events may be missed, 5 times 50 ms: the link would not outlive that
    ],
)
async def test_a_peripheral_gets_the_parameters_that_are_sound(
    controller: Controller,
    user: User,
    peer: air.Remote,
    low: int,
    high: int,
    latency: int,
    timeout: int,
    accepted: bool,
) -> None:
    await start(controller, user)
    await link_up(controller, user, air.LE)
    (connection,) = peer.device.connections.values()
    answer = asyncio.create_task(
        peer.device.l2cap_channel_manager.update_connection_parameters(connection, low, high, latency, timeout)
    )
    async with asyncio.timeout(air.TIME_LIMIT_S):
        assert await answer == (0 if accepted else 1)
    await air.turns(lambda: any(command[:2] == b"\x13\x20" for command in usb_of(controller).commands) is accepted)


async def test_a_dongle_that_breaks_the_protocol_is_given_up(
    controller: Controller, user: User, dongle: air.DirectDongle
) -> None:
    await start(controller, user)
    for _ in range(3):
        dongle.inject([b"\x13\x01\x05"])  # Number_Of_Completed_Packets for 5 links without one
    (reason,) = user.lost
    assert reason.startswith("the dongle broke the protocol: ")
    assert dongle.closed


async def test_a_dongle_that_goes_away_is_lost_once(
    controller: Controller, user: User, dongle: air.DirectDongle
) -> None:
    await start(controller, user)
    dongle.unplug()
    controller.close("again")
    dongle.inject([b"\x0e"])
    controller.flush_soon()
    await asyncio.sleep(0)
    assert user.lost == ["unplugged"]


async def test_a_dongle_that_is_lost_while_it_starts(
    controller: Controller, user: User, dongle: air.DirectDongle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dongle, "start", lambda receiver: receiver.dongle_lost("gone already"))
    controller.start()
    assert user.lost == ["gone already"]
    assert dongle.commands == []


async def test_a_controller_that_is_silent_once_is_reset_and_goes_on(
    controller: Controller, user: User, dongle: air.DirectDongle
) -> None:
    await start(controller, user)
    dongle.loses = {WRITE_SCAN_ENABLE}
    controller.host.set_connectable(True)
    controller.flush_soon()
    await user.until(lambda: len(user.of(hci_events.Ready)) == 2)
    assert user.lost == []
    assert controller.host.statistics()["resets"] == 1


async def test_a_controller_that_stays_silent_is_given_up(
    controller: Controller, user: User, dongle: air.DirectDongle
) -> None:
    await start(controller, user)
    dongle.deaf = {WRITE_SCAN_ENABLE, RESET}
    controller.host.set_connectable(True)
    controller.flush_soon()
    await user.until(lambda: user.lost)
    assert len(user.lost) == 1
    assert "reset" in user.lost[0]
    assert user.of(hci_events.Failed) == []  # users hear controller_lost instead
    assert dongle.closed


async def test_a_tap_is_shown_everything_in_both_directions_until_it_is_out(
    controller: Controller, user: User, peer: air.Remote, dongle: air.DirectDongle
) -> None:
    shown: list[Any] = []
    controller.set_tap(lambda received, packet_type, packets: shown.extend((received, packet_type, p) for p in packets))
    peer.serve_echo(air.BREDR)
    await start(controller, user)
    handle, cid = await open_channel(controller, user, air.BREDR)
    user.stack.mux.send_sdu(handle, cid, b"seen")
    controller.flush_soon()
    await user.until(lambda: user.sdus() == [b"seen"])
    assert [packet for received, kind, packet in shown if (received, kind) == (False, COMMAND)] == dongle.commands
    assert {(received, kind) for received, kind, _ in shown if kind != COMMAND} == {
        (False, ACL_DATA), (True, ACL_DATA), (True, EVENT)
    }  # fmt: skip
    assert [received for received, kind, packet in shown if packet.endswith(b"seen")] == [False, True]
    controller.set_tap(None)
    count = len(shown)
    user.stack.mux.send_sdu(handle, cid, b"unseen")
    controller.flush_soon()
    await user.until(lambda: user.sdus() == [b"seen", b"unseen"])
    assert len(shown) == count


async def test_a_controller_that_is_waited_for_in_vain_is_noticed(
    controller: Controller, user: User, dongle: air.DirectDongle
) -> None:
    await start(controller, user)
    assert not controller.is_stuck()
    dongle.deaf = {WRITE_SCAN_ENABLE}
    controller.host.set_connectable(True)
    controller.flush_soon()
    await user.until(lambda: len(user.of(hci_events.Ready)) == 2)
    assert not controller.is_stuck()
    assert controller._timer
    controller._timer.cancel()
    controller.now = lambda: asyncio.get_running_loop().time() + 2 * STUCK_S
    assert controller.is_stuck()
    controller.close("it is over")
    assert not controller.is_stuck()


EVENT_OF_45 = bytes((0x3E, 43, 0x02)) + bytes(42)
RESET_ANSWER = bytes.fromhex("0e0401030c00")


class Deaf(air.DirectDongle):
    """Its controller falls silent when the test says so; then only the test speaks, until Reset."""

    def fall_silent(self) -> None:
        self._controller.set_packet_sink(None)

    def wake(self) -> None:
        self._controller.set_packet_sink(self)


@pytest.mark.parametrize(
    ("interrupts", "bulks"),
    [
        pytest.param([EVENT_OF_45[:16]], [], id="event"),
        pytest.param([EVENT_OF_45[:1]], [], id="octet"),
        pytest.param([], [b"\x40\x20\x0c\x00\x08\x00"], id="data"),
        pytest.param([EVENT_OF_45[:32]], [b"\x40"], id="both"),
    ],
)
async def test_streams_begin_anew_with_the_controller(
    radio: LocalLink, user: User, peer: air.Remote, interrupts: list[bytes], bulks: list[bytes]
) -> None:
    """Half a packet, silence, Reset: its answer is not the rest of that packet."""
    dongle = Deaf(radio)
    controller = new_controller(H2Dongle(dongle), user)
    await start(controller, user)
    dongle.fall_silent()
    dongle.inject(interrupts, bulks)
    controller.host.set_connectable(True)
    controller.flush_soon()
    await air.turns(lambda: dongle.commands[-1][:2] == RESET)
    dongle.inject([EVENT_OF_45[16:32], EVENT_OF_45[32:]], bulks)  # what was under way
    dongle.wake()
    dongle.send_control(bytes((0x20, 0, 0, 0, 0, 0, 3, 0)), RESET + b"\0")
    await air.turns(lambda: dongle.commands[-1][:2] != RESET)
    dongle.inject([], bulks)  # what the other endpoint had kept
    await user.until(lambda: len(user.of(hci_events.Ready)) == 2)
    assert controller.host.state == "up"
    assert controller.statistics()["dongle_transfers_ignored"] == 2 + 2 * len(bulks)
    handle, cid = await open_channel_served(controller, user, peer)
    assert user.stack.mux.channel(handle, cid) is not None
    assert user.lost == []
    controller.close("the test is over")


async def open_channel_served(controller: Controller, user: User, peer: air.Remote) -> tuple[int, int]:
    peer.serve(air.BREDR)
    return await open_channel(controller, user, air.BREDR)


@pytest.mark.parametrize("which", ["event", "data"])
async def test_a_transfer_that_fails_in_the_middle_of_a_packet_costs_that_packet(
    controller: Controller, user: User, dongle: air.DirectDongle, which: str
) -> None:
    await start(controller, user)
    if which == "event":
        dongle.inject([EVENT_OF_45[:16], None, bytes.fromhex("050400400013")])
        assert controller.host.statistics()["link_events_stray"] == 1
    else:
        dongle.inject([], [b"\x40\x20\x0c\x00\x08\x00", None, bytes.fromhex("4020020000000000")[:6]])
        await asyncio.sleep(0)
        dongle.inject([], [bytes.fromhex("ff2f040000000400")])
        assert controller.host.statistics()["acl_unknown_handle"] == 1
    assert controller.statistics()["dongle_transfers_failed"] == 1


class PlainOwner:
    """Owns links without L2CAP, and sends each PDU back."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.echoes: list[Any] = []

    def link_up(self, link: Any) -> None:
        self.heard.append(link)

    def link_down(self, link: Any) -> None:
        self.heard.append(link)

    def receive_pdus(self, handle: Any, untrusted_pdus: Any, now: Any) -> None:
        self.heard += [(handle, pdu) for pdu in untrusted_pdus]
        self.echoes += untrusted_pdus

    def has_pdus(self) -> Any:
        return bool(self.echoes)

    def take_pdus(self, handle: Any, limit: Any) -> Any:
        pdus, self.echoes = self.echoes[:limit], self.echoes[limit:]
        return pdus

    def deliver(self) -> None: ...
    def sent(self) -> None: ...
    def next_timeout(self) -> None: ...
    def handle_timeout(self, now: Any) -> None: ...


async def test_an_owner_has_its_links_to_itself(controller: Controller, user: User, peer: air.Remote) -> None:
    other = user.others[octets(air.PEER_LE_ADDRESS)] = PlainOwner()
    controller.serve(other)
    await start(controller, user)
    handle, cid = await open_channel_served(controller, user, peer)
    controller.host.connect(octets(air.PEER_LE_ADDRESS), 2, controller.now())
    controller.flush_soon()
    await air.turns(lambda: other.heard)
    (link,), connection = other.heard, peer.links[air.LE]
    received = []
    peer.device.l2cap_channel_manager.register_fixed_channel(0x3F, lambda _, data: received.append(data))
    sent = [bytes([number]) * 100 for number in range(20)]
    for data in sent:
        peer.device.send_l2cap_pdu(connection.handle, 0x3F, data)
    user.stack.mux.send_sdu(handle, cid, b"to the channel")
    controller.flush_soon()
    await air.turns(lambda: len(received) == len(sent))
    assert received == sent
    assert other.heard[1:] == [(link.handle, b"\x64\0\x3f\0" + data) for data in sent]
    remote = await peer.accepted.get()
    assert await remote.recv() == b"to the channel"
    await connection.disconnect()
    await air.turns(lambda: isinstance(other.heard[-1], hci_events.Disconnected))
    assert [event.handle for event in user.of(hci_events.Connected)] == [handle]
    assert user.of(hci_events.Disconnected) == []
    assert [user.stack.mux.statistics()[of] for of in ("links", "pdus_without_link")] == [1, 0]
