"""What is the same on both transports: a link, what it is worth, and what is wanted of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from usbbtd.bluetooth import LEVEL_NONE, ROLES, SECURITY_LEVELS, ErrorCode, describe_error, format_address, transport_of
from usbbtd.security.bonds import Bond, BondBook, replacement_refused
from usbbtd.security.deadlines import Deadline, Deadlines
from usbbtd.security.events import (
    BondMade,
    BondRefused,
    BondUsed,
    EndLink,
    LevelChanged,
    LevelReached,
    LevelRefused,
    PeerIdentified,
    ResolvingListChanged,
    SecurityAction,
    SecurityEvent,
    Why,
)
from usbbtd.security.levels import ENCRYPTION_OFF, Keys, is_downgraded, level_of, link_level
from usbbtd.security.limits import FULL_KEY_SIZE, MINIMUM_KEY_SIZE, SecurityLimits
from usbbtd.security.lockout import Lockout
from usbbtd.security.prompts import Prompts
from usbbtd.security.terms import PairingTerms

#: All counters of a Security.
COUNTERS = (
    "answers_ignored",
    "bonds_made",
    "bonds_refused",
    "events_unexpected",
    "identities_not_believed",
    "keys_ignored",
    "keys_missing",
    "links_downgraded",
    "pairings_failed",
    "pairings_locked_out",
    "pairings_refused",
    "requests_refused",
)


class SharedSecurity(NamedTuple):
    """The parts that all links of a Security share. The lists are emptied in place; ``may_replace``: see Security."""

    limits: SecurityLimits
    bonds: BondBook
    lockout: Lockout
    prompts: Prompts
    deadlines: Deadlines
    counters: dict[str, int]
    events: list[SecurityEvent]
    actions: list[SecurityAction]
    may_replace: Callable[[int, Bond], bool]


class LinkSecurityInfo(NamedTuple):
    """What a link is worth. ``is_bonded``: it is encrypted now, with the key of a bond that is kept."""

    level: int
    key_size: int
    is_bonded: bool


class Wish:
    """A level that is wanted of a link. ``terms``: None if it must not pair. ``is_forced``: it has to pair anyway.

    ``paired_keys``: those of a pairing since it was wished.
    """

    __slots__ = (
        "deadline", "has_tried_keys", "has_tried_to_pair", "is_forced", "is_incoming", "level", "number",
        "paired_keys", "terms",
    )  # fmt: skip

    def __init__(
        self, number: int, level: int, terms: PairingTerms | None, deadline: Deadline,
        *, is_forced: bool = False, is_incoming: bool = False,
    ) -> None:  # fmt: skip
        self.number = number
        self.level = level
        self.terms = terms
        self.deadline = deadline
        self.is_forced = is_forced
        self.is_incoming = is_incoming
        self.has_tried_keys = False
        self.has_tried_to_pair = False
        self.paired_keys: Keys | None = None


class SecureLink(ABC):
    """A link. Its level follows from facts: which keys it has, and how it is encrypted with which of them.

    ``own_address``: by which the peer knows us, as a Bond has it; a bond that has another is as good as none here.
    ``keys``: those that were proved on this link, with which its next encryption is made. ``is_encrypting``: whether
    the controller has a key on LE of which it is not known yet what it is worth. One wish is worked for at a time, the
    first; but all that the link satisfies end.
    """

    def __init__(
        self, shared: SharedSecurity, handle: int, role: int, address: bytes, address_type: int,
        own_address: bytes | None,
    ) -> None:  # fmt: skip
        self.shared = shared
        self.handle = handle
        self.role = role
        self.address, self.address_type = address, address_type
        self.identity = (address, address_type)
        self.own_address = own_address
        self.wishes: list[Wish] = []
        self.keys: Keys | None = None
        self._encrypted_with: Keys | None = None
        self._enabled = ENCRYPTION_OFF
        self._key_size = 0
        self._info = LinkSecurityInfo(LEVEL_NONE, 0, False)
        self._is_ending = False
        self.is_encrypting = False

    @property
    def transport(self) -> int:
        return transport_of(self.address_type)

    @property
    def info(self) -> LinkSecurityInfo:
        return self._info

    @property
    def is_encrypted(self) -> bool:
        return self._enabled != ENCRYPTION_OFF

    def bond(self) -> Bond | None:
        """Returns the bond with the peer whose keys are for this link, be it used or not."""
        bond = self.shared.bonds.find(*self.identity)
        return bond if bond is not None and bond.is_for(self.own_address) else None

    def peer_text(self) -> str:
        """Returns the peer's address, for people."""
        return format_address(self.identity[0])

    # -- facts

    def _set_encryption(self, enabled: int, key_size: int, now: float) -> None:
        """Notes how the link is encrypted from now on, with the keys that it has."""
        self._enabled, self._key_size = enabled, key_size if enabled else 0
        self._encrypted_with = self.keys if enabled and not self._is_ending else None
        self.update()
        if is_downgraded(self._encrypted_with, enabled):
            self.shared.counters["links_downgraded"] += 1
            self.end(Why.DOWNGRADE, "a link with keys of Secure Connections is encrypted with E0")

    def update(self) -> None:
        """Reckons what the link is worth, and says so if that has changed."""
        level = link_level(self._encrypted_with, self._enabled, self._key_size)
        bond = self.bond() if level > LEVEL_NONE else None
        if bond is not None and bond.keys != self._encrypted_with:
            bond = None
        info = LinkSecurityInfo(level, self._key_size, bond is not None)
        if info == self._info:
            return
        was_bonded, self._info = self._info.is_bonded, info
        self.shared.events.append(LevelChanged(self.handle, *info))
        if bond is not None and not was_bonded:
            self.shared.events.append(BondUsed(self.handle, bond))

    # -- keys

    def take_keys(self, keys: Keys, identity: tuple[bytes, int], *, is_kept: bool) -> bool:
        """Takes the keys of a pairing, and keeps them in a bond if ``is_kept``.

        Returns False if the link is ending. It is ended if the keys are weaker than those of the bond that there is:
        whoever makes such keys with the address of a bonded peer is not that peer, or somebody is in the middle. So it
        is if the owner does not let that bond be replaced: only now is it known whose identity the peer gives.
        """
        if self._is_ending:
            return False
        shared = self.shared
        bond = Bond(*identity, keys, own_address=self.own_address)
        old = shared.bonds.find(*identity)
        if old is not None and (text := replacement_refused(old, bond)) is not None:
            self.refuse_bond(text)
            self.end(Why.WEAKER, text)
            return False
        if old is not None and is_kept and not shared.may_replace(self.handle, old):
            text = "the peer has a bond of others, which may not be replaced"
            self.refuse_bond(text)
            self.end(Why.REFUSED, text)
            return False
        if identity != self.identity:
            self.identity = identity
            shared.events.append(PeerIdentified(self.handle, *identity))
        self.keys = keys
        for wish in self.wishes:
            wish.paired_keys = keys
        if is_kept and (text := shared.bonds.refused(bond)) is not None:
            self.refuse_bond(text)
        elif is_kept:
            shared.bonds.keep(bond)
            shared.counters["bonds_made"] += 1
            shared.events.append(BondMade(self.handle, bond, old))
            if bond.irk != (None if old is None else old.irk):
                shared.actions.append(ResolvingListChanged())
        shared.lockout.succeeded(self.identity)
        return True

    def refuse_bond(self, text: str) -> None:
        self.shared.counters["bonds_refused"] += 1
        self.shared.events.append(BondRefused(self.handle, text))

    # -- wishes

    def want(
        self, number: int, level: int, terms: PairingTerms | None, now: float,
        *, is_forced: bool = False, is_incoming: bool = False,
    ) -> Wish:  # fmt: skip
        """Takes a wish, after those that are there, but for that of the peer. ``settle`` has to follow."""
        shared = self.shared
        deadline = Deadline(shared.deadlines, lambda later: self._wish_expired(number, later))
        wish = Wish(number, level, terms, deadline, is_forced=is_forced, is_incoming=is_incoming)
        if is_incoming:
            self.wishes.insert(0, wish)
        elif len(self.wishes) >= shared.limits.wishes:
            self._end_wish(wish, Why.TOO_MANY, "")
            return wish
        else:
            self.wishes.append(wish)
        deadline.start(now + shared.limits.wish_s)
        return wish

    def settle(self, now: float) -> None:
        """Ends the wishes that the link satisfies, and does the next step for the others."""
        self._end_satisfied()
        while self.wishes and not self.is_busy():
            self._begin(self.wishes[0], now)
            self._end_satisfied()

    def refuse(self, number: int, why: Why, text: str) -> bool:
        """Ends a wish that was not met. Returns False if there is no such wish."""
        wish = next((wish for wish in self.wishes if wish.number == number), None)
        if wish is None:
            return False
        self.wishes.remove(wish)
        self._end_wish(wish, why, text)
        return True

    def abandon(self, number: int, why: Why, now: float) -> bool:
        """Ends a wish, and a pairing for it alone. Returns False if there is no such wish."""
        if not self.refuse(number, why, ""):
            return False
        self._stop_pairing(number, why, now)
        self.settle(now)
        return True

    def _wish_expired(self, number: int, now: float) -> None:
        self.abandon(number, Why.TIMED_OUT, now)

    def refuse_all(self, why: Why, text: str) -> None:
        wishes, self.wishes = self.wishes, []
        for wish in wishes:
            self._end_wish(wish, why, text)

    def end(self, why: Why, text: str) -> None:
        """Ends the link, and with it all that is wanted of it."""
        if not self._is_ending:
            self._is_ending = True
            self.shared.actions.append(EndLink(self.handle, ErrorCode.AUTHENTICATION_FAILURE))
        self.keys = self._encrypted_with = None
        self.update()
        self.refuse_all(why, text)

    def lost(self, now: float) -> None:
        """Ends all that is wanted of the link, which is gone."""
        self.refuse_all(Why.LINK_LOST, "")

    def why_not_encrypted(self, status: int) -> tuple[Why, str]:
        """Returns why a link could not be encrypted, or authenticated, by the controller's word."""
        if status in (ErrorCode.PIN_OR_KEY_MISSING, ErrorCode.AUTHENTICATION_FAILURE):
            self.shared.counters["keys_missing"] += 1
            return Why.KEY_MISSING, describe_error(status)
        return Why.PEER_REFUSED, describe_error(status)

    @abstractmethod
    def accept_pairing(self, number: int, terms: PairingTerms, now: float) -> bool:
        """Accepts the peer's pairing. Returns False, and does nothing, if it does not wait for an answer."""

    @abstractmethod
    def refuse_pairing(self, number: int, now: float) -> bool:
        """Refuses the peer's pairing. Returns False, and does nothing, if it does not wait for an answer."""

    @abstractmethod
    def receive_encryption_changed(self, status: int, enabled: int, key_size: int, now: float) -> None:
        """Takes how the link is encrypted from now on, or why it is not."""

    @abstractmethod
    def receive_key_refreshed(self, status: int, now: float) -> None:
        """Takes the end of a pause, after which the link is encrypted with the keys that it has."""

    @abstractmethod
    def is_busy(self) -> bool:
        """Tells whether something goes on that has to end before the next step."""

    @abstractmethod
    def _pair(self, wish: Wish, terms: PairingTerms, now: float) -> None:
        """Begins to pair."""

    @abstractmethod
    def _stop_pairing(self, number: int, why: Why, now: float) -> None:
        """Ends the pairing that was begun for a wish, if it goes on."""

    @abstractmethod
    def _use_keys(self, wish: Wish, now: float) -> None:
        """Begins to encrypt with the keys that the link has, or with those of the bond."""

    def _begin(self, wish: Wish, now: float) -> None:
        """Begins what a wish needs next, or ends it."""
        if self._is_ending:
            self.refuse(wish.number, Why.LINK_LOST, "")
        elif wish.is_incoming or wish.has_tried_to_pair or wish.has_tried_keys:
            self.refuse(wish.number, *self._shortfall())
        elif not wish.is_forced and self._has_keys_for(wish.level):
            wish.has_tried_keys = True
            self._use_keys(wish, now)
        elif not wish.is_forced and (text := self._why_no_key(wish.level)) is not None:
            self.refuse(wish.number, Why.KEY_MISSING, text)
        elif wish.terms is None:
            self.refuse(wish.number, Why.NO_BOND, "")
        elif (wait_s := self.shared.lockout.remaining(self.identity, now)) > 0:
            self.shared.counters["pairings_locked_out"] += 1
            self.refuse(wish.number, Why.LOCKED_OUT, f"for {wait_s:.0f} s")
        else:
            wish.has_tried_to_pair = True
            self._pair(wish, wish.terms, now)

    @abstractmethod
    def _has_keys_for(self, level: int) -> bool:
        """Tells whether there are keys with which the link can reach a level, if the peer has them."""

    def _why_no_key(self, level: int) -> str | None:
        """Returns why the peer does not have the keys of a bond that would be enough; None if there is no such bond."""
        bond = self.shared.bonds.find(*self.identity)
        if bond is None or bond.is_for(self.own_address) or level_of(bond.keys) < level:
            return None
        if bond.own_address is None:
            return "the bond was made with our own address, which this link does not have"
        return f"the bond was made with another adapter, {format_address(bond.own_address)}"

    def _shortfall(self) -> tuple[Why, str]:
        """Returns why a link has no higher level, although it is encrypted."""
        has = f"it has the level {SECURITY_LEVELS[self._info.level]}"
        if self.is_encrypted and self._encrypted_with is not None and self._key_size < FULL_KEY_SIZE:
            size = f"the key has {self._key_size} octets, of which level 2 needs {MINIMUM_KEY_SIZE} and level 4 16"
            return Why.KEY_SIZE, size
        return Why.NOT_REACHED, has

    def _end_satisfied(self) -> None:
        for wish in tuple(self.wishes):
            has_paired = wish.paired_keys is not None and wish.paired_keys == self._encrypted_with
            if self._info.level >= wish.level and (has_paired or not wish.is_forced):
                self.wishes.remove(wish)
                wish.deadline.stop()
                self.shared.events.append(LevelReached(wish.number, self.handle, self._info.level))

    def _end_wish(self, wish: Wish, why: Why, text: str) -> None:
        wish.deadline.stop()
        wanted = SECURITY_LEVELS[wish.level]
        said = f"{self.peer_text()} was to reach the level {wanted}, but {why.value}" + (f": {text}" if text else "")
        self.shared.events.append(LevelRefused(wish.number, self.handle, why, said))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle:#06x} with {self.peer_text()}, {ROLES[self.role]}>"
