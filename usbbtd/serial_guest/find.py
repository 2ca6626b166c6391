"""Finds in xenstore the device that stands for a guest, and the pseudo terminal of a guest's first serial port."""

from __future__ import annotations

from usbbtd.guest import NoAdapter
from usbbtd.identifiers import parse_domid, parse_u32
from usbbtd.l2capif.nodes import STANDS_FOR, VL2CAP
from usbbtd.nodes import BACKEND, DOMAINS, NAME, home
from usbbtd.xen.store import Store

_TTY = "serial/0/tty"


async def find_device(store: Store, guest: str) -> int:
    """Returns the number N of the ``device/vl2cap/N`` of this domain that stands for a guest. Raises NoAdapter.

    Who it stands for is what the backend's directory says, in which the toolstack has written it.
    """
    for name in await store.list(VL2CAP.frontends) or ():
        if (number := parse_u32(name)) is None:
            continue
        backend = await store.read(f"{VL2CAP.frontend_path(number)}/{BACKEND}")
        if backend and await store.read(f"{backend}/{STANDS_FOR}") == guest:
            return number
    what = f"no device of this domain stands for {guest}: in dom0, usbbt-toolstack attach DOMAIN backend=…,for={guest}"
    raise NoAdapter(0, what)


async def find_terminal(store: Store, guest: str) -> str | None:
    """Returns the pseudo terminal of the first serial port of the guest with this name; None if it is not there yet.

    Only dom0 may read that of other domains.
    """
    for name in await store.list(DOMAINS) or ():
        domid = parse_domid(name)
        if domid is not None and await store.read(f"{home(domid)}/{NAME}") == guest:
            path = await store.read(f"{home(domid)}/{_TTY}")
            if path:
                return path
    return None
