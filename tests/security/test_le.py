"""The security of LE links: two of our own, with controllers between them that do what they are told."""

import random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.conftest import Typed, terms
from usbbtd.bluetooth import (
    ADDRESS_LE_RANDOM,
    CENTRAL,
    DISPLAY_ONLY,
    DISPLAY_YES_NO,
    KEYBOARD_ONLY,
    LE,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    NO_INPUT_NO_OUTPUT,
    PERIPHERAL,
    ErrorCode,
)
from usbbtd.security.bonds import Bond, BondBook, LeKeys, LongTermKey, replacement_refused
from usbbtd.security.core import Security
from usbbtd.security.events import (
    AnswerLongTermKey,
    BondMade,
    BondRefused,
    BondUsed,
    EncryptionEnded,
    EndLink,
    LevelChanged,
    LevelReached,
    LevelRefused,
    PairingAsked,
    PeerIdentified,
    Prompted,
    PromptWithdrawn,
    ResolvingListChanged,
    SendSmp,
    StartEncryption,
    Why,
)
from usbbtd.security.smp.wire import PairingReason
from usbbtd.security.terms import CONSENT, DISPLAY, ENTER_PASSKEY, PairingTerms
from usbbtd.security.toolbox import ah

ADDRESSES = (bytes.fromhex("0100005566c7"), bytes.fromhex("0200005566d1"))
HANDLES = (0x0040, 0x0041)
IRK = bytes(range(16, 32))
JUST_WORKS = terms(LEVEL_ENCRYPTED, NO_INPUT_NO_OUTPUT)
WEAK = LongTermKey(b"w" * 16)


def spoil(fault: str, payload: bytes) -> list[bytes]:
    """What arrives of a PDU."""
    return {
        "lost": [],
        "twice": [payload, payload],
        "spoilt": [payload[:-1] + bytes((payload[-1] ^ 1,))],
        "short": [payload[:-1]],
        "long": [payload + b"\0"],
        "failed": [b"\x05\x08"],
    }.get(fault, [payload])


