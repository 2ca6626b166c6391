"""Pairs with a peer for a program."""

from __future__ import annotations

from typing import NamedTuple

from usbbtd.abi.layout import constants
from usbbtd.guest.connection import Connection
from usbbtd.guest.remote import RemoteObject, knows, require
from usbbtd.guest.security import level_name
from usbbtd.l2capif.features import KNOWS_SECURITY
from usbbtd.l2capif.wire import PairResponse

#: Bytes of out-of-band data: none, legacy pairing's, Secure Connections'.
OOB_SIZES = (0, 16, int(constants.L2CAPIF_OOB_SIZE))


class Paired(NamedTuple):
    """What a pairing came to.

    ``security``: how secure the link is now: "encrypted", "authenticated" or "secure". ``key_size``: bytes of the key;
    None if it is not known. ``bonded``: whether the driver domain keeps the key, for this guest to use.
    """

    security: str
    key_size: int | None
    bonded: bool


async def pair(
    connection: Connection, peer: bytes, address_type: int, what: str, *, level: int, oob: bytes, timeout_s: float
) -> Paired:
    """Pairs with a peer: see ``Adapter.pair``. ``what`` names that in errors."""
    require(knows(connection, KNOWS_SECURITY), what)
    response = await RemoteObject(connection, lasting=False).create(
        lambda core: core.pair(peer, address_type, security=level, timeout_s=timeout_s, oob=oob), PairResponse, what
    )
    return Paired(level_name(response.security), response.key_size or None, bool(response.bonded))
