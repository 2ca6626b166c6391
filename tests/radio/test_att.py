"""ATT over an adapter's fixed channel: a GATT server of Bumble's, and what others hear who try the same channel."""

import asyncio
from typing import Any

import pytest
from bumble.att import Attribute
from bumble.gatt import Characteristic, CharacteristicValue, Service

from tests.radio.test_pairing_with_bumble import COMPARED, prepare
from tests.support import air
from tests.support.pairing import AirAgent, RemoteUser
from usbbtd.bluetooth import LE, LEVEL_AUTHENTICATED, LEVEL_NONE
from usbbtd.l2cap.events import PEER_DISCONNECTED
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import RadioChannel
from usbbtd.radio.errors import InUse, NotSupported

ATT = 4
ERROR, EXCHANGE_MTU, READ, WRITE, NOTIFICATION = 0x01, 0x02, 0x0A, 0x12, 0x1B
INSUFFICIENT_AUTHENTICATION, INSUFFICIENT_ENCRYPTION = 0x05, 0x0F


class Server:
    """The GATT server of a remote device: one value for everybody, and one that wants encryption."""

    def __init__(self, peer: air.Remote) -> None:
        self.written: list[bytes] = []
        permissions = Attribute.Permissions
        properties = Characteristic.Properties
        self.open = Characteristic(
            "0000aaaa-0000-1000-8000-00805f9b34fb", properties.READ | properties.WRITE | properties.NOTIFY,
            permissions.READABLE | permissions.WRITEABLE,
            CharacteristicValue(read=lambda _: b"open", write=lambda _, value: self.written.append(value)),
        )  # fmt: skip
        self.closed = Characteristic(
            "0000bbbb-0000-1000-8000-00805f9b34fb", properties.READ,
            permissions.READABLE | permissions.READ_REQUIRES_AUTHENTICATION, b"closed",
        )  # fmt: skip
        self.device = peer.device
        self.device.add_service(Service("0000cccc-0000-1000-8000-00805f9b34fb", [self.open, self.closed]))

    async def notify(self, value: bytes) -> None:
        await self.device.notify_subscribers(self.open, value)


class Client:
    """Asks one thing at a time, as ATT's clients do (Vol 3, Part F, 3.3.2)."""

    def __init__(self, channel: RadioChannel) -> None:
        self.user = air.User(channel)

    async def ask(self, request: bytes) -> bytes:
        count = len(self.user.sdus)
        await self.user.send([request])
        return (await self.user.receive(count + 1))[-1]

    async def read(self, attribute: Any) -> bytes:
        return await self.ask(bytes((READ,)) + attribute.handle.to_bytes(2, "little"))

    async def write(self, handle: int, value: bytes) -> bytes:
        return await self.ask(bytes((WRITE,)) + handle.to_bytes(2, "little") + value)


async def open_att(
    adapter: SharedAdapter, security: int = LEVEL_NONE, agent: AirAgent | None = None, mtu: int = 517
) -> RadioChannel:
    address, address_type = air.PEER[LE]
    opening = adapter.channels.connect_fixed(air.octets(address), address_type, ATT, mtu, security, agent)
    async with asyncio.timeout(air.TIME_LIMIT_S):
        return await opening


async def test_a_value_is_read_written_and_notified(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    server = Server(peer)
    channel = await open_att(adapter)
    assert (channel.psm, channel.cid, channel.rx_mtu, channel.tx_mtu) == (0, ATT, 517, 517)
    client = Client(channel)
    assert (await client.ask(bytes((EXCHANGE_MTU, 5, 2))))[0] == EXCHANGE_MTU + 1
    assert await client.read(server.open) == bytes((READ + 1,)) + b"open"
    assert await client.write(server.open.handle, b"new") == bytes((WRITE + 1,))
    assert server.written == [b"new"]
    assert await client.write(server.open.handle + 1, b"\1\0") == bytes((WRITE + 1,))
    await server.notify(b"x" * 500)
    (notification,) = (await client.user.receive(5))[4:]
    assert notification == bytes((NOTIFICATION,)) + server.open.handle.to_bytes(2, "little") + b"x" * 500


async def test_what_wants_encryption_gets_it(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    server = Server(peer)
    prepare(peer, RemoteUser(COMPARED))
    plain = await open_att(adapter)
    error = await Client(plain).read(server.closed)
    assert (error[0], error[4]) == (ERROR, INSUFFICIENT_AUTHENTICATION)
    plain.close()
    await air.turns(lambda: adapter.statistics()["channels"] == 0)
    secured = await open_att(adapter, LEVEL_AUTHENTICATED, AirAgent())
    assert secured.link is plain.link
    assert await Client(secured).read(server.closed) == bytes((READ + 1,)) + b"closed"


async def test_one_user_has_it_at_a_time(adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote) -> None:
    Server(peer)
    channel = await open_att(adapter)
    with pytest.raises(InUse):
        await open_att(adapter)
    channel.close()
    await air.turns(lambda: adapter.statistics()["channels"] == 0)
    await open_att(adapter)


@pytest.mark.parametrize(("address_type", "cid"), [(0, ATT), (2, 5), (2, 6), (2, 0x40)])
async def test_others_are_not_for_users(
    adapter: SharedAdapter, dongle: air.DirectDongle, address_type: int, cid: int
) -> None:
    with pytest.raises(NotSupported):
        await adapter.channels.connect_fixed(air.octets(air.PEER_ADDRESS), address_type, cid, 23)


async def test_it_ends_with_its_link(adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote) -> None:
    user = air.User(await open_att(adapter))
    await peer.links[LE].disconnect()
    assert await user.closed() != PEER_DISCONNECTED
