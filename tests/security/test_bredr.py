"""The security of a BR/EDR link, with a controller that a test scripts."""

from itertools import permutations

import pytest

from tests.security.conftest import HANDLE, KEY, PEER, Desk, Typed, terms
from usbbtd.bluetooth import (
    DISPLAY_ONLY,
    DISPLAY_YES_NO,
    KEY_AUTHENTICATED_P192,
    KEY_AUTHENTICATED_P256,
    KEY_CHANGED,
    KEY_COMBINATION,
    KEY_DEBUG,
    KEY_UNAUTHENTICATED_P192,
    KEY_UNAUTHENTICATED_P256,
    KEYBOARD_ONLY,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    NO_INPUT_NO_OUTPUT,
    ErrorCode,
)
from usbbtd.security.association import DEDICATED_BONDING, GENERAL_BONDING, MITM
from usbbtd.security.bonds import BredrKey
from usbbtd.security.events import (
    AnswerConfirmation,
    AnswerIoCapability,
    AnswerLinkKey,
    AnswerOob,
    AnswerPasskey,
    AnswerPin,
    Authenticate,
    BondMade,
    BondRefused,
    BondUsed,
    Encrypt,
    EndLink,
    LevelChanged,
    LevelReached,
    LevelRefused,
    PairingAsked,
    Prompted,
    PromptWithdrawn,
    RefuseIoCapability,
    Why,
)
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, ENTER_PIN

REFUSED = ErrorCode.PAIRING_NOT_ALLOWED


# -- a bond's key


def test_a_bond_is_used() -> None:
    desk = Desk(KEY_AUTHENTICATED_P256)
    number = desk.reach(LEVEL_SECURE)
    desk.asks_key()
    desk.authenticated()
    assert desk.actions() == [Authenticate(HANDLE), AnswerLinkKey(PEER, KEY), Encrypt(HANDLE)]
    assert desk.events() == []
    desk.encrypted(2)
    (bond,) = desk.bonds
    assert desk.events() == [
        LevelChanged(HANDLE, LEVEL_SECURE, 16, True),
        BondUsed(HANDLE, bond),
        LevelReached(number, HANDLE, LEVEL_SECURE),
    ]
    assert desk.reach(LEVEL_ENCRYPTED) > number
    assert desk.of(LevelReached).level == LEVEL_SECURE
    assert (desk.actions(), desk.security.next_timeout()) == ([], None)


@pytest.mark.parametrize("peer_began", [False, True])
def test_encryption_may_come_before_the_end_of_the_authentication(peer_began: bool) -> None:
    desk = Desk(KEY_UNAUTHENTICATED_P192)
    number = None if peer_began else desk.reach(LEVEL_ENCRYPTED)
    desk.asks_key()
    desk.encrypted()
    if not peer_began:
        assert desk.of(LevelReached) == LevelReached(number or 0, HANDLE, LEVEL_ENCRYPTED)
        desk.authenticated()
        assert Encrypt(HANDLE) not in desk.actions()
    assert desk.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, True)
    assert desk.security.next_timeout() is None


@pytest.mark.parametrize("status", [ErrorCode.PIN_OR_KEY_MISSING, ErrorCode.AUTHENTICATION_FAILURE])
def test_a_peer_without_the_key_is_not_paired_with(status: int) -> None:
    """The bond stays, and so does its right to be used by the peer that has the key."""
    desk = Desk(KEY_AUTHENTICATED_P192)
    number = desk.reach(LEVEL_ENCRYPTED, terms())
    desk.asks_key()
    desk.authenticated(status)
    refused = desk.of(LevelRefused)
    assert (refused.number, refused.reason) == (number, Why.KEY_MISSING)
    assert "C0:FF:EE:00:00:13" in refused.text
    assert len(desk.bonds) == 1
    assert desk.actions() == [Authenticate(HANDLE), AnswerLinkKey(PEER, KEY)]
    assert desk.security.link_security(HANDLE) == (LEVEL_NONE, 0, False)


def test_a_collision_is_begun_again() -> None:
    desk = Desk(KEY_AUTHENTICATED_P192)
    desk.reach(LEVEL_ENCRYPTED)
    desk.authenticated(ErrorCode.LMP_COLLISION)
    assert desk.actions() == [Authenticate(HANDLE)] * 2
    for _ in range(3):
        desk.authenticated(ErrorCode.LMP_COLLISION)
    assert desk.of(LevelRefused).reason == Why.PEER_REFUSED


