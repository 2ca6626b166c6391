"""The security of one BR/EDR link: authentication, pairing and encryption, which the controllers do.

Their events come in different orders: a link may be encrypted before its authentication is said to be complete, and a
key notified before or after its pairing. So each event notes a fact, and what the facts allow is done. One procedure
goes on at a time, and lasts until its own last event or its time limit, so that no late event counts for the next.
"""

from collections.abc import Callable
from typing import Final

from usbbtd.bluetooth import (
    ADDRESS_BREDR,
    DISPLAY_ONLY,
    DISPLAY_YES_NO,
    KEY_CHANGED,
    KEYBOARD_ONLY,
    NO_INPUT_NO_OUTPUT,
    ErrorCode,
    describe_error,
)
from usbbtd.errors import LocalProtocolError
from usbbtd.security.bonds import KEY_OCTETS, BredrKey
from usbbtd.security.bredr_pairing import BredrPairing, Capability
from usbbtd.security.deadlines import Deadline
from usbbtd.security.events import (
    AnswerConfirmation,
    AnswerLinkKey,
    AnswerOob,
    AnswerPasskey,
    AnswerPin,
    Authenticate,
    BondMade,
    Encrypt,
    PairingAsked,
    RefuseIoCapability,
    Why,
)
from usbbtd.security.levels import ENCRYPTION_OFF, Keys, level_of
from usbbtd.security.link import SecureLink, SharedSecurity, Wish
from usbbtd.security.states import BREDR_SECURITY, BredrInput, BredrState
from usbbtd.security.terms import PairingTerms
from usbbtd.transitions import next_state

#: What both ends began at the same moment is begun again by us, so often.
_COLLISIONS = frozenset((ErrorCode.LMP_COLLISION, ErrorCode.DIFFERENT_COLLISION))
_COLLISION_TRIES: Final = 3

_CAPABILITIES = (DISPLAY_ONLY, DISPLAY_YES_NO, KEYBOARD_ONLY)

#: Failures of a pairing after which the peer need not wait: nobody can have tried to guess anything.
_HARMLESS = frozenset((Why.CANCELLED, Why.CAPABILITIES))


