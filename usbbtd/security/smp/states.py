"""The states of the pairing of one LE link, and which PDUs each waits for."""

from collections.abc import Mapping
from enum import StrEnum

from usbbtd.security.smp import wire
from usbbtd.security.smp.wire import SmpPdu


class SmpState(StrEnum):
    IDLE = "no pairing"
    #: The peer began, and the owner has not said yet whether and on which terms it may go on.
    ASKED = "asked"
    WAIT_PAIRING_REQUEST = "security request sent"
    WAIT_PAIRING_RESPONSE = "pairing request sent"
    # Phase 2
    WAIT_PUBLIC_KEY = "waiting for the public key"
    WAIT_CONFIRM = "waiting for a confirm value"
    WAIT_RANDOM = "waiting for a nonce"
    WAIT_DHKEY_CHECK = "waiting for the check"
    WAIT_USER = "waiting for our own user"
    # Phase 3
    WAIT_ENCRYPTION = "waiting for encryption"
    WAIT_KEYS = "waiting for keys"
    #: A procedure lasted too long: nothing is sent or heard on this link any more (Vol 3, Part H, 3.4).
    TIMED_OUT = "timed out"


#: What is legal in each state. Pairing Failed is, too, wherever a procedure goes on; keys come in their own order.
EXPECTED: Mapping[SmpState, tuple[type[SmpPdu], ...]] = {
    SmpState.IDLE: (wire.PairingRequest, wire.SecurityRequest),  # the one of a peripheral, the other of a central
    SmpState.ASKED: (),
    SmpState.WAIT_PAIRING_REQUEST: (wire.PairingRequest,),
    SmpState.WAIT_PAIRING_RESPONSE: (wire.PairingResponse,),
    SmpState.WAIT_PUBLIC_KEY: (wire.PairingPublicKey,),
    SmpState.WAIT_CONFIRM: (wire.PairingConfirm,),
    SmpState.WAIT_RANDOM: (wire.PairingRandom,),
    SmpState.WAIT_DHKEY_CHECK: (wire.PairingDhKeyCheck,),
    SmpState.WAIT_USER: (),
    SmpState.WAIT_ENCRYPTION: (),
    SmpState.WAIT_KEYS: (
        wire.EncryptionInformation,
        wire.CentralIdentification,
        wire.IdentityInformation,
        wire.IdentityAddressInformation,
        wire.SigningInformation,
    ),
    SmpState.TIMED_OUT: (),
}