def test_no_bond_and_no_terms() -> None:
    desk = Desk()
    desk.reach(LEVEL_ENCRYPTED)
    assert desk.of(LevelRefused).reason == Why.NO_BOND
    desk = Desk(KEY_UNAUTHENTICATED_P256)
    desk.reach(LEVEL_AUTHENTICATED)
    assert desk.of(LevelRefused).reason == Why.NO_BOND
    desk.reach(LEVEL_NONE)
    assert desk.of(LevelReached).level == LEVEL_NONE
    assert desk.actions() == []


def test_a_controller_that_never_answers() -> None:
    desk = Desk(KEY_AUTHENTICATED_P192)
    desk.reach(LEVEL_ENCRYPTED)
    desk.pass_time(46)
    assert desk.of(LevelRefused).reason == Why.TIMED_OUT
    desk.reach(LEVEL_ENCRYPTED)
    desk.asks_key()
    desk.authenticated()
    desk.pass_time(46)
    assert desk.of(LevelRefused).reason == Why.TIMED_OUT
    assert desk.security.next_timeout() is None


# -- what the encryption is worth


@pytest.mark.parametrize(
    ("key_type", "enabled", "size", "level"),
    [
        (KEY_AUTHENTICATED_P256, 2, 16, LEVEL_SECURE),
        (KEY_AUTHENTICATED_P256, 2, 15, LEVEL_AUTHENTICATED),
        (KEY_UNAUTHENTICATED_P256, 2, 16, LEVEL_ENCRYPTED),
        (KEY_AUTHENTICATED_P192, 1, 16, LEVEL_AUTHENTICATED),
        (KEY_AUTHENTICATED_P192, 1, 7, LEVEL_AUTHENTICATED),
        (KEY_AUTHENTICATED_P192, 1, 6, LEVEL_NONE),
        (KEY_AUTHENTICATED_P192, 1, 0, LEVEL_NONE),
        (KEY_COMBINATION, 1, 16, LEVEL_ENCRYPTED),
    ],
)
def test_levels(key_type: int, enabled: int, size: int, level: int) -> None:
    desk = Desk(key_type)
    desk.asks_key()
    desk.encrypted(enabled, size)
    assert desk.security.level(HANDLE) == level


def test_a_short_key_refuses() -> None:
    desk = Desk(KEY_AUTHENTICATED_P256)
    desk.reach(LEVEL_SECURE)
    desk.asks_key()
    desk.authenticated()
    desk.encrypted(2, 10)
    assert desk.of(LevelRefused).reason == Why.KEY_SIZE


def test_secure_connections_with_e0_end_the_link() -> None:
    desk = Desk(KEY_UNAUTHENTICATED_P256)
    desk.reach(LEVEL_ENCRYPTED)
    desk.asks_key()
    desk.authenticated()
    desk.actions()
    desk.encrypted(1)
    assert desk.actions() == [EndLink(HANDLE, ErrorCode.AUTHENTICATION_FAILURE)]
    assert desk.of(LevelRefused).reason == Why.DOWNGRADE
    assert desk.security.link_security(HANDLE) == (LEVEL_NONE, 16, False)
    desk.reach(LEVEL_ENCRYPTED, terms())
    assert desk.of(LevelRefused).reason == Why.LINK_LOST
    desk.asks_key()
    assert desk.actions() == [AnswerLinkKey(PEER, None)]
    assert len(desk.bonds) == 1


def test_encryption_pauses_and_is_refreshed() -> None:
    desk = Desk(KEY_AUTHENTICATED_P256)
    desk.asks_key()
    desk.encrypted(2)
    desk.events()
    desk.encrypted(0)
    assert desk.events() == [LevelChanged(HANDLE, LEVEL_NONE, 0, False)]
    desk.encrypted(2)
    desk.refreshed()
    assert desk.security.level(HANDLE) == LEVEL_SECURE
    desk.refreshed(ErrorCode.LL_RESPONSE_TIMEOUT)
    assert desk.security.level(HANDLE) == LEVEL_NONE
    desk.encrypted(0)
    desk.events()
    number = desk.reach(LEVEL_SECURE)
    assert desk.actions()[-1] == Encrypt(HANDLE)
    desk.encrypted(2)
    assert desk.of(LevelReached).number == number


def test_encryption_with_an_unknown_key_is_worth_nothing() -> None:
    desk = Desk()
    desk.encrypted(2)
    assert desk.security.link_security(HANDLE) == (LEVEL_NONE, 16, False)
    assert desk.security.is_encrypted(HANDLE)


# -- pairings that we begin


