"""The backend's pump in dom0 of the simulated Xen, with frontends that break rules.

What it does for a frontend that keeps them is in test_usbif_frontend.py.
"""

import pytest


@pytest.mark.parametrize(
    ("lie", "event", "reason"),
    [
        ("reference", "usb frontend cannot be connected", "cannot map"),
        ("event channel", "usb frontend cannot be connected", "event channel 999999"),
        ("conn index", "usb frontend failed", "impossible"),
    ],
)
async def test_a_frontend_that_breaks_the_protocol(start_backend, start_frontend, lie, event, reason):
    backend = await start_backend()
    backend.do("plug", 1)
    hostile = await start_frontend("hostile_frontend", lie)
    assert reason in (await backend.see("error", event))[0]["reason"]
    await hostile.stop()
    honest = await start_frontend()
    await honest.see("dongle")
