"""Scans and advertisements of guests, over a virtual air."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bumble import hci

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from tests.support.fixtures import NewDongle
from usbbtd.backends.vl2cap.air import MAX_QUEUED_REPORTS, GuestAdvertisement, GuestScan
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.guest.connection import SharedStream
from usbbtd.hci.events import Advertisement
from usbbtd.l2capif.messages import ExtendedReport, ScanReport, unpack_extended_report, unpack_report
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.air import Advertiser
from usbbtd.radio.errors import NoDongle

GUEST, DRIVER = 7, 3
xen, guest = connection.xen, connection.guest
IN_CONS = 64  # in the page of indices
PEER = air.octets(air.PEER_ADDRESS)
REPORT = Advertisement(bytes(range(6)), 2, 0, -40, bytes(31))


class FrontUser:
    def __init__(self) -> None:
        self.woken = asyncio.Event()

    def receive_event(self) -> None:
        self.woken.set()

    def connection_lost(self) -> None:
        pass


class Scanning:
    def __init__(self, adapter: SharedAdapter, xen: Any, *, extended: bool = False, transport: int = air.LE) -> None:
        self.ended: list[Any] = []
        self.failed: list[Any] = []
        self.user = FrontUser()
        self.shared = SharedStream(xen, DRIVER, 1, self.user, self.failed.append)
        self.scan = GuestScan(
            adapter, transport=transport, active=True, duplicates=True, extended=extended, ended=self.ended.append,
            failed=self.failed.append,
        )  # fmt: skip
        self.scan.start(GuestStream(xen, GUEST, self.shared.ref, self.shared.port, 5, self.scan.guest_event))

    def read(self) -> list[ScanReport]:
        return [unpack_report(message) for message in self.read_messages()]

    def read_messages(self) -> list[bytes]:
        messages, notify = self.shared.ring.read()
        if notify:
            self.shared.notify()
        return messages

    def close(self) -> None:
        self.scan.close()
        self.scan.close()
        self.shared.close()


@pytest.fixture
async def scanning(
    adapter: SharedAdapter, dongle: air.DirectDongle, plain_xen: Callable[[], Any]
) -> AsyncIterator[Scanning]:
    xen = plain_xen()
    made = Scanning(adapter, xen)
    yield made
    made.close()
    assert xen.held == (0, 0, 0)


async def test_a_scan_tells_of_the_peer(scanning: Scanning, peer: air.Remote) -> None:
    found = None
    while found != air.octets(air.PEER_LE_ADDRESS):
        scanning.user.woken.clear()
        found = next((report.address for report in scanning.read()), None)
        if found is None:
            await scanning.user.woken.wait()


async def test_reports_that_the_guest_does_not_read_are_dropped_and_counted(scanning: Scanning) -> None:
    fit = 4096 // (10 + 31 + 4)
    for _ in range(fit + MAX_QUEUED_REPORTS + 7):
        scanning.scan._report(REPORT)
    assert scanning.scan.dropped == 7
    assert len(scanning.read()) == fit
    await asyncio.sleep(0)
    assert len(scanning.read()) == MAX_QUEUED_REPORTS
    scanning.scan._report(REPORT)
    assert scanning.read()[0].address == REPORT.address


@pytest.mark.parametrize("extended", [False, True])
async def test_only_extended_reports_have_room_for_long_data(
    adapter: SharedAdapter, dongle: air.DirectDongle, plain_xen: Callable[[], Any], extended: bool
) -> None:
    scanning = Scanning(adapter, plain_xen(), extended=extended)
    scanning.scan._report(REPORT._replace(event_type=3, data=bytes(range(250))))
    messages = scanning.read_messages()
    assert scanning.scan.dropped == 1 - len(messages) == 1 - extended
    for message in messages:
        assert unpack_extended_report(message) == ExtendedReport(*REPORT[:2], 0, 3, -40, 0, bytes(range(250)))
    scanning.close()


async def test_a_scan_of_bredr_tells_of_the_peer_and_of_its_name(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote, plain_xen: Callable[[], Any]
) -> None:
    await peer.device.send_command(hci.HCI_Write_Scan_Enable_Command(scan_enable=3))
    scanning = Scanning(adapter, plain_xen(), extended=True, transport=air.BREDR)
    reports: list[ExtendedReport] = []
    while len({report.source for report in reports}) < 2:
        reports += [unpack_extended_report(message) for message in scanning.read_messages()]
        await asyncio.sleep(0)
    found = next(report for report in reports if report.source == 1)
    assert (found.address, found.address_type, found.event_type) == (PEER, 0, 0)
    name = next(report for report in reports if report.source == 2)
    assert name == ExtendedReport(PEER, 0, 2, 0, 127, 0, air.PEER_ADDRESS.encode())
    scanning.close()
    assert not adapter.air.scans


async def test_a_scan_ends_with_the_dongle(scanning: Scanning, dongle: air.DirectDongle) -> None:
    scanning.scan._report(REPORT)
    dongle.unplug()
    assert len(scanning.ended) == 1
    assert len(scanning.read()) == 1
    assert scanning.shared.ended == -errno.ENODEV


async def test_a_scan_that_the_controller_refuses_ends(
    adapter: SharedAdapter, new_dongle: NewDongle, plain_xen: Callable[[], Any]
) -> None:
    refusing = new_dongle()
    await adapter.take_dongle(H2Dongle(refusing))
    await adapter.wait_powered()
    refusing.deaf = {b"\x0c\x20"}  # LE Set Scan Enable
    xen = plain_xen()
    scanning = Scanning(adapter, xen)
    await air.turns(lambda: refusing.commands[-1][:2] == b"\x0c\x20")
    refusing.inject([b"\x0e\x04\x01\x0c\x20\x0c"])  # Command Complete: Command Disallowed
    assert len(scanning.ended) == 1
    assert scanning.shared.ended == -errno.ENODEV
    scanning.close()


async def test_a_guest_that_breaks_its_scan_ends_it_once(scanning: Scanning, adapter: SharedAdapter) -> None:
    scanning.shared._indices[IN_CONS : IN_CONS + 4] = b"\xff" * 4
    for _ in range(5):
        scanning.shared.notify()
        await asyncio.sleep(0)
    scanning.scan._report(REPORT)
    assert len(scanning.ended) == 1
    assert scanning.shared.ended == -errno.EBADMSG
    assert not adapter.air.scans


async def test_a_guest_advertises_what_is_in_its_page(
    guest: Guest, dongle: air.DirectDongle, adapter: SharedAdapter
) -> None:
    page = guest.xen.grants.share(DRIVER, 1)
    page.memory[:8] = b"datscans"
    advertising = guest.send(lambda core: core.advertise_extended(page.refs[0], 3, 4))
    assert (await advertising).ret == 0
    page.close()
    await air.turns(lambda: b"\x08\x20\x20\x03dat" in [command[:7] for command in dongle.commands])
    await air.turns(lambda: b"\x09\x20\x20\x04scan" in [command[:8] for command in dongle.commands])
    assert (await guest.release(advertising.number)).ret == 0
    assert not adapter.air.advertising


async def test_advertisements_that_cannot_be(guest: Guest, dongle: air.DirectDongle) -> None:
    page = guest.xen.grants.share(DRIVER, 1)
    asked = [(page.refs[0], 32, 0), (page.refs[0], 0, 1651), (999_999, 3, 0)]
    answers = [await guest.ask(lambda core, what=what: core.advertise_extended(*what)) for what in asked]
    assert [answer.ret for answer in answers] == [-errno.EOPNOTSUPP, -errno.EINVAL, -errno.EFAULT]
    page.close()


async def test_no_scan_without_a_dongle(adapter: SharedAdapter) -> None:
    with pytest.raises(NoDongle):
        GuestScan(adapter, active=False, duplicates=False, extended=False, ended=lambda _: None, failed=lambda _: None)


async def test_advertisements_last_until_they_are_closed(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    advertisements = [GuestAdvertisement(adapter, Advertiser(b"", 20, True)) for _ in range(2)]
    await peer.connect(air.LE)
    for advertisement in advertisements:
        assert adapter.air.advertising
        advertisement.close()
        advertisement.close()
    assert not adapter.air.advertising
