"""Scans and advertising of an adapter with a real controller and a remote device with Bumble's stack."""

import asyncio

import pytest
import structlog
from structlog.testing import capture_logs

from tests.radio.test_adapter import SET_SCAN_PARAMETERS, advertise, connect, octets, scan_user
from tests.support import air
from tests.support.fixtures import NewDongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.hci.events import Advertisement
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import MAX_ADVERTISERS, Advertiser, Air
from usbbtd.radio.errors import Exhausted, NotSupported


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


async def test_each_scanner_gets_what_it_asked_for(adapter: SharedAdapter, dongle: air.DirectDongle) -> None:
    both = False, True
    users = [scan_user(active=active, duplicates=duplicates) for active in both for duplicates in both]
    for scan, _, _ in users:
        adapter.air.start_scan(scan)
    advertisement, response = (
        Advertisement(octets(air.PEER_LE_ADDRESS), 2, event_type, -40, b"a") for event_type in (0, 4)
    )
    for _ in range(3):
        adapter.air.receive(advertisement)
        adapter.air.receive(response)
    changed = advertisement._replace(data=b"b")
    adapter.air.receive(changed)
    heard = [[reports.get_nowait() for _ in range(reports.qsize())] for _, reports, _ in users]
    assert heard == [
        [advertisement, changed],
        [advertisement] * 3 + [changed],
        [advertisement, response, changed],
        [advertisement, response] * 3 + [changed],
    ]
    adapter.air.stop_scan(users[0][0])
    adapter.air.start_scan(users[0][0])
    adapter.air.receive(advertisement)
    assert users[0][1].get_nowait() == advertisement


async def test_a_bonded_peer_is_reported_by_its_identity(adapter: SharedAdapter, dongle: air.DirectDongle) -> None:
    identity, private = bytes.fromhex("0100000000c4"), bytes.fromhex("010203040540")
    shared = Air(lambda: adapter.air._controller(), structlog.get_logger(), resolve={private: (identity, 1)}.get)
    scan, reports, _ = scan_user()
    shared.start_scan(scan)
    stranger = Advertisement(bytes.fromhex("010203040640"), 2, 0, -40, b"a")
    shared.receive(stranger)
    shared.receive(stranger._replace(address=private))
    assert [reports.get_nowait(), reports.get_nowait()] == [
        stranger,
        stranger._replace(address=identity, address_type=1),
    ]
    assert shared.identities.locate(identity, 1) == (private, 2)


async def test_any_number_of_users_advertise_in_turns(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    """The controller has the legacy commands, and so one set."""
    users = [Advertiser(bytes((2, 0xFF, number)), 20, True) for number in range(3)]
    for user in users:
        adapter.air.start_advertising(user)

    def aired(number: int) -> bool:
        return any(command[:2] == b"\x08\x20" and command[4:7] == users[number].data for command in dongle.commands)

    await air.turns(lambda: all(aired(number) for number in range(3)))
    adapter.air.stop_advertising(Advertiser(*users[0]))  # equal, but not the one that was started
    assert adapter.statistics()["advertisements"] == 3
    for user in users * 2:
        adapter.air.stop_advertising(user)
    await air.turns(lambda: dongle.commands[-1] == b"\x0a\x20\x01\x00")
    assert not adapter.air.advertising


async def test_advertisements_have_a_limit(adapter: SharedAdapter) -> None:
    users = [advertise(adapter) for _ in range(MAX_ADVERTISERS)]
    with pytest.raises(Exhausted):
        advertise(adapter)
    adapter.air.stop_advertising(users[0])
    advertise(adapter)


async def test_what_the_controller_cannot_advertise_is_refused_with_the_reason(
    adapter: SharedAdapter, new_dongle: NewDongle
) -> None:
    too_long, nonsense = Advertiser(bytes(32), 100, False), Advertiser(bytes(32), 100, True, b"a")
    with pytest.raises(NotSupported, match="scan response"):
        adapter.air.start_advertising(nonsense)
    adapter.air.start_advertising(too_long)  # a later controller may be able to
    with capture_logs() as logs:
        await adapter.take_dongle(H2Dongle(new_dongle()))
        await adapter.wait_powered()
        await air.turns(lambda: any(log["event"] == "advertising refused by the controller" for log in logs))
    adapter.air.stop_advertising(too_long)
    with pytest.raises(NotSupported, match="32 octets of advertising data, the controller takes 31"):
        adapter.air.start_advertising(too_long)


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