class BredrSecurity(SecureLink):
    """The security of a link. ``new_number``: makes the number of a PairingAsked."""

    def __init__(
        self, shared: SharedSecurity, handle: int, role: int, address: bytes, own_address: bytes | None,
        new_number: Callable[[], int],
    ) -> None:  # fmt: skip
        super().__init__(shared, handle, role, address, ADDRESS_BREDR, own_address)
        self.state = BredrState.IDLE
        self._new_number = new_number
        self._procedure = Deadline(shared.deadlines, self._expired)
        self._collisions = 0
        #: The keys of the bond that the controller was given, until it is known whether the peer has them.
        self._offered: BredrKey | None = None
        self._pairing: BredrPairing | None = None
        self._peer: Capability | None = None  # what it said before its pairing was accepted
        self._asked: int | None = None  # the number of the PairingAsked that waits for an answer
        self._served: int | None = None  # the number of the wish that an authentication or encryption is for
        self._is_authenticated = False  # the controller has said so of our pairing
        self._wants_pin = False  # the peer's pairing is one with a PIN

    def is_busy(self) -> bool:
        return self.state is not BredrState.IDLE

    def lost(self, now: float) -> None:
        if self._pairing is not None:
            self._count_failure(self._pairing, now)
        self._forget_procedure()
        super().lost(now)

    # -- wishes

    def accept_pairing(self, number: int, terms: PairingTerms, now: float) -> bool:
        """Accepts the peer's pairing. Returns False, and does nothing, if it does not wait for an answer."""
        if number != self._asked:
            return False
        self._asked = None
        wish = self.want(number, terms.level, terms, now, is_forced=True, is_incoming=True)
        self._procedure.start(now + self.shared.limits.bredr_pairing_s)
        pairing = self._begin_pairing(wish, terms, self._peer)
        if self._wants_pin:
            pairing.ask_pin(now)
        else:
            pairing.answer_io_capability()
        self._proceed(now)
        return True

    def refuse_pairing(self, number: int, now: float) -> bool:
        """Refuses the peer's pairing. Returns False, and does nothing, if it does not wait for an answer."""
        if number != self._asked:
            return False
        self._refuse_peer()
        self._end_procedure(now)
        return True

    def _pair(self, wish: Wish, terms: PairingTerms, now: float) -> None:
        self._begin_pairing(wish, terms, None)
        self._authenticate(BredrInput.PAIR, self.shared.limits.bredr_pairing_s, now)

    def _begin_pairing(self, wish: Wish, terms: PairingTerms, peer: Capability | None) -> BredrPairing:
        pairing = BredrPairing(self.shared, self.handle, self.address, wish, terms, peer, self._proceed)
        self._pairing = pairing
        return pairing

    def _use_keys(self, wish: Wish, now: float) -> None:
        self._served = wish.number
        if self.keys is not None and level_of(self.keys) >= wish.level:
            self._encrypt(now)
        else:
            self._authenticate(BredrInput.AUTHENTICATE, self.shared.limits.procedure_s, now)

    def _has_keys_for(self, level: int) -> bool:
        bond = self.bond()
        return any(
            keys is not None and level_of(keys) >= level for keys in (self.keys, None if bond is None else bond.keys)
        )

    def _stop_pairing(self, number: int, why: Why, now: float) -> None:
        if (pairing := self._pairing) is not None and pairing.number == number:
            pairing.fail(why, "")
            self._proceed(now)

    # -- authentication and encryption

    def receive_link_key_request(self) -> None:
        """Takes the controller's request for the link key.

        While we pair there is none, and a link that has paired has no other: so a peer that lacks the bond's key never
        makes an encryption with its own key look like one with the bond's.
        """
        keys: Keys | None = self.keys
        if self.state is BredrState.PAIRING or self._is_ending:
            keys = None
        elif (keys is None or self.state is BredrState.AUTHENTICATING) and (bond := self.bond()) is not None:
            keys = bond.keys
            self._offered = keys if isinstance(keys, BredrKey) else None
        key = keys.key if isinstance(keys, BredrKey) else None
        self.shared.actions.append(AnswerLinkKey(self.address, key))

    def receive_authenticated(self, status: int, now: float) -> None:
        if self.state not in (BredrState.AUTHENTICATING, BredrState.PAIRING):
            self.shared.counters["events_unexpected"] += 1
        elif status in _COLLISIONS and self._collisions < _COLLISION_TRIES:
            self._collisions += 1
            self.shared.actions.append(Authenticate(self.handle))
        elif self.state is BredrState.PAIRING:
            self._paired_by_us(status, now)
        elif status:
            self._offered = None
            # The bond stays: somebody else may have the peer's address.
            self._refuse_served(*self.why_not_encrypted(status))
            self._end_procedure(now)
        else:
            self.keys, self._offered = self._offered or self.keys, None
            self._encrypt_or_end(now)

    def receive_encryption_changed(self, status: int, enabled: int, key_size: int, now: float) -> None:
        if status:
            if self.state is BredrState.ENCRYPTING:
                self._refuse_served(*self.why_not_encrypted(status))
                self._end_procedure(now)
            else:
                self.shared.counters["events_unexpected"] += 1
            return
        if enabled and self.keys is None:
            self.keys = self._offered  # only who has the key can encrypt with it
        if enabled and self._pairing is not None and self._pairing.keys is not None:
            self._pairing.is_proved = True
            self._take_pairing(now)
        self._set_encryption(enabled, key_size, now)
        has_taken = self._pairing is not None and self._pairing.is_taken and self.state is BredrState.ANSWERING
        if enabled and (has_taken or self.state in (BredrState.ENCRYPTING, BredrState.AWAITING)):
            self._end_procedure(now)
        else:
            self.settle(now)

    def receive_key_refreshed(self, status: int, now: float) -> None:
        """Takes the end of a pause, after which the link is encrypted with the keys that it has.

        If it failed, nothing is known of the encryption, and the link is worth nothing.
        """
        if status or not self.is_encrypted:
            self._set_encryption(ENCRYPTION_OFF, 0, now)
            self.settle(now)
        else:
            self.receive_encryption_changed(0, self._enabled, self._key_size, now)

    def _authenticate(self, how: BredrInput, patience_s: float, now: float) -> None:
        self._step(how)
        self._collisions = 0
        self._procedure.start(now + patience_s)
        self.shared.actions.append(Authenticate(self.handle))

    def _encrypt(self, now: float) -> None:
        if self._pairing is not None:
            self._served = self._pairing.number
            self._pairing.close()
            self._pairing = None
        self._step(BredrInput.ENCRYPT)
        self._procedure.start(now + self.shared.limits.procedure_s)
        self.shared.actions.append(Encrypt(self.handle))

    def _encrypt_or_end(self, now: float) -> None:
        """Encrypts with the keys that were proved, unless the controllers have done so already."""
        if self.is_encrypted and self._encrypted_with == self.keys:
            self._end_procedure(now)
        else:
            self._encrypt(now)

    # -- pairing

    def receive_io_capability(self, untrusted_io: int, has_oob: bool, requirements: int) -> None:
        """Takes what the peer said of itself: before the request if the peer pairs, after it if we do."""
        io_capability = untrusted_io if untrusted_io in _CAPABILITIES else NO_INPUT_NO_OUTPUT
        self._peer = (io_capability, has_oob, requirements)
        if self._pairing is not None:
            self._pairing.receive_peer(self._peer)

    def receive_io_capability_request(self, now: float) -> None:
        if self._pairing is not None and self.state is BredrState.PAIRING:
            self._pairing.answer_io_capability()
            self._proceed(now)
        else:
            self._ask_owner(False, now)

    def receive_pin_request(self, now: float) -> None:
        if self._pairing is not None and self.state is BredrState.PAIRING:
            self._pairing.ask_pin(now)
            self._proceed(now)
        else:
            self._ask_owner(True, now)

    def receive_confirmation_request(self, untrusted_value: int, now: float) -> None:
        if self._pairing is None:
            self._count_refused(AnswerConfirmation(self.address, False))
        else:
            self._pairing.ask_confirmation(untrusted_value, now)
            self._proceed(now)

    def receive_passkey_request(self, now: float) -> None:
        if self._pairing is None:
            self._count_refused(AnswerPasskey(self.address, None))
        else:
            self._pairing.ask_passkey(now)
            self._proceed(now)

    def receive_passkey_shown(self, untrusted_passkey: int, now: float) -> None:
        if self._pairing is None:
            self.shared.counters["events_unexpected"] += 1
        else:
            self._pairing.show_passkey(untrusted_passkey, now)
            self._proceed(now)

    def receive_oob_request(self) -> None:
        """Refuses: we never say that we have data of the peer."""
        self._count_refused(AnswerOob(self.address, None))

    def receive_pairing_complete(self, status: int, now: float) -> None:
        if self._pairing is None:
            self.shared.counters["events_unexpected"] += 1
            return
        if status:
            self._pairing.fail(Why.PEER_REFUSED, describe_error(status))
        else:
            self._pairing.is_proved = True
        self._proceed(now)
        if self.state is BredrState.ANSWERING and status:
            self._end_procedure(now)

    def receive_link_key(self, key: bytes, untrusted_type: int, now: float) -> None:
        if len(key) != KEY_OCTETS:
            raise LocalProtocolError(f"a link key of {len(key)} octets")
        if self._pairing is not None and untrusted_type != KEY_CHANGED:
            # With no key of before: if this one is refused, nothing says what the next encryption is made with.
            self.keys = self._offered = None
            self._pairing.take_key(key, untrusted_type)
            self._proceed(now)
        elif self._pairing is None and untrusted_type == KEY_CHANGED and isinstance(self.keys, BredrKey):
            self._change_key(BredrKey(key, self.keys.key_type))
        else:
            self.shared.counters["keys_ignored"] += 1

    def _change_key(self, keys: BredrKey) -> None:
        """Takes the key that replaces the link's: it is the same peer's, and so is the bond."""
        bond = self.bond()
        if bond is not None and bond.keys == self.keys:
            new = bond._replace(keys=keys)
            self.shared.bonds.keep(new)
            self.shared.events.append(BondMade(self.handle, new, bond))
        if self._encrypted_with == self.keys:
            self._encrypted_with = keys
        self.keys = keys
        self.update()

    def _ask_owner(self, wants_pin: bool, now: float) -> None:
        """Asks whether the peer may pair, unless something else goes on, or the peer has to wait."""
        if self.state is not BredrState.IDLE or self._is_ending:
            self._refuse_peer_at_once(wants_pin)
        elif self.shared.lockout.remaining(self.identity, now) > 0:
            self.shared.counters["pairings_locked_out"] += 1
            self._refuse_peer_at_once(wants_pin)
        else:
            self._step(BredrInput.PEER_PAIRS)
            self._procedure.start(now + self.shared.limits.ask_s)
            self._wants_pin = wants_pin
            self._asked = self._new_number()
            self.shared.events.append(PairingAsked(self._asked, self.handle))

    def _refuse_peer(self) -> None:
        self._asked = None
        self.shared.counters["pairings_refused"] += 1
        self._refuse_peer_at_once(self._wants_pin)

    def _refuse_peer_at_once(self, wants_pin: bool) -> None:
        if wants_pin:
            self._count_refused(AnswerPin(self.address, None))
        else:
            self._count_refused(RefuseIoCapability(self.address, ErrorCode.PAIRING_NOT_ALLOWED))

    def _count_refused(
        self, refusal: AnswerConfirmation | AnswerPasskey | AnswerPin | AnswerOob | RefuseIoCapability
    ) -> None:
        self.shared.counters["requests_refused"] += 1
        self.shared.actions.append(refusal)

    def _proceed(self, now: float) -> None:
        """Does what the facts of the pairing allow."""
        pairing = self._pairing
        if pairing is None:
            return
        if pairing.failure is not None:
            self._pairing_failed(pairing, pairing.failure, now)
        elif pairing.is_complete:
            self._take_pairing(now)
            if self.state is BredrState.ANSWERING:
                self._step(BredrInput.PEER_PAIRED)
                self._procedure.start(now + self.shared.limits.encrypt_s)
            elif self._is_authenticated and self.state is BredrState.PAIRING:
                self._encrypt_or_end(now)
            self.settle(now)

    def _take_pairing(self, now: float) -> None:
        """Takes what a pairing has made, once."""
        if (pairing := self._pairing) is None or not pairing.is_complete or pairing.is_taken:
            return
        pairing.is_taken = True
        assert pairing.keys is not None
        self.take_keys(pairing.keys, self.identity, is_kept=pairing.is_bonding)

    def _pairing_failed(self, pairing: BredrPairing, failure: tuple[Why, str], now: float) -> None:
        """Refuses the wish. What the controllers still say of the pairing is waited for: it must count for no other."""
        self._count_failure(pairing, now)
        self._procedure.start(now + self.shared.limits.encrypt_s)
        self.refuse(pairing.number, *failure)

    def _paired_by_us(self, status: int, now: float) -> None:
        """Takes the end of the authentication that we have paired for."""
        pairing = self._pairing
        assert pairing is not None
        if status:
            pairing.fail(Why.PEER_REFUSED, describe_error(status))
            self._proceed(now)
        elif pairing.failure is None:
            self._is_authenticated = pairing.is_proved = True
            self._proceed(now)  # or wait for the key, which some notify later
        if pairing.failure is not None:
            self._end_procedure(now)

    def _count_failure(self, pairing: BredrPairing, now: float) -> None:
        if pairing.is_taken or pairing.is_counted:
            return
        pairing.is_counted = True
        self.shared.counters["pairings_failed"] += 1
        if pairing.has_begun and (pairing.failure is None or pairing.failure[0] not in _HARMLESS):
            self.shared.lockout.failed(self.identity, now)

    # -- procedures

    def _expired(self, now: float) -> None:
        """Acts on what the controller, the peer or the owner did not say in time."""
        pairing = self._pairing
        if self.state is BredrState.AWAITING or (pairing is not None and pairing.is_taken and not self._is_ending):
            if self.is_encrypted and self._encrypted_with == self.keys:
                self._end_procedure(now)
            else:
                self._encrypt(now)
            return
        if self._asked is not None:
            self._refuse_peer()
        elif pairing is not None:
            pairing.fail(Why.TIMED_OUT, "")
            self._count_failure(pairing, now)
            self.refuse(pairing.number, Why.TIMED_OUT, "")
        else:
            self._refuse_served(Why.TIMED_OUT, "the controller did not answer")
        self._end_procedure(now)

    def _end_procedure(self, now: float) -> None:
        self._forget_procedure()
        self._step(BredrInput.END)
        self.settle(now)

    def _forget_procedure(self) -> None:
        self._procedure.stop()
        if self._pairing is not None:
            self._pairing.close()
        self._pairing = self._peer = self._asked = self._served = None
        self._is_authenticated = False

    def _refuse_served(self, why: Why, text: str) -> None:
        """Refuses the wish that the procedure is for, unless it has ended."""
        if self._served is not None:
            self.refuse(self._served, why, text)

    def _step(self, event: BredrInput) -> None:
        self.state = next_state(self, BREDR_SECURITY, self.state, event)
