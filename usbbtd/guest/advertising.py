"""Advertises for a program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from usbbtd.abi.layout import constants
from usbbtd.guest.connection import Connection
from usbbtd.guest.remote import RemoteObject, knows, require
from usbbtd.l2capif.features import KNOWS_ADVERTISE_EXTENDED
from usbbtd.l2capif.wire import PlainResponse


@asynccontextmanager
async def advertising(
    connection: Connection, data: bytes, scan_response: bytes, *, interval_ms: int, connectable: bool
) -> AsyncIterator[None]:
    """Advertises while the block runs: see ``Adapter.advertise``. What fits into a plain request goes into one."""
    if scan_response or len(data) > constants.L2CAPIF_ADVERTISE_DATA_SIZE:
        require(knows(connection, KNOWS_ADVERTISE_EXTENDED), "advertise so much")
        remote = RemoteObject(connection, page=data + scan_response)
        ref, lengths = remote.page_ref, (len(data), len(scan_response))
        await remote.create(
            lambda core: core.advertise_extended(ref, *lengths, interval_ms=interval_ms, connectable=connectable),
            PlainResponse,
            "advertise",
        )
    else:
        remote = RemoteObject(connection)
        await remote.create(
            lambda core: core.advertise(data, interval_ms=interval_ms, connectable=connectable),
            PlainResponse,
            "advertise",
        )
    try:
        yield
    finally:
        await remote.release()
