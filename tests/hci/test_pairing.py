"""Pairing, encryption and discovery through HCI: a Host on a simulated controller, with Bumble as the peer."""

import asyncio
from typing import Any

import pytest
from bumble.device import Device, DeviceConfiguration
from bumble.hci import Address
from bumble.host import Host as BumbleHost
from bumble.keys import MemoryKeyStore
from bumble.link import LocalLink
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport.common import AsyncPipeSink

from tests.hci.conftest import OnAir
from tests.sim.controller import new_controller
from tests.support.pairing import RemoteUser
from usbbtd.bluetooth import ADDRESS_BREDR, ADDRESS_LE_RANDOM
from usbbtd.hci import events
from usbbtd.hci.host import Host

OURS, PEER, PEER_RANDOM = "C0:FF:EE:00:00:10", "C0:FF:EE:00:00:20", "C0:FF:EE:00:00:2F"
PEER_ADDRESS, PEER_RANDOM_ADDRESS = bytes.fromhex("200000eeffc0"), bytes.fromhex("2f0000eeffc0")
DISPLAY_YES_NO, MITM_AND_BONDING = 1, 5
P192, P256 = 5, 8  # authenticated keys, Vol 4, Part E, 7.7.24
LTK = bytes(range(16))


class Ours(OnAir):
    """A Host with a user who knows keys, and accepts each number that he sees."""

    def __init__(self, *, secure_connections: bool) -> None:
        link = LocalLink()
        self.host = Host(random_address=bytes.fromhex("0100000000c0"), secure=True)
        self.controller = new_controller(link, "ours", OURS)
        self.controller.set_packet_sink(self)
        self.events = []
        self.keys: dict[bytes, bytes] = {}
        self.user = RemoteUser(PairingDelegate.DISPLAY_OUTPUT_AND_YES_NO_INPUT)
        configuration = DeviceConfiguration(
            name="Peer", classic_enabled=True, classic_sc_enabled=secure_connections, connectable=True,
            discoverable=True, class_of_device=0x5A020C, address=Address(PEER_RANDOM),
        )  # fmt: skip
        controller = new_controller(link, "peer", PEER)
        self.peer = Device(config=configuration, host=BumbleHost(controller, AsyncPipeSink(controller)))
        self.peer.keystore = MemoryKeyStore()
        self.peer.pairing_config_factory = lambda _: PairingConfig(delegate=self.user)
        self.peer.host.long_term_key_provider = self._long_term_key

    @staticmethod
    async def _long_term_key(_handle: int, random: bytes, diversifier: int) -> bytes | None:
        """The peer's key. Numbers that are not 0 would name a legacy one."""
        return LTK if (random, diversifier) == (bytes(8), 0) else None

    def on_packet(self, packet: bytes) -> None:
        """From our controller, in H4 framing."""
        if packet[0] == 4:
            self.host.receive_event(packet[1:], asyncio.get_running_loop().time())

    def pump(self) -> None:
        for event in self.host.take_events():
            self.events.append(event)
            self._answer(event)
        for command in self.host.take_commands():
            self.controller.on_packet(b"\1" + command)

    def _answer(self, event: events.Event) -> None:
        security = self.host.security
        match event:
            case events.LinkKeyRequested(address):
                security.answer_link_key(address, self.keys.get(address))
            case events.IoCapabilityRequested(address):
                security.answer_io_capability(address, DISPLAY_YES_NO, 0, MITM_AND_BONDING)
            case events.ConfirmationRequested(address):
                security.answer_confirmation(address, True)
            case events.LinkKeyNotified(address, key, _):
                self.keys[address] = key
            case events.LongTermKeyRequested(handle):
                security.answer_long_term_key(handle, LTK)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def connect(self) -> int:
        """Returns the handle of a BR/EDR link."""
        self.host.connect(PEER_ADDRESS, ADDRESS_BREDR, self.now())
        handle: int = (await self.event(events.Connected)).handle
        return handle

    async def encrypt(self, handle: int) -> Any:
        self.host.security.authenticate(handle)
        assert await self.event(events.Authenticated) == events.Authenticated(handle, 0)
        self.host.security.encrypt(handle)
        return await self.event(events.EncryptionChanged)


async def on_air(*, secure_connections: bool = True) -> Ours:
    ours = Ours(secure_connections=secure_connections)
    ours.host.start(ours.now())
    powered = asyncio.ensure_future(ours.peer.power_on())
    await ours.event(events.Ready)
    await ours.until(powered.done)
    return ours


@pytest.mark.parametrize(("secure_connections", "key_type", "mode"), [(True, P256, 2), (False, P192, 1)])
async def test_bredr(secure_connections: bool, key_type: int, mode: int) -> None:
    """Numeric comparison; then the next link is encrypted with the key, and nobody is asked."""
    ours = await on_air(secure_connections=secure_connections)
    handle = await ours.connect()
    assert await ours.encrypt(handle) == events.EncryptionChanged(handle, 0, mode, 16)
    assert (await ours.event(events.LinkKeyNotified)).key_type == key_type
    number = (await ours.event(events.ConfirmationRequested)).value
    assert ours.user.compared == [number]
    assert await ours.event(events.PairingCompleted) == events.PairingCompleted(PEER_ADDRESS, 0)
    ours.host.disconnect(handle)
    await ours.event(events.Disconnected)
    ours.events.clear()
    handle = await ours.connect()
    assert await ours.encrypt(handle) == events.EncryptionChanged(handle, 0, mode, 16)
    assert [type(event) for event in ours.events] == [events.LinkKeyRequested]


async def test_the_peer_begins() -> None:
    ours = await on_air()
    handle = await ours.connect()
    [connection] = await ours.until(lambda: list(ours.peer.connections.values()))
    pairing = asyncio.ensure_future(connection.authenticate())
    await ours.until(pairing.done)
    encrypting = asyncio.ensure_future(connection.encrypt())
    assert await ours.event(events.EncryptionChanged) == events.EncryptionChanged(handle, 0, 2, 16)
    await ours.until(encrypting.done)
    assert not any(isinstance(event, events.Authenticated) for event in ours.events)  # as we did not ask for it
    assert not any(ours.host.security.counters.values())


async def test_le_central() -> None:
    ours = await on_air()
    advertising = asyncio.ensure_future(ours.peer.start_advertising(auto_restart=False))
    ours.host.connect(PEER_RANDOM_ADDRESS, ADDRESS_LE_RANDOM, ours.now())
    handle = (await ours.event(events.Connected)).handle
    await ours.until(advertising.done)
    ours.host.security.start_encryption(handle, 0, 0, LTK)
    assert await ours.event(events.EncryptionChanged) == events.EncryptionChanged(handle, 0, 1, 0)


async def test_discovery() -> None:
    """An inquiry tells the device with its class; its name is read while the inquiry pauses."""
    ours = await on_air()
    ours.host.start_inquiry(duplicates=False)
    found = await ours.event(events.DeviceFound)
    assert (found.address, found.class_of_device) == (PEER_ADDRESS, 0x5A020C)
    ours.host.read_name(PEER_ADDRESS, ours.now())
    assert await ours.event(events.NameFound) == events.NameFound(PEER_ADDRESS, 0, b"Peer")
    assert await ours.event(events.DeviceFound) == found
    ours.host.stop_inquiry()
