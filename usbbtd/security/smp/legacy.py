"""Phase 2 of LE legacy pairing (Vol 3, Part H, 2.3.5.5): both sides show that they have the same temporary key."""

from typing import Final

from usbbtd.errors import LocalProtocolError
from usbbtd.security.smp.exchange import Exchange, wrong_confirm
from usbbtd.security.smp.methods import Method
from usbbtd.security.smp.states import SmpState
from usbbtd.security.smp.wire import PairingConfirm, PairingRandom, SmpPdu
from usbbtd.security.toolbox import c1, s1, same

__all__ = ["LegacyAuthentication"]


class LegacyAuthentication:
    """Goes from the features of both sides to the short term key.

    The confirm value does not tell who made it: a peripheral could send ours back, and then our nonce, without knowing
    the temporary key. That is refused; a central has to commit itself before it sees anything of ours.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._is_initiator: Final = exchange.sides.is_initiator
        self._temporary_key: bytes | None = None
        self._nonce: Final = exchange.random(16)
        self._confirm = b""
        self._peer_confirm = b""

    def begin(self) -> None:
        self._temporary_key = self._first_key()
        if not self._is_initiator:
            self._exchange.state = SmpState.WAIT_CONFIRM
        elif self._temporary_key is None:
            self._exchange.state = SmpState.WAIT_USER
        else:
            self._send_confirm()

    def receive(self, pdu: SmpPdu) -> None:
        """Takes a PDU that the state waits for. Raises PairingFailure."""
        if isinstance(pdu, PairingConfirm):
            self._receive_confirm(pdu.value)
        elif isinstance(pdu, PairingRandom):
            self._receive_random(pdu.value)

    def answer(self, value: int | None) -> None:
        """Takes the passkey that a person has typed."""
        if value is None:
            raise LocalProtocolError("no passkey")
        self._temporary_key = _passkey(value)
        if self._exchange.state is SmpState.WAIT_USER:
            self._send_confirm()

    def _first_key(self) -> bytes | None:
        """Returns the temporary key, or None until a person has typed it."""
        exchange = self._exchange
        method = exchange.association.method
        if method is Method.JUST_WORKS:
            return bytes(16)
        if method is Method.OUT_OF_BAND:
            return exchange.terms.oob.temporary_key if exchange.terms.oob else None
        passkey = exchange.ask_for_passkey()
        return None if passkey is None else _passkey(passkey)

    def _receive_confirm(self, untrusted: bytes) -> None:
        self._peer_confirm = untrusted
        if not self._is_initiator:
            if self._temporary_key is None:
                self._exchange.state = SmpState.WAIT_USER
            else:
                self._send_confirm()
            return
        if same(untrusted, self._confirm):
            wrong_confirm()
        self._exchange.send(PairingRandom(self._nonce))
        self._exchange.state = SmpState.WAIT_RANDOM

    def _receive_random(self, untrusted: bytes) -> None:
        key = self._temporary_key
        assert key is not None
        if not same(self._confirm_of(untrusted), self._peer_confirm):
            wrong_confirm()
        if self._is_initiator:
            self._exchange.finish(s1(key, untrusted, self._nonce))
        else:
            self._exchange.send(PairingRandom(self._nonce))
            self._exchange.finish(s1(key, self._nonce, untrusted))

    def _send_confirm(self) -> None:
        self._confirm = self._confirm_of(self._nonce)
        self._exchange.send(PairingConfirm(self._confirm))
        self._exchange.state = SmpState.WAIT_CONFIRM if self._is_initiator else SmpState.WAIT_RANDOM

    def _confirm_of(self, nonce: bytes) -> bytes:
        exchange, sides = self._exchange, self._exchange.sides
        assert self._temporary_key is not None
        request, response = exchange.request.pack(), exchange.response.pack()
        return c1(self._temporary_key, nonce, request, response, sides.initiator, sides.responder)


def _passkey(value: int) -> bytes:
    return value.to_bytes(16, "little")
