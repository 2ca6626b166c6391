import asyncio
import gc

import pytest

from tests.support.domain import Domain
from usbbtd.guest import L2capRefused, LimitReached, open_adapter

PEER = "C0:FF:EE:00:00:01"
ECHO, REFUSES, NEVER_ANSWERS = 0x1001, 0x1003, 0x1009
LIMIT = 8


async def leave_nothing() -> list[int]:
    async with open_adapter() as adapter:
        used = []
        for _ in range(3 * LIMIT):  # more often than the backend would let us if anything stayed
            connecting = asyncio.create_task(adapter.connect(PEER, NEVER_ANSWERS))
            await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
            assert connecting.cancelled()
            with pytest.raises(L2capRefused):
                await adapter.connect(PEER, REFUSES)
        used.append((await adapter.read_info()).channels)

        kept = [await adapter.connect(PEER, ECHO) for _ in range(LIMIT)]
        used.append((await adapter.read_info()).channels)
        with pytest.raises(LimitReached):
            await adapter.connect(PEER, ECHO)
        await asyncio.gather(*(channel.close() for channel in kept[:3]))
        used.append((await adapter.read_info()).channels)
        kept.clear()
        gc.collect()
        used.append((await adapter.read_info()).channels)
        return used


def test_cancelled_refused_closed_and_forgotten_objects_are_gone(guest: Domain) -> None:
    assert guest.run(leave_nothing) == [0, LIMIT, LIMIT - 3, 0]


async def cancelled_when_answered() -> int:
    """The answer and the cancellation come in the same turn of the loop: the channel must not stay."""
    async with open_adapter() as adapter:
        for turns in range(12):
            connecting = asyncio.create_task(adapter.connect(PEER, ECHO))
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
            if not connecting.cancelled():
                await connecting.result().abort()
        return (await adapter.read_info()).channels


def test_cancelled_at_any_moment(guest: Domain) -> None:
    assert guest.run(cancelled_when_answered) == 0


async def pages() -> int:
    async with open_adapter() as adapter:
        for _ in range(20):
            await (await adapter.connect(PEER, ECHO)).close()
        await asyncio.sleep(0)
        return 0


def test_pages_come_back(guest: Domain) -> None:
    guest.run(pages)
    guest.world.wait_value(f"{guest.home}/device/vl2cap/0/state", "6")
    counts = guest.world.statistics()[guest.domid]
    assert (counts["shared"], counts["mapped"], counts["ports"]) == (0, 0, 0)
