"""Runs security over the links of one stack: moves what happens between the controller, peers and the security core."""

from collections.abc import Callable
from typing import Protocol

from usbbtd.bluetooth import transport_of
from usbbtd.errors import LocalProtocolError
from usbbtd.hci import events as hci_events
from usbbtd.hci.host import Host
from usbbtd.hci.resolving import ResolvingEntry
from usbbtd.l2cap.mux import Mux
from usbbtd.security import events as security_events
from usbbtd.security.bonds import BondBook
from usbbtd.security.core import Security


class SecurityKeeper(Protocol):
    """Keeps the bonds for the security of links, and hears of that. None of these methods may raise or wait."""

    @property
    def book(self) -> BondBook: ...
    def new_core(self, le_address: bytes) -> Security: ...
    @property
    def identities_changed(self) -> Callable[[], None]: ...
    def receive_security_events(self, core: Security, events: list[security_events.SecurityEvent]) -> None: ...


class StackSecurity:
    """Moves between a controller's events, the security managers of peers, and the core, as long as the stack lives.

    ``due``: when ``handle_timeout`` has to be called; None if never.
    """

    def __init__(self, host: Host, mux: Mux, keeper: SecurityKeeper, now: Callable[[], float]) -> None:
        self.core = keeper.new_core(host.random_address)
        self.due: float | None = None
        self._host = host
        self._mux = mux
        self._keeper = keeper
        self._now = now
        self._links_refused = 0
        self._is_stirred = False  # whether the core was told something since ``deliver``
        core, security = self.core, host.security
        # What takes an event of the controller, and the time; and what carries out an action of the core.
        self._receivers: dict[type[hci_events.Event], Callable[..., None]] = {
            hci_events.EncryptionChanged: core.receive_encryption_changed,
            hci_events.KeyRefreshed: core.receive_key_refreshed,
            hci_events.Authenticated: core.receive_authenticated,
            hci_events.LinkKeyRequested: core.receive_link_key_request,
            hci_events.LinkKeyNotified: core.receive_link_key,
            hci_events.IoCapabilityRequested: core.receive_io_capability_request,
            hci_events.IoCapabilityAnswered: core.receive_io_capability,
            hci_events.ConfirmationRequested: core.receive_confirmation_request,
            hci_events.PasskeyRequested: core.receive_passkey_request,
            hci_events.PasskeyShown: core.receive_passkey_shown,
            hci_events.PinRequested: core.receive_pin_request,
            hci_events.OobRequested: core.receive_oob_request,
            hci_events.PairingCompleted: core.receive_pairing_complete,
            hci_events.LongTermKeyRequested: core.receive_long_term_key_request,
        }
        self._actors: dict[type[security_events.SecurityAction], Callable[..., None]] = {
            security_events.SendSmp: mux.send_security_pdu,
            security_events.StartEncryption: security.start_encryption,
            security_events.AnswerLongTermKey: security.answer_long_term_key,
            security_events.Authenticate: security.authenticate,
            security_events.Encrypt: security.encrypt,
            security_events.AnswerLinkKey: security.answer_link_key,
            security_events.AnswerIoCapability: security.answer_io_capability,
            security_events.RefuseIoCapability: security.refuse_io_capability,
            security_events.AnswerConfirmation: security.answer_confirmation,
            security_events.AnswerPasskey: security.answer_passkey,
            security_events.AnswerPin: security.answer_pin,
            security_events.AnswerOob: security.answer_oob,
            security_events.EndLink: host.disconnect,
            security_events.ResolvingListChanged: self.tell_identities,
        }

    def statistics(self) -> dict[str, int]:
        """Returns the counters of the security core, and how many links were refused."""
        return self.core.statistics() | {"links_refused": self._links_refused}

    def stir(self) -> None:
        """Has the core asked, at the next ``deliver``, what it wants done: it was told something from elsewhere."""
        self._is_stirred = True

    def tell_identities(self) -> None:
        """Has the controller know all bonded peers by their private addresses, as far as it can."""
        self._keeper.identities_changed()
        entries = [(bond, bond.irk) for bond in self._keeper.book if bond.irk is not None]
        self._host.security.set_resolving_list(
            [ResolvingEntry(bond.address_type, bond.address, irk, bytes(16)) for bond, irk in entries]
        )

    def link_up(self, link: hci_events.Connected) -> None:
        handle, address, address_type, role, private_address, own_address = link
        peer = transport_of(address_type), role, address, address_type
        try:
            self.core.add_link(handle, *peer, self._now(), air_address=private_address, own=own_address)
        except LocalProtocolError:  # the controller lies: there is a link with this peer, or there are too many
            self._links_refused += 1
            self._host.disconnect(handle)
        self._is_stirred = True

    def link_down(self, handle: int) -> None:
        self.core.remove_link(handle, self._now())
        self._is_stirred = True
        self.deliver()

    def receive_hci_event(self, event: hci_events.Event) -> None:
        """Takes an event of the controller; passes over those that are not about security."""
        if (receive := self._receivers.get(type(event))) is None:
            return
        receive(*event, self._now())
        self._is_stirred = True

    def deliver(self) -> None:  # hot: per wake-up
        """Does what the core wants done after all that has happened."""
        for handle, untrusted_payload in self._mux.take_security_pdus():
            self.core.receive_smp(handle, untrusted_payload, self._now())
            self._is_stirred = True
        if self._is_stirred:
            self._move()

    def handle_timeout(self, now: float) -> None:
        if self.due is not None and self.due <= now:
            self.core.handle_timeout(now)
            self._is_stirred = True

    # Inside.

    def _move(self) -> None:
        """Carries out the core's actions and hands on its events, until there are no more."""
        core = self.core
        while self._is_stirred:
            self._is_stirred = False
            for action in core.take_actions():
                self._actors[type(action)](*action)
            if events := core.take_events():
                self._is_stirred = True  # who hears them may answer
                self._keeper.receive_security_events(core, events)
        self.due = core.next_timeout()
