"""Asks dom0 to empty the ports of QEMU's usbif backend, before a connection of a killed frontend is closed.

The whole QEMU process ends if it is disconnected while it has requests. A frontend that lives takes them back; one that
was killed cannot, and its rings died with it. But requests also end when their device is taken off its port, which dom0
can do: ``usbbt-toolstack watch`` follows the node ``DETACH_PORTS``, see usbbtd/toolstack/ports.py.
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from usbbtd import xenbus
from usbbtd.nodes import BACKEND, STATE
from usbbtd.usb.nodes import DETACH_PORTS, PORTS
from usbbtd.xen.store import Store

#: How long dom0 has to take the devices off.
DETACH_S = 10.0


async def detach_ports(store: Store, path: str, log: FilteringBoundLogger) -> None:
    """Asks dom0 to empty the ports of the controller at ``path``, and waits until they are empty.

    Returns at once if no connection was left open or nothing is on the ports; goes on with a warning after DETACH_S.
    """
    state, backend = await store.read(f"{path}/{STATE}"), await store.read(f"{path}/{BACKEND}")
    if backend is None or state not in (str(xenbus.INITIALISED), str(xenbus.CONNECTED)):
        return

    async def occupied() -> bool:
        ports = await store.list(f"{backend}/{PORTS}") or ()
        return any([await store.read(f"{backend}/{PORTS}/{port}") for port in ports])

    if not await occupied():
        return
    log.info("usb ports are to be emptied", reason="the last owner of the connection was killed")
    await store.write(f"{path}/{DETACH_PORTS}", "1")
    try:
        async with asyncio.timeout(DETACH_S), store.watch(f"{backend}/{PORTS}") as changes:
            async for _ in changes:
                if not await occupied():
                    return
    except TimeoutError:
        reason = "usbbt-toolstack watch does not do it in dom0; QEMU's USB backend may end now"
        log.warning("usb ports stay occupied", reason=reason)
