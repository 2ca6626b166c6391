"""What a stack moves for the security of its links, with a dongle that lets data overtake events."""

import asyncio

import pytest
from bumble.link import LocalLink

from tests.radio.test_pairing_with_bumble import COMPARED, connect, echo, prepare
from tests.support import air
from tests.support.pairing import AirAgent, RemoteUser
from usbbtd.bluetooth import BREDR, LE, LEVEL_AUTHENTICATED
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.radio.adapter import SharedAdapter

ACCEPT_CONNECTION = b"\x09\x04"
_EVENT, _ENCRYPTION_CHANGE = b"\x04", 0x08


class LateDongle(air.DirectDongle):
    """Its events that a link is encrypted come after the data that came behind them, if there are any."""

    overtaken = 0

    def on_packet(self, packet: bytes) -> None:
        self.late = frozenset((_ENCRYPTION_CHANGE,))
        if packet[:1] != _EVENT and self.late_events:
            self.overtaken += 1
        super().on_packet(packet)
        if self.late_events:
            asyncio.get_running_loop().call_later(0.05, self.release)


@pytest.fixture
async def late(adapter: SharedAdapter, radio: LocalLink) -> LateDongle:
    """The dongle of ``adapter``, up."""
    dongle = LateDongle(radio)
    await adapter.take_dongle(H2Dongle(dongle))
    await adapter.wait_powered()
    return dongle


async def test_keys_that_come_before_their_link_is_encrypted_wait_for_that(
    adapter: SharedAdapter, late: LateDongle, peer: air.Remote
) -> None:
    prepare(peer, RemoteUser(COMPARED))
    peer.serve_echo(LE)
    channel = await connect(adapter, LE, LEVEL_AUTHENTICATED, AirAgent())
    await air.turns(lambda: adapter.security.bonds())
    assert late.overtaken > 0
    await echo(channel)


async def test_a_controller_that_lies_of_a_second_link_with_a_peer_has_to_end_it(
    adapter: SharedAdapter, dongle: air.DirectDongle, peer: air.Remote
) -> None:
    peer.serve_echo(BREDR)
    channel = await connect(adapter, BREDR, 0)
    air.Taker(adapter, BREDR, 0x1003)  # so that peers are let in
    complete = b"\x03\x0b\x00\x77\x00" + air.octets(air.PEER_ADDRESS) + b"\x01\x00"
    dongle.deaf = {ACCEPT_CONNECTION}
    dongle.inject([b"\x04\x0a" + air.octets(air.PEER_ADDRESS) + b"\x00\x00\x00\x01"])
    await air.turns(lambda: any(command[:2] == ACCEPT_CONNECTION for command in dongle.commands))
    dongle.inject([b"\x0f\x04\x00\x01" + ACCEPT_CONNECTION, complete])
    await air.turns(lambda: b"\x06\x04\x03\x77\x00\x13" in dongle.commands)
    assert adapter.statistics()["security_links_refused"] == 1
    await echo(channel)
