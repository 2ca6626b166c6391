"""The security of one LE link: encryption with the keys of a bond, and pairing by its Smp.

The central encrypts; a peripheral asks for it. What a link is encrypted with is known by the key that was last given to
the controller: of a bond, or of a pairing, which is worth something only when it has ended well.
"""

from collections.abc import Callable

from usbbtd.bluetooth import CENTRAL, LEVEL_AUTHENTICATED, PERIPHERAL
from usbbtd.security.bonds import LeKeys, LongTermKey, is_resolvable
from usbbtd.security.deadlines import Deadline
from usbbtd.security.events import (
    AnswerLongTermKey,
    EncryptionEnded,
    PairingAsked,
    PeerIdentified,
    SendSmp,
    StartEncryption,
    Why,
)
from usbbtd.security.le_keys import find_peer, keys_of
from usbbtd.security.levels import ENCRYPTION_OFF, ENCRYPTION_ON, level_of
from usbbtd.security.link import SecureLink, SharedSecurity, Wish
from usbbtd.security.prompts import PromptValue
from usbbtd.security.smp.events import (
    SmpAsked,
    SmpEncrypt,
    SmpEvent,
    SmpFailed,
    SmpPaired,
    SmpPrompt,
    SmpPromptEnded,
    SmpResult,
)
from usbbtd.security.smp.machine import Smp
from usbbtd.security.smp.wire import (
    AUTH_BONDING,
    AUTH_MITM,
    AUTH_SECURE_CONNECTIONS,
    PairingFailed,
    PairingReason,
    SecurityRequest,
)
from usbbtd.security.states import LE_SECURITY, LeInput, LeState
from usbbtd.security.terms import PairingTerms
from usbbtd.transitions import next_state

_PAIRING_FAILED = bytes((PairingFailed.CODE,))

#: Failures of ours that owners tell apart, and those that are the same whoever has noticed them.
_WHY: dict[int, Why] = {
    PairingReason.AUTHENTICATION_REQUIREMENTS: Why.CAPABILITIES,
    PairingReason.ENCRYPTION_KEY_SIZE: Why.KEY_SIZE,
}
_WHOSEVER: dict[int, Why] = dict.fromkeys(
    (PairingReason.CONFIRM_VALUE_FAILED, PairingReason.DHKEY_CHECK_FAILED), Why.NO_MATCH
)
#: Failures after which the peer need not wait: nobody can have tried to guess anything.
_HARMLESS = frozenset((Why.CANCELLED, Why.CAPABILITIES))


