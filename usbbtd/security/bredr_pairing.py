"""One pairing of BR/EDR, begun by us or by the peer: by Secure Simple Pairing, or with a PIN where terms allow it.

The controllers pair. They ask for what we can show and type, and for what people say; what they make is a link key with
a type. That says whether somebody in the middle was ruled out; it is believed if people had a part in it.
"""

from collections.abc import Callable

from usbbtd.bluetooth import (
    KEY_AUTHENTICATED_P192,
    KEY_AUTHENTICATED_P256,
    KEY_COMBINATION,
    KEY_UNAUTHENTICATED_P192,
    KEY_UNAUTHENTICATED_P256,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    NO_INPUT_NO_OUTPUT,
    SECURITY_LEVELS,
    ErrorCode,
)
from usbbtd.security.association import (
    DEDICATED_BONDING,
    GENERAL_BONDING,
    MITM,
    NO_BONDING,
    bonds,
    bredr_capability,
    can_authenticate,
    compares_numbers,
)
from usbbtd.security.bonds import BredrKey
from usbbtd.security.events import (
    AnswerConfirmation,
    AnswerIoCapability,
    AnswerPasskey,
    AnswerPin,
    RefuseIoCapability,
    SecurityAction,
    Why,
)
from usbbtd.security.levels import level_of
from usbbtd.security.link import SharedSecurity, Wish
from usbbtd.security.prompts import Answered, PromptValue
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, ENTER_PIN, PASSKEY_LIMIT, PairingTerms

#: What a peer said of itself: its IO capability, whether it has OOB data, its authentication requirements.
Capability = tuple[int, bool, int]

_UNAUTHENTICATED = {
    KEY_AUTHENTICATED_P192: KEY_UNAUTHENTICATED_P192,
    KEY_AUTHENTICATED_P256: KEY_UNAUTHENTICATED_P256,
}
#: The types of keys that a pairing can make, but for the debug key, which everybody knows.
_OF_PAIRING = frozenset((KEY_COMBINATION, *_UNAUTHENTICATED, *_UNAUTHENTICATED.values()))


