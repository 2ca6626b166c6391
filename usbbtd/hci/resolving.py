"""Has a controller know bonded peers by the private addresses that they use on LE (Vol 6, Part B, 6).

Such a peer is then reported under its identity address, and can be connected to by it.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from usbbtd.bluetooth import ErrorCode
from usbbtd.hci.command_queue import Send
from usbbtd.hci.init import ControllerFacts
from usbbtd.hci.limits import MAX_RESOLVED
from usbbtd.hci.wire import commands
from usbbtd.hci.wire.commands import HciCommand

__all__ = ["ResolvingEntry", "ResolvingList"]

#: A peer that uses its identity address all the same is not ignored (7.8.77).
_DEVICE_PRIVACY = 1


class ResolvingEntry(NamedTuple):
    """A bonded peer, and the keys of 16 octets by which its addresses, and ours for it, are made."""

    address_type: int  # of its identity
    address: bytes
    peer_irk: bytes
    our_irk: bytes  # zeros: our address is not resolvable

    def __repr__(self) -> str:
        return f"ResolvingEntry({self.address_type}, {self.address!r}, ...)"


class PausingActivity(Protocol):
    """Does something with the controller that it can be told to end for a while: an ``Activity``, or several."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class ResolvingList:
    """Keeps the list of a controller as it is wanted, also after a reset.

    A controller takes no change while it scans, advertises or connects (7.8.38): activities pause for the commands, and
    the commands wait for the end of a connection's beginning.
    """

    def __init__(self, activities: Sequence[PausingActivity], send: Send) -> None:
        self._activities = activities
        self._send = send
        self._controller: ControllerFacts | None = None
        self._wanted: list[ResolvingEntry] = []
        self._changed = False
        self._enabled = False
        self._initiating = False

    def set(self, entries: list[ResolvingEntry]) -> None:
        """Replaces the list. Of more entries than MAX_RESOLVED, the first are taken."""
        self._wanted = entries[:MAX_RESOLVED]
        self._changed = True
        self._apply()

    def set_initiating(self, initiating: bool) -> None:
        self._initiating = initiating
        self._apply()

    def controller_up(self, controller: ControllerFacts) -> None:
        """Fills the list of a controller that was just reset."""
        self.controller_down()
        self._controller = controller
        self._changed = bool(self._wanted)
        self._apply()

    def controller_down(self) -> None:
        self._controller = None
        self._enabled = self._initiating = False

    def _apply(self) -> None:
        controller = self._controller
        if controller is None or not controller.resolves or self._initiating or not self._changed:
            return
        self._changed = False
        for activity in self._activities:
            activity.pause()
        for command in self._commands():
            self._send(command, self._answered)
        for activity in self._activities:
            activity.resume()

    def _commands(self) -> list[HciCommand]:
        made: list[HciCommand] = [commands.LeSetAddressResolutionEnable(0)] if self._enabled else []
        made.append(commands.LeClearResolvingList())
        for entry in self._wanted:
            identity = entry.address_type - 1, entry.address
            made.append(commands.LeAddDeviceToResolvingList(*identity, entry.peer_irk, entry.our_irk))
            made.append(commands.LeSetPrivacyMode(*identity, _DEVICE_PRIVACY))
        self._enabled = bool(self._wanted)
        if self._enabled:
            made.append(commands.LeSetAddressResolutionEnable(1))
        return made

    def _answered(self, status: int, _returned: bytes, _now: float) -> None:
        if status == ErrorCode.COMMAND_DISALLOWED:  # it is still busy: all is told again at the next opportunity
            self._changed = True
