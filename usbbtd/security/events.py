"""What a Security tells its owner, and what it wants done by the controller and on the air.

Addresses are six octets, least significant first, as HCI has them; their types are those of ``usbbtd.bluetooth``. Keys
are in the order of HCI. No record shows a key, a PIN or a number of a pairing when it is printed.
"""

from enum import StrEnum
from typing import NamedTuple

from usbbtd.security.bonds import Bond
from usbbtd.security.concealed import conceal


class Why(StrEnum):
    """Why a wish was refused, for owners that tell the reasons apart."""

    NO_BOND = "there are no keys for this level, and no agent that may pair"
    KEY_MISSING = "the peer does not have the key of the bond"
    NOT_REACHED = "the pairing did not reach this level"
    REFUSED = "the pairing was refused here"
    PEER_REFUSED = "the peer refused, or the pairing failed"
    NO_MATCH = "what was typed, or a proof of it, is wrong"
    CAPABILITIES = "the two devices cannot show and type what this level needs"
    WEAKER = "the keys would be weaker than those of the bond"
    KEY_SIZE = "the encryption key is too short"
    DOWNGRADE = "the encryption is weaker than the keys"
    LOCKED_OUT = "pairings with the peer have failed, and the next has to wait"
    TIMED_OUT = "it took too long"
    LINK_LOST = "the link was lost"
    CANCELLED = "it was cancelled"
    TOO_MANY = "too much is wanted of this link already"


# -- events for the owner


class LevelReached(NamedTuple):
    """The wish with this number has ended well. ``level``: that of the link, which may be more than was asked for."""

    number: int
    handle: int
    level: int


class LevelRefused(NamedTuple):
    """The wish with this number has ended. ``text``: for people; it names what was missing."""

    number: int
    handle: int
    reason: Why
    text: str


class PairingAsked(NamedTuple):
    """A peer wants to pair. ``Security.accept_pairing`` or ``Security.refuse_pairing`` answers it.

    Once it is accepted it is a wish with this number, and ends as one. If it is not, nothing follows. A later answer
    than ``SecurityLimits.ask_s`` is ignored.
    """

    number: int
    handle: int


class Prompted(NamedTuple):
    """People are asked. ``Security.answer_prompt`` answers it, or PromptWithdrawn ends it.

    ``kind``: see ``usbbtd.security.terms``; ``value``: None or a number of up to six digits.
    """

    number: int
    handle: int
    kind: int
    value: int | None

    def __repr__(self) -> str:
        return conceal(self, ("value",))


class PromptWithdrawn(NamedTuple):
    """The prompt with this number takes no answer any more."""

    number: int


class LevelChanged(NamedTuple):
    """A link has another level, key size or worth than before. See ``Security.link_security``."""

    handle: int
    level: int
    key_size: int
    is_bonded: bool


class EncryptionEnded(NamedTuple):
    """A link of LE that ``Security.is_encrypting`` was said of is encrypted with a key of known worth, or is not.

    LevelChanged came before, if it has another level now.
    """

    handle: int


class BondMade(NamedTuple):
    """A pairing has made a bond, which the book has. ``replaced``: what was there before.

    The guests of ``replaced`` are not those of ``bond``: that a peer pairs does not prove that it is the one of before.
    """

    handle: int
    bond: Bond
    replaced: Bond | None


class BondRefused(NamedTuple):
    """The keys of a pairing were not kept. ``text``: for people."""

    handle: int
    text: str


class BondUsed(NamedTuple):
    """The link with a bond's peer is encrypted with the bond's key."""

    handle: int
    bond: Bond


class PeerIdentified(NamedTuple):
    """A peer with a private address is the one of a bond. ``address``: of its identity."""

    handle: int
    address: bytes
    address_type: int


SecurityEvent = (
    LevelReached
    | LevelRefused
    | PairingAsked
    | Prompted
    | PromptWithdrawn
    | LevelChanged
    | EncryptionEnded
    | BondMade
    | BondRefused
    | BondUsed
    | PeerIdentified
)


# -- actions: for the controller, but for SendSmp


class Authenticate(NamedTuple):
    """Authentication Requested (Vol 4, Part E, 7.1.15)."""

    handle: int


class Encrypt(NamedTuple):
    """Set Connection Encryption, on (7.1.16)."""

    handle: int


class StartEncryption(NamedTuple):
    """LE Enable Encryption, as central (7.8.24)."""

    handle: int
    random: int
    diversifier: int
    key: bytes

    def __repr__(self) -> str:
        return conceal(self, ("key",))


class AnswerLongTermKey(NamedTuple):
    """The answer to LE Long Term Key Request (7.7.65.5). None: there is no such key."""

    handle: int
    key: bytes | None

    def __repr__(self) -> str:
        return conceal(self, ("key",))


class AnswerLinkKey(NamedTuple):
    """The answer to Link Key Request (7.7.23)."""

    address: bytes
    key: bytes | None

    def __repr__(self) -> str:
        return conceal(self, ("key",))


class AnswerIoCapability(NamedTuple):
    """The answer to IO Capability Request (7.1.29). ``requirements``: see ``usbbtd.security.association``."""

    address: bytes
    io_capability: int
    oob_present: bool
    requirements: int


class RefuseIoCapability(NamedTuple):
    """The other answer to it (7.1.36)."""

    address: bytes
    reason: int


class AnswerConfirmation(NamedTuple):
    """The answer to User Confirmation Request (7.7.42)."""

    address: bytes
    accept: bool


class AnswerPasskey(NamedTuple):
    """The answer to User Passkey Request (7.7.43)."""

    address: bytes
    passkey: int | None

    def __repr__(self) -> str:
        return conceal(self, ("passkey",))


class AnswerPin(NamedTuple):
    """The answer to PIN Code Request (7.7.22)."""

    address: bytes
    pin: bytes | None

    def __repr__(self) -> str:
        return conceal(self, ("pin",))


class AnswerOob(NamedTuple):
    """The answer to Remote OOB Data Request (7.7.44). ``data``: C and R, 32 octets."""

    address: bytes
    data: bytes | None

    def __repr__(self) -> str:
        return conceal(self, ("data",))


class SendSmp(NamedTuple):
    """A PDU of the Security Manager for the peer of an LE link. It may have a key in it."""

    handle: int
    payload: bytes

    def __repr__(self) -> str:
        return conceal(self, ("payload",))


class EndLink(NamedTuple):
    """The link has to end, with this reason for the peer (Vol 1, Part F)."""

    handle: int
    reason: int


class ResolvingListChanged(NamedTuple):
    """The IRKs of the book are others than before."""


SecurityAction = (
    Authenticate
    | Encrypt
    | StartEncryption
    | AnswerLongTermKey
    | AnswerLinkKey
    | AnswerIoCapability
    | RefuseIoCapability
    | AnswerConfirmation
    | AnswerPasskey
    | AnswerPin
    | AnswerOob
    | SendSmp
    | EndLink
    | ResolvingListChanged
)
