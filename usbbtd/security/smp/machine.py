"""Pairs with the peer of one LE link, as central or peripheral.

How an owner uses an Smp, which lives as long as its link:

- ``start(terms, now)`` pairs: a central sends a pairing request, a peripheral asks its central for it with a security
  request. ``receive(payload, now)`` takes each payload of CID 6.
- If the peer begins, SmpAsked comes. ``accept(terms, now)`` or ``refuse(now)`` answers it; without an answer it fails
  after ``SmpLimits.answer_s``. A central may also encrypt the link with the key of a bond, as an answer to a security
  request.
- SmpPrompt asks a person; ``answer(accept, value, now)`` answers it. SmpPromptEnded follows each, answered or not. Only
  a pairing that the peer began asks CONSENT, and only if it is just works.
- SmpEncrypt, of a central: encrypt the link with that key. A peripheral's controller asks for a key: if
  ``long_term_key(random, diversifier)`` has one it is the answer, else the owner looks into its bonds.
- The controller's word on encryption, be it Encryption Change or Encryption Key Refresh Complete, goes to
  ``encrypted(now)`` or ``encryption_failed(now)``, whoever began it. If nothing waits for it, it is ignored.
- Each ``start``, and each SmpAsked, ends with one SmpPaired or SmpFailed. After SmpPaired the link is encrypted with
  the pairing's key. Without an event end only a request of the peer that the owner refuses, and a security request, of
  either side, that is answered by encrypting: the owner knows, it called ``encrypted``.
- ``cancel(now)`` ends what goes on, with SmpFailed. When the link ends, the owner forgets the Smp: no event comes then.
- After each call: ``take_pdus()``, payloads for CID 6, and ``take_events()``. Then ``next_timeout()`` says when
  ``handle_timeout(now)`` is due.

No method raises but LocalProtocolError, where it says so: what a peer sends wrongly costs its pairing. When a procedure
has timed out ``is_timed_out`` is True: nothing is sent or heard on this link any more (Vol 3, Part H, 3.4), which the
owner had better end. Keys are 16 octets and addresses 6, least significant octet first, as in HCI.

Keys that cross transports are neither made nor taken, and no signing key is asked for.
"""

from collections.abc import Callable
from typing import Final

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.security.smp import wire
from usbbtd.security.smp.events import SmpAsked, SmpEvent, SmpFailed, SmpPaired, SmpPrompt
from usbbtd.security.smp.exchange import Exchange, PairingFailure, SmpSides
from usbbtd.security.smp.features import check_features, check_terms
from usbbtd.security.smp.limits import SmpLimits
from usbbtd.security.smp.pairing import LePairing
from usbbtd.security.smp.states import EXPECTED, SmpState
from usbbtd.security.smp.wire import (
    AUTH_BONDING,
    AUTH_BONDING_MASK,
    AUTH_MITM,
    AUTH_SECURE_CONNECTIONS,
    KeypressNotification,
    PairingFailed,
    PairingReason,
    PairingRequest,
    PairingResponse,
    SecurityRequest,
    SmpPdu,
)
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, PASSKEY_LIMIT, PairingTerms

__all__ = ["Smp"]

#: What a device of a role may not be sent, because only the other role understands it.
_OF_A_CENTRAL: Final = (PairingRequest,)
_OF_A_PERIPHERAL: Final = (PairingResponse, SecurityRequest)
_BEGINNINGS: Final = tuple(bytes((kind.CODE,)) for kind in (PairingRequest, SecurityRequest))
_COUNTERS: Final = (
    "paired", "failed", "failed by the peer", "refused", "timed out", "after the timeout", "malformed",
    "reserved codes", "unexpected", "keypresses", "security requests ignored", "signing keys dropped",
    "identities dropped",
)  # fmt: skip
#: What a peer hears when a person refuses, or does not answer.
_REFUSALS: Final = {
    CONSENT: (PairingReason.PAIRING_NOT_SUPPORTED, "nobody here consented to the pairing"),
    CONFIRM: (PairingReason.NUMERIC_COMPARISON_FAILED, "nobody here confirmed the number"),
    DISPLAY: (PairingReason.PASSKEY_ENTRY_FAILED, "the passkey was not shown"),
    ENTER_PASSKEY: (PairingReason.PASSKEY_ENTRY_FAILED, "nobody here entered the passkey"),
}
_UNANSWERED: Final = (PairingReason.PAIRING_NOT_SUPPORTED, "nobody here said whether the peer may pair")
_DEFAULT_LIMITS: Final = SmpLimits()