class LeDesks:
    """A central and a peripheral of ours. ``terms`` accept what the other begins; None refuses it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.books = (BondBook(), BondBook())
        self.securities = [
            Security(bonds=book, random=random.Random(side).randbytes, le_address=address)
            for side, (book, address) in enumerate(zip(self.books, ADDRESSES, strict=True))
        ]
        self.terms: list[PairingTerms | None] = [JUST_WORKS, JUST_WORKS]
        self.accepts = True
        self.typed: int | None = None
        self.events: list[Typed] = [Typed(), Typed()]
        self.actions: list[Typed] = [Typed(), Typed()]
        self.key: bytes | None = None
        self.faults: list[str] = []  # what becomes of the next PDUs
        self.link()

    def link(self) -> None:
        for side, security in enumerate(self.securities):
            security.add_link(
                HANDLES[side], LE, (CENTRAL, PERIPHERAL)[side], ADDRESSES[1 - side], ADDRESS_LE_RANDOM, self.now
            )

    def unlink(self) -> None:
        for side, security in enumerate(self.securities):
            security.remove_link(HANDLES[side], self.now)
        self.run()

    def bond(
        self, side: int, *, level: int = LEVEL_SECURE, ours: Any = WEAK, theirs: Any = WEAK, irk: Any = None
    ) -> Bond:
        keys = LeKeys(ours, theirs, 16, level >= LEVEL_AUTHENTICATED, level == LEVEL_SECURE, irk)
        bond = Bond(ADDRESSES[1 - side], ADDRESS_LE_RANDOM, keys, frozenset({"work"}))
        self.books[side].keep(bond)
        return bond

    def reach(self, side: int, level: int, pairing: PairingTerms | None = None) -> int:
        number = self.securities[side].reach(HANDLES[side], level, pairing, self.now)
        self.run()
        return number

    def pair(self, side: int, pairing: PairingTerms) -> int:
        number = self.securities[side].pair(HANDLES[side], pairing, self.now)
        self.run()
        return number

    def levels(self) -> list[tuple[int, bool]]:
        infos = [security.link_security(HANDLES[side]) for side, security in enumerate(self.securities)]
        return [(info.level, info.is_bonded) for info in infos]

    def take(self, side: int, kind: type[Any]) -> Any:
        """The only event of this kind; all others are dropped."""
        taken, self.events[side] = self.events[side], Typed()
        (event,) = [event for event in taken if isinstance(event, kind)]
        return event

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = min((due for each in self.securities if (due := each.next_timeout()) is not None), default=end + 1)
            if due > end:
                break
            self.now = max(self.now, due)
            for security in self.securities:
                security.handle_timeout(self.now)
            self.run()
        self.now = end

    # -- the controllers, the air and the people

    def run(self) -> None:
        busy = True
        while busy:
            busy = False
            for side, security in enumerate(self.securities):
                for action in security.take_actions():
                    busy = True
                    self.actions[side].append(action)
                    self.act(side, action)
                for event in security.take_events():
                    busy = True
                    self.events[side].append(event)
                    self.decide(side, event)

    def act(self, side: int, action: Any) -> None:
        other = self.securities[1 - side]
        if isinstance(action, SendSmp):
            for payload in spoil(self.faults.pop(0) if self.faults else "", action.payload):
                other.receive_smp(HANDLES[1 - side], payload, self.now)
        elif isinstance(action, StartEncryption):
            self.key = action.key
            other.receive_long_term_key_request(HANDLES[1], action.random, action.diversifier, self.now)
        elif isinstance(action, AnswerLongTermKey):
            status = 0 if action.key == self.key else ErrorCode.PIN_OR_KEY_MISSING
            for each, security in enumerate(self.securities):
                if not status or each == 0:
                    security.receive_encryption_changed(HANDLES[each], status, 0 if status else 1, 0, self.now)

    def decide(self, side: int, event: Any) -> None:
        security = self.securities[side]
        if isinstance(event, PairingAsked):
            # the peer may not wait for it any more
            if (answer := self.terms[side]) is None:
                security.refuse_pairing(event.number, self.now)
            else:
                security.accept_pairing(event.number, answer, self.now)
        elif isinstance(event, Prompted):
            if event.kind == DISPLAY:
                self.typed = event.value if self.typed is None else self.typed
            elif event.kind == ENTER_PASSKEY:
                security.answer_prompt(event.number, self.accepts, self.typed or 0, self.now)
            else:
                security.answer_prompt(event.number, self.accepts, None, self.now)


@pytest.mark.parametrize("starts", [0, 1])
def test_a_pairing_by_just_works(starts: int) -> None:
    desks = LeDesks()
    number = desks.pair(starts, JUST_WORKS)
    assert desks.levels() == [(LEVEL_ENCRYPTED, True)] * 2
    prompts = [event for events in desks.events for event in events if isinstance(event, Prompted)]
    assert {prompt.kind for prompt in prompts} <= {CONSENT}
    for side, events in enumerate(desks.events):
        made = [event for event in events if isinstance(event, BondMade)]
        assert made[0].bond.address == ADDRESSES[1 - side]
        assert [type(event) for event in events].count(BondUsed) == 1
        assert isinstance(events[-1], LevelReached)
    assert desks.events[starts][-1].number == number
    assert [security.next_timeout() for security in desks.securities] == [None, None]


@pytest.mark.parametrize("starts", [0, 1])
@pytest.mark.parametrize("secure", [False, True])
def test_a_bond_is_used_on_the_next_link(starts: int, secure: bool) -> None:
    """From either side, though keys of legacy pairing are for one role only."""
    desks = LeDesks()
    level = LEVEL_SECURE if secure else LEVEL_AUTHENTICATED
    pairings = [terms(level, io, secure_connections=secure) for io in (KEYBOARD_ONLY, DISPLAY_ONLY)]
    desks.terms = list(pairings)
    desks.pair(0, pairings[0])
    assert desks.levels() == [(level, True)] * 2
    desks.unlink()
    desks.link()
    desks.events = [Typed(), Typed()]
    number = desks.reach(starts, level)
    assert desks.take(starts, LevelReached).number == number
    assert desks.levels() == [(level, True)] * 2
    assert [security.next_timeout() for security in desks.securities] == [None, None]


class Seen(NamedTuple):
    is_encrypted: bool
    level: int
    is_encrypting: bool


class Watched(LeDesks):
    """Notes how the links of both are after each step."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        super().__init__()

    def act(self, side: int, action: Any) -> None:
        super().act(side, action)
        for handle, security in zip(HANDLES, self.securities, strict=True):
            said = security.is_encrypted(handle), security.level(handle), security.is_encrypting(handle)
            self.seen.append(Seen(*said))


