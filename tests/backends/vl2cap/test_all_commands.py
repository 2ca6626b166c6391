"""All commands of a guest, in any order, and changes of policy meanwhile."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends.vl2cap.test_connection import MTU, Guest, change
from tests.support import air
from usbbtd.errors import LocalProtocolError
from usbbtd.radio.adapter import SharedAdapter

octets = air.octets
LEVELS, TYPES = st.integers(0, 4), st.integers(0, 2)
ASKS = st.one_of(
    st.tuples(st.just("connect"), TYPES, st.sampled_from([4, 0x81, 0x1001]), LEVELS, st.booleans()),
    st.tuples(st.just("listen"), st.integers(0, 1), st.sampled_from([0x81, 0x1001]), LEVELS),
    st.tuples(st.just("accept")),
    st.tuples(st.just("scan"), st.integers(0, 1), st.booleans(), st.booleans()),
    st.tuples(st.just("advertise"), st.integers(0, 1700), st.integers(0, 1700), st.booleans()),
    st.tuples(st.just("agent"), LEVELS),
    st.tuples(st.just("pair"), TYPES, LEVELS, st.sampled_from([b"", bytes(16), bytes(32)])),
    st.tuples(st.just("release"), st.integers(0, 9)),
    st.tuples(st.just("policy"), st.sampled_from([air.ALLOW_ALL, "", air.ALLOW_ALL + 'security = "secure"\n'])),
    st.tuples(st.just("turn")),
)


async def do(guest: Guest, asked: list[Any], ask: tuple[Any, ...]) -> None:
    """One thing that a guest may want, or that may happen. ``asked``: the answers that are to come."""
    shared = guest.stream().shared
    ring = {"ref": shared.ref, "evtchn": shared.port}
    peer, core = octets(air.NOBODY), guest.send
    match ask:
        case "connect", kind, psm, level, fixed:
            how = {"security": level, "fixed": fixed, "mtu": MTU} | ring
            asked.append(core(lambda core: core.connect(peer, kind, psm, **how)))
        case "listen", transport, psm, level:
            asked.append(core(lambda core: core.listen(transport, psm, mtu=MTU, security=level)))
        case ("accept",):
            with contextlib.suppress(LocalProtocolError, IndexError):
                asked.append(core(lambda core: core.accept(asked[0].number, **ring)))
        case "scan", transport, active, extended:
            asked.append(core(lambda core: core.scan(**ring, transport=transport, active=active, extended=extended)))
        case "advertise", length, scan_length, connectable:
            how = {"connectable": connectable}
            asked.append(core(lambda core: core.advertise_extended(shared.ref, length, scan_length, **how)))
        case "agent", io_capability:
            asked.append(core(lambda core: core.agent(io_capability, **ring)))
        case "pair", kind, level, oob:
            asked.append(core(lambda core: core.pair(peer, kind, security=level, oob=oob)))
        case "release", index:
            with contextlib.suppress(LocalProtocolError, IndexError):
                asked.append(core(lambda core: core.release(asked[index].number)))
        case "policy", text:
            change(guest, text)
        case _:
            await asyncio.sleep(0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ASKS, max_size=20))
async def test_whatever_a_guest_asks_for_nothing_of_it_is_left(
    adapter: SharedAdapter, dongle: air.DirectDongle, plain_xen: Callable[[], Any], asks: list[tuple[Any, ...]]
) -> None:
    world = plain_xen()
    guest = Guest(adapter, world)
    asked: list[Any] = []
    for ask in asks:
        await do(guest, asked, ask)
    await asyncio.sleep(0)
    guest.close()
    await asyncio.sleep(0)
    assert guest.broken == []
    assert world.held == (0, 0, 0)
    assert (len(adapter.agents), adapter.air.scans, adapter.air.advertising) == (0, 0, False)
    assert adapter.statistics()["listeners"] == 0
    statistics = guest.served.statistics()
    assert statistics["requests"] == statistics["responses"]
