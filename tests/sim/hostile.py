"""A controller that is out to harm: lies in every field, repeats, reorders, stalls, floods, and invents events."""

import random
from collections import Counter
from collections.abc import Callable

from tests.sim.dongle import ACL, EVENT
from tests.sim.shim import Shim

_CONNECTION_COMPLETE, _AUTHENTICATION_COMPLETE, _ENCRYPTION_CHANGE = 0x03, 0x06, 0x08
_LINK_KEY_REQUEST, _LINK_KEY_NOTIFICATION, _KEY_REFRESHED, _LE_META = 0x17, 0x18, 0x30, 0x3E
_LE_CONNECTION_COMPLETE, _LONG_TERM_KEY_REQUEST = 0x01, 0x05
#: Codes of events that hosts know, LE's among them (Vol 4, Part E, 7.7), and subevents.
_CODES, _SUBEVENTS = range(0x01, 0x60), range(0x01, 0x15)
_MOST_PARAMETERS = 60
_FLOOD = 200


class Hostile(Shim):
    """A shim that does as it likes with what the controller says. ``rate``: with how many of its packets, 0 to 1.

    ``deeds``: counts what it did. ``heard``: what the host has told it.
    """

    def __init__(self, generator: random.Random, *, rate: float = 0.2) -> None:
        super().__init__(generator)
        self.rate = rate
        self.deeds: Counter[str] = Counter()
        self.heard: list[bytes] = []
        self._held: list[bytes] = []
        self._handles = [0x0001]
        self._addresses = [bytes(6)]

    def send(self, packet: bytes) -> None:
        """From the host."""
        self.heard.append(packet)
        super().send(packet)

    def receive(self, packet: bytes) -> None:
        """From the controller."""
        self._learn(packet)
        if self._random.random() >= self.rate:
            super().receive(packet)
        else:
            deed = self._random.choice((self._lie, self._cut, self._repeat, self._hold, self._stall, self._flood))
            self._do(deed, packet)
        held, self._held = self._held, []
        for late in held if self._random.random() < 0.5 else ():
            super().receive(late)

    def forge(self, code: int, parameters: bytes) -> None:
        """Sends an event to the host."""
        self._carry(self._events, EVENT + bytes((code, len(parameters))) + parameters)

    def _do(self, deed: Callable[[bytes], None], packet: bytes) -> None:
        self.deeds[deed.__name__] += 1
        deed(packet)

    def _learn(self, packet: bytes) -> None:
        """Remembers who is connected, to speak of them."""
        event = packet[1:]
        if packet[:1] != EVENT:
            return
        if event[0] == _CONNECTION_COMPLETE:
            self._handles.append(int.from_bytes(event[3:5], "little"))
            self._addresses.append(event[5:11])
        elif event[0] == _LE_META and event[2] == _LE_CONNECTION_COMPLETE:
            self._handles.append(int.from_bytes(event[4:6], "little"))
            self._addresses.append(event[8:14])

    def _lie(self, packet: bytes) -> None:
        """Changes fields, and leaves the packet's length."""
        first = 1 if packet[:1] == ACL else 3
        octets = bytearray(packet)
        for _ in range(self._random.randint(1, 4)):
            if first < len(octets):
                octets[self._random.randrange(first, len(octets))] = self._random.randrange(256)
        if packet[:1] == ACL:  # what it says of its length is true, or nothing would follow
            octets[3:5] = (len(octets) - 5).to_bytes(2, "little")
            self._carry(self._acl, bytes(octets))
        else:
            self._carry(self._events, bytes(octets))

    def _cut(self, packet: bytes) -> None:
        """Leaves out the end, or adds one."""
        if packet[:1] == ACL:
            self._carry(self._acl, packet[:3] + b"\x01\x00" + packet[5:6] if len(packet) > 5 else packet)
            return
        parameters = packet[3:] + self._random.randbytes(self._random.randrange(9))
        self.forge(packet[1], parameters[: self._random.randint(0, len(parameters))])

    def _repeat(self, packet: bytes) -> None:
        for _ in range(self._random.randint(2, 5)):
            super().receive(packet)

    def _hold(self, packet: bytes) -> None:
        """Lets others go first."""
        self._held.append(packet)

    def _stall(self, packet: bytes) -> None:
        """Says nothing of it."""

    def _flood(self, packet: bytes) -> None:
        super().receive(packet)
        for _ in range(self._random.randrange(_FLOOD)):
            self.invent()

    def invent(self) -> None:
        """Sends an event that nothing is behind: of chance, or of a link that there is and of its security."""
        handle = self._random.choice(self._handles).to_bytes(2, "little")
        address = self._random.choice(self._addresses)
        chance = self._random.randbytes(self._random.randrange(_MOST_PARAMETERS))
        choice = self._random.randrange(256)
        told = {
            _AUTHENTICATION_COMPLETE: b"\x00" + handle,
            _ENCRYPTION_CHANGE: b"\x00" + handle + bytes((choice % 3,)),
            _KEY_REFRESHED: b"\x00" + handle,
            _LINK_KEY_REQUEST: address,
            _LINK_KEY_NOTIFICATION: address + self._random.randbytes(16) + bytes((choice % 10,)),
        }
        subevents = {_LONG_TERM_KEY_REQUEST: handle + bytes(10)}
        code = self._random.choice((*_CODES, *told, *told, _LE_META, _LE_META))
        if code == _LE_META:
            subevent = self._random.choice((*_SUBEVENTS, *subevents))
            self.forge(code, bytes((subevent,)) + subevents.get(subevent, chance))
        else:
            self.forge(code, told.get(code, chance))
