"""One pairing from its first PDU to its last key: what both sides are, that they are, and what they keep."""

from typing import Final

from usbbtd.security.smp.distribution import KeyDistribution
from usbbtd.security.smp.events import SmpResult
from usbbtd.security.smp.exchange import Exchange, PairingFailure
from usbbtd.security.smp.features import auth_of, check_association, check_features, oob_flag
from usbbtd.security.smp.legacy import LegacyAuthentication
from usbbtd.security.smp.methods import Method
from usbbtd.security.smp.secure import SecureAuthentication
from usbbtd.security.smp.states import EXPECTED, SmpState
from usbbtd.security.smp.wire import (
    AUTH_BONDING,
    AUTH_BONDING_MASK,
    AUTH_SECURE_CONNECTIONS,
    KEY_ENCRYPTION,
    KEY_IDENTITY,
    KEYS_MASK,
    MAXIMUM_KEY_SIZE,
    PairingReason,
    PairingRequest,
    PairingResponse,
    SecurityRequest,
    SmpPdu,
)
from usbbtd.security.terms import CONSENT

__all__ = ["LePairing"]


class LePairing:
    """Takes what its state waits for, and goes on. Once it has succeeded there is a ``result``.

    ``identity``: as in Smp. ``key_size``: the least. ``is_ours``: whether it was wanted here: then nobody need consent.
    """

    def __init__(
        self, exchange: Exchange, identity: tuple[bytes, bytes, int] | None, key_size: int, *, is_ours: bool
    ) -> None:
        self.exchange: Final = exchange
        self._identity: Final = identity
        self._key_size: Final = key_size
        self._is_ours: Final = is_ours
        self._phase: LegacyAuthentication | SecureAuthentication | None = None
        self._keys: KeyDistribution | None = None
        self._early_keys: list[SmpPdu] = []
        self.result: SmpResult | None = None

    def dropped(self) -> dict[str, int]:
        """Returns what of the peer was not kept, by the names of Smp's statistics."""
        keys = self._keys
        if keys is None:
            return {}
        return {"signing keys dropped": keys.signing_keys_dropped, "identities dropped": keys.identities_dropped}

    # Phase 1

    def begin(self, untrusted_request: PairingRequest | None) -> None:
        """Answers a request of the peer; without one, makes ours, or asks our central for its own."""
        exchange, terms = self.exchange, self.exchange.terms
        auth = auth_of(terms)
        if untrusted_request is not None:
            self._receive_request(untrusted_request)
        elif exchange.sides.is_initiator:
            ours, peers = self._key_sets(bonds=terms.bondable, secure=False)  # the peer may have legacy pairing only
            flag = oob_flag(terms, secure=bool(auth & AUTH_SECURE_CONNECTIONS))
            exchange.request = PairingRequest(terms.io_capability, flag, auth, MAXIMUM_KEY_SIZE, ours, peers)
            exchange.send(exchange.request)
        else:
            exchange.send(SecurityRequest(auth))

    def receive(self, pdu: SmpPdu) -> None:
        """Takes a PDU that the state waits for. Raises PairingFailure."""
        if isinstance(pdu, PairingRequest):
            self._receive_request(pdu)
        elif isinstance(pdu, PairingResponse):
            self._receive_response(pdu)
        elif self._keys is not None:
            self._keys.receive(pdu)
            self._finish_distribution(self._keys)
        elif self._phase is not None:
            self._phase.receive(pdu)

    def answer(self, value: int | None) -> None:
        """Takes a person's answer to the question that is open. Raises PairingFailure."""
        prompt = self.exchange.prompt
        self.exchange.withdraw()
        if prompt is not None and prompt.kind == CONSENT:
            self._begin_authentication()
        elif self._phase is not None:
            self._phase.answer(value)

    def _key_sets(self, *, bonds: bool, secure: bool) -> tuple[int, int]:
        """Returns which keys we would give and take, as bits."""
        peers = (KEY_IDENTITY if secure else KEY_ENCRYPTION | KEY_IDENTITY) if bonds else 0
        return (peers if self._identity is not None else peers & ~KEY_IDENTITY), peers

    def _receive_request(self, untrusted: PairingRequest) -> None:
        check_features(untrusted)
        exchange, terms = self.exchange, self.exchange.terms
        exchange.request = untrusted
        auth = auth_of(terms)
        bonds = auth & untrusted.auth & AUTH_BONDING_MASK == AUTH_BONDING
        secure = bool(auth & untrusted.auth & AUTH_SECURE_CONNECTIONS)
        ours, peers = self._key_sets(bonds=bonds, secure=secure)
        exchange.response = PairingResponse(
            terms.io_capability,
            oob_flag(terms, secure=secure),
            auth,
            MAXIMUM_KEY_SIZE,
            untrusted.initiator_keys & peers,
            untrusted.responder_keys & ours,
        )
        self._consent()

    def _receive_response(self, untrusted: PairingResponse) -> None:
        check_features(untrusted)
        request = self.exchange.request
        offered = (request.initiator_keys, request.responder_keys)
        wanted = (untrusted.initiator_keys & KEYS_MASK, untrusted.responder_keys & KEYS_MASK)
        if any(want & ~offer for want, offer in zip(wanted, offered, strict=True)):
            raise PairingFailure(PairingReason.INVALID_PARAMETERS, "it would exchange keys that were not offered")
        self.exchange.response = untrusted
        self._consent()

    def _consent(self) -> None:
        """Goes on with the method that follows from request and response, if it does for the terms.

        A responder has not sent its response yet: a peer that cannot authenticate gets nothing to go on with.
        """
        exchange = self.exchange
        check_association(exchange, self._key_size)
        if exchange.association.method is Method.JUST_WORKS and not self._is_ours:
            exchange.state = SmpState.WAIT_USER
            exchange.ask(CONSENT)
        else:
            self._begin_authentication()

    # Phase 2

    def _begin_authentication(self) -> None:
        exchange = self.exchange
        if not exchange.sides.is_initiator:
            exchange.send(exchange.response)
        self._phase = SecureAuthentication(exchange) if exchange.is_secure else LegacyAuthentication(exchange)
        self._phase.begin()

    @property
    def is_being_encrypted(self) -> bool:
        """Tells whether the controller has the key, and has not said yet that it uses it."""
        return self.exchange.state is SmpState.WAIT_ENCRYPTION and self.exchange.key_was_used

    def long_term_key(self) -> bytes | None:
        """Returns the key for the controller of a peripheral, once there is one."""
        exchange = self.exchange
        if exchange.state is not SmpState.WAIT_ENCRYPTION or exchange.sides.is_initiator:
            return None
        exchange.key_was_used = True
        return exchange.key

    # Phase 3

    def keep_early_key(self, pdu: SmpPdu) -> bool:
        """Keeps a key that may have overtaken the controller's word that the link is encrypted; False if it cannot.

        Data and events come over different endpoints of USB.
        """
        kinds = EXPECTED[SmpState.WAIT_KEYS]
        if not self.is_being_encrypted or not isinstance(pdu, kinds) or len(self._early_keys) == len(kinds):
            return False
        self._early_keys.append(pdu)
        return True

    def begin_distribution(self) -> None:
        """Exchanges keys over the link, which is encrypted now. Raises PairingFailure."""
        exchange = self.exchange
        keys = self._keys = KeyDistribution(exchange, self._identity)
        exchange.state = SmpState.WAIT_KEYS
        if not exchange.sides.is_initiator:
            keys.send()
        for pdu in self._early_keys:
            keys.receive(pdu)
        self._finish_distribution(keys)

    def _finish_distribution(self, keys: KeyDistribution) -> None:
        """Ends the pairing if the peer's keys are all here."""
        if not keys.is_complete:
            return
        if self.exchange.sides.is_initiator:
            keys.send()
        self.result = keys.result()
