"""The backend's pump in dom0 of the simulated Xen, with frontends that are not ours.

What it does for ours is in test_usbif_frontend.py.
"""

import asyncio

import pytest

from tests.sim.world import World
from tests.support.fixtures import StartEnd
from usbbtd.usb.wire import usbif


@pytest.mark.parametrize(
    ("lie", "event", "reason"),
    [
        ("reference", "usb frontend cannot be connected", "cannot map"),
        ("event channel", "usb frontend cannot be connected", "event channel 999999"),
        ("conn index", "usb frontend failed", "impossible"),
    ],
)
async def test_a_frontend_that_breaks_the_protocol(
    start_backend: StartEnd, start_frontend: StartEnd, lie: str, event: str, reason: str
) -> None:
    backend = await start_backend()
    backend.do("plug", 1)
    hostile = await start_frontend("hostile_frontend", lie)
    assert reason in (await backend.see("error", event))[0]["reason"]
    await hostile.stop()
    honest = await start_frontend()
    await honest.see("dongle")


@pytest.mark.parametrize("by_toolstack", [True, False])
async def test_a_frontend_is_served_until_it_has_closed(
    world: World, usb_domain: int, start_backend: StartEnd, start_frontend: StartEnd, by_toolstack: bool
) -> None:
    backend = await start_backend()
    backend.do("plug", 1)
    frontend = await start_frontend("linux_frontend")
    await frontend.see("waiting")
    if by_toolstack:
        detaching = asyncio.create_task(asyncio.to_thread(world.detach_vusb, usb_domain, 0))
    else:
        detaching = asyncio.create_task(backend.stop())
    assert await frontend.see("unlinked") == [usbif.OK, usbif.IOERROR]
    await detaching
    assert world.statistics()[0]["mapped"] == 0
