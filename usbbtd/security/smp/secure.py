"""Phase 2 of LE Secure Connections (Vol 3, Part H, 2.3.5.6): P-256 keys are exchanged, then authenticated."""

from typing import Final

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.security import toolbox
from usbbtd.security.smp.exchange import Exchange, PairingFailure, wrong_confirm
from usbbtd.security.smp.limits import PASSKEY_ROUNDS
from usbbtd.security.smp.methods import Method
from usbbtd.security.smp.states import SmpState
from usbbtd.security.smp.wire import (
    OOB_PRESENT,
    PairingConfirm,
    PairingDhKeyCheck,
    PairingPublicKey,
    PairingRandom,
    PairingReason,
    SmpPdu,
)
from usbbtd.security.terms import CONFIRM, OobData
from usbbtd.security.toolbox import PublicKey, same

__all__ = ["SecureAuthentication"]

_NOTHING: Final = bytes(16)


class SecureAuthentication:
    """Goes from the features of both sides to the long term key. Every pairing has a private key of its own."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange
        self._is_initiator: Final = exchange.sides.is_initiator
        self._method: Final = exchange.association.method
        self._oob: Final = exchange.terms.oob or OobData()
        own = self._oob.own if self._method is Method.OUT_OF_BAND else None
        self._private_key: Final = toolbox.make_private_key(exchange.random) if own is None else own.private_key
        self._ours: Final = toolbox.public_key(self._private_key)
        self._peer = PublicKey(b"", b"")
        self._secret = b""
        self._nonces_seen: Final[set[bytes]] = set()
        self._nonce = b""
        self._peer_nonce = b""
        self._confirm = b""
        self._peer_confirm = b""
        self._passkey: int | None = None
        self._round = 0
        self._ltk = b""
        self._check = b""
        self._expected_check = b""
        self._compares = False  # whether a person still has to compare numbers

    def begin(self) -> None:
        if self._is_initiator:
            self._exchange.send(PairingPublicKey(*self._ours))
        self._exchange.state = SmpState.WAIT_PUBLIC_KEY

    def receive(self, pdu: SmpPdu) -> None:
        """Takes a PDU that the state waits for. Raises PairingFailure."""
        if isinstance(pdu, PairingPublicKey):
            self._receive_public_key(PublicKey(pdu.x, pdu.y))
        elif isinstance(pdu, PairingConfirm):
            self._receive_confirm(pdu.value)
        elif isinstance(pdu, PairingRandom):
            self._receive_random(pdu.value)
        elif isinstance(pdu, PairingDhKeyCheck):
            self._receive_check(pdu.value)

    def answer(self, value: int | None) -> None:
        """Takes a person's word that the numbers are the same, or the passkey that was typed."""
        waits = self._exchange.state is SmpState.WAIT_USER
        if self._compares:
            self._compares = False
            if waits:
                self._go_on_with_check()
            return
        if value is None:
            raise LocalProtocolError("no passkey")
        self._passkey = value
        if waits:
            self._send_confirm()

    # Public keys, 2.3.5.6.1

    def _receive_public_key(self, untrusted: PublicKey) -> None:
        try:
            self._peer = toolbox.check_public_key(untrusted, self._ours)
        except RemoteProtocolError as wrong:
            raise PairingFailure(PairingReason.INVALID_PARAMETERS, str(wrong)) from None
        if not self._is_initiator:
            self._exchange.send(PairingPublicKey(*self._ours))
        self._secret = toolbox.diffie_hellman(self._private_key, self._peer)
        if self._method is Method.OUT_OF_BAND:
            self._begin_out_of_band()
        elif self._method is Method.PASSKEY_ENTRY:
            self._begin_passkey()
        elif self._is_initiator:
            self._exchange.state = SmpState.WAIT_CONFIRM
        else:
            self._send_confirm()

    # Authentication stage 1, 2.3.5.6.2 to 2.3.5.6.4

    def _begin_out_of_band(self) -> None:
        exchange, oob = self._exchange, self._oob
        if exchange.our_features.oob == OOB_PRESENT:
            assert oob.peer_confirm is not None
            assert oob.peer_random is not None
            x = self._peer.x
            if not same(toolbox.f4(x, x, oob.peer_random, 0), oob.peer_confirm):
                wrong_confirm()
        if self._is_initiator:
            self._draw()
            exchange.send(PairingRandom(self._nonce))
        exchange.state = SmpState.WAIT_RANDOM

    def _begin_passkey(self) -> None:
        self._passkey = self._exchange.ask_for_passkey()
        if not self._is_initiator:
            self._exchange.state = SmpState.WAIT_CONFIRM
        elif self._passkey is None:
            self._exchange.state = SmpState.WAIT_USER
        else:
            self._send_confirm()

    def _send_confirm(self) -> None:
        self._draw()
        self._confirm = toolbox.f4(self._ours.x, self._peer.x, self._nonce, self._z())
        self._exchange.send(PairingConfirm(self._confirm))
        self._exchange.state = SmpState.WAIT_CONFIRM if self._is_initiator else SmpState.WAIT_RANDOM

    def _receive_confirm(self, untrusted: bytes) -> None:
        self._peer_confirm = untrusted
        if self._is_initiator:
            if self._method is not Method.PASSKEY_ENTRY:
                self._draw()
            self._exchange.send(PairingRandom(self._nonce))
            self._exchange.state = SmpState.WAIT_RANDOM
        elif self._passkey is None:
            self._exchange.state = SmpState.WAIT_USER
        else:
            self._send_confirm()

    def _receive_random(self, untrusted: bytes) -> None:
        """Takes a nonce. One that was used before tells the bits of a passkey, or is a reflection."""
        if untrusted in self._nonces_seen:
            wrong_confirm()
        self._nonces_seen.add(untrusted)
        self._peer_nonce = untrusted
        passkey = self._method is Method.PASSKEY_ENTRY
        if passkey or (self._is_initiator and self._method is not Method.OUT_OF_BAND):
            confirm = toolbox.f4(self._peer.x, self._ours.x, untrusted, self._z())
            if not same(confirm, self._peer_confirm):
                wrong_confirm()
        if not self._is_initiator:
            if self._method is Method.OUT_OF_BAND:
                self._draw()
            self._exchange.send(PairingRandom(self._nonce))
        self._round += 1
        if not passkey or self._round == PASSKEY_ROUNDS:
            self._begin_check()
        elif self._is_initiator:
            self._send_confirm()
        else:
            self._exchange.state = SmpState.WAIT_CONFIRM

    # Authentication stage 2, 2.3.5.6.5

    def _begin_check(self) -> None:
        exchange = self._exchange
        ours, peer = (bytes((*address, kind)) for kind, address in (exchange.sides.ours, exchange.sides.peer))
        nonces, addresses = (self._nonce, self._peer_nonce), (ours, peer)
        in_order = slice(None) if self._is_initiator else slice(None, None, -1)
        mac_key, self._ltk = toolbox.f5(self._secret, *nonces[in_order], *addresses[in_order])
        our_r, peer_r = self._values()
        capabilities = [features.pack()[1:4] for features in (exchange.our_features, exchange.peer_features)]
        self._check = toolbox.f6(mac_key, *nonces, peer_r, capabilities[0], *addresses)
        self._expected_check = toolbox.f6(mac_key, *nonces[::-1], our_r, capabilities[1], *addresses[::-1])
        if self._method is Method.NUMERIC_COMPARISON:
            self._compares = True
            keys = (self._ours.x, self._peer.x)
            exchange.ask(CONFIRM, toolbox.g2(*keys[in_order], *nonces[in_order]))
        if not self._is_initiator:
            exchange.state = SmpState.WAIT_DHKEY_CHECK
        elif self._compares:
            exchange.state = SmpState.WAIT_USER
        else:
            self._go_on_with_check()

    def _values(self) -> tuple[bytes, bytes]:
        """Returns ra and rb as our and the peer's value. What a side has not got out of band counts as 0."""
        if self._method is Method.PASSKEY_ENTRY:
            assert self._passkey is not None
            value = self._passkey.to_bytes(16, "little")
            return value, value
        if self._method is not Method.OUT_OF_BAND:
            return _NOTHING, _NOTHING
        own, peer = self._oob.own, self._oob.peer_random
        return (
            own.random if own is not None and self._exchange.peer_has_oob else _NOTHING,
            peer if peer is not None and self._exchange.our_features.oob == OOB_PRESENT else _NOTHING,
        )

    def _receive_check(self, untrusted: bytes) -> None:
        if not same(untrusted, self._expected_check):
            raise PairingFailure(PairingReason.DHKEY_CHECK_FAILED, "its check value is wrong")
        if self._is_initiator:
            self._exchange.finish(self._ltk)
        elif self._compares:
            self._exchange.state = SmpState.WAIT_USER
        else:
            self._go_on_with_check()

    def _go_on_with_check(self) -> None:
        """Sends our check: the initiator's before the peer's, the responder's after it."""
        self._exchange.send(PairingDhKeyCheck(self._check))
        if self._is_initiator:
            self._exchange.state = SmpState.WAIT_DHKEY_CHECK
        else:
            self._exchange.finish(self._ltk)

    def _draw(self) -> None:
        self._nonce = self._exchange.random(16)
        self._nonces_seen.add(self._nonce)

    def _z(self) -> int:
        """Returns what a confirm value commits to beside nonce and keys: nothing, or a bit of the passkey."""
        if self._method is not Method.PASSKEY_ENTRY:
            return 0
        assert self._passkey is not None
        return 0x80 | self._passkey >> self._round & 1