class Smp:
    """The pairing of one LE link, see the module.

    ``role``: CENTRAL or PERIPHERAL. ``ours`` and ``peer``: address and type, ADDRESS_LE_PUBLIC or ADDRESS_LE_RANDOM, as
    the connection was made with; private ones unresolved. ``random``: returns as many random octets as it is asked for.
    ``identity``: our IRK, our identity address and its type; None if we have no IRK to give.
    """

    def __init__(
        self,
        role: int,
        ours: tuple[bytes, int],
        peer: tuple[bytes, int],
        random: Callable[[int], bytes],
        *,
        identity: tuple[bytes, bytes, int] | None = None,
        limits: SmpLimits = _DEFAULT_LIMITS,
    ) -> None:
        self._sides = SmpSides(role, ours, peer)
        self._random = random
        self._identity = identity
        self._limits = limits
        self._asked: PairingRequest | SecurityRequest | None = None
        self._pairing: LePairing | None = None
        self._is_timed_out = False
        self._procedure_ends: float | None = None
        self._answer_by: float | None = None
        self._prompt_seen: SmpPrompt | None = None
        self._pdus: list[bytes] = []
        self._events: list[SmpEvent] = []
        self._counters = dict.fromkeys(_COUNTERS, 0)

    def __repr__(self) -> str:
        return f"Smp(state={self.state})"

    @property
    def state(self) -> SmpState:
        if self._is_timed_out:
            return SmpState.TIMED_OUT
        if self._asked is not None:
            return SmpState.ASKED
        return SmpState.IDLE if self._pairing is None else self._pairing.exchange.state

    @property
    def is_timed_out(self) -> bool:
        """Tells whether nothing can be paired on this link any more."""
        return self._is_timed_out

    @property
    def is_busy(self) -> bool:
        """Tells whether something goes on: then ``start`` raises."""
        return self._pairing is not None or self._asked is not None

    def take_pdus(self) -> list[bytes]:
        """Returns the payloads for CID 6 since the last call."""
        taken, self._pdus = self._pdus, []
        return taken

    def take_events(self) -> list[SmpEvent]:
        """Returns the events since the last call."""
        taken, self._events = self._events, []
        return taken

    def statistics(self) -> dict[str, int]:
        """Returns how many PDUs of the peer were dropped, by the reason, and pairings by how they ended."""
        return dict(self._counters)

    # The owner's wishes

    def start(self, terms: PairingTerms, now: float) -> None:
        """Begins a pairing. Raises LocalProtocolError if one goes on, or ``is_timed_out``, or the terms are impossible.

        A central may do so while it is asked: then this is ``accept``.
        """
        if self._sides.is_initiator and self._asked is not None:
            self.accept(terms, now)
            return
        if self.is_busy or self._is_timed_out:
            raise LocalProtocolError(f"no pairing can begin: {self.state}")
        check_terms(terms)
        self._guarded(lambda: self._begin(terms, is_ours=True), now)

    def accept(self, terms: PairingTerms, now: float) -> None:
        """Answers SmpAsked: pairs on these terms. Raises LocalProtocolError if nothing is asked."""
        asked = self._asked
        if asked is None:
            raise LocalProtocolError("nothing is asked")
        check_terms(terms)
        self._asked = None
        request = asked if isinstance(asked, PairingRequest) else None
        self._guarded(lambda: self._begin(terms, is_ours=False, untrusted_request=request), now)

    def refuse(self, now: float, reason: PairingReason = PairingReason.PAIRING_NOT_SUPPORTED) -> None:
        """Answers SmpAsked: does not pair. Raises LocalProtocolError if nothing is asked."""
        if self._asked is None:
            raise LocalProtocolError("nothing is asked")
        self._count("refused")
        self._pdus.append(PairingFailed(reason).pack())
        self._end()
        self._settle(now)

    def cancel(self, now: float) -> None:
        """Ends what goes on, with SmpFailed if it is a pairing. Does nothing if nothing goes on."""
        if self.is_busy:
            self._fail(PairingReason.UNSPECIFIED_REASON, "the pairing was cancelled")
            self._settle(now)

    def answer(self, accept: bool, value: int | None, now: float) -> bool:
        """Answers the last SmpPrompt, and tells whether that was awaited. ``value``: the passkey, for ENTER_PASSKEY.

        A passkey that is none counts as a refusal.
        """
        pairing = self._pairing
        prompt = None if pairing is None else pairing.exchange.prompt
        if pairing is None or prompt is None or (accept and prompt.kind == DISPLAY):
            return False
        if prompt.kind == ENTER_PASSKEY and (value is None or not 0 <= value < PASSKEY_LIMIT):
            accept = False
        if accept:
            self._guarded(lambda: pairing.answer(value), now)
        else:
            self._fail(*_REFUSALS[prompt.kind])
            self._settle(now)
        return True

    # What the controller says

    def long_term_key(self, random: int, diversifier: int) -> bytes | None:
        """Returns the key for a controller that asks for it, if it is this pairing's to give."""
        return None if self._pairing is None or random or diversifier else self._pairing.long_term_key()

    def encrypted(self, now: float) -> None:
        """Takes that the link has just been encrypted."""
        pairing = self._pairing
        if isinstance(self._asked, SecurityRequest) or self.state is SmpState.WAIT_PAIRING_REQUEST:
            self._end()  # with the key of a bond, which is what was asked for
            self._settle(now)
        elif pairing is not None and pairing.is_being_encrypted:
            self._guarded(pairing.begin_distribution, now)

    def encryption_failed(self, now: float) -> None:
        """Takes that the link could not be encrypted."""
        if self._pairing is not None and self._pairing.is_being_encrypted:
            self._fail(PairingReason.UNSPECIFIED_REASON, "the link could not be encrypted")
            self._settle(now)

    # What the peer says

    def receive(self, untrusted_payload: bytes, now: float) -> None:
        """Takes a payload of CID 6. Raises nothing: what is wrong in it ends the pairing, or is dropped and counted."""
        if self._is_timed_out:
            self._count("after the timeout")
            return
        try:
            pdu = wire.parse_pdu(untrusted_payload)
        except RemoteProtocolError as wrong:
            self._count("malformed")
            self._reject(untrusted_payload[:1], PairingReason.INVALID_PARAMETERS, str(wrong))
        else:
            self._receive_pdu(pdu, now)
        self._settle(now)

    def _receive_pdu(self, pdu: SmpPdu | None, now: float) -> None:
        if pdu is None or isinstance(pdu, KeypressNotification):
            self._count("reserved codes" if pdu is None else "keypresses")
        elif isinstance(pdu, PairingFailed):
            self._receive_failed(pdu.reason)
        elif isinstance(pdu, _OF_A_CENTRAL if self._sides.is_initiator else _OF_A_PERIPHERAL):
            self._unexpected(pdu, PairingReason.COMMAND_NOT_SUPPORTED)
        elif isinstance(pdu, SecurityRequest) and self.is_busy:
            self._count("security requests ignored")  # 2.4.6
        elif isinstance(pdu, EXPECTED[self.state]):
            self._guarded(lambda: self._handle(pdu), now)
        elif self._pairing is None or not self._pairing.keep_early_key(pdu):
            self._unexpected(pdu, PairingReason.UNSPECIFIED_REASON)

    def _receive_failed(self, untrusted_reason: int) -> None:
        if not self.is_busy:
            self._count("unexpected")
            return
        self._count("failed by the peer")
        text = f"the peer ended the pairing: {wire.reason_name(untrusted_reason)}"
        self._end(SmpFailed(untrusted_reason, True, text))

    def _unexpected(self, pdu: SmpPdu, reason: PairingReason) -> None:
        self._count("unexpected")
        self._reject(bytes((pdu.CODE,)), reason, f"{type(pdu).__name__} came while {self.state}")

    def _reject(self, code: bytes, reason: PairingReason, text: str) -> None:
        """Ends what goes on because of a PDU; if nothing does, only what begins something has an answer."""
        if self.is_busy or code in _BEGINNINGS:
            self._fail(reason, text)

    # Time

    def next_timeout(self) -> float | None:
        """Returns when ``handle_timeout`` is due, None if never."""
        return min((due for due in (self._procedure_ends, self._answer_by) if due is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Refuses what nobody has answered, and gives up on a peer that is silent. May be called too early."""
        if self._procedure_ends is not None and now >= self._procedure_ends:
            self._count("timed out")
            self._is_timed_out = True
            self._end(SmpFailed(None, False, "the peer did not go on with the pairing"))
        elif self._answer_by is not None and now >= self._answer_by:
            prompt = None if self._pairing is None else self._pairing.exchange.prompt
            self._fail(*(_UNANSWERED if prompt is None else _REFUSALS[prompt.kind]))
        self._settle(now)

    # What begins here and what the peer begins

    def _begin(self, terms: PairingTerms, *, is_ours: bool, untrusted_request: PairingRequest | None = None) -> None:
        exchange = Exchange(self._sides, terms, self._random)
        self._pairing = LePairing(exchange, self._identity, self._limits.key_size, is_ours=is_ours)
        self._pairing.begin(untrusted_request)

    def _handle(self, pdu: SmpPdu) -> None:
        if self._pairing is not None:
            self._pairing.receive(pdu)
        elif isinstance(pdu, SecurityRequest):
            self._ask(pdu, pdu.auth, None)
        elif isinstance(pdu, PairingRequest):
            check_features(pdu)
            self._ask(pdu, pdu.auth, pdu.io_capability)

    def _ask(self, pdu: PairingRequest | SecurityRequest, auth: int, io_capability: int | None) -> None:
        self._asked = pdu
        bonding = auth & AUTH_BONDING_MASK == AUTH_BONDING
        mitm, secure = bool(auth & AUTH_MITM), bool(auth & AUTH_SECURE_CONNECTIONS)
        self._events.append(SmpAsked(bonding, mitm, secure, io_capability))

    # How it ends

    def _guarded(self, action: Callable[[], None], now: float) -> None:
        """Does a step of the pairing, which ends if the step fails."""
        try:
            action()
        except PairingFailure as failure:
            self._fail(failure.reason, str(failure))
        self._settle(now)

    def _fail(self, reason: PairingReason, text: str) -> None:
        """Tells the peer, and the owner if it knows of anything that goes on."""
        event = SmpFailed(reason, False, text) if self.is_busy else None
        self._flush()
        self._pdus.append(PairingFailed(reason).pack())
        self._count("failed")
        self._end(event)

    def _end(self, event: SmpPaired | SmpFailed | None = None) -> None:
        if self._pairing is not None:
            self._pairing.exchange.withdraw()
            self._flush()
        self._pairing = self._asked = None
        self._procedure_ends = self._answer_by = self._prompt_seen = None
        if event is not None:
            self._events.append(event)

    def _flush(self) -> bool:
        """Hands on what the phases have sent and said, and tells whether anything was sent."""
        if self._pairing is None:
            return False
        exchange = self._pairing.exchange
        has_sent = bool(exchange.pdus)
        self._pdus += exchange.pdus
        self._events += exchange.events
        exchange.pdus.clear()
        exchange.events.clear()
        return has_sent

    def _settle(self, now: float) -> None:
        """Ends a pairing that is complete, and sets the timers."""
        if self._pairing is not None and self._pairing.result is not None:
            self._count("paired")
            for name, number in self._pairing.dropped().items():
                self._counters[name] += number
            self._end(SmpPaired(self._pairing.result))
        if self._flush():
            self._procedure_ends = now + self._limits.procedure_s
        if self._asked is not None and self._answer_by is None:
            self._procedure_ends = now + self._limits.procedure_s
            self._answer_by = now + self._limits.answer_s
        if self._pairing is None:
            return
        prompt = self._pairing.exchange.prompt
        if prompt is None or prompt.kind == DISPLAY:
            self._answer_by = None
        elif prompt is not self._prompt_seen and prompt.kind != CONSENT:  # CONSENT has SmpAsked's
            self._answer_by = now + self._limits.answer_s
        self._prompt_seen = prompt

    def _count(self, name: str) -> None:
        self._counters[name] += 1
