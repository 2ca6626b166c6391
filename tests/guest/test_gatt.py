"""docs/gatt.md: its code reads, writes and subscribes over a guest's rings, the backend and a virtual air."""

import asyncio
import re
import sys
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bumble import att, gatt

from tests import ROOT
from tests.guest import in_process
from tests.guest.in_process import user_of
from tests.support import air
from usbbtd import guest as guest_api
from usbbtd.guest import Adapter, AdapterError, ChannelClosed, NotSecure

xen, guest, api = in_process.xen, in_process.guest, in_process.api
PAGE = (ROOT / "docs/gatt.md").read_text(encoding="utf-8")
BEARER, PROGRAM, PRINTED = re.findall(r"^```(?:python)?\n(.*?)^```$", PAGE, re.M | re.S)
SENSOR = "F0:F1:F2:00:00:13"
READABLE, WRITEABLE = gatt.Characteristic.READABLE, gatt.Characteristic.WRITEABLE
SECRETLY = gatt.Characteristic.READ_REQUIRES_ENCRYPTION, gatt.Characteristic.WRITE_REQUIRES_ENCRYPTION
Properties = gatt.Characteristic.Properties


@pytest.fixture
def bearer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the page's first part."""
    module = types.ModuleType("att_bearer")
    exec(BEARER, module.__dict__)
    monkeypatch.setitem(sys.modules, "att_bearer", module)
    return module


def test_the_demo_has_the_same_code() -> None:
    (_, code) = (ROOT / "tests/demo/att_bearer.py").read_text(encoding="utf-8").split('"""\n\n', 1)
    assert code == BEARER


class Sensor:
    """A remote device with a battery of 87 %, which says 86 as soon as somebody wants to hear of changes."""

    def __init__(self, remote: air.Remote) -> None:
        self.remote = remote
        self.level = gatt.Characteristic(
            gatt.GATT_BATTERY_LEVEL_CHARACTERISTIC, Properties.READ | Properties.NOTIFY, READABLE | SECRETLY[0], b"\x57"
        )
        self.alarm = gatt.Characteristic(
            gatt.GATT_ALERT_LEVEL_CHARACTERISTIC,
            Properties.READ | Properties.WRITE,
            READABLE | WRITEABLE | SECRETLY[1],
            b"\0",
        )
        remote.device.add_service(gatt.Service(gatt.GATT_BATTERY_SERVICE, [self.level]))
        remote.device.add_service(gatt.Service(gatt.GATT_IMMEDIATE_ALERT_SERVICE, [self.alarm]))
        self.level.on(self.level.EVENT_SUBSCRIPTION, self._subscribed)

    def _subscribed(self, connection: Any, notifies: bool, indicates: bool) -> None:
        asyncio.get_running_loop().create_task(self.remote.device.notify_subscribers(self.level, b"\x56"))


@pytest.fixture
async def sensor(radio: Any) -> Sensor:
    remote = await air.Remote.start(radio, air.PEER_ADDRESS, SENSOR)
    user_of(remote, 3, mitm=False)
    return Sensor(remote)


async def silent(_: object) -> None:
    """Answers nothing, as nothing is asked."""


async def test_the_program_prints_what_the_page_says(
    api: Adapter, sensor: Sensor, bearer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def open_adapter() -> AsyncIterator[Adapter]:
        yield api

    monkeypatch.setattr(guest_api, "open_adapter", open_adapter)
    program: dict[str, Any] = {"__name__": "program"}
    exec(PROGRAM, program)
    with pytest.raises(NotSecure, match=f"connect to {SENSOR}, CID 0x0004: the link has to be encrypted: there is no"):
        await program["main"]()
    async with api.agent(silent, io_capability="none"):
        await api.pair(SENSOR, address_type="random")
    capsys.readouterr()
    await program["main"]()
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "[info" not in line] == PRINTED.splitlines()
    assert sensor.alarm.value == b"\2"


async def test_what_wants_more_security_says_so(api: Adapter, sensor: Sensor, bearer: Any) -> None:
    async with await api.open_att(SENSOR, address_type="random") as channel, bearer.gatt_client(channel) as client:
        assert channel.security == "none"
        await client.discover_services()
        (level,) = await client.discover_characteristics([gatt.GATT_BATTERY_LEVEL_CHARACTERISTIC], None)
        with pytest.raises(att.ATT_Error) as refused:
            await level.read_value()
        assert refused.value.error_code == att.ErrorCode.INSUFFICIENT_ENCRYPTION
        with pytest.raises(AdapterError, match="in use already"):
            await api.open_att(SENSOR, address_type="random")


async def test_a_device_that_asks_is_answered(api: Adapter, sensor: Sensor, bearer: Any) -> None:
    async with await api.open_att(SENSOR, address_type="random") as channel, bearer.gatt_client(channel):
        (link,) = sensor.remote.device.connections.values()
        with pytest.raises(att.ATT_Error) as refused:
            await link.gatt_client.request_mtu(100)
        assert refused.value.error_code == att.ErrorCode.REQUEST_NOT_SUPPORTED


async def test_a_request_ends_with_its_channel(api: Adapter, sensor: Sensor, bearer: Any) -> None:
    async with await api.open_att(SENSOR, address_type="random") as channel, bearer.gatt_client(channel) as client:
        (link,) = sensor.remote.device.connections.values()
        sensor.remote.device.gatt_server.on_gatt_pdu = lambda *_: None
        asking = asyncio.create_task(client.request_mtu(100))
        await asyncio.sleep(0)
        await link.disconnect()
        for late in (asking, client.discover_services()):
            with pytest.raises(ChannelClosed):
                await late
