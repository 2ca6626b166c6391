"""Devices that were paired in Linux, and are used with the same dongle by us; and with another one.

The Linux of before is played by a host with Bumble's stack, whose keys are written down as BlueZ writes them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bumble import hci
from bumble.core import PhysicalTransport
from bumble.link import LocalLink
from bumble.pairing import PairingConfig

from tests.radio.test_pairing_with_bumble import COMPARED, connect, echo, prepare
from tests.support import air
from tests.support.fixtures import NewDongle
from tests.support.pairing import RemoteUser
from usbbtd.bluetooth import BREDR, KEY_AUTHENTICATED_P192, LE, LEVEL_AUTHENTICATED, LEVEL_NONE, parse_address
from usbbtd.cli.ctl.bluez import find_adapter, find_peers, read_bonds
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.radio.errors import Insecure, Obstacle
from usbbtd.security.bonds import LeKeys

OTHER_ADDRESS = "C0:FF:EE:00:00:77"
PUBLIC = PairingConfig.AddressType.PUBLIC


def group(name: str, key: Any, kind: int) -> str:
    """A long-term key: ``kind`` is 1 of legacy pairing, 3 of Secure Connections."""
    rand, ediv = int.from_bytes(key.rand or b"", "little"), key.ediv or 0
    facts = f"Key={key.value.hex().upper()}\nAuthenticated={kind}\nEncSize=16\nEDiv={ediv}\nRand={rand}\n"
    return f"[{name}]\n{facts}\n"


def info(keys: Any) -> str:
    """What BlueZ has in a peer's file for the keys of a host of Bumble's."""
    text = "[General]\nName=A mouse\nAddressType=static\nTrusted=true\n\n"
    if keys.link_key is not None:
        text += f"[LinkKey]\nKey={keys.link_key.value.hex().upper()}\nType={KEY_AUTHENTICATED_P192}\nPINLength=0\n\n"
    if keys.ltk is not None:
        text += group("PeripheralLongTermKey", keys.ltk, 3)
    if keys.ltk_central is not None:
        text += group("LongTermKey", keys.ltk_central, 1) + group("PeripheralLongTermKey", keys.ltk_peripheral, 1)
    if keys.irk is not None:
        text += f"[IdentityResolvingKey]\nKey={keys.irk.value.hex().upper()}\n\n"
    return text


def configured(secure: bool, identity: Any) -> Callable[[Any], PairingConfig]:
    return lambda _: PairingConfig(
        sc=secure, mitm=True, delegate=RemoteUser(COMPARED), identity_address_type=identity
    )  # fmt: skip


async def pair_in_linux(
    radio: LocalLink, peer: air.Remote, transport: int, directory: Path, *, secure: bool = False
) -> None:
    """Pairs a device in Linux, on the dongle with our address, and pulls the dongle out. Leaves BlueZ's files."""
    others = set(radio.controllers)
    linux = await air.Remote.start(radio, air.OUR_ADDRESS, "C0:FF:EE:00:00:66")
    (dongle,) = radio.controllers - others
    for each, identity in ((linux, PUBLIC), (peer, PairingConfig.AddressType.RANDOM)):
        prepare(each, RemoteUser(COMPARED))
        each.device.pairing_config_factory = configured(secure, identity)
    address, _ = air.PEER[transport]
    if transport == BREDR:
        there = hci.Address(address, hci.Address.PUBLIC_DEVICE_ADDRESS)
        link = await linux.device.connect(there, PhysicalTransport.BR_EDR)
        await link.authenticate()
        await link.encrypt()
    else:
        link = await linux.device.connect(
            hci.Address(address), PhysicalTransport.LE, own_address_type=hci.OwnAddressType.PUBLIC
        )
        await link.pair()
    store: Any = linux.device.keystore
    await air.turns(lambda: store.all_keys and peer.device.keystore.all_keys)
    ((_, keys),) = await store.get_all()
    ((_, theirs),) = await peer.device.keystore.get_all()
    # Of legacy pairing, Bumble's responder keeps its own key as that of the other role: Vol 3, Part H, 2.4.4.2.
    theirs.ltk_central, theirs.ltk_peripheral = theirs.ltk_peripheral, theirs.ltk_central
    place = directory / air.OUR_ADDRESS / address
    place.mkdir(parents=True)
    (place / "info").write_text(info(keys))
    await link.disconnect()
    await air.turns(lambda: not peer.links)
    radio.remove_controller(dongle)


def take_bonds(adapter: SharedAdapter, directory: Path) -> None:
    """As usbbtctl bonds import does it."""
    found = find_adapter(directory)
    for path in find_peers(found):
        for bond in read_bonds(path, parse_address(found.name), frozenset({"work"}), 5.0):
            assert adapter.security.take_bond(bond) is None


async def plug_in(adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote) -> air.DirectDongle:
    await adapter.take_dongle(H2Dongle(dongle))
    await adapter.wait_powered()
    await peer.device.start_advertising(auto_restart=True)
    return dongle


WAYS = [
    pytest.param(BREDR, False, id="bredr"), pytest.param(LE, False, id="legacy"), pytest.param(LE, True, id="secure")
]  # fmt: skip


@pytest.mark.parametrize(("transport", "secure"), WAYS)
async def test_a_device_goes_on_with_the_same_dongle(
    adapter: SharedAdapter, radio: LocalLink, new_dongle: NewDongle, peer: air.Remote, tmp_path: Path,
    transport: int, secure: bool,
) -> None:  # fmt: skip
    """It needs no agent, as it does not pair."""
    await pair_in_linux(radio, peer, transport, tmp_path, secure=secure)
    take_bonds(adapter, tmp_path)
    (bond,) = adapter.security.bonds()
    await plug_in(adapter, new_dongle(), peer)
    peer.serve_echo(transport)
    channel = await connect(adapter, transport, LEVEL_AUTHENTICATED)
    await echo(channel)
    assert channel.link.security.is_bonded
    assert peer.links[transport].is_encrypted
    assert str(peer.links[transport].peer_address) == f"{air.OUR_ADDRESS}/P"
    assert [each.keys for each in adapter.security.bonds()] == [bond.keys]


@pytest.mark.parametrize(("transport", "secure"), WAYS)
async def test_another_dongle_gets_no_key(
    adapter: SharedAdapter, radio: LocalLink, new_dongle: NewDongle, peer: air.Remote, tmp_path: Path,
    transport: int, secure: bool,
) -> None:  # fmt: skip
    await pair_in_linux(radio, peer, transport, tmp_path, secure=secure)
    take_bonds(adapter, tmp_path)
    dongle = await plug_in(adapter, new_dongle(OTHER_ADDRESS), peer)
    peer.serve_echo(transport)
    with pytest.raises(Insecure) as caught:
        await connect(adapter, transport, LEVEL_AUTHENTICATED)
    assert caught.value.why == Obstacle.KEY_MISSING
    assert f"made with another adapter, {air.OUR_ADDRESS}" in str(caught.value)
    channel = await connect(adapter, transport, LEVEL_NONE)
    await echo(channel)
    (keys,) = [each.keys for each in adapter.security.bonds()]
    secrets = [keys.theirs, keys.ours] if isinstance(keys, LeKeys) else [keys]
    assert not [command for command in dongle.commands for each in secrets if each and each.key in command]
