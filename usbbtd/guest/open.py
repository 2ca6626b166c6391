"""Opens the adapter of a device, for one program of this guest at a time."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from errno import EBUSY

from usbbtd.guest.adapter import Adapter
from usbbtd.guest.arguments import check_flag, check_integer, check_seconds, check_spin
from usbbtd.guest.errors import NoAdapter
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.xen.error import XenError
from usbbtd.xen.xen import Xen

_U32_MAX = 0xFFFF_FFFF


@asynccontextmanager
async def open_adapter(
    device: int = 0, *, timeout: float | None = 10.0, powered: bool = True, spin: float = 0.0
) -> AsyncIterator[Adapter]:
    """Opens the adapter of ``device/vl2cap/<device>``: ``async with open_adapter() as adapter: ...``

    Waits until the backend is connected and, unless ``powered`` is False, until its controller works. Raises NoAdapter
    if there is no Xen here, if another program of this guest has the device open, or if the backend is not connected
    after ``timeout`` seconds (None waits for ever); NoController if only the controller is missing then.

    ``spin``: for how many seconds, LONGEST_SPIN_S at most, a call that waits on a channel or a scan looks for data or
    room itself, before it leaves that to the event loop and sleeps. Nothing else runs in the event loop meanwhile.
    """
    check_integer("device", device, 0, _U32_MAX)
    check_seconds("timeout", timeout, zero=True)
    check_flag("powered", powered)
    check_spin(spin)
    async with AsyncExitStack() as undo:
        undo.enter_context(_claim(device))
        try:
            xen = await undo.enter_async_context(Xen.open())
        except XenError as exc:
            raise NoAdapter(exc.errno or 0, str(exc.strerror)) from exc
        adapter = Adapter(xen, device, spin_ns=int(spin * 1e9))
        undo.push_async_callback(_stop, asyncio.create_task(adapter.serve()))
        await (adapter.wait_ready(timeout) if powered else adapter.wait_connected(timeout))
        yield adapter


def _claim(device: int) -> socket.socket:
    """Claims the device for this process until the socket is closed, also by the end of the process.

    Without a claim two programs would take the device from each other without end. The C library (clients/c) makes the
    same claim. Raises NoAdapter if it is claimed.
    """
    store = f"{_fnv1a(os.environ.get('XENSTORED_PATH', '').encode()):016x}"
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0usbbtd/{store}/vl2cap/{device}")
    except OSError:
        claim.close()
        raise NoAdapter(EBUSY, f"{VL2CAP.frontend_path(device)} is in use by another program of this guest") from None
    return claim


def _fnv1a(octets: bytes) -> int:
    """Returns the 64-bit FNV-1a hash."""
    value = 0xCBF29CE484222325
    for octet in octets:
        value = (value ^ octet) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return value


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
