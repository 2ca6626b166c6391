"""The two ends of a cell: an adapter with a dongle on an air, and there, too, Bumble's stack or a second usbbtd."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

import structlog
from bumble import hci
from bumble.att import Attribute
from bumble.device import Device, DeviceConfiguration
from bumble.gatt import Characteristic, Service
from bumble.keys import MemoryKeyStore
from bumble.pairing import PairingConfig, PairingDelegate

from tests.matrix.cells import CARRIERS
from tests.sim.plugged import plug
from tests.sim.shim import Shim
from tests.sim.virtual_air import VirtualAir, new_host
from tests.support import air
from tests.support.pairing import AirAgent, Notes, RemoteUser
from usbbtd.bluetooth import (
    DISPLAY_ONLY,
    DISPLAY_YES_NO,
    KEYBOARD_ONLY,
    LE,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    NO_INPUT_NO_OUTPUT,
)
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import Advertiser
from usbbtd.radio.channel import Offer, RadioChannel
from usbbtd.radio.security import BondStore

ATT_CID, ATT_MTU = 4, 517
READ, READ_RESPONSE = 0x0A, 0x0B
VALUE = b"within"
SDUS = [bytes((size & 0xFF,)) * size for size in (1, 190, 700, 2048)]
TIME_LIMIT_S = 15


class IoPair(NamedTuple):
    """What people have at both ends, so that pairing comes to a level: ours, a Bumble device's, a usbbtd's."""

    ours: int
    bumble: Any
    usbbtd: int


_NOTHING = IoPair(NO_INPUT_NO_OUTPUT, PairingDelegate.NO_OUTPUT_NO_INPUT, NO_INPUT_NO_OUTPUT)
IO = {
    LEVEL_NONE: _NOTHING,
    LEVEL_ENCRYPTED: _NOTHING,
    LEVEL_AUTHENTICATED: IoPair(DISPLAY_ONLY, PairingDelegate.KEYBOARD_INPUT_ONLY, KEYBOARD_ONLY),
    LEVEL_SECURE: IoPair(DISPLAY_YES_NO, PairingDelegate.DISPLAY_OUTPUT_AND_YES_NO_INPUT, DISPLAY_YES_NO),
}
#: What a server of attributes wants of the link.
_PERMISSIONS = {
    LEVEL_NONE: 0,
    LEVEL_ENCRYPTED: Attribute.Permissions.READ_REQUIRES_ENCRYPTION,
    LEVEL_AUTHENTICATED: Attribute.Permissions.READ_REQUIRES_AUTHENTICATION,
    LEVEL_SECURE: Attribute.Permissions.READ_REQUIRES_AUTHENTICATION,
}


async def start_adapter(
    on: VirtualAir, le_address: str, shim: Shim | None = None, *, bonds: BondStore | None = None
) -> SharedAdapter:
    """Returns an adapter that is up."""
    limits = L2capLimits(mps=1021, rtx_s=1, drain_s=0.5)
    random_address = air.octets(le_address)
    adapter = SharedAdapter(
        random_address=random_address, command_timeout_s=2, limits=limits, log=structlog.get_logger(), bonds=bonds
    )
    await adapter.take_dongle(H2Dongle(await plug(on, shim)))
    await adapter.wait_powered()
    return adapter


async def settle(adapter: SharedAdapter) -> None:
    """Waits until its controller has done what it was told: listens, and advertises."""
    controller = air.controller_of(adapter)
    await air.turns(lambda: not controller._flush_scheduled and controller.host._commands.deadline is None)


class Peer(Protocol):
    """The other end. ``address``: as adapters want it, with its type."""

    def address(self, transport: int) -> tuple[bytes, int]: ...

    async def prove(self, channel: RadioChannel) -> None:
        """Checks that data comes over an open channel, both ways."""

    def close(self) -> None:
        """Ends the peer."""


class BumblePeer:
    """A device with Bumble's stack, which echoes, and lets a value be read."""

    def __init__(self, remote: air.Remote, characteristic: Characteristic) -> None:
        self._remote = remote
        self._characteristic = characteristic

    @classmethod
    async def start(
        cls, on: VirtualAir, level: int, notes: Notes, near: SharedAdapter, le_address: str = air.PEER_LE_ADDRESS
    ) -> "BumblePeer":
        configuration = DeviceConfiguration(
            name="peer", address=hci.Address(le_address), classic_enabled=True,
            classic_sc_enabled=level == LEVEL_SECURE, advertising_interval_min=20, advertising_interval_max=20,
        )  # fmt: skip
        device = Device(config=configuration, host=await new_host(on))
        device.keystore = MemoryKeyStore()
        user = RemoteUser(IO[level].bumble, notes)
        sc, identity = level != LEVEL_AUTHENTICATED, PairingConfig.AddressType.RANDOM
        device.pairing_config_factory = lambda _: PairingConfig(
            sc=sc, mitm=level > LEVEL_ENCRYPTED, delegate=user, identity_address_type=identity
        )
        permissions = Attribute.Permissions.READABLE | _PERMISSIONS[level]
        characteristic = Characteristic(
            "0000aaaa-0000-1000-8000-00805f9b34fb", Characteristic.Properties.READ, permissions, VALUE
        )
        device.add_service(Service("0000cccc-0000-1000-8000-00805f9b34fb", [characteristic]))
        remote = air.Remote(device)
        for transport in air.TRANSPORTS:
            remote.serve_echo(transport)
        await device.power_on()
        await device.set_connectable(True)
        await device.start_advertising(auto_restart=True)
        return cls(remote, characteristic)

    @property
    def device(self) -> Device:
        return self._remote.device

    def address(self, transport: int) -> tuple[bytes, int]:
        if transport == LE:
            return bytes(self._remote.device.static_address), 2
        return bytes(self._remote.device.public_address), 0

    async def prove(self, channel: RadioChannel) -> None:
        if channel.cid != ATT_CID:
            await prove_echo(channel)
            return
        user = air.User(channel)
        await user.send([bytes((READ,)) + self._characteristic.handle.to_bytes(2, "little")])
        assert await user.receive(1) == [bytes((READ_RESPONSE,)) + VALUE]

    def close(self) -> None:
        """It goes with its air."""


