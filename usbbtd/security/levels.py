"""What level a link has by its key and its encryption, and with what a channel is refused that needs more.

Vol 3, Part C, 5.2.2.8 (BR/EDR) and 10.2.1 (LE).
"""

from typing import Final

from usbbtd.bluetooth import (
    LE,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    BredrResult,
    LeResult,
)
from usbbtd.security.bonds import BredrKey, LeKeys
from usbbtd.security.limits import FULL_KEY_SIZE, MINIMUM_KEY_SIZE

# How a link is encrypted, as in the event Encryption Change (Vol 4, Part E, 7.7.8).
ENCRYPTION_OFF: Final = 0
ENCRYPTION_ON: Final = 1  # with E0 on BR/EDR, with AES-CCM on LE
ENCRYPTION_AES_CCM: Final = 2  # on BR/EDR

Keys = BredrKey | LeKeys


def level_of(keys: Keys) -> int:
    """Returns the highest level that a link can have with these keys."""
    if not keys.authenticated:
        return LEVEL_ENCRYPTED
    return LEVEL_SECURE if keys.secure_connections and keys.key_size == FULL_KEY_SIZE else LEVEL_AUTHENTICATED


def link_level(keys: Keys | None, enabled: int, key_size: int) -> int:
    """Returns the level of a link that is encrypted so, with these keys.

    ``key_size``: in octets, that of the encryption; 0 if the controller did not say it. Keys that we do not know are
    worth nothing, and neither is a size below 7.
    """
    if keys is None or enabled == ENCRYPTION_OFF or key_size < MINIMUM_KEY_SIZE or is_downgraded(keys, enabled):
        return LEVEL_NONE
    level = level_of(keys)
    return min(level, LEVEL_AUTHENTICATED) if key_size < FULL_KEY_SIZE else level


def is_downgraded(keys: Keys | None, enabled: int) -> bool:
    """Tells whether a link with a key of Secure Connections is encrypted with E0, as in the BLUFFS attacks."""
    return isinstance(keys, BredrKey) and keys.secure_connections and enabled == ENCRYPTION_ON


def channel_refused(
    transport: int, needed: int, level: int, *, is_encrypted: bool, is_bonded: bool, key_size: int
) -> int | None:
    """Returns the result that refuses a channel; None if the link's level suffices.

    ``is_bonded``: whether there is a bond with the peer, be it used or not; ``key_size``: that of the encryption. On LE
    the result tells the peer what to do (Vol 3, Part C, 10.3.1): to encrypt, to pair, or to pair better.
    """
    if level >= needed or needed <= LEVEL_NONE:
        return None
    if transport != LE:
        return BredrResult.SECURITY_BLOCK
    if not is_encrypted:
        return LeResult.INSUFFICIENT_ENCRYPTION if is_bonded else LeResult.INSUFFICIENT_AUTHENTICATION
    too_short = key_size < (
        FULL_KEY_SIZE if needed == LEVEL_SECURE and level == LEVEL_AUTHENTICATED else MINIMUM_KEY_SIZE
    )
    return LeResult.KEY_SIZE_TOO_SHORT if too_short else LeResult.INSUFFICIENT_AUTHENTICATION
