"""Our radio on controllers of several makes, with a peer of Bumble's on the same air."""

import random

import pytest
from bumble import hci
from bumble.device import Device, DeviceConfiguration

from tests.sim.plugged import plug
from tests.sim.shim import Shim
from tests.sim.virtual_air import VirtualAir, new_host
from tests.support.air import BREDR, LE, MTU, PSM, Remote, User, octets
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.radio.adapter import SharedAdapter

PEER_LE_ADDRESS = "C0:FF:EE:00:00:12"
SDUS = [bytes((size & 0xFF,)) * size for size in (1, 20, 190, 251, 672, 1021, 2048)]


async def start_peer(air: VirtualAir) -> Remote:
    configuration = DeviceConfiguration(
        name="peer", address=hci.Address(PEER_LE_ADDRESS), classic_enabled=True, classic_sc_enabled=False,
        advertising_interval_min=20, advertising_interval_max=20,
    )  # fmt: skip
    device = Device(config=configuration, host=await new_host(air))
    await device.power_on()
    await device.set_connectable(True)
    await device.start_advertising(auto_restart=True)
    return Remote(device)


@pytest.mark.parametrize("shimmed", [False, True])
@pytest.mark.parametrize("transport", [BREDR, LE])
async def test_sdus_both_ways(virtual_air: VirtualAir, adapter: SharedAdapter, transport: int, shimmed: bool) -> None:
    peer = await start_peer(virtual_air)
    peer.serve_echo(transport)
    shim = Shim(random.Random(1)) if shimmed else None
    await adapter.take_dongle(H2Dongle(await plug(virtual_air, shim)))
    await adapter.wait_powered()
    address = (bytes(peer.device.public_address), 0) if transport == BREDR else (octets(PEER_LE_ADDRESS), 2)
    user = User(await adapter.channels.connect(*address, PSM[transport], MTU))
    await user.send(SDUS)
    assert await user.receive(len(SDUS)) == SDUS
