"""Phase 3: keys go to the peer and come from it (Vol 3, Part H, 2.4.3 and 3.6), the responder's first."""

from typing import Final

from usbbtd.bluetooth import ADDRESS_LE_PUBLIC, ADDRESS_LE_RANDOM
from usbbtd.security.smp import wire
from usbbtd.security.smp.events import LegacyKey, SmpResult
from usbbtd.security.smp.exchange import Exchange, PairingFailure
from usbbtd.security.smp.wire import KEY_ENCRYPTION, KEY_IDENTITY, KEY_SIGNING, PairingReason, SmpPdu
from usbbtd.security.toolbox import resolves, shorten

__all__ = ["KeyDistribution"]

#: The PDUs that a side sends for each bit, in their order.
_PDUS: Final = (
    (KEY_ENCRYPTION, (wire.EncryptionInformation, wire.CentralIdentification)),
    (KEY_IDENTITY, (wire.IdentityInformation, wire.IdentityAddressInformation)),
    (KEY_SIGNING, (wire.SigningInformation,)),
)
_STATIC: Final = 0b11  # top bits of a static random address (Vol 6, Part B, 1.3.2.1)
_RESOLVABLE: Final = 0b01


class KeyDistribution:
    """Sends our keys and collects the peer's. ``identity``: our IRK and our identity address with its type."""

    def __init__(self, exchange: Exchange, identity: tuple[bytes, bytes, int] | None) -> None:
        self._exchange: Final = exchange
        self._identity: Final = identity
        response = exchange.response
        sets = (response.initiator_keys, response.responder_keys)
        ours, peers = sets if exchange.sides.is_initiator else sets[::-1]
        if exchange.is_secure:  # both sides have the long term key already
            ours, peers = ours & ~KEY_ENCRYPTION, peers & ~KEY_ENCRYPTION
        self._ours: Final = ours
        self._awaited: Final[list[type[SmpPdu]]] = [kind for bit, kinds in _PDUS if peers & bit for kind in kinds]
        self._our_key: LegacyKey | None = None
        self._peer_ltk = b""
        self._peer_key: LegacyKey | None = None
        self._irk: bytes | None = None
        self._address: tuple[bytes, int] | None = None
        self.signing_keys_dropped = 0
        self.identities_dropped = 0

    @property
    def is_complete(self) -> bool:
        """Tells whether the peer has sent all that it is to send."""
        return not self._awaited

    def send(self) -> None:
        """Sends our keys. No signing key is among them: we sign nothing."""
        exchange = self._exchange
        if self._ours & KEY_ENCRYPTION:
            ltk = shorten(exchange.random(16), exchange.key_size)
            diversifier = int.from_bytes(exchange.random(2), "little")
            random = int.from_bytes(exchange.random(8), "little")
            self._our_key = LegacyKey(ltk, diversifier, random)
            exchange.send(wire.EncryptionInformation(ltk))
            exchange.send(wire.CentralIdentification(diversifier, random))
        if self._ours & KEY_IDENTITY and self._identity is not None:
            irk, address, kind = self._identity
            exchange.send(wire.IdentityInformation(irk))
            exchange.send(wire.IdentityAddressInformation(kind - ADDRESS_LE_PUBLIC, address))

    def receive(self, pdu: SmpPdu) -> None:
        """Takes a key of the peer. Raises PairingFailure if it is not the next.

        A signing key that was not agreed on is dropped as one that was: nothing is signed.
        """
        if isinstance(pdu, wire.SigningInformation):
            self.signing_keys_dropped += 1
            if wire.SigningInformation not in self._awaited:
                return
        if not self._awaited or type(pdu) is not self._awaited[0]:
            raise PairingFailure(PairingReason.UNSPECIFIED_REASON, f"{type(pdu).__name__} is not the key awaited")
        del self._awaited[0]
        if isinstance(pdu, wire.EncryptionInformation):
            self._peer_ltk = shorten(pdu.ltk, self._exchange.key_size)
        elif isinstance(pdu, wire.CentralIdentification):
            self._peer_key = LegacyKey(self._peer_ltk, pdu.diversifier, pdu.random)
        elif isinstance(pdu, wire.IdentityInformation):
            self._irk = pdu.irk
        elif isinstance(pdu, wire.IdentityAddressInformation):
            self._take_identity(pdu.address, pdu.address_type)

    def _take_identity(self, untrusted_address: bytes, untrusted_type: int) -> None:
        """Keeps the identity if it can be one: an address that stays, and an IRK that has made the one it uses now.

        Devices without privacy send an IRK of zeros: their identity is kept without.
        """
        irk, self._irk = self._irk, None
        peer_type, peer_address = self._exchange.sides.peer
        is_private = peer_type == 1 and peer_address[5] >> 6 == _RESOLVABLE
        stays = untrusted_type == 0 or (untrusted_type == 1 and untrusted_address[5] >> 6 == _STATIC)
        assert irk is not None
        if not stays or not any(untrusted_address) or (is_private and not resolves(irk, peer_address)):
            self.identities_dropped += 1
            return
        self._irk = irk if any(irk) else None
        self._address = (untrusted_address, ADDRESS_LE_RANDOM if untrusted_type else ADDRESS_LE_PUBLIC)

    def result(self) -> SmpResult:
        exchange = self._exchange
        auth = exchange.request.auth & exchange.response.auth
        bonded = auth & wire.AUTH_BONDING_MASK == wire.AUTH_BONDING
        address, kind = self._address or (None, None)
        return SmpResult(
            secure_connections=exchange.is_secure,
            authenticated=exchange.association.is_authenticated,
            key_size=exchange.key_size,
            bonded=bonded,
            ltk=exchange.key if exchange.is_secure and bonded else None,
            our_key=self._our_key if bonded else None,
            peer_key=self._peer_key if bonded else None,
            irk=self._irk if bonded else None,
            identity_address=address if bonded else None,
            identity_type=kind if bonded else None,
        )
