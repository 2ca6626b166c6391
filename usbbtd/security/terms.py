"""What the owner of a link gives for a pairing, and what a pairing asks of people; the same on both transports."""

from typing import Final, NamedTuple

# Kinds of questions to people. What the value of each is, and what answers it:
#: "May this device pair?", of a pairing that the peer began and that shows nothing. No value.
CONSENT: Final = 0
#: "Do both devices show this number?" The value is 0 to 999999.
CONFIRM: Final = 1
#: "Type this number on the other device." The value is 0 to 999999. Needs no answer; a refusal ends the pairing.
DISPLAY: Final = 2
#: "Which number does the other device show?" No value; the answer is 0 to 999999.
ENTER_PASSKEY: Final = 3
#: "Which PIN does the other device have?", on BR/EDR. No value; the answer is 1 to 16 octets.
ENTER_PIN: Final = 4
PROMPTS: Final = ("consent", "confirm", "display", "enter passkey", "enter PIN")

#: Passkeys and the numbers to compare have six digits.
PASSKEY_LIMIT: Final = 1_000_000


class OwnOob(NamedTuple):
    """Has what the peer gets of us out of band for LE Secure Connections: ``random`` and ``confirm``, 16 octets each.

    ``private_key`` is the P-256 key that they belong to, for the next pairing only. ``toolbox.make_oob`` makes one.
    """

    private_key: int
    random: bytes
    confirm: bytes

    def __repr__(self) -> str:
        return "OwnOob(...)"


class OobData(NamedTuple):
    """Has what came and went out of band (Vol 3, Part H, 2.3.5.4 and 2.3.5.6.4), 16 octets each, in the order of HCI.

    ``temporary_key``: both devices have it, for legacy pairing. ``peer_confirm`` and ``peer_random``: of the peer, for
    Secure Connections; both or none. ``own``: what the peer may have of us.
    """

    temporary_key: bytes | None = None
    peer_confirm: bytes | None = None
    peer_random: bytes | None = None
    own: OwnOob | None = None

    def __repr__(self) -> str:
        return "OobData(...)"


class PairingTerms(NamedTuple):
    """Says what a pairing must reach, and with what.

    ``level``: as in ``usbbtd.bluetooth``; a pairing that would stay below it fails. ``io_capability``: DISPLAY_ONLY to
    KEYBOARD_DISPLAY there. ``bondable``: whether keys are kept. ``secure_connections``: False leaves LE Secure
    Connections out, which an old peer may need. ``pin_allowed``: whether a BR/EDR peer that is too old for
    anything else may pair with a PIN, which whoever listens can find. ``asks_consent``: whether people are asked
    although there is nothing to compare or type, as they always are when the peer began: on BR/EDR, where we may begin
    because of a peer.
    """

    level: int
    io_capability: int
    bondable: bool = True
    oob: OobData | None = None
    secure_connections: bool = True
    pin_allowed: bool = False
    asks_consent: bool = False
