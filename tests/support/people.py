"""The people at a remote device of Bumble's: they are shown numbers, and type or compare them."""

import asyncio

from bumble.pairing import PairingConfig, PairingDelegate

from tests.support.air import Remote

Can = PairingDelegate.IoCapability


class People(PairingDelegate):  # type: ignore[misc]  # Bumble is not typed
    """``shown``: the numbers that their device shows. ``typed``: what they type next."""

    def __init__(self, can: int = Can.DISPLAY_OUTPUT_AND_YES_NO_INPUT) -> None:
        super().__init__(can)
        self.shown: asyncio.Queue[int] = asyncio.Queue()
        self.typed: asyncio.Queue[int | None] = asyncio.Queue()

    @classmethod
    def at(
        cls, peer: Remote, can: int = Can.DISPLAY_OUTPUT_AND_YES_NO_INPUT, *, sc: bool = True, mitm: bool = True
    ) -> "People":
        """Puts people before a device, which then pairs. ``sc``: whether it knows Secure Connections on LE."""
        people = cls(can)
        peer.device.pairing_config_factory = lambda _: PairingConfig(sc=sc, mitm=mitm, bonding=True, delegate=people)
        return people

    async def compare_numbers(self, number: int, digits: int) -> bool:
        self.shown.put_nowait(number)
        return True

    async def display_number(self, number: int, digits: int) -> None:
        self.shown.put_nowait(number)

    async def get_number(self) -> int | None:
        return await self.typed.get()
