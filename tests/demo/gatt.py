"""A GATT client that exists, Bumble's, over a guest's ATT channel."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bumble.att import ATT_DEFAULT_MTU, ATT_PDU, ATT_Error, ErrorCode
from bumble.core import UUID
from bumble.gatt_client import CharacteristicProxy, Client

from tests.demo import plan
from usbbtd.guest import Adapter, Channel, ChannelClosed, SecurityLevel

NOTIFICATIONS = 3
INTERVAL_MS = 10


class AttBearer:
    """What Bumble's client takes for a connection: one that has only the channel ATT."""

    EVENT_DISCONNECTION = "disconnection"

    def __init__(self, channel: Channel) -> None:
        self.handle = 0
        self.att_mtu = ATT_DEFAULT_MTU
        self._channel = channel
        self._sending: asyncio.Queue[bytes] = asyncio.Queue()
        self._ended: list[Callable[[int], None]] = []

    def on(self, event: str, listener: Callable[[int], None]) -> None:
        assert event == self.EVENT_DISCONNECTION
        self._ended.append(listener)

    def on_att_mtu_update(self, mtu: int) -> None:
        self.att_mtu = mtu

    def send_l2cap_pdu(self, _cid: int, pdu: bytes) -> None:
        self._sending.put_nowait(pdu)

    async def run(self, client: Client) -> None:
        """Moves PDUs between the client and the channel until that ends."""
        sending = asyncio.create_task(self._send())
        try:
            while True:
                client.on_gatt_pdu(ATT_PDU.from_bytes(await self._channel.recv()))
        except ChannelClosed:
            for listener in self._ended:
                listener(0)
        finally:
            sending.cancel()

    async def _send(self) -> None:
        while True:
            await self._channel.send(await self._sending.get())


@asynccontextmanager
async def open_client(adapter: Adapter, address: str, security: SecurityLevel = "none") -> AsyncIterator[Client]:
    """Opens ATT with a device of LE that has a random address, for a client of its GATT server. Raises AdapterError."""
    async with await adapter.open_att(address, address_type="random", security=security) as channel:
        client = Client(bearer := AttBearer(channel))
        running = asyncio.create_task(bearer.run(client))
        try:
            yield client
        finally:
            running.cancel()


async def sense(adapter: Adapter) -> dict[str, Any]:
    """Has the sensor's temperature read, its interval written, and its notifications subscribed to.

    Returns what came of it: whether it refused to be read before there was encryption, the level of the link then, the
    interval that was wanted, and as it is read back, and the temperatures, the first as it was read.
    """
    address = plan.SENSOR.le_address
    async with open_client(adapter, address) as client:
        temperature, interval = await _find(client)
        refused = await _is_refused(temperature)
        paired = await adapter.pair(address, address_type="random")
        measured: asyncio.Queue[bytes] = asyncio.Queue()
        values = [await temperature.read_value()]
        await interval.write_value(INTERVAL_MS.to_bytes(2, "little"), with_response=True)
        written = int.from_bytes(await interval.read_value(), "little")
        await temperature.subscribe(measured.put_nowait)
        values += [await measured.get() for _ in range(NOTIFICATIONS)]
    temperatures = [int.from_bytes(value, "little", signed=True) for value in values]
    return {
        "refused": refused, "security": paired.security, "wanted_ms": INTERVAL_MS, "interval_ms": written,
        "temperatures": temperatures,
    }  # fmt: skip


async def _find(client: Client) -> list[CharacteristicProxy]:
    """Discovers the sensor's service: its temperature, and the interval."""
    await client.discover_services()
    (service,) = client.get_services_by_uuid(UUID(plan.SENSOR_SERVICE))
    await service.discover_characteristics()
    found = [service.get_characteristics_by_uuid(UUID(each)) for each in (plan.TEMPERATURE, plan.SENSOR_INTERVAL)]
    return [characteristic for (characteristic,) in found]


async def _is_refused(characteristic: CharacteristicProxy) -> bool:
    try:
        await characteristic.read_value()
    except ATT_Error as error:
        return bool(error.error_code == ErrorCode.INSUFFICIENT_ENCRYPTION)
    return False
