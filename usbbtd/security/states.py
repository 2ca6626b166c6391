"""The states of a link's security, and the transitions between them.

Only ``BredrSecurity._step`` and ``LeSecurity._step`` write such a state, and they make only the transitions in these
tables. What a link is worth is no state: it follows from facts, in whatever order they come. See ``SecureLink``.
"""

from collections.abc import Mapping
from enum import StrEnum


class BredrState(StrEnum):
    IDLE = "idle"
    AUTHENTICATING = "authenticating"  # we do, with the bond's key
    PAIRING = "pairing"  # we do
    ANSWERING = "answering"  # the peer pairs with us, or wants to
    AWAITING = "awaiting"  # the peer has paired with us, and is to encrypt the link
    ENCRYPTING = "encrypting"  # we do


class BredrInput(StrEnum):
    AUTHENTICATE = "authenticate"
    PAIR = "pair"
    PEER_PAIRS = "the peer pairs"
    PEER_PAIRED = "the peer has paired"
    ENCRYPT = "encrypt"
    END = "it has ended"


BREDR_SECURITY: Mapping[tuple[BredrState, BredrInput], BredrState] = {
    (BredrState.IDLE, BredrInput.AUTHENTICATE): BredrState.AUTHENTICATING,
    (BredrState.IDLE, BredrInput.PAIR): BredrState.PAIRING,
    (BredrState.IDLE, BredrInput.PEER_PAIRS): BredrState.ANSWERING,
    (BredrState.IDLE, BredrInput.ENCRYPT): BredrState.ENCRYPTING,
    (BredrState.AUTHENTICATING, BredrInput.ENCRYPT): BredrState.ENCRYPTING,
    (BredrState.AUTHENTICATING, BredrInput.END): BredrState.IDLE,
    (BredrState.PAIRING, BredrInput.ENCRYPT): BredrState.ENCRYPTING,
    (BredrState.PAIRING, BredrInput.END): BredrState.IDLE,
    (BredrState.ANSWERING, BredrInput.PEER_PAIRED): BredrState.AWAITING,
    (BredrState.ANSWERING, BredrInput.END): BredrState.IDLE,
    (BredrState.AWAITING, BredrInput.ENCRYPT): BredrState.ENCRYPTING,
    (BredrState.AWAITING, BredrInput.END): BredrState.IDLE,
    (BredrState.ENCRYPTING, BredrInput.END): BredrState.IDLE,
}


class LeState(StrEnum):
    IDLE = "idle"
    ENCRYPTING = "encrypting"  # we do, the central, with the bond's key
    REQUESTING = "requesting"  # we ask the central to encrypt with the bond's key
    PAIRING = "pairing"  # we do, or ask the central to
    ASKED = "asked"  # the peer wants to pair, and the owner has not said yet whether it may
    ANSWERING = "answering"  # the peer pairs with us


class LeInput(StrEnum):
    ENCRYPT = "encrypt"
    REQUEST = "request"
    PAIR = "pair"
    PEER_ASKS = "the peer asks"
    ACCEPT = "accept"
    END = "it has ended"


LE_SECURITY: Mapping[tuple[LeState, LeInput], LeState] = {
    (LeState.IDLE, LeInput.ENCRYPT): LeState.ENCRYPTING,
    (LeState.IDLE, LeInput.REQUEST): LeState.REQUESTING,
    (LeState.IDLE, LeInput.PAIR): LeState.PAIRING,
    (LeState.IDLE, LeInput.PEER_ASKS): LeState.ASKED,
    (LeState.ASKED, LeInput.ACCEPT): LeState.ANSWERING,
} | {(state, LeInput.END): LeState.IDLE for state in LeState if state is not LeState.IDLE}
