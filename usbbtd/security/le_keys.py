"""What a pairing over LE has made: keys to keep, and whose they are."""

from usbbtd.security.bonds import BondBook, LeKeys, LongTermKey, is_private, is_resolvable
from usbbtd.security.smp.events import LegacyKey, SmpResult

Identity = tuple[bytes, int]


def keys_of(result: SmpResult) -> LeKeys:
    """Returns the keys of a pairing; of one without bonding, only what they are worth."""
    if result.ltk is None:
        ours, theirs = (_key_of(key) for key in (result.our_key, result.peer_key))
    else:
        ours = theirs = LongTermKey(result.ltk)
    return LeKeys(ours, theirs, result.key_size, result.authenticated, result.secure_connections, result.irk)


def identity_of(result: SmpResult, air: Identity, known: Identity, bonds: BondBook) -> tuple[Identity, str | None]:
    """Returns the identity of the peer that has paired, and why it can have no bond, for people; None if it can.

    ``air``: the address that the link was made with, ``known``: the identity that it had before. The Smp has checked
    that the IRK has made a private address. Nothing proves that an identity is the peer's own: so it may not take the
    place of another's bond, unless somebody in the middle was ruled out.
    """
    if result.identity_address is None or result.identity_type is None:
        return known, "the peer has a private address and gave no identity" if is_private(*known) else None
    claimed = (result.identity_address, result.identity_type)
    if claimed == known:
        return known, None
    if not is_resolvable(*air) or result.irk is None:
        return known, "the peer claims the address of another device"
    if bonds.find(*claimed) is not None and not result.authenticated:
        return known, "the peer claims the identity of a bond"
    return claimed, None


def _key_of(key: LegacyKey | None) -> LongTermKey | None:
    return None if key is None else LongTermKey(key.ltk, key.diversifier, key.random)
