"""The security of all links of one controller, without I/O.

A peer's mistake, and a controller's, costs its pairing or its link, or is counted: it never raises an error.
LocalProtocolError is a mistake of the owner. ``now`` is in seconds, of any clock that does not go back.
"""

from collections.abc import Callable

from usbbtd.bluetooth import (
    ADDRESS_LE_PUBLIC,
    ADDRESS_LE_RANDOM,
    BREDR,
    LEVEL_ENCRYPTED,
    LEVEL_SDP,
    LEVEL_SECURE,
    ErrorCode,
)
from usbbtd.errors import LocalProtocolError
from usbbtd.security.bonds import Bond, BondBook
from usbbtd.security.bredr import BredrSecurity
from usbbtd.security.deadlines import Deadlines
from usbbtd.security.events import (
    AnswerConfirmation,
    AnswerLinkKey,
    AnswerLongTermKey,
    AnswerOob,
    AnswerPasskey,
    AnswerPin,
    LevelRefused,
    RefuseIoCapability,
    ResolvingListChanged,
    SecurityAction,
    SecurityEvent,
    Why,
)
from usbbtd.security.le import LeSecurity
from usbbtd.security.limits import SecurityLimits
from usbbtd.security.link import COUNTERS, LinkSecurityInfo, SecureLink, SharedSecurity
from usbbtd.security.lockout import Lockout
from usbbtd.security.prompts import Prompts, PromptValue
from usbbtd.security.smp.features import check_terms
from usbbtd.security.smp.limits import SmpLimits
from usbbtd.security.smp.machine import Smp
from usbbtd.security.terms import PairingTerms

_DEFAULT_LIMITS = SecurityLimits()