class UsbbtdPeer:
    """A second usbbtd, whose listeners want the level, and have an agent that may pair."""

    def __init__(self, adapter: SharedAdapter, near: SharedAdapter) -> None:
        self._adapter = adapter
        self._near = near
        self._accepting: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, on: VirtualAir, level: int, notes: Notes, near: SharedAdapter) -> "UsbbtdPeer":
        adapter = await start_adapter(on, air.PEER_LE_ADDRESS)
        peer = cls(adapter, near)
        adapter.agents.register(AirAgent(IO[level].usbbtd, max(level, LEVEL_ENCRYPTED), notes=notes))
        for transport in air.TRANSPORTS:
            adapter.channels.listen(transport, air.PSM[transport], peer._take, level)
        adapter.air.start_advertising(Advertiser(b"", 20, True))
        await settle(adapter)
        return peer

    def address(self, transport: int) -> tuple[bytes, int]:
        return (self._adapter.le_address, 2) if transport == LE else (self._adapter.address, 0)

    async def prove(self, channel: RadioChannel) -> None:
        if channel.cid == ATT_CID:  # its user has to take it
            echo_to(await self._adapter.channels.connect_fixed(self._near.le_address, 2, ATT_CID, ATT_MTU))
        await prove_echo(channel)

    def close(self) -> None:
        self._adapter.close()

    def _take(self, offer: Offer) -> None:
        task = asyncio.create_task(self._accept(offer))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _accept(self, offer: Offer) -> None:
        echo_to(await self._adapter.channels.accept(offer, air.MTU))


class Echo(air.User):
    """A user of a channel who sends back what comes."""

    def receive_sdus(self, sdus: list[bytes]) -> None:
        self.channel.release_sdus(len(sdus))
        assert self.channel.send_sdus(sdus) == len(sdus)


def echo_to(channel: RadioChannel) -> None:
    Echo(channel)


async def prove_echo(channel: RadioChannel) -> None:
    sdus = [sdu for sdu in SDUS if len(sdu) <= channel.tx_mtu]
    user = air.User(channel)
    await user.send(sdus)
    assert await user.receive(len(sdus)) == sdus


async def connect(adapter: SharedAdapter, peer: Peer, carrier: str, level: int, agent: AirAgent) -> RadioChannel:
    """Opens a channel of a cell. Raises RadioError."""
    transport = CARRIERS[carrier]
    address = peer.address(transport)
    if carrier == "ATT":
        return await adapter.channels.connect_fixed(*address, ATT_CID, ATT_MTU, level, agent)
    return await adapter.channels.connect(*address, air.PSM[transport], air.MTU, level, agent)


#: Start a peer, by its stack: on an air, for a level, with the notes of the users at both ends, for our adapter.
STARTS: dict[str, Callable[[VirtualAir, int, Notes, SharedAdapter], Coroutine[Any, Any, Peer]]] = {
    "Bumble": BumblePeer.start,
    "usbbtd": UsbbtdPeer.start,
}
