"""usbbt-guest discover: who is there on BR/EDR and LE."""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import suppress

from usbbtd.cli.say import printable, tell
from usbbtd.cli.table import counted
from usbbtd.guest import Adapter, Discovered

_LINE = "{:<17}  {:<6}  {:>4}  {:<17}  {:<20}  {}"


async def discover(adapter: Adapter, arguments: argparse.Namespace) -> None:
    """Prints each device when it is heard, and again when more is known of it, until the time is up.

    Raises AdapterError; ValueError if an argument is not legal.
    """
    discovery = adapter.discover(
        service=arguments.service,
        manufacturer=arguments.manufacturer,
        name=arguments.name,
        transports=None if arguments.transport is None else [arguments.transport],
    )
    async with discovery as devices:
        if not arguments.json:
            print(_LINE.format("ADDRESS", "TYPE", "DBM", "IS A", "NAME", "SERVICES"), flush=True)
        known: set[tuple[str, str]] = set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(arguments.seconds):
                    async for device in devices:
                        known.add((device.address, device.address_type))
                        print(_json(device) if arguments.json else _line(device), flush=True)
        finally:
            tell(counted(len(known), "device"))


def _json(device: Discovered) -> str:
    return json.dumps(device._asdict() | {"kind": device.kind})


def _line(device: Discovered) -> str:
    rssi = "?" if device.rssi is None else device.rssi
    who = device.address, device.address_type, rssi, device.kind or ""
    return _LINE.format(*who, printable(device.name or ""), " ".join(device.services)).rstrip()