class Security:
    """The links of one controller. ``bonds``: of our adapter; pairings add to it. ``random``: gives so many octets.

    ``may_replace``: tells whether who pairs over the link with this handle may replace this bond; without it, all may.
    ``lockout``: one that outlives this controller, if who has to wait must do so after a reset, too; of the same clock.
    ``le_address``: our static random address, our identity on LE. After each call, ``take_actions`` has what is to
    be done and ``take_events`` what the owner has to know.
    """

    def __init__(
        self,
        *,
        bonds: BondBook,
        random: Callable[[int], bytes],
        le_address: bytes,
        limits: SecurityLimits = _DEFAULT_LIMITS,
        lockout: Lockout | None = None,
        may_replace: Callable[[int, Bond], bool] = lambda *_: True,
    ) -> None:
        self._random = random
        self._le_identity = (le_address, ADDRESS_LE_RANDOM)
        self._smp_limits = SmpLimits(procedure_s=limits.smp_s)
        self._actions: list[SecurityAction] = []
        self._events: list[SecurityEvent] = []
        self._deadlines: Deadlines = {}
        prompts = Prompts(limits, self._deadlines, self._events)
        counters = dict.fromkeys(COUNTERS, 0)
        if lockout is None:
            lockout = Lockout(limits)
        self._shared = SharedSecurity(
            limits, bonds, lockout, prompts, self._deadlines, counters, self._events, self._actions, may_replace
        )
        self._links: dict[int, SecureLink] = {}
        self._by_address: dict[bytes, BredrSecurity] = {}
        self._last_number = 0

    # -- links

    def add_link(
        self, handle: int, transport: int, role: int, address: bytes, address_type: int, now: float,
        *, air_address: bytes | None = None, own: bytes | None = None,
    ) -> None:  # fmt: skip
        """Adds a link. A peer of LE with a private address is identified, if there is a bond with it.

        ``air_address``: the private address that a peer has used whom the controller has identified itself. ``own``:
        the public address that we have on the link; None on LE if it is our identity, on BR/EDR if it is not known.
        Raises LocalProtocolError if there is a link with this handle, or BR/EDR address, or no room.
        """
        if handle in self._links or (transport == BREDR and address in self._by_address):
            raise LocalProtocolError(f"link {handle:#06x} is there already")
        if len(self._links) >= self._shared.limits.links:
            raise LocalProtocolError("there are as many links as there may be")
        if transport == BREDR:
            link = BredrSecurity(self._shared, handle, role, address, own, self._new_number)
            self._links[handle] = self._by_address[address] = link
            return
        on_air = (address, address_type) if air_address is None else (air_address, ADDRESS_LE_RANDOM)
        ours = self._le_identity if own is None else (own, ADDRESS_LE_PUBLIC)
        smp = Smp(role, ours, on_air, self._random, limits=self._smp_limits)
        le_link = LeSecurity(self._shared, handle, role, address, address_type, own, smp, self._new_number)
        self._links[handle] = le_link
        le_link.identify()

    def remove_link(self, handle: int, now: float) -> None:
        """Removes a link. What is wanted of it ends, with events. Does nothing if there is no such link."""
        if (link := self._links.pop(handle, None)) is None:
            return
        if isinstance(link, BredrSecurity):
            del self._by_address[link.address]
        link.lost(now)

    def level(self, handle: int) -> int:
        """Returns the level of a link. Raises LocalProtocolError if there is no such link."""
        return self._link(handle).info.level

    def link_security(self, handle: int) -> LinkSecurityInfo:
        """Returns what a link is worth. Raises LocalProtocolError if there is no such link."""
        return self._link(handle).info

    def identity(self, handle: int) -> tuple[bytes, int]:
        """Returns the address of the peer and its type; of a bonded peer with a private address, those of its bond.

        Raises LocalProtocolError if there is no such link.
        """
        return self._link(handle).identity

    def is_encrypted(self, handle: int) -> bool:
        """Tells whether a link is encrypted, with whatever key. Raises LocalProtocolError if there is no such link."""
        return self._link(handle).is_encrypted

    def is_encrypting(self, handle: int) -> bool:
        """Tells whether an LE link is being encrypted: what the key is worth is told later; EncryptionEnded follows.

        One that is gone is not.
        """
        link = self._links.get(handle)
        return link is not None and link.is_encrypting

    def bond(self, handle: int) -> Bond | None:
        """Returns the bond whose keys are for a link, be it used or not.

        Raises LocalProtocolError if there is no such link.
        """
        return self._link(handle).bond()

    def forget(self, address: bytes, address_type: int) -> Bond | None:
        """Removes a bond, and returns it; None if there is none. A link with its key is not bonded any more."""
        bond = self._shared.bonds.forget(address, address_type)
        if bond is not None:
            for link in self._links.values():
                link.update()
            if bond.irk is not None:
                self._actions.append(ResolvingListChanged())
        return bond

    # -- wishes

    def reach(self, handle: int, level: int, pairing: PairingTerms | None, now: float) -> int:
        """Makes a link reach a level: by keys that are good enough, else by a pairing, if terms are given.

        Raises LocalProtocolError if there is no such level, or no pairing possible on these terms.
        Returns a number. One LevelReached or LevelRefused with it follows. A peer that does not have the bond's keys is
        not paired with anew: that is what ``pair`` is for.
        """
        return self._wish(handle, level, pairing, now, is_forced=False)

    def pair(self, handle: int, terms: PairingTerms, now: float) -> int:
        """Pairs, even if there is a bond, and encrypts with the new keys. Returns a number, as ``reach``.

        Keys that are weaker than those of the bond are refused, and the link is ended.
        """
        return self._wish(handle, max(terms.level, LEVEL_ENCRYPTED), terms, now, is_forced=True)

    def cancel(self, number: int, now: float) -> bool:
        """Ends a wish: LevelRefused follows. Returns False, and does nothing, if it has ended."""
        return any(link.abandon(number, Why.CANCELLED, now) for link in tuple(self._links.values()))

    def accept_pairing(self, number: int, terms: PairingTerms, now: float) -> bool:
        """Answers a PairingAsked with yes. Returns False, and does nothing, if it does not wait for an answer.

        Raises LocalProtocolError if no pairing is possible on these terms.
        """
        terms = terms._replace(level=max(LEVEL_ENCRYPTED, terms.level))
        check_terms(terms)
        return self._count_answer(any(link.accept_pairing(number, terms, now) for link in tuple(self._links.values())))

    def refuse_pairing(self, number: int, now: float) -> bool:
        """Answers a PairingAsked with no. Returns False, and does nothing, if it does not wait for an answer."""
        return self._count_answer(any(link.refuse_pairing(number, now) for link in tuple(self._links.values())))

    def answer_prompt(self, number: int, accept: bool, value: PromptValue, now: float) -> bool:
        """Answers a prompt; ``value``: what people typed. Returns False, and does nothing, if that makes no sense."""
        return self._count_answer(self._shared.prompts.answer(number, accept, value, now))

    # -- what the controller says

    def receive_authenticated(self, handle: int, status: int, now: float) -> None:
        """Takes the end of Authenticate: Authentication Complete, or the status that refused the command."""
        if (link := self._bredr(handle)) is not None:
            link.receive_authenticated(status, now)

    def receive_encryption_changed(self, handle: int, status: int, enabled: int, key_size: int, now: float) -> None:
        """Takes Encryption Change, or the status that refused Encrypt or StartEncryption.

        ``key_size``: in octets, read from the controller on BR/EDR, 0 if it does not say it; on LE it is the key's.
        """
        if (link := self._known(handle)) is not None:
            link.receive_encryption_changed(status, enabled, key_size, now)

    def receive_key_refreshed(self, handle: int, status: int, now: float) -> None:
        """Takes Encryption Key Refresh Complete."""
        if (link := self._known(handle)) is not None:
            link.receive_key_refreshed(status, now)

    def receive_link_key_request(self, address: bytes, now: float) -> None:
        """Takes Link Key Request. A controller that has no link with this peer is given no key."""
        if (link := self._by_address.get(address)) is None:
            self._refuse(AnswerLinkKey(address, None))
        else:
            link.receive_link_key_request()

    def receive_link_key(self, address: bytes, key: bytes, key_type: int, now: float) -> None:
        """Takes Link Key Notification. Raises LocalProtocolError if the key has not 16 octets."""
        if (link := self._by_address.get(address)) is None:
            self._shared.counters["keys_ignored"] += 1
        else:
            link.receive_link_key(key, key_type, now)

    def receive_io_capability_request(self, address: bytes, now: float) -> None:
        """Takes IO Capability Request."""
        if (link := self._by_address.get(address)) is None:
            self._refuse(RefuseIoCapability(address, ErrorCode.PAIRING_NOT_ALLOWED))
        else:
            link.receive_io_capability_request(now)

    def receive_io_capability(self, address: bytes, io: int, oob: bool, requirements: int, now: float) -> None:
        """Takes IO Capability Response."""
        if (link := self._by_address.get(address)) is not None:
            link.receive_io_capability(io, oob, requirements)

    def receive_confirmation_request(self, address: bytes, value: int, now: float) -> None:
        """Takes User Confirmation Request."""
        if (link := self._by_address.get(address)) is None:
            self._refuse(AnswerConfirmation(address, False))
        else:
            link.receive_confirmation_request(value, now)

    def receive_passkey_request(self, address: bytes, now: float) -> None:
        """Takes User Passkey Request."""
        if (link := self._by_address.get(address)) is None:
            self._refuse(AnswerPasskey(address, None))
        else:
            link.receive_passkey_request(now)

    def receive_passkey_shown(self, address: bytes, passkey: int, now: float) -> None:
        """Takes User Passkey Notification."""
        if (link := self._by_address.get(address)) is not None:
            link.receive_passkey_shown(passkey, now)

    def receive_pin_request(self, address: bytes, now: float) -> None:
        """Takes PIN Code Request."""
        if (link := self._by_address.get(address)) is None:
            self._refuse(AnswerPin(address, None))
        else:
            link.receive_pin_request(now)

    def receive_oob_request(self, address: bytes, now: float) -> None:
        """Takes Remote OOB Data Request."""
        if (link := self._by_address.get(address)) is None:
            self._refuse(AnswerOob(address, None))
        else:
            link.receive_oob_request()

    def receive_pairing_complete(self, address: bytes, status: int, now: float) -> None:
        """Takes Simple Pairing Complete."""
        if (link := self._by_address.get(address)) is not None:
            link.receive_pairing_complete(status, now)

    def receive_long_term_key_request(self, handle: int, random: int, diversifier: int, now: float) -> None:
        """Takes LE Long Term Key Request."""
        if isinstance(link := self._links.get(handle), LeSecurity):
            link.receive_long_term_key_request(random, diversifier, now)
        else:
            self._refuse(AnswerLongTermKey(handle, None))

    def receive_smp(self, handle: int, untrusted_payload: bytes, now: float) -> None:
        """Takes a PDU of the Security Manager, of the peer of an LE link."""
        if isinstance(link := self._known(handle), LeSecurity):
            link.receive_smp(untrusted_payload, now)

    # -- what is to be done and known

    def take_actions(self) -> list[SecurityAction]:
        """Hands over what the controller has to do and what goes to peers, in this order."""
        taken = self._actions.copy()
        self._actions.clear()
        return taken

    def take_events(self) -> list[SecurityEvent]:
        """Hands over the events, in the order in which they happened."""
        taken = self._events.copy()
        self._events.clear()
        return taken

    # -- time

    def next_timeout(self) -> float | None:
        """Returns when ``handle_timeout`` is due; None if no time limit runs."""
        return min(self._deadlines.values(), default=None)

    def handle_timeout(self, now: float) -> None:
        deadlines = self._deadlines
        for deadline in [deadline for deadline, at in deadlines.items() if at <= now]:
            # one may have ended another, or begun it anew
            if deadlines.get(deadline, now + 1) <= now:
                deadline.stop()
                deadline.expire(now)

    def statistics(self) -> dict[str, int]:
        shared = self._shared
        counters = shared.counters.copy()
        for link in self._links.values():
            if isinstance(link, LeSecurity):
                for name, count in link.smp_statistics().items():
                    counters[name] = counters.get(name, 0) + count
        return counters | {
            "bonds": len(shared.bonds),
            "links": len(self._links),
            "lockouts": len(shared.lockout),
            "lockouts_forgotten": shared.lockout.forgotten,
            "prompts": len(shared.prompts),
            "wishes": sum(len(link.wishes) for link in self._links.values()),
        }

    # -- inside

    def _wish(self, handle: int, level: int, terms: PairingTerms | None, now: float, *, is_forced: bool) -> int:
        if not LEVEL_SDP <= level <= LEVEL_SECURE:
            raise LocalProtocolError(f"there is no level {level}")
        if terms is not None:
            terms = terms._replace(level=max(level, terms.level))
            check_terms(terms)
        number = self._new_number()
        if (link := self._links.get(handle)) is None:
            text = "the link was lost before"
            self._events.append(LevelRefused(number, handle, Why.LINK_LOST, text))
        else:
            link.want(number, level, terms, now, is_forced=is_forced)
            link.settle(now)
        return number

    def _new_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _link(self, handle: int) -> SecureLink:
        try:
            return self._links[handle]
        except KeyError:
            raise LocalProtocolError(f"no link {handle:#06x}") from None

    def _known(self, handle: int) -> SecureLink | None:
        if (link := self._links.get(handle)) is None:
            self._shared.counters["events_unexpected"] += 1
        return link

    def _bredr(self, handle: int) -> BredrSecurity | None:
        link = self._known(handle)
        return link if isinstance(link, BredrSecurity) else None

    def _refuse(self, refusal: SecurityAction) -> None:
        """Refuses what a controller asks of a peer with which there is no link."""
        self._shared.counters["requests_refused"] += 1
        self._actions.append(refusal)

    def _count_answer(self, is_taken: bool) -> bool:
        if not is_taken:
            self._shared.counters["answers_ignored"] += 1
        return is_taken
