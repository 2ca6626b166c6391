"""The airs that there are, by the make of their controllers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.sim.btvirt import btvirt_air
from tests.sim.rootcanal import rootcanal_air
from tests.sim.virtual_air import BumbleAir, VirtualAir

MAKES = ("bumble", "btvirt", "rootcanal")


@asynccontextmanager
async def open_air(make: str) -> AsyncIterator[VirtualAir]:
    """Starts an air and ends it."""
    match make:
        case "bumble":
            yield BumbleAir()
        case "btvirt":
            async with btvirt_air() as air:
                yield air
        case "rootcanal":
            async with rootcanal_air() as air:
                yield air
        case _:
            raise ValueError(make)
