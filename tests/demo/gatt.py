"""What a guest of the demo does with a sensor by GATT; the only one that needs Bumble."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bumble.att import ATT_Error, ErrorCode
from bumble.core import UUID
from bumble.gatt_client import CharacteristicProxy, Client

from tests.demo import plan
from tests.demo.att_bearer import gatt_client
from usbbtd.guest import Adapter, SecurityLevel

NOTIFICATIONS = 3
INTERVAL_MS = 10


@asynccontextmanager
async def open_client(adapter: Adapter, address: str, security: SecurityLevel = "none") -> AsyncIterator[Client]:
    """Opens ATT with a device of LE that has a random address, for a client of its GATT server. Raises AdapterError."""
    async with (
        await adapter.open_att(address, address_type="random", security=security) as channel,
        gatt_client(channel) as client,
    ):
        yield client


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
