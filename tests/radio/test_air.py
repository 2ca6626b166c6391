"""Scans and advertising of an adapter with a real controller and a remote device with Bumble's stack."""

import asyncio

import pytest
from structlog.testing import capture_logs

from tests.radio.test_adapter import SET_SCAN_PARAMETERS, advertise, connect, octets, scan_user
from tests.support import air
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import Advertiser
from usbbtd.radio.errors import InUse, NotSupported


async def test_a_scan_reports_until_it_is_stopped(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    scan, reports, _ = scan_user(duplicates=True)
    adapter.air.start_scan(scan)
    async with asyncio.timeout(air.TIME_LIMIT_S):
        while (await reports.get()).address != octets(air.PEER_LE_ADDRESS):
            pass
    second, more_reports, _ = scan_user(duplicates=True)
    adapter.air.start_scan(second)
    adapter.air.stop_scan(scan)
    adapter.air.stop_scan(scan)
    while not reports.empty():
        reports.get_nowait()
    async with asyncio.timeout(air.TIME_LIMIT_S):
        await more_reports.get()
    assert reports.empty()
    adapter.air.stop_scan(second)
    await air.turns(lambda: dongle.commands[-1] == b"\x0c\x20\x02\x00\x00")  # LE Set Scan Enable: off


async def test_one_user_advertises(adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote) -> None:
    first = advertise(adapter)
    with pytest.raises(InUse):
        advertise(adapter)
    adapter.air.stop_advertising(Advertiser(b"other", 20, True))
    with pytest.raises(InUse):
        advertise(adapter)
    adapter.air.stop_advertising(first)
    adapter.air.stop_advertising(first)
    advertise(adapter)


async def test_what_the_controller_never_answers_is_refused_and_the_rest_goes_on(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    dongle.deaf = {SET_SCAN_PARAMETERS}
    seen = []
    adapter.observe(lambda: seen.append((adapter.powered, adapter.air.can_scan, adapter.air.can_advertise)))
    scan, _, ended = scan_user()
    with capture_logs() as logs:
        adapter.air.start_scan(scan)
        async with asyncio.timeout(air.TIME_LIMIT_S):
            await ended.wait()
        for _ in range(3):
            with pytest.raises(NotSupported):
                adapter.air.start_scan(scan_user()[0])
        advertise(adapter)
        peer.serve(air.LE)
        channel = await connect(adapter, air.LE)
    assert channel.open
    assert seen[-1] == (True, False, True)
    assert [log["missing"] for log in logs if log["event"] == "command given up"] == ["scanning"]
    assert not [log for log in logs if log["event"] == "adapter down"]
    assert [text.split(":")[0] for text in adapter.info().missing] == ["scanning"]