@pytest.mark.parametrize("starts", [0, 1])
@pytest.mark.parametrize("secure", [False, True])
def test_a_link_is_encrypting_until_its_worth_is_known(starts: int, secure: bool) -> None:
    """Keys follow after an encryption with those of a pairing."""
    desks = Watched()
    pairing = terms(LEVEL_ENCRYPTED, NO_INPUT_NO_OUTPUT, secure_connections=secure)
    desks.terms = [pairing, pairing]
    desks.pair(starts, pairing)
    of_no_worth = [seen for seen in desks.seen if seen.is_encrypted and seen.level == LEVEL_NONE]
    assert all(seen.is_encrypting for seen in of_no_worth)
    assert of_no_worth or secure
    desks.unlink()
    desks.link()
    desks.seen.clear()
    desks.reach(starts, LEVEL_ENCRYPTED)
    assert any(seen.is_encrypting for seen in desks.seen if not seen.is_encrypted)
    for handle, security, events in zip(HANDLES, desks.securities, desks.events, strict=True):
        assert not security.is_encrypting(handle)
        kinds = [type(event) for event in events]
        assert kinds.count(EncryptionEnded) == 2
        assert kinds.index(LevelChanged) < kinds.index(EncryptionEnded)


def test_an_encryption_that_fails_has_ended() -> None:
    desks = Watched()
    desks.bond(0)
    desks.reach(0, LEVEL_ENCRYPTED)
    assert any(seen.is_encrypting for seen in desks.seen)
    assert not any(security.is_encrypting(handle) for handle, security in zip(HANDLES, desks.securities, strict=True))
    assert desks.take(0, EncryptionEnded).handle == HANDLES[0]


def test_an_encryption_of_which_the_controller_says_nothing_has_ended() -> None:
    desks = LeDesks()
    desks.bond(0)
    desks.securities[0].reach(HANDLES[0], LEVEL_ENCRYPTED, None, desks.now)
    desks.securities[0].take_actions()
    assert desks.securities[0].is_encrypting(HANDLES[0])
    desks.pass_time(60)
    assert not desks.securities[0].is_encrypting(HANDLES[0])


def test_a_wrong_passkey_is_refused_and_the_peer_has_to_wait() -> None:
    desks = LeDesks()
    desks.typed = 1
    desks.terms[1] = terms(LEVEL_AUTHENTICATED, DISPLAY_ONLY)
    desks.pair(0, terms(LEVEL_AUTHENTICATED, KEYBOARD_ONLY))
    assert desks.take(0, LevelRefused).reason == Why.NO_MATCH
    assert PromptWithdrawn in [type(event) for event in desks.events[1]]
    assert desks.levels() == [(LEVEL_NONE, False)] * 2
    desks.pair(0, JUST_WORKS)
    assert desks.take(0, LevelRefused).reason == Why.LOCKED_OUT


def test_nobody_consents() -> None:
    desks = LeDesks()
    desks.accepts = False
    desks.pair(0, JUST_WORKS)
    assert desks.take(1, LevelRefused).reason == Why.REFUSED
    assert desks.take(0, LevelRefused).reason == Why.PEER_REFUSED


def test_the_owner_refuses() -> None:
    desks = LeDesks()
    desks.terms[1] = None
    desks.pair(0, JUST_WORKS)
    assert desks.take(0, LevelRefused).reason == Why.PEER_REFUSED
    assert [type(event) for event in desks.events[1]] == [PairingAsked]
    desks = LeDesks()
    desks.terms[0] = None
    desks.pair(1, JUST_WORKS)
    assert desks.take(1, LevelRefused).reason == Why.PEER_REFUSED