def test_a_pairing_with_numeric_comparison() -> None:
    desk = Desk()
    number = desk.reach(LEVEL_SECURE, terms(LEVEL_SECURE))
    desk.asks_key()
    desk.asks_io()
    desk.peer_io(DISPLAY_YES_NO)
    desk.confirms()
    assert desk.actions() == [
        Authenticate(HANDLE),
        AnswerLinkKey(PEER, None),
        AnswerIoCapability(PEER, DISPLAY_YES_NO, False, GENERAL_BONDING | MITM),
    ]
    prompt = desk.of(Prompted)
    assert (prompt.kind, prompt.value) == (CONFIRM, 427193)
    assert "427193" not in repr(prompt)
    assert desk.answers(prompt.number)
    desk.paired()
    desk.key(KEY_AUTHENTICATED_P256)
    bond = desk.of(BondMade).bond
    assert (bond.keys, bond.guests) == (BredrKey(b"K" * 16, KEY_AUTHENTICATED_P256), frozenset())
    desk.authenticated()
    assert desk.actions() == [AnswerConfirmation(PEER, True), Encrypt(HANDLE)]
    desk.encrypted(2)
    assert desk.events() == [
        LevelChanged(HANDLE, LEVEL_SECURE, 16, True),
        BondUsed(HANDLE, bond),
        LevelReached(number, HANDLE, LEVEL_SECURE),
    ]
    assert desk.security.next_timeout() is None


@pytest.mark.parametrize("order", list(permutations(["paired", "key", "authenticated", "encrypted"])))
def test_the_end_of_a_pairing_comes_in_any_order(order: tuple[str, ...]) -> None:
    desk = Desk()
    number = desk.pair(terms(LEVEL_ENCRYPTED, NO_INPUT_NO_OUTPUT))
    desk.asks_key()
    desk.asks_io()
    desk.peer_io(NO_INPUT_NO_OUTPUT)
    desk.confirms()
    for what in order:
        getattr(desk, what)(*{"key": [KEY_UNAUTHENTICATED_P192]}.get(what, []))
    events = desk.events()
    if not any(isinstance(event, LevelReached) for event in events):  # it was said too early with what
        assert desk.actions()[-1] == Encrypt(HANDLE)
        desk.encrypted()
        events += desk.events()
    assert Typed(events)[-1] == LevelReached(number, HANDLE, LEVEL_ENCRYPTED)
    assert [type(event) for event in events].count(BondMade) == 1
    desk.pass_time(100)
    assert desk.security.next_timeout() is None
    assert desk.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, True)


@pytest.mark.parametrize("accept", [False, True])
def test_a_passkey_is_typed_here(accept: bool) -> None:
    desk = Desk()
    desk.pair(terms(LEVEL_AUTHENTICATED, KEYBOARD_ONLY))
    desk.asks_io()
    desk.peer_io(DISPLAY_ONLY)
    desk.asks_passkey()
    prompt = desk.of(Prompted)
    assert (prompt.kind, prompt.value) == (ENTER_PASSKEY, None)
    for nonsense in (None, -1, 1_000_000, b"123456", True):
        assert not desk.answers(prompt.number, True, nonsense)
    assert not desk.answers(prompt.number + 1, True, 5)
    assert desk.security.statistics()["answers_ignored"] == 6
    desk.actions()
    assert desk.answers(prompt.number, accept, 5)
    assert not desk.answers(prompt.number, accept, 5)
    assert desk.actions() == [AnswerPasskey(PEER, 5 if accept else None)]
    if not accept:
        assert desk.of(LevelRefused).reason == Why.REFUSED


def test_a_passkey_is_typed_there() -> None:
    desk = Desk()
    desk.pair(terms(LEVEL_AUTHENTICATED, DISPLAY_YES_NO))
    desk.asks_io()
    desk.peer_io(KEYBOARD_ONLY)
    desk.shows(1234)
    prompt = desk.of(Prompted)
    assert (prompt.kind, prompt.value) == (DISPLAY, 1234)
    assert desk.answers(prompt.number)
    desk.key(KEY_AUTHENTICATED_P192)
    desk.paired()
    desk.authenticated()
    desk.encrypted()
    events = desk.events()
    assert PromptWithdrawn(prompt.number) in events
    assert isinstance(events[-1], LevelReached)


def test_what_cannot_rule_out_somebody_in_the_middle_is_refused() -> None:
    desk = Desk()
    desk.pair(terms(LEVEL_AUTHENTICATED, NO_INPUT_NO_OUTPUT))
    desk.asks_io()
    assert RefuseIoCapability(PEER, REFUSED) in desk.actions()
    assert desk.of(LevelRefused).reason == Why.CAPABILITIES
    desk = Desk()
    desk.pair(terms(LEVEL_AUTHENTICATED))
    desk.asks_io()
    desk.peer_io(NO_INPUT_NO_OUTPUT)
    desk.confirms()
    assert AnswerConfirmation(PEER, False) in desk.actions()
    assert desk.of(LevelRefused).reason == Why.CAPABILITIES


