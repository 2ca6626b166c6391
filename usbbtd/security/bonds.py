"""What is kept of a pairing: keys with what they are worth, and the book of all bonds.

A bond is for a peer's identity on one transport; the type of its address tells which. A book has the bonds of one
adapter of ours, which may have had several controllers. Nothing here shows a key when it is printed.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from usbbtd.bluetooth import (
    ADDRESS_LE_RANDOM,
    BREDR,
    KEY_AUTHENTICATED_P192,
    KEY_AUTHENTICATED_P256,
    KEY_COMBINATION,
    KEY_UNAUTHENTICATED_P192,
    KEY_UNAUTHENTICATED_P256,
    LE,
    transport_of,
)
from usbbtd.errors import LocalProtocolError
from usbbtd.security.concealed import conceal
from usbbtd.security.limits import FULL_KEY_SIZE, MINIMUM_KEY_SIZE, SecurityLimits
from usbbtd.security.toolbox import resolver

KEY_OCTETS: Final = 16

_AUTHENTICATED = frozenset((KEY_AUTHENTICATED_P192, KEY_AUTHENTICATED_P256))
_SECURE_CONNECTIONS = frozenset((KEY_UNAUTHENTICATED_P256, KEY_AUTHENTICATED_P256))
#: The types of link keys that may be kept. A key with which the other was changed is kept as what that one was.
_KEPT = _AUTHENTICATED | _SECURE_CONNECTIONS | {KEY_COMBINATION, KEY_UNAUTHENTICATED_P192}
_DEFAULT_LIMITS = SecurityLimits()


class BredrKey(NamedTuple):
    """A link key of BR/EDR. ``key_type``: Vol 4, Part E, 7.7.24; see ``usbbtd.bluetooth``.

    What was made of a PIN counts as unauthenticated: whoever listened can find the PIN.
    """

    key: bytes  # 16 octets, as HCI has them
    key_type: int

    @property
    def authenticated(self) -> bool:
        return self.key_type in _AUTHENTICATED

    @property
    def secure_connections(self) -> bool:
        return self.key_type in _SECURE_CONNECTIONS

    @property
    def key_size(self) -> int:
        """Returns the octets of the key. What a link is encrypted with may be shorter: the controllers agree on it."""
        return FULL_KEY_SIZE

    @property
    def irk(self) -> bytes | None:
        return None

    def __repr__(self) -> str:
        return conceal(self, ("key",))


class LongTermKey(NamedTuple):
    """A key of LE, with what the peripheral named it: nothing with Secure Connections (Vol 3, Part H, 2.4.4)."""

    key: bytes  # 16 octets, least significant first, as HCI has them; those beyond the key's size are 0
    diversifier: int = 0  # EDIV, 16 bits
    random: int = 0  # Rand, 64 bits

    def __repr__(self) -> str:
        return conceal(self, ("key",))


class LeKeys(NamedTuple):
    """The keys of LE. ``ours`` encrypts while we are the peripheral, ``theirs`` while the peer is.

    Of legacy pairing they are two, each given by the side that is the peripheral with it, and one may be missing; of
    Secure Connections they are the same.
    """

    ours: LongTermKey | None
    theirs: LongTermKey | None
    key_size: int
    authenticated: bool
    secure_connections: bool
    irk: bytes | None = None  # the peer's, 16 octets, least significant first

    def __repr__(self) -> str:
        return conceal(self, ("irk",))


class Bond(NamedTuple):
    """A peer with which keys are kept. ``address``: of its identity, 6 octets, least significant first.

    ``own_address``: by which the peer knows us. On BR/EDR it is that of the controller that made the keys, or None if
    that is not known. On LE None means our own identity; a bond that another host made has a public address.
    """

    address: bytes
    address_type: int  # see usbbtd.bluetooth: it tells the transport
    keys: BredrKey | LeKeys
    guests: frozenset[str] = frozenset()  # to whom it belongs: for the owner, never looked at here
    made: float = 0.0  # seconds of Unix time, by the owner
    seen: float | None = None
    name: str = ""
    own_address: bytes | None = None

    @property
    def transport(self) -> int:
        return transport_of(self.address_type)

    @property
    def authenticated(self) -> bool:
        return self.keys.authenticated

    @property
    def secure_connections(self) -> bool:
        return self.keys.secure_connections

    @property
    def key_size(self) -> int:
        return self.keys.key_size

    @property
    def irk(self) -> bytes | None:
        return self.keys.irk

    def is_for(self, own_address: bytes | None) -> bool:
        """Tells whether the peer has these keys for a link on which we have this address, as ``own_address`` has it."""
        return self.own_address == own_address or (self.own_address is None and self.transport == BREDR)


def keys_refused(keys: BredrKey | LeKeys) -> str | None:
    """Returns why these keys may not be kept, for people; None if they may."""
    if isinstance(keys, BredrKey):
        if len(keys.key) != KEY_OCTETS:
            return f"a link key has 16 octets, not {len(keys.key)}"
        return None if keys.key_type in _KEPT else f"a link key of type {keys.key_type} is not kept"
    if not MINIMUM_KEY_SIZE <= keys.key_size <= FULL_KEY_SIZE:
        return f"a key of {keys.key_size} octets is not kept"
    lengths = [len(key.key) for key in (keys.ours, keys.theirs) if key is not None]
    if keys.irk is not None:
        lengths.append(len(keys.irk))
    if keys.ours is None and keys.theirs is None:
        return "there is no key that encrypts"
    return "a key of LE has 16 octets" if set(lengths) - {KEY_OCTETS} else None


def replacement_refused(old: Bond, new: Bond) -> str | None:
    """Returns in what a bond is weaker than the one that it would replace, for people; None if in nothing."""
    if old.authenticated and not new.authenticated:
        return "the bond is authenticated, the new keys are not"
    if old.secure_connections and not new.secure_connections:
        return "the bond has keys of Secure Connections, the new keys are not"
    if new.key_size < old.key_size:
        return f"the bond has keys of {old.key_size} octets, the new keys have {new.key_size}"
    return None


def is_resolvable(address: bytes, address_type: int) -> bool:
    """Tells whether this is a resolvable private address (Vol 6, Part B, 1.3.2.2)."""
    return address_type == ADDRESS_LE_RANDOM and address[5] >> 6 == 0b01


def is_private(address: bytes, address_type: int) -> bool:
    """Tells whether this is an address that changes: any random one that is not static (Vol 6, Part B, 1.3.2)."""
    return address_type == ADDRESS_LE_RANDOM and address[5] >> 6 != 0b11


class BondBook:
    """All bonds of one adapter of ours, in memory."""

    def __init__(self, limits: SecurityLimits = _DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._bonds: dict[tuple[bytes, int], Bond] = {}
        self._resolvers: dict[bytes, Callable[[bytes], bool]] | None = None  # by IRK; None: there are other bonds now

    def __iter__(self) -> Iterator[Bond]:
        return iter(tuple(self._bonds.values()))

    def __len__(self) -> int:
        return len(self._bonds)

    def find(self, address: bytes, address_type: int) -> Bond | None:
        """Returns the bond with this identity. A resolvable private address is none: see ``resolve``."""
        return self._bonds.get((address, address_type))

    def resolve(self, address: bytes) -> Bond | None:
        """Returns the bond whose IRK has made this resolvable private address (Vol 3, Part H, 2.2.2)."""
        if (resolvers := self._resolvers) is None:
            irks = (bond.irk for bond in self._bonds.values())
            resolvers = self._resolvers = {irk: resolver(irk) for irk in irks if irk is not None}
        irk = next((irk for irk, resolves in resolvers.items() if resolves(address)), None)
        if irk is None:
            return None
        return next(bond for bond in self._bonds.values() if bond.irk == irk)

    def refused(self, new: Bond) -> str | None:
        """Returns why this bond may not be kept, for people; None if it may."""
        if (text := keys_refused(new.keys)) is not None:
            return text
        if isinstance(new.keys, LeKeys) is not (new.transport == LE):
            return "the keys are of another transport"
        if (old := self.find(new.address, new.address_type)) is not None:
            return replacement_refused(old, new)
        return "there are as many bonds as there may be" if len(self._bonds) >= self._limits.bonds else None

    def keep(self, bond: Bond) -> None:
        """Keeps a bond, in the place of what there was. Raises LocalProtocolError if ``refused`` has a reason."""
        if (text := self.refused(bond)) is not None:
            raise LocalProtocolError(f"a bond is not kept: {text}")
        self._bonds[bond.address, bond.address_type] = bond
        self._resolvers = None

    def forget(self, address: bytes, address_type: int) -> Bond | None:
        """Removes a bond, and returns it; None if there is none."""
        self._resolvers = None
        return self._bonds.pop((address, address_type), None)