def test_a_level_that_cannot_be() -> None:
    desks = LeDesks()
    desks.pair(0, terms(LEVEL_AUTHENTICATED))
    assert desks.take(0, LevelRefused).reason == Why.CAPABILITIES
    assert desks.securities[0].statistics()["lockouts"] == 0  # nobody can have guessed anything
    desks.pass_time(1)  # but the peer cannot know what we did
    desks.pair(0, JUST_WORKS)
    assert desks.take(0, LevelReached)


@pytest.mark.parametrize("starts", [0, 1])
def test_a_peer_without_the_key_is_not_paired_with(starts: int) -> None:
    """The central hears that there is no key; the peripheral, that the central does not encrypt."""
    desks = LeDesks()
    bond = desks.bond(starts)
    desks.terms[1 - starts] = None
    desks.reach(starts, LEVEL_ENCRYPTED, JUST_WORKS)
    assert desks.take(starts, LevelRefused).reason == (Why.PEER_REFUSED if starts else Why.KEY_MISSING)
    assert list(desks.books[starts]) == [bond]
    assert desks.levels() == [(LEVEL_NONE, False)] * 2


def test_a_central_that_pairs_instead_of_encrypting() -> None:
    desks = LeDesks()
    bond = desks.bond(1, level=LEVEL_AUTHENTICATED)
    number = desks.reach(1, LEVEL_ENCRYPTED, JUST_WORKS)
    events = desks.events[1]
    refused = next(event for event in events if isinstance(event, LevelRefused))
    assert (refused.number, refused.reason) == (number, Why.KEY_MISSING)
    # the owner let it pair, but its keys are weaker
    assert BondRefused in [type(event) for event in events]
    assert list(desks.books[1]) == [bond]
    assert EndLink(HANDLES[1], ErrorCode.AUTHENTICATION_FAILURE) in desks.actions[1]
    assert desks.levels()[1] == (LEVEL_NONE, False)


def test_a_peripheral_asks_for_encryption_that_there_is() -> None:
    desks = LeDesks()
    for side in (0, 1):
        desks.bond(side)
    desks.reach(0, LEVEL_SECURE)
    assert desks.levels() == [(LEVEL_SECURE, True)] * 2
    desks.securities[0].receive_smp(HANDLES[0], b"\x0b\x0d", desks.now)
    desks.run()
    assert [type(action) for action in desks.actions[0]].count(StartEncryption) == 2
    assert desks.levels() == [(LEVEL_SECURE, True)] * 2


def test_a_key_is_asked_for_by_the_name_of_another() -> None:
    desks = LeDesks()
    desks.bond(1, level=LEVEL_AUTHENTICATED, ours=LongTermKey(b"k" * 16, 7, 8))
    for named in ((0, 0), (8, 0), (0, 7), (7, 8)):
        desks.securities[1].receive_long_term_key_request(HANDLES[1], *named, desks.now)
    assert Typed(desks.securities[1].take_actions()) == [AnswerLongTermKey(HANDLES[1], None)] * 4
    desks.securities[1].receive_long_term_key_request(HANDLES[1], 8, 7, desks.now)
    assert Typed(desks.securities[1].take_actions()) == [AnswerLongTermKey(HANDLES[1], b"k" * 16)]
    desks.securities[1].receive_long_term_key_request(0x0999, 8, 7, desks.now)
    assert Typed(desks.securities[1].take_actions()) == [AnswerLongTermKey(0x0999, None)]


def test_a_bond_that_is_not_enough_is_not_used_while_we_want_to_pair() -> None:
    desks = LeDesks()
    desks.bond(1, level=LEVEL_ENCRYPTED)
    security = desks.securities[1]
    security.pair(HANDLES[1], terms(LEVEL_AUTHENTICATED, DISPLAY_ONLY), desks.now)
    security.take_actions()
    security.receive_long_term_key_request(HANDLES[1], 0, 0, desks.now)
    assert Typed(security.take_actions()) == [AnswerLongTermKey(HANDLES[1], None)]


