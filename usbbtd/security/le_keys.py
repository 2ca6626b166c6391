"""What a pairing over LE has made: keys to keep, and whose they are."""

from typing import NamedTuple

from usbbtd.security.bonds import BondBook, LeKeys, LongTermKey, is_private, is_resolvable
from usbbtd.security.smp.events import LegacyKey, SmpResult

Identity = tuple[bytes, int]


class PeerFound(NamedTuple):
    """Is the peer that has paired. ``refusal``: why there can be no bond with it, for people; None if there can.

    ``is_believed``: False if it has an address that stays, and claims to have another identity than that.
    """

    identity: Identity
    refusal: str | None = None
    is_believed: bool = True


def keys_of(result: SmpResult, peer: PeerFound, bonds: BondBook) -> LeKeys:
    """Returns the keys of a pairing; of one without bonding, only what they are worth.

    The IRK of a peer whose identity was not believed is kept, as the private addresses that it makes are those of who
    has paired; but not if another bond has the same: then they may be the other's.
    """
    if result.ltk is None:
        ours, theirs = (_key_of(key) for key in (result.our_key, result.peer_key))
    else:
        ours = theirs = LongTermKey(result.ltk)
    irk = result.irk
    if not peer.is_believed and any(
        bond.irk == irk for bond in bonds if (bond.address, bond.address_type) != peer.identity
    ):
        irk = None
    return LeKeys(ours, theirs, result.key_size, result.authenticated, result.secure_connections, irk)


def find_peer(result: SmpResult, air: Identity, known: Identity, bonds: BondBook) -> PeerFound:
    """Returns who the peer is that has paired.

    ``air``: the address that the link was made with, ``known``: the identity that it had before. The Smp has checked
    that the IRK has made a private address. Nothing proves that an identity is the peer's own: so it may not take the
    place of another's bond, unless somebody in the middle was ruled out. A peer whose address stays is known by that,
    whatever it claims: a device of both transports may name its public address, though LE has a random one.
    """
    if result.identity_address is None or result.identity_type is None:
        refusal = "the peer has a private address and gave no identity" if is_private(*known) else None
        return PeerFound(known, refusal)
    claimed = (result.identity_address, result.identity_type)
    if claimed == known:
        return PeerFound(known)
    if not is_private(*air):
        return PeerFound(known, is_believed=False)
    if not is_resolvable(*air) or result.irk is None:
        return PeerFound(known, "the peer has a private address that its identity does not explain")
    if bonds.find(*claimed) is not None and not result.authenticated:
        return PeerFound(known, "the peer claims the identity of a bond")
    return PeerFound(claimed)


def _key_of(key: LegacyKey | None) -> LongTermKey | None:
    return None if key is None else LongTermKey(key.ltk, key.diversifier, key.random)