def test_people_compare_numbers_wherever_both_can() -> None:
    """At LEVEL_ENCRYPTED, too: it is asked for, but not required."""
    desk = Desk()
    number = desk.pair(terms())
    desk.asks_io()
    assert desk.actions()[-1] == AnswerIoCapability(PEER, DISPLAY_YES_NO, False, DEDICATED_BONDING | MITM)
    desk.peer_io(DISPLAY_YES_NO, GENERAL_BONDING)
    desk.confirms()
    prompt = desk.of(Prompted)
    assert (prompt.kind, prompt.value) == (CONFIRM, 427193)
    desk.answers(prompt.number)
    desk.key(KEY_AUTHENTICATED_P256)
    desk.authenticated()
    desk.encrypted(2)
    assert desk.of(LevelReached) == LevelReached(number, HANDLE, LEVEL_SECURE)


@pytest.mark.parametrize("ours", [DISPLAY_YES_NO, NO_INPUT_NO_OUTPUT])
def test_just_works_is_enough_where_no_more_is_required(ours: int) -> None:
    desk = Desk()
    number = desk.pair(terms(io_capability=ours))
    desk.asks_io()
    mitm = MITM if ours == DISPLAY_YES_NO else 0  # it is not known yet what the peer can
    assert desk.actions()[-1] == AnswerIoCapability(PEER, ours, False, DEDICATED_BONDING | mitm)
    desk.peer_io(NO_INPUT_NO_OUTPUT, GENERAL_BONDING)
    desk.confirms()
    assert desk.actions() == [AnswerConfirmation(PEER, True)]
    desk.key(KEY_UNAUTHENTICATED_P256)
    desk.authenticated()
    desk.encrypted(2)
    assert desk.of(LevelReached) == LevelReached(number, HANDLE, LEVEL_ENCRYPTED)


def test_a_key_is_authenticated_only_if_people_had_a_part_in_it() -> None:
    """Some controllers reckon by what both could show, though nobody was asked to compare it."""
    desk = Desk()
    desk.pair(terms(io_capability=DISPLAY_ONLY))
    desk.asks_io()
    desk.peer_io(DISPLAY_YES_NO, GENERAL_BONDING)
    desk.confirms()
    assert AnswerConfirmation(PEER, True) in desk.actions()
    desk.key(KEY_AUTHENTICATED_P256)
    desk.paired()
    assert desk.of(BondMade).bond.keys.key_type == KEY_UNAUTHENTICATED_P256


@pytest.mark.parametrize("key_type", [KEY_DEBUG, KEY_COMBINATION, 1, 2, 9, 255])
def test_keys_that_are_not_taken(key_type: int) -> None:
    desk = Desk()
    desk.pair(terms())
    desk.asks_io()
    desk.key(key_type)
    desk.paired()
    assert desk.of(LevelRefused).reason == Why.PEER_REFUSED
    desk.authenticated()
    desk.encrypted()
    assert desk.security.level(HANDLE) == LEVEL_NONE
    assert len(desk.bonds) == 0


def test_a_level_that_the_key_does_not_have() -> None:
    desk = Desk()
    desk.pair(terms(LEVEL_SECURE))
    desk.asks_io()
    desk.peer_io(DISPLAY_YES_NO)
    desk.confirms()
    desk.answers(desk.of(Prompted).number)
    desk.key(KEY_AUTHENTICATED_P192)
    refused = desk.of(LevelRefused)
    assert refused.reason == Why.NOT_REACHED
    assert "authenticated" in refused.text
    assert len(desk.bonds) == 0


def test_weaker_keys_than_the_bonds_end_the_link() -> None:
    desk = Desk(KEY_AUTHENTICATED_P256)
    desk.pair(terms())
    desk.asks_key()
    desk.asks_io()
    desk.confirms()
    desk.key(KEY_UNAUTHENTICATED_P192)
    desk.paired()
    assert desk.actions() == [
        Authenticate(HANDLE), AnswerLinkKey(PEER, None), AnswerIoCapability(PEER, 1, False, 3),
        AnswerConfirmation(PEER, True), EndLink(HANDLE, ErrorCode.AUTHENTICATION_FAILURE),
    ]  # fmt: skip
    events = desk.events()
    assert [type(event) for event in events] == [BondRefused, LevelRefused]
    assert events[1].reason == Why.WEAKER
    desk.authenticated()
    desk.encrypted()
    assert desk.security.link_security(HANDLE) == (LEVEL_NONE, 16, False)
    (bond,) = desk.bonds
    assert bond.keys == BredrKey(KEY, KEY_AUTHENTICATED_P256)


