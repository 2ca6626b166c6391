"""Bonded peers with Bumble's stack that change their addresses, as phones do, and are known all the same."""

import asyncio
import secrets

import pytest
from bumble import hci
from bumble.link import LocalLink
from bumble.pairing import PairingConfig

from tests.radio.test_adapter import advertise, scan_user
from tests.radio.test_pairing_with_bumble import COMPARED, echo, prepare
from tests.support import air
from tests.support.pairing import AirAgent, RemoteUser
from usbbtd.bluetooth import LE, LEVEL_AUTHENTICATED, LEVEL_NONE, LEVEL_SECURE
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.hci.limits import LATE_S
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.channel import RadioChannel

IDENTITY = air.octets(air.PEER_LE_ADDRESS), 2


@pytest.fixture
async def private(radio: LocalLink) -> air.Remote:
    """A remote device with a private address."""
    made = await air.Remote.start(radio, le_privacy_enabled=True, le_rpa_timeout=0, irk=secrets.token_bytes(16))
    prepare(made, RemoteUser(COMPARED), identity=PairingConfig.AddressType.RANDOM)
    made.serve_echo(LE)
    return made


@pytest.fixture(params=[True, False], ids=["controller_resolves", "we_resolve"])
async def dongle(adapter: SharedAdapter, radio: LocalLink, request: pytest.FixtureRequest) -> air.DirectDongle:
    """The dongle of ``adapter``, up, which may know bonded peers itself."""
    plugged = air.DirectDongle(radio)
    if not request.param:
        controller = plugged._controller
        controller.supported_commands = controller.supported_commands - {hci.HCI_LE_CLEAR_RESOLVING_LIST_COMMAND}
    await adapter.take_dongle(H2Dongle(plugged))
    await adapter.wait_powered()
    facts = air.controller_of(adapter).host.controller
    assert facts is not None
    assert facts.resolves == request.param
    return plugged


async def change_address(peer: air.Remote) -> None:
    await peer.device.stop_advertising()
    before = peer.device.random_address
    peer.device.random_address = hci.Address.generate_private_address(peer.device.irk)
    assert peer.device.random_address != before
    command = hci.HCI_LE_Set_Random_Address_Command(random_address=peer.device.random_address)
    await peer.device.send_sync_command(command)
    await peer.device.start_advertising(auto_restart=True)


async def open_channel(
    adapter: SharedAdapter, address: bytes, level: int = LEVEL_AUTHENTICATED, agent: AirAgent | None = None
) -> RadioChannel:
    async with asyncio.timeout(air.TIME_LIMIT_S):
        return await adapter.channels.connect(address, 2, air.PSM[LE], air.MTU, level, agent)


async def heard(adapter: SharedAdapter) -> None:
    """What comes at once by the handle of a link that has just ended is taken for that link's: see hci/acl.py."""
    links = adapter.links.by_handle
    await air.turns(lambda: [link for link in links.values() if link.stack.now() > link.since + LATE_S])


async def bonded(adapter: SharedAdapter, peer: air.Remote) -> None:
    """The peer is bonded, has no link, and another address than before."""
    address = bytes(peer.device.random_address)
    channel = await open_channel(adapter, address, LEVEL_AUTHENTICATED, AirAgent())
    await air.turns(lambda: adapter.security.bonds())
    assert channel.link.address == address
    assert channel.link.identity == IDENTITY
    assert adapter.links.info()[0].address == air.PEER_LE_ADDRESS
    await peer.links[LE].disconnect()
    await air.turns(lambda: not adapter.links.by_handle)
    await change_address(peer)


async def test_a_peer_is_reached_by_its_identity(
    adapter: SharedAdapter, dongle: air.DirectDongle, private: air.Remote
) -> None:
    await bonded(adapter, private)
    channel = await open_channel(adapter, IDENTITY[0])
    assert adapter.air.scans == 0
    assert (channel.link.identity, channel.link.security) == (IDENTITY, (LEVEL_SECURE, 16, True))
    await echo(channel)


async def test_scans_tell_of_identities(adapter: SharedAdapter, dongle: air.DirectDongle, private: air.Remote) -> None:
    await bonded(adapter, private)
    scan, reports, _ = scan_user()
    adapter.air.start_scan(scan)
    assert (await reports.get())[:2] == IDENTITY


async def test_who_gives_up_on_a_peer_that_is_not_heard_scans_no_more(
    adapter: SharedAdapter, dongle: air.DirectDongle, private: air.Remote
) -> None:
    await bonded(adapter, private)
    await private.device.stop_advertising()
    task = asyncio.create_task(open_channel(adapter, IDENTITY[0]))
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert adapter.air.scans == 0


async def test_a_link_that_the_peer_made_is_found_by_its_identity(
    adapter: SharedAdapter, dongle: air.DirectDongle, private: air.Remote
) -> None:
    await bonded(adapter, private)
    air.Taker(adapter, LE)
    advertise(adapter)
    connection = await private.connect(LE)
    await heard(adapter)
    await connection.encrypt()
    await air.turns(lambda: [link for link in adapter.links.by_handle.values() if link.security.is_bonded])
    channel = await open_channel(adapter, IDENTITY[0])
    assert len(adapter.links.by_handle) == 1
    await echo(channel)


async def test_it_pairs_again_under_any_address(
    adapter: SharedAdapter, dongle: air.DirectDongle, private: air.Remote
) -> None:
    await bonded(adapter, private)
    agent = AirAgent()
    air.Taker(adapter, LE)
    advertise(adapter)
    await private.connect(LE)
    await heard(adapter)
    await open_channel(adapter, IDENTITY[0], LEVEL_NONE)
    (link,) = adapter.links.by_handle.values()
    private.links[LE].on("security_request", lambda _: private.run(private.links[LE].pair()))
    assert await adapter.security.pair(*link.identity, LEVEL_SECURE, agent) == (LEVEL_SECURE, 16, True)
    assert len(adapter.security.bonds()) == 1


async def test_a_peer_is_reached_by_the_address_that_it_has_now(
    adapter: SharedAdapter, dongle: air.DirectDongle, private: air.Remote
) -> None:
    """The controller may tell its identity then: whoever waits for the other address waits no longer."""
    await bonded(adapter, private)
    for _ in range(2):
        channel = await open_channel(adapter, bytes(private.device.random_address))
        assert channel.link.identity == IDENTITY
        assert len(adapter.links.by_handle) == 1