class LeSecurity(SecureLink):
    """The security of a link. ``new_number``: makes the number of a PairingAsked."""

    def __init__(
        self,
        shared: SharedSecurity,
        handle: int,
        role: int,
        address: bytes,
        address_type: int,
        own_address: bytes | None,
        smp: Smp,
        new_number: Callable[[], int],
    ) -> None:
        super().__init__(shared, handle, role, address, address_type, own_address)
        self.state = LeState.IDLE
        self._smp = smp
        self._new_number = new_number
        self._procedure = Deadline(shared.deadlines, self._expired)
        self._smp_deadline = Deadline(shared.deadlines, self._smp_expired)
        #: The keys of a bond of which the controller has one; None if what it has is of a pairing.
        self._given: LeKeys | None = None
        self._served: int | None = None  # the number of the wish that something goes on for
        self._asked: int | None = None  # the number of the PairingAsked that waits for an answer
        self._prompt: int | None = None
        self._failure: Why | None = None  # why we end the pairing ourselves

    def identify(self) -> None:
        """Looks whether a private address is that of a bonded peer."""
        if is_resolvable(*self.identity) and (bond := self.shared.bonds.resolve(self.address)) is not None:
            self.identity = (bond.address, bond.address_type)
            self.shared.events.append(PeerIdentified(self.handle, *self.identity))

    def is_busy(self) -> bool:
        return self.state is not LeState.IDLE

    def lost(self, now: float) -> None:
        if self.state in (LeState.PAIRING, LeState.ANSWERING):
            self._count_failure(Why.LINK_LOST, now)
        self._forget_procedure()
        self._smp_deadline.stop()
        for name, count in self.smp_statistics().items():
            self.shared.counters[name] = self.shared.counters.get(name, 0) + count
        super().lost(now)

    def smp_statistics(self) -> dict[str, int]:
        """Returns the counters of the link's pairings."""
        return {f"smp_{name.replace(' ', '_')}": count for name, count in self._smp.statistics().items()}

    # -- wishes

    def accept_pairing(self, number: int, terms: PairingTerms, now: float) -> bool:
        if number != self._asked:
            return False
        self._procedure.stop()
        self._asked = None
        self._step(LeInput.ACCEPT)
        self._served = number
        self.want(number, terms.level, terms, now, is_forced=True, is_incoming=True)
        self._smp.accept(terms, now)
        self._drain(now)
        return True

    def refuse_pairing(self, number: int, now: float) -> bool:
        if number != self._asked:
            return False
        self._refuse_peer(PairingReason.PAIRING_NOT_SUPPORTED, now)
        self._end_procedure(now)
        return True

    def _pair(self, wish: Wish, terms: PairingTerms, now: float) -> None:
        if self._smp.is_timed_out:
            self.end(Why.TIMED_OUT, "a pairing on this link was not gone on with")
            return
        self._step(LeInput.PAIR)
        self._served = wish.number
        self._smp.start(terms, now)
        self._drain(now)

    def _use_keys(self, wish: Wish, now: float) -> None:
        self._served = wish.number
        if self.role == CENTRAL:
            self._encrypt(now)
            return
        self._step(LeInput.REQUEST)
        self._procedure.start(now + self.shared.limits.security_request_s)
        mitm = AUTH_MITM if wish.level >= LEVEL_AUTHENTICATED else 0
        request = SecurityRequest(AUTH_BONDING | AUTH_SECURE_CONNECTIONS | mitm)
        self.shared.actions.append(SendSmp(self.handle, request.pack()))

    def _has_keys_for(self, level: int) -> bool:
        return self._key() is not None and self._bond_level() >= level

    def _stop_pairing(self, number: int, why: Why, now: float) -> None:
        if self._served == number and self.state in (LeState.PAIRING, LeState.ANSWERING):
            self._failure = why
            self._smp.cancel(now)
            self._drain(now)

    # -- encryption

    def receive_long_term_key_request(self, random: int, diversifier: int, now: float) -> None:
        """Takes the request of our controller, as the peripheral, for the key that the central names."""
        key = self._smp.long_term_key(random, diversifier)
        may_use_bond = self.role == PERIPHERAL and not self._is_ending and not self._must_pair()
        ours = self._key() if may_use_bond else None
        if key is not None:
            self._given = None
        elif ours is not None and (ours.random, ours.diversifier) == (random, diversifier):
            key = ours.key
            self._given = self._bond_keys()
        if key is None:
            self.shared.counters["requests_refused"] += 1
        else:
            self.is_encrypting = True
        self.shared.actions.append(AnswerLongTermKey(self.handle, key))

    def receive_encryption_changed(self, status: int, enabled: int, key_size: int, now: float) -> None:
        """Takes how the link is encrypted. ``key_size`` means nothing: that of the key is known."""
        if status:
            self._encryption_ended()
            self._smp.encryption_failed(now)
            if self.state is LeState.ENCRYPTING:
                self._refuse_served(*self.why_not_encrypted(status))
                self._end_procedure(now)
        elif not enabled:
            self._set_encryption(ENCRYPTION_OFF, 0, now)
            self._encryption_ended()
            self.settle(now)
        else:
            self.keys = self._given
            self._set_encryption(ENCRYPTION_ON, 0 if self._given is None else self._given.key_size, now)
            if self._given is not None:
                self._encryption_ended()
            self._smp.encrypted(now)
            if self._given is not None:
                self._encrypted_with_bond(now)
        self._drain(now)

    def receive_key_refreshed(self, status: int, now: float) -> None:
        if not self.is_encrypted:
            self.shared.counters["events_unexpected"] += 1
            return
        if status:
            self._set_encryption(ENCRYPTION_OFF, 0, now)
        self.receive_encryption_changed(status, ENCRYPTION_ON, 0, now)

    def _encryption_ended(self) -> None:
        """Notes that it is known now what the last key is worth on this link, or that the link is not encrypted."""
        if self.is_encrypting:
            self.is_encrypting = False
            self.shared.events.append(EncryptionEnded(self.handle))

    def _encrypted_with_bond(self, now: float) -> None:
        """Ends what waited for it. A central that was asked to pair may encrypt instead: that does, too."""
        if self.state is LeState.PAIRING and not self._smp.is_busy:
            for wish in self.wishes:
                wish.paired_keys = self._given
            self._end_procedure(now)
        elif self.state in (LeState.ENCRYPTING, LeState.REQUESTING):
            self._end_procedure(now)
        else:
            self.settle(now)

    def _encrypt(self, now: float) -> None:
        """Encrypts the link, whose central we are, with the key of the bond."""
        key = self._key()
        assert key is not None
        self._step(LeInput.ENCRYPT)
        self._procedure.start(now + self.shared.limits.procedure_s)
        self._given = self._bond_keys()
        self.is_encrypting = True
        self.shared.actions.append(StartEncryption(self.handle, key.random, key.diversifier, key.key))

    def _bond_keys(self) -> LeKeys | None:
        bond = self.bond()
        return bond.keys if bond is not None and isinstance(bond.keys, LeKeys) else None

    def _bond_level(self) -> int:
        keys = self._bond_keys()
        return 0 if keys is None else level_of(keys)

    def _key(self) -> LongTermKey | None:
        """Returns the key of the bond that is good for our role."""
        if (keys := self._bond_keys()) is None:
            return None
        return keys.theirs if self.role == CENTRAL else keys.ours

    def _must_pair(self) -> bool:
        """Tells whether a wish needs more than the keys of the bond give."""
        return self.state is LeState.PAIRING and any(wish.level > self._bond_level() for wish in self.wishes)

    # -- pairing

    def receive_smp(self, untrusted_payload: bytes, now: float) -> None:
        if self._is_ending:
            return
        if self.state is LeState.REQUESTING and untrusted_payload[:1] == _PAIRING_FAILED:
            self._refuse_served(Why.PEER_REFUSED, "it refused the security request")
            self._end_procedure(now)
        self._smp.receive(untrusted_payload, now)
        self._drain(now)

    def _smp_expired(self, now: float) -> None:
        self._smp.handle_timeout(now)
        self._drain(now)

    def _drain(self, now: float) -> None:
        """Hands on what the Smp has to send and to say, until there is nothing left."""
        smp = self._smp
        while True:
            pdus, events = smp.take_pdus(), smp.take_events()
            if not pdus and not events:
                break
            self.shared.actions.extend(SendSmp(self.handle, pdu) for pdu in pdus)
            for event in events:
                self._handle(event, now)
        due = None if self._is_ending else smp.next_timeout()
        if due is None:
            self._smp_deadline.stop()
        else:
            self._smp_deadline.start(due)

    def _handle(self, event: SmpEvent, now: float) -> None:
        match event:
            case SmpAsked():
                self._peer_asks(event, now)
            case SmpPrompt():
                self._prompt = self.shared.prompts.ask(self.handle, event.kind, event.value, self._answered, now)
            case SmpPromptEnded():
                self._withdraw()
            case SmpEncrypt():
                self._given = None
                self.is_encrypting = True
                self.shared.actions.append(StartEncryption(self.handle, 0, 0, event.key))
            case SmpPaired():
                self._paired(event.result, now)
            case SmpFailed():
                self._failed(event, now)

    def _answered(self, accept: bool, value: PromptValue, now: float) -> None:
        self._prompt = None
        if not accept:
            self._failure = Why.REFUSED
        self._smp.answer(accept, value if isinstance(value, int) else None, now)
        self._drain(now)

    def _peer_asks(self, asked: SmpAsked, now: float) -> None:
        """Encrypts, if that is all that our peripheral asks for and we have the key; else asks the owner."""
        wants_encryption = asked.io_capability is None and self._key() is not None
        needed = LEVEL_AUTHENTICATED if asked.mitm else 0
        if self._is_ending:
            self._smp.refuse(now)
        elif wants_encryption and self._bond_level() >= needed:
            if self.state is LeState.IDLE:
                self._encrypt(now)  # even if it is encrypted: Vol 3, Part H, 2.4.6
        elif self.shared.lockout.remaining(self.identity, now) > 0:
            self.shared.counters["pairings_locked_out"] += 1
            self._smp.refuse(now, PairingReason.REPEATED_ATTEMPTS)
        else:
            if self.state is LeState.REQUESTING:
                self._refuse_served(Why.KEY_MISSING, "it wants to pair anew")
                self._forget_procedure()
                self._step(LeInput.END)
            self._ask_owner(now)

    def _ask_owner(self, now: float) -> None:
        if self.state is not LeState.IDLE:
            self._smp.refuse(now)
            return
        self._step(LeInput.PEER_ASKS)
        self._procedure.start(now + self.shared.limits.ask_s)
        self._asked = self._new_number()
        self.shared.events.append(PairingAsked(self._asked, self.handle))

    def _refuse_peer(self, reason: PairingReason, now: float) -> None:
        self._asked = None
        self.shared.counters["pairings_refused"] += 1
        self._smp.refuse(now, reason)
        self._drain(now)

    def _paired(self, result: SmpResult, now: float) -> None:
        """Takes what a pairing has made: the link is encrypted with it."""
        peer = find_peer(result, (self.address, self.address_type), self.identity, self.shared.bonds)
        keys = keys_of(result, peer, self.shared.bonds)
        if not peer.is_believed:
            self.shared.counters["identities_not_believed"] += 1
        if self.take_keys(keys, peer.identity, is_kept=result.bonded and peer.refusal is None):
            self._given = keys
            if result.bonded and peer.refusal is not None:
                self.refuse_bond(peer.refusal)
            self._set_encryption(self._enabled, keys.key_size, now)
        self._encryption_ended()
        self._end_procedure(now)

    def _failed(self, failed: SmpFailed, now: float) -> None:
        if self._given is None:  # else the key is not of this pairing
            self._encryption_ended()
        why = self._failure
        if why is None and failed.reason is None:
            why = Why.TIMED_OUT
        elif why is None:
            reasons = _WHOSEVER if failed.by_peer else _WHOSEVER | _WHY
            why = Why.PEER_REFUSED if failed.reason is None else reasons.get(failed.reason, Why.PEER_REFUSED)
        if self.state in (LeState.PAIRING, LeState.ANSWERING):
            self._count_failure(why, now)
            self._refuse_served(why, failed.text)
        if self._smp.is_timed_out:
            self.end(why, failed.text)
        if self.state in (LeState.PAIRING, LeState.ANSWERING, LeState.ASKED):
            self._end_procedure(now)

    def _count_failure(self, why: Why, now: float) -> None:
        self.shared.counters["pairings_failed"] += 1
        if why not in _HARMLESS:
            self.shared.lockout.failed(self.identity, now)

    # -- procedures

    def _expired(self, now: float) -> None:
        """Acts on what the controller, the central or the owner did not say in time."""
        if self.state is LeState.ASKED:
            self._refuse_peer(PairingReason.PAIRING_NOT_SUPPORTED, now)
        else:
            silent = "the controller" if self.state is LeState.ENCRYPTING else "the central"
            self._refuse_served(Why.TIMED_OUT, f"{silent} did not answer")
            self._encryption_ended()
        self._end_procedure(now)

    def _end_procedure(self, now: float) -> None:
        was_encrypting = self.state is LeState.ENCRYPTING
        self._forget_procedure()
        self._step(LeInput.END)
        if was_encrypting and self._smp.is_busy:  # a security request that came meanwhile, and is not met
            self._smp.refuse(now)
            self._drain(now)
        self.settle(now)

    def _forget_procedure(self) -> None:
        self._procedure.stop()
        self._withdraw()
        self._served = self._asked = self._failure = None

    def _withdraw(self) -> None:
        self.shared.prompts.withdraw(self._prompt)
        self._prompt = None

    def _refuse_served(self, why: Why, text: str) -> None:
        """Refuses the wish that something goes on for, unless it has ended."""
        if self._served is not None:
            self.refuse(self._served, why, text)

    def _step(self, event: LeInput) -> None:
        self.state = next_state(self, LE_SECURITY, self.state, event)
