"""Inquiries of an adapter with a real controller and a remote device with Bumble's stack."""

import pytest
from bumble import hci
from structlog.testing import capture_logs

from tests.support import air
from tests.support.fixtures import NewDongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.hci.events import DeviceFound, InquiryEnded, NameFound
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.errors import NoDongle, NotSupported
from usbbtd.radio.inquiries import MAX_ASKED, MAX_NAMED, InquiryUser

INQUIRY, INQUIRY_CANCEL, READ_NAME, CANCEL_NAME = b"\x01\x04", b"\x02\x04", b"\x19\x04", b"\x1a\x04"
PEER = air.octets(air.PEER_ADDRESS)
NAMED, UNNAMED = b"\x05\x09name", b"\x05\x08shor\x03\x09n"


class Inquirer:
    """A user of an inquiry, with what it was told."""

    def __init__(self, adapter: SharedAdapter, *, names: bool = False, duplicates: bool = False) -> None:
        self.reports: list[DeviceFound | NameFound] = []
        self.ended = 0
        self.user = InquiryUser(names, duplicates, self.reports.append, self._end)
        self._air = adapter.air
        self._air.start_inquiry(self.user)

    def _end(self) -> None:
        self.ended += 1

    def stop(self) -> None:
        self._air.stop_inquiry(self.user)

    def take(self) -> list[DeviceFound | NameFound]:
        taken, self.reports[:] = self.reports[:], []
        return taken


def sent(dongle: air.DirectDongle, opcode: bytes) -> list[bytes]:
    return [bytes(command[3:]) for command in dongle.commands if command[:2] == opcode]


def found(address: bytes, data: bytes = b"", rssi: int = -50) -> DeviceFound:
    return DeviceFound(address, 0x240404, rssi, data)


def device(number: int) -> bytes:
    return number.to_bytes(6, "little")


async def test_a_device_is_found_and_says_its_name_when_it_is_asked(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    await peer.device.send_command(hci.HCI_Write_Scan_Enable_Command(scan_enable=3))
    curious, modest = Inquirer(adapter, names=True), Inquirer(adapter)
    await air.turns(lambda: len(curious.reports) == 2)
    (discovered,) = modest.reports
    assert isinstance(discovered, DeviceFound)
    assert discovered.address == PEER
    assert curious.reports == [discovered, NameFound(PEER, 0, air.PEER_ADDRESS.encode())]
    late = Inquirer(adapter, names=True)
    await air.turns(lambda: late.reports == curious.reports)
    assert len(sent(dongle, READ_NAME)) == 1
    assert adapter.info().scans == 3
    for inquirer in (curious, modest, late, late):
        inquirer.stop()
    assert adapter.info().scans == 0
    await air.turns(lambda: dongle.commands[-1][:2] == INQUIRY_CANCEL)


async def test_each_user_gets_what_it_asked_for(adapter: SharedAdapter, dongle: air.DirectDongle) -> None:
    once, always = Inquirer(adapter), Inquirer(adapter, duplicates=True)
    first, louder, other = found(PEER), found(PEER, rssi=-40), found(PEER, NAMED)
    for event in (first, louder, other, first):
        adapter.air.receive(event)
    assert once.take() == [first, other]
    assert always.take() == [first, louder, other, first]
    assert not sent(dongle, READ_NAME)


async def test_only_who_does_not_say_its_name_is_asked(adapter: SharedAdapter, dongle: air.DirectDongle) -> None:
    Inquirer(adapter, names=True)
    datas = [NAMED, b"", UNNAMED, b"\x02\x0a\x00" + NAMED, b"\0\0" + NAMED, b"\xff\x09", b"\x01"]
    for number, data in enumerate(datas[:3]):
        adapter.air.receive(found(device(number), data))
    asked = {1, 2}
    for number, data in enumerate(datas[3:5], 3):
        adapter.air.receive(found(device(number), data))
    asked |= {4}
    await air.turns(lambda: {int.from_bytes(command[:6], "little") for command in sent(dongle, READ_NAME)} == {1})
    assert set(adapter.air._inquiries._asked) == {device(number) for number in asked}
    adapter.air.receive(found(device(5), datas[5]))
    adapter.air.receive(found(device(6), datas[6]))  # one too many at a time
    assert device(5) in adapter.air._inquiries._asked
    assert len(adapter.air._inquiries._asked) == MAX_ASKED


async def test_a_name_is_told_once_to_each_and_silence_is_remembered(
    adapter: SharedAdapter, dongle: air.DirectDongle
) -> None:
    dongle.held = True
    first = Inquirer(adapter, names=True)
    for number in range(MAX_ASKED + 1):
        adapter.air.receive(found(device(number)))
    first.take()
    adapter.air.receive(NameFound(device(0), 0, b"zero"))
    adapter.air.receive(NameFound(device(0), 0, b"again"))  # nobody has asked
    adapter.air.receive(NameFound(device(1), 0x04, b""))
    assert first.take() == [NameFound(device(0), 0, b"zero")]
    second = Inquirer(adapter, names=True)
    for number in range(MAX_ASKED + 1):
        adapter.air.receive(found(device(number)))
        adapter.air.receive(found(device(number)))
    assert [report for report in second.take() if isinstance(report, NameFound)] == [NameFound(device(0), 0, b"zero")]
    assert first.take() == []
    asked = adapter.air._inquiries._asked
    assert asked == {device(number) for number in range(2, MAX_ASKED + 1)}  # 1 is not asked again, the last is now
    first.stop()
    assert asked
    second.stop()
    assert not asked


async def test_names_without_end(adapter: SharedAdapter, dongle: air.DirectDongle) -> None:
    Inquirer(adapter, names=True)
    for number in range(MAX_NAMED + 10):
        adapter.air.receive(found(device(number)))
        adapter.air.receive(NameFound(device(number), 0, b"name"))
    assert len(adapter.air._inquiries._names) == MAX_NAMED


async def test_inquiries_end_with_the_dongle_and_when_they_are_refused(
    adapter: SharedAdapter, new_dongle: NewDongle
) -> None:
    with pytest.raises(NoDongle):
        Inquirer(adapter)
    dongle = new_dongle()
    await adapter.take_dongle(H2Dongle(dongle))
    await adapter.wait_powered()
    could = adapter.air.can_inquire
    refused = Inquirer(adapter, names=True)
    with capture_logs() as logs:
        adapter.air.receive(InquiryEnded(0x0C))
    assert [log["status"] for log in logs if log["event"] == "inquiry refused by the controller"] == [0x0C]
    lost = Inquirer(adapter)
    dongle.unplug()
    assert (refused.ended, lost.ended) == (1, 1)
    assert (could, adapter.air.can_inquire) == (True, False)
    lost.stop()


async def test_a_controller_that_never_answers_inquires_no_more(
    adapter: SharedAdapter, dongle: air.DirectDongle
) -> None:
    dongle.deaf = {INQUIRY}
    inquirer = Inquirer(adapter)
    await air.turns(lambda: inquirer.ended)
    with pytest.raises(NotSupported):
        Inquirer(adapter)
    assert [text.split(":")[0] for text in adapter.info().missing] == ["finding BR/EDR devices"]