def test_a_central_is_not_asked_for_a_key() -> None:
    desks = LeDesks()
    desks.bond(0)
    desks.securities[0].receive_long_term_key_request(HANDLES[0], 0, 0, desks.now)
    assert Typed(desks.securities[0].take_actions()) == [AnswerLongTermKey(HANDLES[0], None)]


def test_a_key_for_the_other_role_is_of_no_use() -> None:
    desks = LeDesks()
    desks.bond(0, level=LEVEL_AUTHENTICATED, theirs=None)
    desks.reach(0, LEVEL_ENCRYPTED)
    assert desks.take(0, LevelRefused).reason == Why.NO_BOND


def test_encryption_ends() -> None:
    desks = LeDesks()
    desks.bond(0)
    desks.bond(1)
    desks.reach(0, LEVEL_SECURE)
    for side, security in enumerate(desks.securities):
        security.receive_encryption_changed(HANDLES[side], 0, 0, 0, desks.now)
    assert desks.levels() == [(LEVEL_NONE, False)] * 2
    desks.reach(0, LEVEL_SECURE)
    security = desks.securities[0]
    security.receive_key_refreshed(HANDLES[0], 0, desks.now)
    assert desks.levels()[0] == (LEVEL_SECURE, True)
    security.receive_key_refreshed(HANDLES[0], ErrorCode.LL_RESPONSE_TIMEOUT, desks.now)
    assert desks.levels()[0] == (LEVEL_NONE, False)


@pytest.mark.parametrize("bonded", [False, True])
def test_a_private_address_is_resolved(bonded: bool) -> None:
    desks = LeDesks()
    desks.unlink()
    if bonded:
        desks.bond(1, irk=IRK)
    prand = b"\x01\x02\x43"
    address = ah(IRK, prand) + prand
    security = desks.securities[1]
    security.add_link(5, LE, PERIPHERAL, address, ADDRESS_LE_RANDOM, desks.now)
    identity = (ADDRESSES[0], ADDRESS_LE_RANDOM) if bonded else (address, ADDRESS_LE_RANDOM)
    assert security.identity(5) == identity
    assert Typed(security.take_events()) == ([PeerIdentified(5, *identity)] if bonded else [])
    # the address is no proof
    assert security.link_security(5) == (LEVEL_NONE, 0, False)
    if bonded:
        assert security.forget(*identity) is not None
        assert Typed(security.take_actions()) == [ResolvingListChanged()]


def test_a_silent_peer_ends_the_link() -> None:
    desks = LeDesks()
    security = desks.securities[0]
    security.pair(HANDLES[0], JUST_WORKS, desks.now)
    security.take_actions()
    desks.pass_time(31)
    assert desks.take(0, LevelRefused).reason == Why.TIMED_OUT
    assert EndLink(HANDLES[0], ErrorCode.AUTHENTICATION_FAILURE) in desks.actions[0]


def test_a_wish_is_cancelled() -> None:
    desks = LeDesks()
    security = desks.securities[0]
    number = security.pair(HANDLES[0], JUST_WORKS, desks.now)
    assert security.cancel(number, desks.now)
    assert not security.cancel(number, desks.now)
    desks.run()
    refused = [event for event in desks.events[0] if isinstance(event, LevelRefused)]
    assert [(event.number, event.reason) for event in refused] == [(number, Why.CANCELLED)]
    assert desks.levels() == [(LEVEL_NONE, False)] * 2
    desks.pair(0, JUST_WORKS)
    assert desks.levels()[0] == (LEVEL_ENCRYPTED, True)


def test_a_link_is_lost_in_a_pairing() -> None:
    desks = LeDesks()
    security = desks.securities[0]
    numbers = [security.pair(HANDLES[0], JUST_WORKS, desks.now), security.reach(HANDLES[0], 2, None, desks.now)]
    security.take_actions()
    desks.unlink()
    refused = [event for event in desks.events[0] if isinstance(event, LevelRefused)]
    assert [(event.number, event.reason) for event in refused] == [(number, Why.LINK_LOST) for number in numbers]
    assert security.next_timeout() is None
    assert security.statistics()["pairings_failed"] == 1