def test_a_bond_is_replaced_by_as_good_a_one_without_its_guests() -> None:
    desk = Desk(KEY_UNAUTHENTICATED_P192)
    desk.pair(terms())
    desk.asks_io()
    desk.confirms()
    desk.key(KEY_UNAUTHENTICATED_P256)
    desk.paired()
    made = desk.of(BondMade)
    assert made.replaced.guests == frozenset({"work"})
    assert made.bond.guests == frozenset()
    assert list(desk.bonds) == [made.bond]


def test_a_pairing_without_a_bond() -> None:
    desk = Desk()
    desk.pair(terms(bondable=False))
    desk.asks_io()
    desk.confirms()
    desk.key(KEY_UNAUTHENTICATED_P256)
    desk.paired()
    desk.authenticated()
    desk.encrypted(2)
    assert desk.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, False)
    assert len(desk.bonds) == 0
    assert desk.of(LevelReached)


def test_failures_make_the_peer_wait_ever_longer() -> None:
    desk = Desk()
    for wait_s in (1, 2, 4):
        desk.pair(terms())
        desk.asks_io()
        desk.paired(ErrorCode.AUTHENTICATION_FAILURE)
        desk.authenticated(ErrorCode.AUTHENTICATION_FAILURE)
        assert desk.of(LevelRefused).reason == Why.PEER_REFUSED
        desk.pass_time(wait_s - 0.5)
        desk.pair(terms())
        assert desk.of(LevelRefused).reason == Why.LOCKED_OUT
        desk.asks_io()
        assert RefuseIoCapability(PEER, REFUSED) in desk.actions()
        assert desk.events() == []
        desk.pass_time(0.5)


def test_a_wish_is_cancelled_while_people_are_asked() -> None:
    desk = Desk()
    number = desk.pair(terms(LEVEL_AUTHENTICATED))
    desk.asks_io()
    desk.peer_io(DISPLAY_YES_NO)
    desk.confirms()
    prompt = desk.of(Prompted)
    desk.actions()
    assert desk.security.cancel(number, desk.now)
    assert not desk.security.cancel(number, desk.now)
    assert desk.actions() == [AnswerConfirmation(PEER, False)]
    events = desk.events()
    assert PromptWithdrawn(prompt.number) in events
    assert [event.reason for event in events if isinstance(event, LevelRefused)] == [Why.CANCELLED]
    assert not desk.answers(prompt.number)
    desk.key(KEY_AUTHENTICATED_P192)
    desk.paired()
    desk.authenticated()
    assert (desk.events(), len(desk.bonds)) == ([], 0)
    desk.pair(terms())
    assert Authenticate(HANDLE) in desk.actions()


def test_nobody_answers_a_prompt() -> None:
    desk = Desk()
    desk.pair(terms(LEVEL_AUTHENTICATED))
    desk.asks_io()
    desk.peer_io(DISPLAY_YES_NO)
    desk.confirms()
    desk.pass_time(31)
    assert AnswerConfirmation(PEER, False) in desk.actions()
    assert desk.of(LevelRefused).reason == Why.REFUSED


def test_the_link_is_lost() -> None:
    desk = Desk()
    numbers = [desk.pair(terms()), desk.reach(LEVEL_ENCRYPTED)]
    desk.asks_io()
    desk.security.remove_link(HANDLE, desk.now)
    refused = [event for event in desk.events() if isinstance(event, LevelRefused)]
    assert [(event.number, event.reason) for event in refused] == [(number, Why.LINK_LOST) for number in numbers]
    assert desk.security.next_timeout() is None
    desk.link()
    desk.pair(terms())
    assert desk.of(LevelRefused).reason == Why.LOCKED_OUT


# -- pairings that the peer begins


def accept(desk: Desk, level: int = LEVEL_ENCRYPTED, **more: int) -> int:
    number = int(desk.of(PairingAsked).number)
    assert desk.security.accept_pairing(number, terms(level, **more), desk.now)
    return number


