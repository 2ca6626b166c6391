"""How a pairing authenticates: chosen by what both sides say of themselves (Vol 3, Part H, 2.3.5.1)."""

from enum import StrEnum
from typing import Final, NamedTuple

from usbbtd.security.smp.wire import AUTH_MITM, AUTH_SECURE_CONNECTIONS, OOB_PRESENT, PairingRequest, PairingResponse


class Method(StrEnum):
    JUST_WORKS = "just works"
    NUMERIC_COMPARISON = "numeric comparison"
    PASSKEY_ENTRY = "passkey entry"
    OUT_OF_BAND = "out of band"


class Association(NamedTuple):
    """Is a method, and who shows the passkey: a side that does not show it types it."""

    method: Method
    initiator_shows: bool = False
    responder_shows: bool = False

    @property
    def is_authenticated(self) -> bool:
        return self.method is not Method.JUST_WORKS


JUST_WORKS: Final = Association(Method.JUST_WORKS)
OUT_OF_BAND: Final = Association(Method.OUT_OF_BAND)

_BY_LETTER: Final = {
    "J": JUST_WORKS,
    "N": Association(Method.NUMERIC_COMPARISON),
    "I": Association(Method.PASSKEY_ENTRY, initiator_shows=True),
    "R": Association(Method.PASSKEY_ENTRY, responder_shows=True),
    "B": Association(Method.PASSKEY_ENTRY),  # both type what a person makes up
}
# Table 2.8: a row for each capability of the initiator, a column for each of the responder, in order of their numbers.
_LEGACY: Final = ("JJIJI", "JJIJI", "RRBJR", "JJJJJ", "RRIJI")
_SECURE: Final = ("JJIJI", "JNIJN", "RRBJR", "JJJJJ", "RNIJN")


def uses_secure_connections(request_auth: int, response_auth: int) -> bool:
    """Tells whether a pairing with these AuthReq is of Secure Connections: both sides have to have them."""
    return bool(request_auth & response_auth & AUTH_SECURE_CONNECTIONS)


def choose(request: PairingRequest, response: PairingResponse) -> Association:
    """Returns how to authenticate. Both PDUs have been checked: their capabilities are 0 to 4."""
    secure = uses_secure_connections(request.auth, response.auth)
    flags = (request.oob == OOB_PRESENT, response.oob == OOB_PRESENT)
    if any(flags) if secure else all(flags):
        return OUT_OF_BAND
    if not (request.auth | response.auth) & AUTH_MITM:
        return JUST_WORKS
    table = _SECURE if secure else _LEGACY
    return _BY_LETTER[table[request.io_capability][response.io_capability]]
