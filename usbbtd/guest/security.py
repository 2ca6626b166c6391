"""The names of levels of security and of what was missing for one, in this API, and their numbers in l2capif.h."""

from __future__ import annotations

from typing import Final, Literal

from usbbtd.abi.layout import constants
from usbbtd.bluetooth import LEVEL_NONE, SECURITY_LEVELS

#: How secure a link has to be. "mitm" and "sc" are other names of "authenticated" and "secure".
SecurityLevel = Literal["none", "encrypted", "authenticated", "secure", "mitm", "sc"]

#: l2capif.h's numbers by the names of this API.
LEVELS: Final[dict[SecurityLevel, int]] = {
    "none": constants.L2CAPIF_SECURITY_NONE,
    "encrypted": constants.L2CAPIF_SECURITY_ENCRYPTED,
    "authenticated": constants.L2CAPIF_SECURITY_MITM,
    "secure": constants.L2CAPIF_SECURITY_SC,
    "mitm": constants.L2CAPIF_SECURITY_MITM,
    "sc": constants.L2CAPIF_SECURITY_SC,
}

#: What was missing, by L2CAPIF_WHY_*: its name for programs, and what it says to people.
_MISSING: Final = {
    constants.L2CAPIF_WHY_NO_AGENT: ("no_agent", "there is no key that is good enough, and no agent that may pair"),
    constants.L2CAPIF_WHY_KEY_MISSING: ("key_missing", "the peer has lost the key, or it is another one: pair again"),
    constants.L2CAPIF_WHY_REFUSED_HERE: ("refused_here", "the answer here was no"),
    constants.L2CAPIF_WHY_REFUSED_BY_PEER: ("refused_by_peer", "the peer does not pair, or not now"),
    constants.L2CAPIF_WHY_NO_MATCH: ("no_match", "the passkey or PIN is wrong, or somebody is in between"),
    constants.L2CAPIF_WHY_NO_ANSWER: ("no_answer", "nobody answered in time"),
    constants.L2CAPIF_WHY_NO_MITM: ("no_mitm", "the two devices have no way to show and type, or compare, a number"),
    constants.L2CAPIF_WHY_NO_SC: ("no_sc", "the peer or the controller has no Secure Connections"),
    constants.L2CAPIF_WHY_KEY_SIZE: ("key_size", "the key is too short"),
    constants.L2CAPIF_WHY_WEAKER: ("weaker", "the new key would be weaker than the one that there is, which stays"),
    constants.L2CAPIF_WHY_LOCKED_OUT: ("locked_out", "too many pairings with this peer have failed: try later"),
    constants.L2CAPIF_WHY_LINK_ENDED: ("link_ended", "the link ended meanwhile"),
    constants.L2CAPIF_WHY_NOT_SUPPORTED: ("not_supported", "the peer or the controller cannot do that"),
}
_UNKNOWN: Final = "unknown", "it is not said why"


def level_name(level: int) -> str:
    """Returns the name of the level that a link has: "none", "encrypted", "authenticated" or "secure"."""
    return SECURITY_LEVELS[max(level, LEVEL_NONE)]


def missing_number(name: str) -> int:
    """Returns the L2CAPIF_WHY_* of a name for programs, that of "unknown" for others."""
    numbers: dict[str, int] = {known: why for why, (known, _) in _MISSING.items()}
    return numbers.get(name, int(constants.L2CAPIF_WHY_UNKNOWN))


def missing(why: int) -> tuple[str, str]:
    """Returns what an L2CAPIF_WHY_* says: its name for programs, and its words for people."""
    return _MISSING.get(why, _UNKNOWN)