def test_a_peer_pairs_by_consent() -> None:
    desk = Desk()
    desk.peer_io(NO_INPUT_NO_OUTPUT)
    desk.asks_io()
    assert desk.actions() == []
    number = accept(desk)
    desk.confirms()
    prompt = desk.of(Prompted)
    assert (prompt.kind, prompt.value) == (CONSENT, None)
    assert desk.answers(prompt.number)
    assert desk.actions() == [
        AnswerIoCapability(PEER, DISPLAY_YES_NO, False, GENERAL_BONDING),
        AnswerConfirmation(PEER, True),
    ]
    desk.paired()
    desk.key(KEY_UNAUTHENTICATED_P256)
    desk.encrypted(2)
    assert desk.events()[-1] == LevelReached(number, HANDLE, LEVEL_ENCRYPTED)
    assert desk.security.next_timeout() is None


def test_a_peer_that_does_not_encrypt_after_it_has_paired() -> None:
    desk = Desk()
    desk.peer_io(NO_INPUT_NO_OUTPUT)
    desk.asks_io()
    accept(desk)
    desk.confirms()
    desk.answers(desk.of(Prompted).number)
    desk.key(KEY_UNAUTHENTICATED_P256)
    desk.paired()
    desk.actions()
    desk.pass_time(3)
    assert desk.actions() == [Encrypt(HANDLE)]
    desk.encrypted(2)
    assert isinstance(desk.events()[-1], LevelReached)


@pytest.mark.parametrize("how", ["refused", "late", "nobody"])
def test_a_peer_that_may_not_pair(how: str) -> None:
    desk = Desk()
    desk.asks_io()
    number = desk.of(PairingAsked).number
    if how == "refused":
        assert desk.security.refuse_pairing(number, desk.now)
    else:
        desk.pass_time(11)
    if how == "late":
        assert not desk.security.accept_pairing(number, terms(), desk.now)
    assert not desk.security.refuse_pairing(number, desk.now)
    assert desk.actions() == [RefuseIoCapability(PEER, REFUSED)]
    assert (desk.events(), desk.security.next_timeout()) == ([], None)


@pytest.mark.parametrize("wish", [0, MITM])
def test_numbers_are_compared_with_a_peer_that_can_whatever_it_wants(wish: int) -> None:
    desk = Desk()
    desk.peer_io(DISPLAY_YES_NO, GENERAL_BONDING | wish)
    desk.asks_io()
    accept(desk)
    assert AnswerIoCapability(PEER, DISPLAY_YES_NO, False, GENERAL_BONDING | MITM) in desk.actions()
    desk.confirms()
    assert desk.of(Prompted).kind == CONFIRM


def test_a_peer_without_the_key_of_its_bond_gets_nothing_of_it() -> None:
    """It may pair without a bond if it is let, but a refresh of that encryption is not one with the bond's key."""
    desk = Desk(KEY_UNAUTHENTICATED_P192)
    desk.peer_io(NO_INPUT_NO_OUTPUT, 0)
    desk.asks_io()
    accept(desk, bondable=False)
    desk.confirms()
    desk.answers(desk.of(Prompted).number)
    desk.key(KEY_UNAUTHENTICATED_P192)
    desk.paired()
    desk.encrypted()
    assert desk.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, False)
    desk.actions()
    desk.asks_key()
    assert desk.actions() == [AnswerLinkKey(PEER, b"K" * 16)]
    desk.refreshed()
    assert not desk.security.link_security(HANDLE).is_bonded


# -- the rest


def test_a_pin_only_where_terms_allow_it() -> None:
    desk = Desk()
    desk.pair(terms())
    desk.asks_pin()
    assert AnswerPin(PEER, None) in desk.actions()
    assert desk.of(LevelRefused).reason == Why.CAPABILITIES
    desk = Desk()
    desk.pair(terms(LEVEL_AUTHENTICATED, pin_allowed=True))
    desk.asks_pin()
    assert desk.of(LevelRefused).reason == Why.CAPABILITIES


@pytest.mark.parametrize("incoming", [False, True])
def test_a_pairing_with_a_pin(incoming: bool) -> None:
    desk = Desk()
    if incoming:
        desk.asks_pin()
        accept(desk, pin_allowed=True)
    else:
        desk.pair(terms(pin_allowed=True))
        desk.asks_pin()
    prompt = desk.of(Prompted)
    assert prompt.kind == ENTER_PIN
    for nonsense in (None, b"", bytes(17), 1234):
        assert not desk.answers(prompt.number, True, nonsense)
    assert desk.answers(prompt.number, True, b"1234")
    pin = desk.actions()[-1]
    assert (pin, repr(pin)) == (AnswerPin(PEER, b"1234"), f"AnswerPin(address={PEER!r}, pin=…)")
    desk.key(KEY_COMBINATION)
    assert desk.of(BondMade)
    desk.authenticated()
    desk.encrypted()
    assert desk.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, True)


