"""A dongle whose controller needs its maker's set-up, and is one of Bumble's then."""

from typing import Any, Protocol

from bumble.link import LocalLink

from tests.sim.vendor_intel import SECURE_SEND, IntelController
from tests.support.air import OUR_ADDRESS, DirectDongle

_SECURE_SEND = SECURE_SEND.to_bytes(2, "little")


class Emulated(Protocol):
    """What an emulated controller is: see tests/sim/vendor_realtek.py."""

    def receive(self, command: bytes) -> list[bytes] | None: ...


class VendorDongle(DirectDongle):
    """Gives commands to ``emulated`` first, and those that it leaves to Bumble's controller."""

    def __init__(
        self, link: LocalLink, emulated: Emulated, identity: tuple[int, int], address: str = OUR_ADDRESS
    ) -> None:
        super().__init__(link, address)
        self.vendor_id, self.product_id = identity
        self._emulated = emulated

    def send_control(self, setup: bytes, data: bytes) -> None:
        events = self._receive(data, bulk=False)
        if events is None:
            super().send_control(setup, data)
            return
        self.commands.append(data)
        for event in events:
            self.on_packet(b"\x04" + event)

    def send_bulk(self, transfers: list[bytes]) -> int:
        if transfers[0][:2] != _SECURE_SEND:
            return super().send_bulk(transfers)
        (command,) = transfers
        for event in self._receive(command, bulk=True) or []:
            self.on_packet(b"\x02" + event)
        return 1

    def _receive(self, command: bytes, *, bulk: bool) -> list[bytes] | None:
        emulated: Any = self._emulated
        if not isinstance(emulated, IntelController):
            return self._emulated.receive(command)
        events = emulated.receive(command, bulk=bulk)
        if emulated.has_left:
            emulated.has_left = False
            self._loop.call_soon(self.unplug)
        return events