def test_a_pairing_without_bonds() -> None:
    desks = LeDesks()
    desks.pair(0, JUST_WORKS._replace(bondable=False))
    assert desks.levels() == [(LEVEL_ENCRYPTED, False)] * 2
    assert [len(book) for book in desks.books] == [0, 0]


def test_pairing_anew() -> None:
    desks = LeDesks()
    desks.pair(0, JUST_WORKS)
    first = list(desks.books[0])
    desks.events = [Typed(), Typed()]
    desks.pair(0, JUST_WORKS)
    assert desks.take(0, LevelReached).level == LEVEL_ENCRYPTED
    assert list(desks.books[0]) != first
    assert desks.levels() == [(LEVEL_ENCRYPTED, True)] * 2


def test_a_peer_that_has_to_wait_hears_so() -> None:
    desks = LeDesks()
    desks.accepts = False
    desks.pair(0, JUST_WORKS)
    desks.actions = [Typed(), Typed()]
    desks.securities[1].receive_smp(HANDLES[1], b"\x01\x03\x00\x09\x10\x00\x00", desks.now)
    desks.run()
    assert SendSmp(HANDLES[1], bytes((5, PairingReason.REPEATED_ATTEMPTS))) in desks.actions[1]


# -- silence


def test_a_controller_that_does_not_encrypt() -> None:
    desks = LeDesks()
    desks.bond(0)
    security = desks.securities[0]
    security.reach(HANDLES[0], LEVEL_SECURE, None, desks.now)
    security.take_actions()
    security.receive_smp(HANDLES[0], b"\x0b\x09", desks.now)  # which is not met either
    assert security.take_actions() == []
    security.receive_encryption_changed(HANDLES[0], ErrorCode.CONNECTION_TIMEOUT, 0, 0, desks.now)
    assert [type(action) for action in security.take_actions()] == [SendSmp]
    desks.run()
    assert desks.take(0, LevelRefused).reason == Why.PEER_REFUSED
    security.reach(HANDLES[0], LEVEL_SECURE, None, desks.now)
    security.take_actions()
    desks.pass_time(46)
    assert desks.take(0, LevelRefused).reason == Why.TIMED_OUT
    assert security.next_timeout() is None


def test_a_central_that_does_not_encrypt() -> None:
    desks = LeDesks()
    desks.bond(1)
    desks.faults = ["lost"]
    desks.reach(1, LEVEL_SECURE)
    desks.pass_time(31)
    assert desks.take(1, LevelRefused).reason == Why.TIMED_OUT
    assert desks.securities[1].next_timeout() is None


def test_an_owner_that_does_not_answer() -> None:
    desks = LeDesks()
    security = desks.securities[1]
    security.receive_smp(HANDLES[1], b"\x01\x03\x00\x09\x10\x00\x00", desks.now)
    (asked,) = security.take_events()
    assert isinstance(asked, PairingAsked)
    desks.pass_time(11)
    assert not security.accept_pairing(asked.number, JUST_WORKS, desks.now)
    assert SendSmp(HANDLES[1], bytes((5, PairingReason.PAIRING_NOT_SUPPORTED))) in desks.actions[1]
    assert security.next_timeout() is None


def test_a_central_that_encrypts_when_it_is_asked_to_pair() -> None:
    """It has the keys, which are good enough."""
    desks = LeDesks()
    bonds = [desks.bond(0), desks.bond(1)]
    number = desks.pair(1, JUST_WORKS)
    assert desks.take(1, LevelReached).number == number
    assert [list(book) for book in desks.books] == [[bond] for bond in bonds]
    assert desks.levels() == [(LEVEL_SECURE, True)] * 2


def test_a_link_on_which_a_pairing_was_not_gone_on_with() -> None:
    desks = LeDesks()
    desks.faults = ["lost"]
    desks.pair(0, JUST_WORKS)
    desks.pass_time(31)
    desks.pair(0, JUST_WORKS)
    refused = [event.reason for event in desks.events[0] if isinstance(event, LevelRefused)]
    assert refused == [Why.TIMED_OUT, Why.LINK_LOST]


