"""What stands around a Security: an owner and a controller, which tests script."""

from typing import Any

from usbbtd.bluetooth import ADDRESS_BREDR, BREDR, CENTRAL, DISPLAY_YES_NO, LEVEL_ENCRYPTED
from usbbtd.security.bonds import Bond, BondBook, BredrKey
from usbbtd.security.core import Security
from usbbtd.security.limits import SecurityLimits
from usbbtd.security.lockout import Lockout
from usbbtd.security.terms import PairingTerms

HANDLE = 0x0042
PEER = bytes.fromhex("130000eeffc0")
KEY = bytes(range(16))


def terms(level: int = LEVEL_ENCRYPTED, io_capability: int = DISPLAY_YES_NO, **more: Any) -> PairingTerms:
    return PairingTerms(level, io_capability, **more)


class Typed(list[Any]):
    """Records that are equal only to others of the same types: named tuples do not look at that."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and super().__eq__(other) and list(map(type, self)) == list(map(type, other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __contains__(self, item: object) -> bool:
        return any(Typed([each]) == [item] for each in self)

    __hash__ = None


class Desk:
    """A Security with one BR/EDR link. ``now`` is its clock."""

    def __init__(
        self, bond_type: int | None = None, limits: SecurityLimits | None = None, lockout: Lockout | None = None
    ) -> None:
        self.now = 100.0
        self.bonds = BondBook()
        if bond_type is not None:
            self.bonds.keep(Bond(PEER, ADDRESS_BREDR, BredrKey(KEY, bond_type), frozenset({"work"})))
        self.security = Security(
            bonds=self.bonds, random=bytes, le_address=bytes(5) + b"\xc0", limits=limits or SecurityLimits(),
            lockout=lockout,
        )  # fmt: skip
        self.link()

    def link(self) -> None:
        self.security.add_link(HANDLE, BREDR, CENTRAL, PEER, ADDRESS_BREDR, self.now)

    def reach(self, level: int, pairing: PairingTerms | None = None) -> int:
        return self.security.reach(HANDLE, level, pairing, self.now)

    def pair(self, pairing: PairingTerms) -> int:
        return self.security.pair(HANDLE, pairing, self.now)

    def events(self) -> Typed:
        return Typed(self.security.take_events())

    def actions(self) -> Typed:
        return Typed(self.security.take_actions())

    def of(self, kind: type[Any]) -> Any:
        """The only event of this kind; all others are dropped."""
        (event,) = [event for event in self.events() if isinstance(event, kind)]
        return event

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.security.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.security.handle_timeout(self.now)
        self.now = end

    # -- the controller

    def asks_key(self) -> None:
        self.security.receive_link_key_request(PEER, self.now)

    def asks_io(self) -> None:
        self.security.receive_io_capability_request(PEER, self.now)

    def peer_io(self, io: int, requirements: int = 5) -> None:
        self.security.receive_io_capability(PEER, io, False, requirements, self.now)

    def confirms(self, value: int = 427193) -> None:
        self.security.receive_confirmation_request(PEER, value, self.now)

    def asks_passkey(self) -> None:
        self.security.receive_passkey_request(PEER, self.now)

    def shows(self, passkey: int = 1234) -> None:
        self.security.receive_passkey_shown(PEER, passkey, self.now)

    def asks_pin(self) -> None:
        self.security.receive_pin_request(PEER, self.now)

    def paired(self, status: int = 0) -> None:
        self.security.receive_pairing_complete(PEER, status, self.now)

    def key(self, key_type: int, key: bytes = b"K" * 16) -> None:
        self.security.receive_link_key(PEER, key, key_type, self.now)

    def authenticated(self, status: int = 0) -> None:
        self.security.receive_authenticated(HANDLE, status, self.now)

    def encrypted(self, enabled: int = 1, size: int = 16, status: int = 0) -> None:
        self.security.receive_encryption_changed(HANDLE, status, enabled, size, self.now)

    def refreshed(self, status: int = 0) -> None:
        self.security.receive_key_refreshed(HANDLE, status, self.now)

    def answers(self, number: int, accept: bool = True, value: int | bytes | None = None) -> bool:
        return self.security.answer_prompt(number, accept, value, self.now)
