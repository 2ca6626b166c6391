"""What a guest is told of the adapter, over rings in memory."""

from tests.backends.vl2cap import test_connection as connection
from tests.backends.vl2cap.test_connection import Guest
from tests.support import air
from tests.support.fixtures import NewDongle
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.l2capif.features import KNOWS_ALL
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.radio.adapter import SharedAdapter

xen, guest = connection.xen, connection.guest
octets = air.octets


async def test_info_is_answered_with_and_without_a_dongle(
    guest: Guest, adapter: SharedAdapter, new_dongle: NewDongle
) -> None:
    info = await guest.ask(lambda core: core.info())
    assert (info.ret, info.powered, info.features, info.address) == (0, 0, KNOWS_ALL, bytes(6))
    await adapter.take_dongle(H2Dongle(new_dongle()))
    await adapter.wait_powered()
    info = await guest.ask(lambda core: core.info())
    assert (info.powered, info.address) == (1, octets(air.OUR_ADDRESS))
    assert (info.le_address, info.le_address_type) == (adapter.le_address, 2)
    assert info.le_address[5] >= 0xC0
    assert (info.max_channels, info.channels, info.max_mtu) == (64, 0, FrontendLimits().max_mtu)
    assert info.features == KNOWS_ALL | 0b11111


async def test_info_tells_of_dongles_that_come_and_go(
    guest: Guest, adapter: SharedAdapter, new_dongle: NewDongle
) -> None:
    info = await guest.ask(lambda core: core.info())
    said = []
    for _ in range(2):
        waiting = guest.send(lambda core, seen=info.generation: core.info(seen))
        if not info.powered:
            dongle = new_dongle()
            await adapter.take_dongle(H2Dongle(dongle))
        else:
            dongle.unplug()
        info = await waiting
        said.append((info.ret, info.powered, any(info.le_address)))
    assert said == [(0, 1, True), (0, 0, False)]


async def test_info_tells_of_another_limit(guest: Guest) -> None:
    info = await guest.ask(lambda core: core.info())
    waiting = guest.send(lambda core: core.info(info.generation))
    guest.served.review(FrontendLimits())  # the same
    guest.served.review(FrontendLimits(channels=3))
    assert (await waiting).max_channels == 3
    assert (await waiting).generation == info.generation + 1