# -- whatever happens


STEPS = st.tuples(
    st.sampled_from(["reach", "pair", "cancel", "pass time", "off", "forget", "unlink", "refuse", "mind"]),
    st.integers(0, 1),
    st.integers(0, 4),
    st.sampled_from([NO_INPUT_NO_OUTPUT, KEYBOARD_ONLY, DISPLAY_ONLY, DISPLAY_YES_NO]),
    st.booleans(),
    st.booleans(),
)
FAULTS = st.sampled_from(["", "", "", "", "lost", "twice", "spoilt", "short", "long", "failed"])


@settings(max_examples=settings().max_examples * 2)
@given(st.lists(STEPS, max_size=8), st.lists(FAULTS, max_size=30))
def test_each_wish_ends_once_and_no_bond_gets_weaker(steps: list[Any], faults: list[str]) -> None:
    desks = LeDesks()
    desks.faults = faults
    wished: list[set[int]] = [set(), set()]
    for what, side, level, io, secure, bondable in steps:
        security, handle = desks.securities[side], HANDLES[side]
        books = [{bond.address: bond for bond in book} for book in desks.books]
        pairing = terms(min(level, 4 if secure else 3), io, secure_connections=secure, bondable=bondable)
        if what == "reach":
            wished[side].add(desks.reach(side, pairing.level, pairing if bondable else None))
        elif what == "pair":
            wished[side].add(desks.pair(side, pairing))
        elif what == "cancel":
            security.cancel(max(wished[side], default=0), desks.now)
        elif what == "pass time":
            desks.pass_time(level * 10)
        elif what == "off":
            security.receive_encryption_changed(handle, 0, 0, 0, desks.now)
        elif what == "forget":
            security.forget(ADDRESSES[1 - side], ADDRESS_LE_RANDOM)
            books[side].clear()
        elif what == "unlink":
            desks.unlink()
            desks.link()
        else:
            desks.terms[side] = None if what == "refuse" else pairing
        desks.run()
        for before, book in zip(books, desks.books, strict=True):
            after = {bond.address: bond for bond in book}
            assert before.keys() <= after.keys()
            assert not any(replacement_refused(bond, after[address]) for address, bond in before.items())
    desks.pass_time(1000)
    desks.unlink()
    for side, security in enumerate(desks.securities):
        ends = [event.number for event in desks.events[side] if isinstance(event, LevelReached | LevelRefused)]
        asked = {event.number for event in desks.events[side] if isinstance(event, PairingAsked)}
        assert len(set(ends)) == len(ends)
        assert wished[side] <= set(ends) <= wished[side] | asked
        prompted = [event.number for event in desks.events[side] if isinstance(event, Prompted)]
        assert len(set(prompted)) == len(prompted)
        assert (security.next_timeout(), security.statistics()["prompts"]) == (None, 0)


@settings(max_examples=settings().max_examples * 2)
@given(st.lists(FAULTS, max_size=30), st.integers(0, 1), st.booleans())
def test_what_both_agree_on_is_the_same(faults: list[str], starts: int, secure: bool) -> None:
    """Whatever is lost or spoilt, no side has a level or a bond that the other's keys are not as good for."""
    desks = LeDesks()
    desks.faults = faults
    level = LEVEL_SECURE if secure else LEVEL_AUTHENTICATED
    desks.terms = [terms(level, io, secure_connections=secure) for io in (DISPLAY_YES_NO, KEYBOARD_ONLY)]
    desks.pair(starts, desks.terms[starts] or JUST_WORKS)
    levels = {level for level, _ in desks.levels()}
    assert levels <= {LEVEL_NONE, level}
    bonds = [list(book) for book in desks.books]
    if all(bonds):
        (ours,), (theirs,) = bonds
        assert isinstance(ours.keys, LeKeys)
        assert isinstance(theirs.keys, LeKeys)
        assert (ours.authenticated, ours.secure_connections) == (theirs.authenticated, theirs.secure_connections)
        if not any(faults):
            assert (ours.keys.ours, ours.keys.theirs) == (theirs.keys.theirs, theirs.keys.ours)
