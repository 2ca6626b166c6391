"""A pairing that somebody leaves in the middle, after any packet of it: what waits ends, and nothing of it stays."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from bumble.core import InvalidArgumentError
from bumble.link import LocalLink

from tests.radio.test_adapter import advertise
from tests.radio.test_security import Party, connecting, start
from tests.support import air
from tests.support.pairing import AirAgent
from usbbtd.bluetooth import LEVEL_AUTHENTICATED
from usbbtd.radio.channel import RadioChannel
from usbbtd.radio.errors import RadioError

#: Of every so many packets one is the last before somebody leaves: a pairing has more than a hundred.
STRIDE = 7


class WatchedDongle(air.DirectDongle):
    """Calls ``heard`` for each packet from the controller, behind it."""

    heard: Callable[[], None] | None = None

    def on_packet(self, packet: bytes) -> None:
        super().on_packet(packet)
        if self.heard is not None:
            asyncio.get_running_loop().call_soon(self.heard)


class Scene:
    """Two adapters, of which the first pairs with the second, and wants a channel that has to be authenticated.

    ``leave`` is called after so many packets of both controllers.
    """

    def __init__(self, one: Party, other: Party, transport: int, packets: int, leave: "Way") -> None:
        self.one, self.other = one, other
        self.left = False
        self._packets, self._leave = packets, leave
        self.agents = AirAgent(), AirAgent()
        for party, agent in zip((one, other), self.agents, strict=True):
            party.adapter.agents.register(agent)
            assert isinstance(party.dongle, WatchedDongle)
            party.dongle.heard = self._heard
        self.transport, self.psm = transport, air.PSM[transport]
        self.taker = air.Taker(other.adapter, transport, security=LEVEL_AUTHENTICATED)
        if transport == air.BREDR:
            air.Taker(other.adapter, transport, 0x1003)  # so that it is connectable, whatever happens
        else:
            advertise(other.adapter)
        self.task: asyncio.Task[RadioChannel] = connecting(one, transport, LEVEL_AUTHENTICATED, self.agents[0])

    def nothing_waits(self) -> bool:
        """Tells whether neither side has anything left of what it did; Bumble does not end links of who is gone."""
        return not any(
            adapter.security._pursuits
            or adapter.security._asked
            or adapter.security._encrypting
            or adapter.channels._securing
            or adapter.channels._opening
            or adapter.links._attempts
            for adapter in (self.one.adapter, self.other.adapter)[: 1 if self.one.dongle.closed else 2]
        )

    def _heard(self) -> None:
        self._packets -= 1
        if self._packets == 0:
            self.left = True
            self._leave(self)


Way = Callable[[Scene], object]


def disconnect(party: Party) -> None:
    for handle in tuple(party.adapter.links.by_handle):
        party.adapter.links.disconnect(handle)


WAYS: dict[str, Way] = {
    "our user gives up": lambda scene: scene.task.cancel(),
    "our guest is gone": lambda scene: scene.one.adapter.agents.unregister(scene.agents[0]),
    "the peer's guest is gone": lambda scene: scene.other.adapter.agents.unregister(scene.agents[1]),
    "we end the link": lambda scene: disconnect(scene.one),
    "the peer ends the link": lambda scene: disconnect(scene.other),
    "our dongle is gone": lambda scene: scene.one.dongle.unplug(),
    "nobody listens any more": lambda scene: scene.other.adapter.channels.unlisten(scene.transport, scene.psm),
}


async def leave(transport: int, packets: int, way: Way, uncaught: list[str]) -> bool:
    """Has somebody leave after so many packets. Returns whether there were as many; notes what nobody has caught."""
    asyncio.get_running_loop().set_exception_handler(partial(note, uncaught))
    radio = LocalLink()
    parties = [await start(radio, which, make=WatchedDongle) for which in range(2)]
    one, other = parties
    scene = Scene(one, other, transport, packets, way)
    accepting = asyncio.create_task(accept(scene))
    with contextlib.suppress(RadioError, asyncio.CancelledError):
        async with asyncio.timeout(air.TIME_LIMIT_S):
            (await scene.task).close()
    accepting.cancel()
    await asyncio.wait((accepting,))
    await air.turns(scene.nothing_waits)
    for party in parties:
        keys = {bond.keys for bond in party.adapter.security.bonds()}
        assert keys == {bond.keys for bond in party.shelf.bonds.values()}
        party.adapter.close()
    return scene.left


async def accept(scene: Scene) -> None:
    with contextlib.suppress(RadioError):
        while True:
            await scene.other.adapter.channels.accept(await scene.taker.offers.get(), air.MTU)


def note(uncaught: list[str], _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Notes what nobody has caught, but for that a controller of Bumble's does not find its peer any more."""
    if not isinstance(context.get("exception"), InvalidArgumentError):
        uncaught.append(repr(context))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("transport", air.TRANSPORTS, ids=["bredr", "le"])
async def test_nothing_is_left(transport: int, way: str) -> None:
    packets = 1
    uncaught: list[str] = []
    while await leave(transport, packets, WAYS[way], uncaught):
        packets += STRIDE
    assert packets > 3 * STRIDE
    assert uncaught == []