def test_a_changed_key_is_the_bonds() -> None:
    desk = Desk(KEY_AUTHENTICATED_P192)
    desk.key(KEY_CHANGED)
    assert desk.security.statistics()["keys_ignored"] == 1
    desk.asks_key()
    desk.encrypted()
    desk.key(KEY_CHANGED)
    (bond,) = desk.bonds
    assert (bond.keys, bond.guests) == (BredrKey(b"K" * 16, KEY_AUTHENTICATED_P192), frozenset({"work"}))
    assert desk.security.link_security(HANDLE).is_bonded


def test_out_of_band_data_are_refused_and_so_is_what_no_pairing_asks() -> None:
    desk = Desk()
    desk.security.receive_oob_request(PEER, desk.now)
    desk.confirms()
    desk.asks_passkey()
    desk.shows()
    desk.key(KEY_AUTHENTICATED_P256)
    assert desk.actions() == [AnswerOob(PEER, None), AnswerConfirmation(PEER, False), AnswerPasskey(PEER, None)]
    assert desk.events() == []
    statistics = desk.security.statistics()
    assert (statistics["requests_refused"], statistics["keys_ignored"], statistics["events_unexpected"]) == (3, 1, 1)


def test_a_forgotten_bond_is_worth_nothing_more() -> None:
    desk = Desk(KEY_AUTHENTICATED_P192)
    desk.asks_key()
    desk.encrypted()
    desk.events()
    assert desk.security.forget(PEER, 0) is not None
    assert desk.events() == [LevelChanged(HANDLE, LEVEL_AUTHENTICATED, 16, False)]
    assert desk.security.forget(PEER, 0) is None


# -- what goes wrong


@pytest.mark.parametrize(
    ("status", "why"),
    [(ErrorCode.PIN_OR_KEY_MISSING, Why.KEY_MISSING), (ErrorCode.CONNECTION_TIMEOUT, Why.PEER_REFUSED)],
)
def test_the_encryption_fails(status: int, why: Why) -> None:
    desk = Desk(KEY_AUTHENTICATED_P192)
    desk.encrypted(0, 0, status)
    assert desk.security.statistics()["events_unexpected"] == 1
    desk.reach(LEVEL_ENCRYPTED, terms())
    desk.asks_key()
    desk.authenticated()
    desk.encrypted(0, 0, status)
    assert desk.of(LevelRefused).reason == why
    assert desk.security.next_timeout() is None


def test_the_encryption_after_a_pairing_fails() -> None:
    desk = Desk()
    number = desk.pair(terms())
    desk.asks_io()
    desk.confirms()
    desk.key(KEY_UNAUTHENTICATED_P192)
    desk.paired()
    desk.authenticated()
    desk.encrypted(0, 0, ErrorCode.CONNECTION_TIMEOUT)
    refused = desk.of(LevelRefused)
    assert (refused.number, refused.reason) == (number, Why.PEER_REFUSED)


def test_the_end_of_our_pairing_is_never_said() -> None:
    desk = Desk()
    number = desk.pair(terms())
    desk.asks_io()
    desk.confirms()
    desk.key(KEY_UNAUTHENTICATED_P192)
    desk.paired()
    desk.actions()
    desk.pass_time(76)
    assert desk.actions() == [Encrypt(HANDLE)]
    desk.encrypted()
    assert desk.of(LevelReached).number == number


def test_a_pairing_that_is_never_gone_on_with() -> None:
    desk = Desk()
    desk.pair(terms())
    desk.asks_io()
    desk.pass_time(76)
    assert desk.of(LevelRefused).reason == Why.TIMED_OUT
    assert desk.security.statistics()["pairings_failed"] == 1
    desk = Desk()
    desk.asks_io()
    accept(desk)
    desk.pass_time(76)
    assert desk.of(LevelRefused).reason == Why.TIMED_OUT
    assert desk.security.next_timeout() is None


def test_the_peers_pairing_fails() -> None:
    desk = Desk()
    desk.asks_io()
    accept(desk)
    desk.paired(ErrorCode.AUTHENTICATION_FAILURE)
    assert desk.of(LevelRefused).reason == Why.PEER_REFUSED
    assert desk.security.next_timeout() is None


@pytest.mark.parametrize("with_pin", [False, True])
def test_a_peer_that_pairs_while_we_authenticate_is_refused(with_pin: bool) -> None:
    desk = Desk(KEY_AUTHENTICATED_P192)
    number = desk.reach(LEVEL_ENCRYPTED)
    desk.actions()
    if with_pin:
        desk.asks_pin()
        assert desk.actions() == [AnswerPin(PEER, None)]
    else:
        desk.asks_io()
        assert desk.actions() == [RefuseIoCapability(PEER, REFUSED)]
    desk.asks_key()
    desk.authenticated()
    desk.encrypted()
    assert desk.of(LevelReached).number == number


