"""One running pairing: what its phases share."""

from collections.abc import Callable
from typing import Final, NoReturn

from usbbtd.bluetooth import ADDRESS_LE_PUBLIC, CENTRAL
from usbbtd.errors import RemoteProtocolError
from usbbtd.security.smp.events import SmpEncrypt, SmpEvent, SmpPrompt, SmpPromptEnded
from usbbtd.security.smp.methods import Association, Method, choose, uses_secure_connections
from usbbtd.security.smp.states import SmpState
from usbbtd.security.smp.wire import OOB_PRESENT, PairingReason, PairingRequest, PairingResponse, SmpPdu
from usbbtd.security.terms import DISPLAY, ENTER_PASSKEY, PASSKEY_LIMIT, PairingTerms
from usbbtd.security.toolbox import shorten


class PairingFailure(RemoteProtocolError):
    """Ends a pairing, with the ``reason`` that the peer is told."""

    def __init__(self, reason: PairingReason, text: str) -> None:
        super().__init__(text)
        self.reason: Final = reason


class SmpSides:
    """Names both ends of a link as the calculations want them. Address types are those of ``usbbtd.bluetooth``."""

    def __init__(self, role: int, ours: tuple[bytes, int], peer: tuple[bytes, int]) -> None:
        self.role: Final = role
        self.ours: Final = (ours[1] - ADDRESS_LE_PUBLIC, ours[0])
        self.peer: Final = (peer[1] - ADDRESS_LE_PUBLIC, peer[0])

    @property
    def is_initiator(self) -> bool:
        return self.role == CENTRAL

    @property
    def initiator(self) -> tuple[int, bytes]:
        return self.ours if self.is_initiator else self.peer

    @property
    def responder(self) -> tuple[int, bytes]:
        return self.peer if self.is_initiator else self.ours


class Exchange:
    """Has the features of both sides, and sends, asks and ends for the phases.

    Its phases write ``state``; nothing else does while it lasts.
    """

    def __init__(self, sides: SmpSides, terms: PairingTerms, random: Callable[[int], bytes]) -> None:
        self.sides: Final = sides
        self.terms: Final = terms
        self.random: Final = random
        #: What the machine has not yet handed on.
        self.pdus: Final[list[bytes]] = []
        self.events: Final[list[SmpEvent]] = []
        self.state = SmpState.WAIT_PAIRING_RESPONSE if sides.is_initiator else SmpState.WAIT_PAIRING_REQUEST
        self.prompt: SmpPrompt | None = None
        #: What encrypts the link, once the peer has shown that it has it, too.
        self.key: bytes | None = None
        #: Whether the controller was given ``key``: what it encrypts before that is not ours.
        self.key_was_used = False
        self.request = PairingRequest(0, 0, 0, 0, 0, 0)
        self.response = PairingResponse(0, 0, 0, 0, 0, 0)

    def __repr__(self) -> str:
        return f"Exchange(state={self.state})"

    @property
    def association(self) -> Association:
        return choose(self.request, self.response)

    @property
    def is_secure(self) -> bool:
        return uses_secure_connections(self.request.auth, self.response.auth)

    @property
    def key_size(self) -> int:
        return min(self.request.key_size, self.response.key_size)

    @property
    def our_features(self) -> PairingRequest | PairingResponse:
        return self.request if self.sides.is_initiator else self.response

    @property
    def peer_features(self) -> PairingRequest | PairingResponse:
        return self.response if self.sides.is_initiator else self.request

    @property
    def we_show(self) -> bool:
        """Tells whether the passkey is shown here, and typed at the peer."""
        association = self.association
        return association.initiator_shows if self.sides.is_initiator else association.responder_shows

    @property
    def peer_has_oob(self) -> bool:
        return self.peer_features.oob == OOB_PRESENT

    @property
    def uses_passkey(self) -> bool:
        return self.association.method is Method.PASSKEY_ENTRY

    def send(self, pdu: SmpPdu) -> None:
        self.pdus.append(pdu.pack())

    def ask(self, kind: int, value: int | None = None) -> None:
        self.prompt = SmpPrompt(kind, value)
        self.events.append(self.prompt)

    def withdraw(self) -> None:
        """Ends the question, if there is one."""
        if self.prompt is not None:
            self.prompt = None
            self.events.append(SmpPromptEnded())

    def ask_for_passkey(self) -> int | None:
        """Returns a passkey made here, which is shown now; None if a person is asked for it."""
        if not self.we_show:
            self.ask(ENTER_PASSKEY)
            return None
        # 64 bits for 20: no passkey is likelier than another by more than chance can tell
        passkey = int.from_bytes(self.random(8), "little") % PASSKEY_LIMIT
        self.ask(DISPLAY, passkey)
        return passkey

    def finish(self, key: bytes) -> None:
        """Ends phase 2: the link is to be encrypted with ``key``."""
        self.withdraw()
        self.key = shorten(key, self.key_size)
        self.state = SmpState.WAIT_ENCRYPTION
        if self.sides.is_initiator:
            self.key_was_used = True
            self.events.append(SmpEncrypt(self.key))


def wrong_confirm() -> NoReturn:
    """Ends a pairing whose peer has not the secret, or sends back what is ours."""
    raise PairingFailure(PairingReason.CONFIRM_VALUE_FAILED, "its confirm value is wrong")
