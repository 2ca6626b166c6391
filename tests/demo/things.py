"""The remote devices that want more than a connection: a lock, which pairs, and a sensor, which serves GATT."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from bumble.att import Attribute
from bumble.core import UUID
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.keys import MemoryKeyStore
from bumble.l2cap import ClassicChannelSpec, L2CAP_Connection_Request, L2CAP_Connection_Response
from bumble.pairing import PairingConfig, PairingDelegate

from tests.demo import plan

_TEMPERATURE, _INTERVAL = struct.Struct("<h"), struct.Struct("<H")
_COLDEST, _HOTTEST = 2000, 3000


class LockUser(PairingDelegate):  # type: ignore[misc]  # Bumble is not typed
    """Somebody who stands before the lock. ``shown`` is called with each number that it shows.

    ``says``: what is answered to it. ``agreed``: whether a number was compared, and the answer was yes.
    """

    def __init__(self, shown: Callable[[str], None]) -> None:
        super().__init__(PairingDelegate.DISPLAY_OUTPUT_AND_YES_NO_INPUT)
        self.says: asyncio.Queue[bool] = asyncio.Queue()
        self.agreed = False
        self._shown = shown

    async def compare_numbers(self, number: int, digits: int) -> bool:
        text = f"{number:0{digits}}"
        self._shown(f"{text[:3]} {text[3:]}")
        self.agreed = await self.says.get()
        return self.agreed


class Lock:
    """Takes channels, with ``accept``, on encrypted links only, and only after numbers were compared.

    ``shown``: see LockUser.
    """

    def __init__(
        self, device: Device, spec: ClassicChannelSpec, accept: Callable[[Any], None], shown: Callable[[str], None]
    ) -> None:
        self.user = LockUser(shown)
        self._device = device
        self._manager: Any = device.l2cap_channel_manager
        device.keystore = MemoryKeyStore()
        device.pairing_config_factory = lambda _: PairingConfig(mitm=True, delegate=self.user)
        device.create_l2cap_server(spec, accept)
        # Bumble's stack has no level of security for a server.
        self._take = self._manager.on_l2cap_connection_request
        self._manager.on_l2cap_connection_request = self._take_encrypted

    async def start(self) -> None:
        await self._device.set_discoverable(True)
        await self._device.set_connectable(True)

    def _take_encrypted(self, connection: Connection, cid: int, request: L2CAP_Connection_Request) -> None:
        if connection.is_encrypted and self.user.agreed:
            self._take(connection, cid, request)
            return
        result = L2CAP_Connection_Response.Result.CONNECTION_REFUSED_SECURITY_BLOCK
        refusal = L2CAP_Connection_Response(
            identifier=request.identifier, destination_cid=0, source_cid=request.source_cid, result=result, status=0
        )
        self._manager.send_control_frame(connection, cid, refusal)


class Sensor:
    """Measures a temperature, which rises by a hundredth of a degree each time; it pairs with anybody."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._interval_ms = 1000
        self._measured = _COLDEST
        permissions, properties = Attribute.Permissions, Characteristic.Properties
        encrypted = permissions.READABLE | permissions.READ_REQUIRES_ENCRYPTION
        self._temperature = Characteristic(
            UUID(plan.TEMPERATURE), properties.READ | properties.NOTIFY, encrypted,
            CharacteristicValue(read=lambda _: self._value()),
        )  # fmt: skip
        interval = Characteristic(
            UUID(plan.SENSOR_INTERVAL), properties.READ | properties.WRITE,
            encrypted | permissions.WRITEABLE | permissions.WRITE_REQUIRES_ENCRYPTION,
            CharacteristicValue(read=lambda _: _INTERVAL.pack(self._interval_ms), write=self._write_interval),
        )  # fmt: skip
        device.add_service(Service(UUID(plan.SENSOR_SERVICE), [self._temperature, interval]))
        device.keystore = MemoryKeyStore()
        device.pairing_config_factory = lambda _: PairingConfig(
            mitm=False, delegate=PairingDelegate(), identity_address_type=PairingConfig.AddressType.RANDOM
        )
        self._measuring: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._device.start_advertising(auto_restart=True)
        self._measuring = asyncio.create_task(self._measure())

    def _value(self) -> bytes:
        return _TEMPERATURE.pack(self._measured)

    def _write_interval(self, _: Connection, untrusted_value: bytes) -> None:
        if len(untrusted_value) == _INTERVAL.size:
            self._interval_ms = max(1, *_INTERVAL.unpack(untrusted_value))
            self._restart()

    def _restart(self) -> None:
        assert self._measuring is not None  # it was started before anybody could write
        self._measuring.cancel()
        self._measuring = asyncio.create_task(self._measure())

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(self._interval_ms / 1000)
            self._measured = _COLDEST if self._measured >= _HOTTEST else self._measured + 1
            await self._device.notify_subscribers(self._temperature, self._value())
