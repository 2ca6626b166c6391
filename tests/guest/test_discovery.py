"""What a program hears of devices on both transports."""

import asyncio
import errno
from typing import Any

import pytest
from bumble import hci
from bumble.core import AdvertisingData

from tests.guest import in_process
from tests.guest.conftest import Pair
from tests.support import air
from usbbtd.abi.layout import constants
from usbbtd.guest import Adapter, AdapterError, ChannelClosed, Discovered, open_adapter
from usbbtd.guest.discovery import Discovery, Filter, _merged
from usbbtd.l2capif.features import KNOWS_SCAN_EXTENDED
from usbbtd.l2capif.messages import ExtendedReport

xen, served, api = in_process.xen, in_process.guest, in_process.api
ADVERTISING, INQUIRY, NAME = (
    constants.L2CAPIF_REPORT_ADVERTISING,
    constants.L2CAPIF_REPORT_INQUIRY,
    constants.L2CAPIF_REPORT_NAME,
)
BATTERY = "180f"


@pytest.fixture
def guest(served: Any) -> Any:
    return served


async def collect(found: Discovery, wanted: dict[str, str]) -> dict[str, Discovered]:
    """What is known of each, by address, when all have the names that are wanted."""
    known: dict[str, Discovered] = {}
    async for device in found:
        known[device.address] = device
        if {address: each.name for address, each in known.items()} == wanted:
            return known
    raise AssertionError


async def test_both_transports_are_one(api: Adapter, peer: air.Remote) -> None:
    await peer.device.send_command(hci.HCI_Write_Scan_Enable_Command(scan_enable=3))
    await peer.device.stop_advertising()
    advertised = [(0x03, b"\x0f\x18"), (AdvertisingData.COMPLETE_LOCAL_NAME, b"sensor"), (0x19, b"\x41\x03")]
    await peer.device.start_advertising(advertising_data=bytes(AdvertisingData(advertised)), auto_restart=True)
    async with api.discover() as devices:
        known = await collect(devices, {air.PEER_ADDRESS: air.PEER_ADDRESS, air.PEER_LE_ADDRESS: "sensor"})
    bredr, le = known[air.PEER_ADDRESS], known[air.PEER_LE_ADDRESS]
    assert (bredr.address_type, bredr.connectable, bredr.appearance) == ("bredr", True, None)
    assert bredr.class_of_device is not None
    assert (le.address_type, le.connectable, le.class_of_device) == ("random", True, None)
    assert (le.services, le.kind, le.rssi) == ((BATTERY,), "heart rate sensor", -50)
    async with api.discover(service=0x180F, transports=["le"], every=True) as devices:
        heard = [(await anext(devices)).address for _ in range(3)]
    assert heard == [air.PEER_LE_ADDRESS] * 3


async def test_a_scan_response_is_advertised(api: Adapter, dongle: air.DirectDongle) -> None:
    async with api.advertise(b"\x02\x01\x06", scan_response=b"\x05\x09name", interval_ms=20):
        await air.turns(lambda: b"\x09\x20\x20\x06\x05\x09name" in [command[:10] for command in dongle.commands])
    with pytest.raises(AdapterError) as failed:
        async with api.advertise(bytes(32), interval_ms=20):
            pass
    assert failed.value.errno == errno.EOPNOTSUPP  # a controller that sends 31


async def test_it_ends_with_the_service(served: Any, api: Adapter) -> None:
    async with api.discover() as devices:
        waiting = asyncio.create_task(anext(devices))
        await asyncio.sleep(0)
        served.connection.close()
        for _ in range(2):
            with pytest.raises(ChannelClosed):
                await waiting
            waiting = asyncio.create_task(anext(devices))
        with pytest.raises(ChannelClosed):
            await waiting


def report(source: int, data: bytes = b"", *, rssi: int = -40, device: int = 0, event: int = 0) -> ExtendedReport:
    kind = 0 if source else 2
    return ExtendedReport(bytes(6), kind, source, event, rssi, device, data)


