"""What both sides say of themselves before they authenticate (Vol 3, Part H, 2.3): made, and checked, by terms."""

from usbbtd.bluetooth import LEVEL_AUTHENTICATED, LEVEL_SDP, LEVEL_SECURE, NO_INPUT_NO_OUTPUT
from usbbtd.errors import LocalProtocolError
from usbbtd.security.smp.exchange import Exchange, PairingFailure
from usbbtd.security.smp.methods import Method
from usbbtd.security.smp.wire import (
    AUTH_BONDING,
    AUTH_MITM,
    AUTH_SECURE_CONNECTIONS,
    MAXIMUM_KEY_SIZE,
    MINIMUM_KEY_SIZE,
    OOB_ABSENT,
    OOB_PRESENT,
    PairingReason,
    PairingRequest,
    PairingResponse,
)
from usbbtd.security.terms import OobData, PairingTerms

__all__ = ["auth_of", "check_association", "check_features", "check_terms", "oob_flag"]

_LAST_IO_CAPABILITY = 4
_OOB_OCTETS = 16


def check_terms(terms: PairingTerms) -> None:
    """Raises LocalProtocolError if no pairing could be on these terms."""
    oob = terms.oob or OobData()
    octets = [value for value in (oob.temporary_key, oob.peer_confirm, oob.peer_random) if value is not None]
    if (
        not LEVEL_SDP <= terms.level <= LEVEL_SECURE
        or not 0 <= terms.io_capability <= _LAST_IO_CAPABILITY
        or (oob.peer_confirm is None) != (oob.peer_random is None)
        or any(len(value) != _OOB_OCTETS for value in octets)
        or (terms.level == LEVEL_SECURE and not auth_of(terms) & AUTH_SECURE_CONNECTIONS)
    ):
        raise LocalProtocolError("no pairing is possible on these terms")


def auth_of(terms: PairingTerms) -> int:
    """Returns the AuthReq of these terms. Who has out of band data for legacy pairing alone cannot use the other.

    MITM protection is asked for wherever people here can show or type, as the bit chooses the method: without it that
    is just works, whatever both sides can. Whether it is required is for ``check_association``.
    """
    oob = terms.oob or OobData()
    legacy_only = oob.temporary_key is not None and oob.peer_random is None and oob.own is None
    asks_for_mitm = terms.level >= LEVEL_AUTHENTICATED or terms.io_capability != NO_INPUT_NO_OUTPUT
    return (
        (AUTH_BONDING if terms.bondable else 0)
        | (AUTH_MITM if asks_for_mitm else 0)
        | (AUTH_SECURE_CONNECTIONS if terms.secure_connections and not legacy_only else 0)
    )


def oob_flag(terms: PairingTerms, *, secure: bool) -> int:
    """Returns whether we have out of band data of the peer for this kind of pairing."""
    oob = terms.oob or OobData()
    return OOB_PRESENT if (oob.peer_random if secure else oob.temporary_key) is not None else OOB_ABSENT


def check_features(untrusted: PairingRequest | PairingResponse) -> None:
    """Raises PairingFailure if a peer says of itself what nobody can. Reserved bits mean nothing."""
    if untrusted.io_capability > _LAST_IO_CAPABILITY or untrusted.oob > OOB_PRESENT:
        raise PairingFailure(PairingReason.INVALID_PARAMETERS, "its capabilities are none")
    if untrusted.key_size > MAXIMUM_KEY_SIZE:
        raise PairingFailure(PairingReason.INVALID_PARAMETERS, "no key is so large")
    if untrusted.key_size < MINIMUM_KEY_SIZE:
        raise PairingFailure(PairingReason.ENCRYPTION_KEY_SIZE, "no key may be so small")


def check_association(exchange: Exchange, key_size: int) -> None:
    """Raises PairingFailure if what both sides say of themselves is too little for the terms, or for ``key_size``."""
    terms, association = exchange.terms, exchange.association
    if terms.level >= LEVEL_AUTHENTICATED and not association.is_authenticated:
        raise PairingFailure(
            PairingReason.AUTHENTICATION_REQUIREMENTS, "the two devices have no way to authenticate each other"
        )
    if terms.level >= LEVEL_SECURE and not exchange.is_secure:
        raise PairingFailure(PairingReason.AUTHENTICATION_REQUIREMENTS, "it has no Secure Connections")
    if exchange.key_size < (MAXIMUM_KEY_SIZE if terms.level >= LEVEL_SECURE else key_size):
        raise PairingFailure(PairingReason.ENCRYPTION_KEY_SIZE, f"its keys have {exchange.key_size} octets at most")
    if association.method is Method.OUT_OF_BAND and not _has_oob(exchange):
        raise PairingFailure(PairingReason.OOB_NOT_AVAILABLE, "the data for pairing out of band are not here")


def _has_oob(exchange: Exchange) -> bool:
    """Tells whether we have what out of band pairing needs of us: for Secure Connections, what the peer has of us."""
    oob = exchange.terms.oob or OobData()
    if not exchange.is_secure:
        return oob.temporary_key is not None
    return oob.own is not None or not exchange.peer_has_oob