class BredrPairing:
    """A pairing that somebody of ours wants. ``number``: of the wish.

    ``failure``: why it cannot end well any more, with a text for people; the controllers may need a while to see it.
    ``keys``: those that it has made. ``is_proved``: the controllers have said that the peer has them, too. ``is_taken``
    and ``is_counted``: its end has been acted on, as a success or as a failure. ``changed`` is called when people
    have answered, with the time.
    """

    def __init__(
        self,
        shared: SharedSecurity,
        handle: int,
        address: bytes,
        wish: Wish,
        terms: PairingTerms,
        peer: Capability | None,
        changed: Callable[[float], None],
    ) -> None:
        self._shared = shared
        self._changed = changed
        self._handle = handle
        self._address = address
        self.number = wish.number
        self.level = max(wish.level, terms.level)
        self._terms = terms
        self._is_incoming = wish.is_incoming
        self._is_forced = wish.is_forced
        self._peer = peer
        self._ours = bredr_capability(terms.io_capability)
        self._requirements = 0
        self._prompt: int | None = None
        self._refusal: SecurityAction | None = None  # the answer to the controller if people are not asked any more
        self._is_attended = False  # people have compared or typed a number
        self._has_pin = False
        self.has_begun = False
        self.failure: tuple[Why, str] | None = None
        self.keys: BredrKey | None = None
        self.is_proved = False
        self.is_taken = False
        self.is_counted = False

    @property
    def is_complete(self) -> bool:
        return self.failure is None and self.keys is not None and self.is_proved

    @property
    def is_bonding(self) -> bool:
        """Tells whether both sides keep the keys. A PIN leaves nothing else to a peer."""
        return self._terms.bondable and (self._has_pin or self._peer is None or bonds(self._peer[2]))

    def fail(self, why: Why, text: str) -> None:
        """Notes why it cannot end well; the first reason counts. What people are asked is withdrawn."""
        self.failure = self.failure or (why, text)
        if self._prompt is not None and self._refusal is not None:
            self._shared.actions.append(self._refusal)
        self.close()

    def close(self) -> None:
        """Ends it: what people are asked is withdrawn."""
        self._shared.prompts.withdraw(self._prompt)
        self._prompt = None

    # -- what the controller asks and says

    def receive_peer(self, peer: Capability) -> None:
        self._peer = peer

    def answer_io_capability(self) -> None:
        """Answers what we can show and type, and require; or refuses, if that would not do for the level.

        MITM protection is asked for at every level, if it may be possible: without that nobody is asked anything. A
        peer that cannot protect is left to just works, which is enough for LEVEL_ENCRYPTED.
        """
        actions = self._shared.actions
        self.has_begun = True
        mitm = self._can_authenticate()
        if self.failure is None and self.level >= LEVEL_AUTHENTICATED and not mitm:
            self.fail(Why.CAPABILITIES, "")
        if self.failure is not None:
            actions.append(RefuseIoCapability(self._address, ErrorCode.PAIRING_NOT_ALLOWED))
            return
        if not self._terms.bondable or (self._peer is not None and not bonds(self._peer[2])):
            bonding = NO_BONDING
        else:
            bonding = DEDICATED_BONDING if self._is_forced and not self._is_incoming else GENERAL_BONDING
        self._requirements = bonding | (MITM if mitm else 0)
        actions.append(AnswerIoCapability(self._address, self._ours, False, self._requirements))

    def ask_confirmation(self, untrusted_value: int, now: float) -> None:
        """Lets people compare a number, or consent to a pairing of the peer's that shows none."""
        refusal = AnswerConfirmation(self._address, False)
        if self._is_out_of_turn(untrusted_value):
            self._shared.actions.append(refusal)
        elif self._is_compared():
            self._ask(CONFIRM, untrusted_value, self._confirmed, refusal, now)
        elif self.level >= LEVEL_AUTHENTICATED:
            self.fail(Why.CAPABILITIES, "")
            self._shared.actions.append(refusal)
        elif self._is_incoming or self._terms.asks_consent:
            self._ask(CONSENT, None, self._consented, refusal, now)
        else:
            self._shared.actions.append(AnswerConfirmation(self._address, True))

    def ask_passkey(self, now: float) -> None:
        """Lets people type what the peer shows."""
        refusal = AnswerPasskey(self._address, None)
        if self._is_out_of_turn(0):
            self._shared.actions.append(refusal)
        else:
            self._ask(ENTER_PASSKEY, None, self._passkey_entered, refusal, now)

    def show_passkey(self, untrusted_passkey: int, now: float) -> None:
        """Lets people type on the peer what we show."""
        if not self._is_out_of_turn(untrusted_passkey):
            self._is_attended = True
            self._ask(DISPLAY, untrusted_passkey, self._display_refused, None, now)

    def ask_pin(self, now: float) -> None:
        """Lets people type a PIN if terms allow one, and it is enough."""
        self.has_begun = True
        if self.failure is None and not self._terms.pin_allowed:
            self.fail(Why.CAPABILITIES, "the peer wants a PIN, which is not allowed")
        if self.failure is None and self.level > LEVEL_ENCRYPTED:
            self.fail(Why.CAPABILITIES, "the peer wants a PIN, which is not enough")
        refusal = AnswerPin(self._address, None)
        if self._is_out_of_turn(0):
            self._shared.actions.append(refusal)
        else:
            self._ask(ENTER_PIN, None, self._pin_entered, refusal, now)

    def take_key(self, key: bytes, untrusted_type: int) -> None:
        """Takes the link key that the controllers have made."""
        if self.failure is not None:
            return
        if not self._is_attended:
            untrusted_type = _UNAUTHENTICATED.get(untrusted_type, untrusted_type)
        keys = BredrKey(key, untrusted_type)
        if self._has_pin is not (untrusted_type == KEY_COMBINATION) or untrusted_type not in _OF_PAIRING:
            self.fail(Why.PEER_REFUSED, f"the link key has the type {untrusted_type}")
        elif level_of(keys) < self.level:
            self.fail(Why.NOT_REACHED, f"the keys are good for the level {SECURITY_LEVELS[level_of(keys)]}")
        else:
            self.keys = keys
            self.is_proved = self.is_proved or self._has_pin

    # -- inside

    def _can_authenticate(self) -> bool:
        """Tells whether somebody in the middle can be ruled out, as far as is known."""
        if self._peer is None:
            return self._ours != NO_INPUT_NO_OUTPUT
        return can_authenticate(self._ours, self._peer[0])

    def _is_compared(self) -> bool:
        if self._peer is None:
            return False
        peers, _, requirements = self._peer
        return compares_numbers(self._ours, peers) and bool((requirements | self._requirements) & MITM)

    def _is_out_of_turn(self, untrusted_number: int) -> bool:
        """Tells whether people must not be asked: it has failed, they are asked already, or the number is none."""
        if self.failure is None and (self._prompt is not None or not 0 <= untrusted_number < PASSKEY_LIMIT):
            self.fail(Why.PEER_REFUSED, "the controller asked out of turn")
        return self.failure is not None

    def _ask(
        self, kind: int, value: int | None, answered: Answered, refusal: SecurityAction | None, now: float
    ) -> None:
        self.has_begun = True
        self._refusal = refusal
        self._prompt = self._shared.prompts.ask(self._handle, kind, value, answered, now)

    def _confirmed(self, accept: bool, value: PromptValue, now: float) -> None:
        self._is_attended = accept
        self._consented(accept, value, now)

    def _consented(self, accept: bool, value: PromptValue, now: float) -> None:
        self._answered(accept, AnswerConfirmation(self._address, accept), now)

    def _passkey_entered(self, accept: bool, value: PromptValue, now: float) -> None:
        self._is_attended = accept
        self._answered(accept, AnswerPasskey(self._address, value if isinstance(value, int) else None), now)

    def _pin_entered(self, accept: bool, value: PromptValue, now: float) -> None:
        self._has_pin = accept
        self._answered(accept, AnswerPin(self._address, value if isinstance(value, bytes) else None), now)

    def _display_refused(self, accept: bool, value: PromptValue, now: float) -> None:
        self._answered(accept, None, now)

    def _answered(self, accept: bool, answer: SecurityAction | None, now: float) -> None:
        self._prompt = None
        if answer is not None:
            self._shared.actions.append(answer)
        if not accept:
            self.fail(Why.REFUSED, "nobody agreed to it")
        self._changed(now)