def test_what_is_shown_is_refused_here() -> None:
    desk = Desk()
    desk.pair(terms(LEVEL_AUTHENTICATED))
    desk.asks_io()
    desk.peer_io(KEYBOARD_ONLY)
    desk.shows()
    assert desk.answers(desk.of(Prompted).number, accept=False)
    assert desk.of(LevelRefused).reason == Why.REFUSED
    desk.key(KEY_AUTHENTICATED_P192)
    desk.authenticated()
    desk.encrypted()
    assert desk.security.level(HANDLE) == LEVEL_NONE


@pytest.mark.parametrize("value", [427193, 1_000_000])
def test_a_controller_that_asks_out_of_turn(value: int) -> None:
    desk = Desk()
    desk.pair(terms(LEVEL_AUTHENTICATED))
    desk.asks_io()
    desk.peer_io(DISPLAY_YES_NO)
    desk.confirms()
    desk.confirms(value)
    assert AnswerConfirmation(PEER, True) not in desk.actions()
    events = desk.events()
    assert [type(event) for event in events] == [Prompted, PromptWithdrawn, LevelRefused]


@pytest.mark.parametrize("untrusted_io", [4, 5, 255])
def test_a_capability_that_there_is_not_can_do_nothing(untrusted_io: int) -> None:
    desk = Desk()
    desk.peer_io(untrusted_io)
    desk.asks_io()
    accept(desk, LEVEL_AUTHENTICATED)
    assert desk.actions() == [RefuseIoCapability(PEER, REFUSED)]
    assert desk.of(LevelRefused).reason == Why.CAPABILITIES


def test_a_link_is_encrypted_anew_after_a_pairing_on_it() -> None:
    """Its level is that of the old key until then."""
    desk = Desk(KEY_UNAUTHENTICATED_P192)
    desk.asks_key()
    desk.encrypted()
    number = desk.reach(LEVEL_AUTHENTICATED, terms(LEVEL_AUTHENTICATED))
    desk.asks_io()
    desk.peer_io(DISPLAY_YES_NO)
    desk.confirms()
    prompted = [event for event in desk.events() if isinstance(event, Prompted)]
    desk.answers(prompted[0].number)
    desk.key(KEY_AUTHENTICATED_P192)
    desk.paired()
    assert desk.security.level(HANDLE) == LEVEL_ENCRYPTED
    desk.refreshed()
    assert desk.security.link_security(HANDLE) == (LEVEL_AUTHENTICATED, 16, True)
    desk.authenticated()
    assert Encrypt(HANDLE) not in desk.actions()
    assert desk.of(LevelReached).number == number


def test_a_key_that_is_not_taken_makes_the_next_encryption_worthless() -> None:
    desk = Desk(KEY_UNAUTHENTICATED_P192)
    desk.asks_key()
    desk.encrypted()
    desk.pair(terms())
    desk.asks_io()
    desk.key(KEY_DEBUG)
    assert desk.security.link_security(HANDLE).is_bonded
    desk.refreshed()
    assert desk.security.link_security(HANDLE) == (LEVEL_NONE, 16, False)


def test_a_controller_need_not_ask_twice_for_the_key() -> None:
    """The peer has authenticated us with it before, of which no event tells."""
    desk = Desk(KEY_UNAUTHENTICATED_P192)
    desk.asks_key()
    number = desk.reach(LEVEL_ENCRYPTED)
    desk.authenticated()
    desk.encrypted()
    assert desk.of(LevelReached).number == number
    assert desk.security.link_security(HANDLE).is_bonded


def test_a_link_that_is_to_end_is_worth_nothing_whatever_comes() -> None:
    desk = Desk(KEY_UNAUTHENTICATED_P256)
    desk.asks_key()
    desk.pair(terms())
    desk.asks_io()
    desk.encrypted(1)
    assert EndLink(HANDLE, ErrorCode.AUTHENTICATION_FAILURE) in desk.actions()
    desk.encrypted(2)
    assert desk.security.level(HANDLE) == LEVEL_NONE
    desk.confirms()
    desk.key(KEY_AUTHENTICATED_P256)
    desk.paired()
    desk.authenticated()
    desk.encrypted(2)
    assert desk.security.level(HANDLE) == LEVEL_NONE
    (bond,) = desk.bonds
    assert bond.keys == BredrKey(KEY, KEY_UNAUTHENTICATED_P256)