def merge(*reports: ExtendedReport) -> Discovered:
    device = Discovered("00:00:00:00:00:00", "bredr")
    for each in reports:
        device = _merged(device, each)
    return device


def test_what_is_known_grows() -> None:
    device = merge(
        report(INQUIRY, device=0x240404),
        report(NAME, b"Ears\0\0", rssi=127),
        report(INQUIRY, b"\x03\x03\x1e\x11", rssi=-61, device=0x240404),
    )
    assert (device.name, device.rssi, device.kind, device.services) == ("Ears", -61, "headset", ("111e",))
    device = merge(
        report(ADVERTISING, b"\x03\xff\x4c\x00", event=0),
        report(ADVERTISING, b"\x03\x19\xc1\x03", event=4, rssi=127),
        report(ADVERTISING, b"", event=3),
    )
    assert (device.connectable, device.manufacturer, device.kind, device.rssi) == (True, 0x4C, "keyboard", -40)
    assert device.class_of_device is None


def test_services_of_a_device_without_end_are_not_kept() -> None:
    device = merge(*(report(ADVERTISING, b"\x03\x03" + number.to_bytes(2, "little")) for number in range(100)))
    assert len(device.services) == 64


def test_devices_without_end_are_not_kept() -> None:
    connection: Any = type("", (), {"knows": KNOWS_SCAN_EXTENDED})()
    found = Discovery(connection, ["le"], Filter(), active=True, every=False)
    for number in range(2000):
        assert found._merge(report(ADVERTISING)._replace(address=number.to_bytes(6, "little")))
    assert len(found._known) == 1024
    assert found._merge(report(ADVERTISING)._replace(address=(1999).to_bytes(6, "little"))) is None
    assert found._merge(report(ADVERTISING)._replace(address=bytes(6)))


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Filter(), True),
        (Filter(service="180f"), True),
        (Filter(service="180a"), False),
        (Filter(manufacturer=0x4C), True),
        (Filter(manufacturer=0), False),
        (Filter(name="thing"), True),
        (Filter(name="thin", service="180a"), False),
    ],
)
def test_filters(wanted: Filter, fits: bool) -> None:
    device = Discovered("", "random", name="A Thing", services=("180f",), manufacturer=0x4C)
    assert wanted.matches(device) is fits
    assert not Filter(name="a").matches(device._replace(name=None))


async def discovers() -> list[object]:
    async with open_adapter() as adapter:
        seen: list[object] = []
        async with adapter.discover(name="ears") as devices:
            seen.append([*(await anext(devices))])
        async with adapter.discover(manufacturer=1, transports=["le"]):
            pass
        wrong: list[dict[str, Any]] = [
            {"service": "x"}, {"manufacturer": -1}, {"name": 5}, {"transports": ["usb"]}, {"every": 1},
        ]  # fmt: skip
        for arguments in wrong:
            with pytest.raises((ValueError, TypeError)):
                adapter.discover(**arguments)
        return seen


def test_a_service_on_a_simulated_xen(pair: Pair) -> None:
    pair.start_backend()
    headset = ["C0:FF:EE:00:00:13", "bredr", -61, "Ears\x1b[2J", True, 0x240404, None, ["111e"], None]
    assert pair.guest.run(discovers) == [headset]


async def of_an_old_service() -> str:
    async with open_adapter() as adapter:
        async with adapter.scan() as scan:
            assert (await anext(scan)).name == "echo"
        with pytest.raises(AdapterError, match="advertise so much: usbbtd in the driver domain is too old"):
            async with adapter.advertise(b"", scan_response=b"\x02\x0a\x00"):
                pass
        with pytest.raises(AdapterError) as failed:
            adapter.discover()
        return str(failed.value)


def test_an_old_service_discovers_nothing(pair: Pair) -> None:
    pair.start_backend(True, False, False)
    said = "discover: usbbtd in the driver domain is too old for that: update it, or scan, for LE alone"
    assert pair.guest.run(of_an_old_service) == said
