"""The front: what any controller, peer and owner do in any order, and what then is true all the same."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.security.conftest import HANDLE, KEY, PEER, Desk, Typed, terms
from usbbtd.bluetooth import (
    ADDRESS_BREDR,
    ADDRESS_LE_RANDOM,
    BREDR,
    CENTRAL,
    KEY_AUTHENTICATED_P192,
    KEY_AUTHENTICATED_P256,
    LE,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    PERIPHERAL,
    transport_of,
)
from usbbtd.errors import LocalProtocolError
from usbbtd.security.bonds import Bond, BondBook, BredrKey, LeKeys, LongTermKey, replacement_refused
from usbbtd.security.core import Security
from usbbtd.security.events import (
    AnswerConfirmation,
    AnswerLinkKey,
    AnswerLongTermKey,
    AnswerOob,
    AnswerPasskey,
    AnswerPin,
    BondMade,
    LevelChanged,
    LevelReached,
    LevelRefused,
    PairingAsked,
    Prompted,
    PromptWithdrawn,
    RefuseIoCapability,
    StartEncryption,
    Why,
)
from usbbtd.security.levels import level_of
from usbbtd.security.limits import SecurityLimits
from usbbtd.security.lockout import Lockout
from usbbtd.security.smp.features import check_terms

OTHER = bytes.fromhex("990000eeffc0")
LE_PEER = bytes.fromhex("0200005566d1")
LINKS = {HANDLE: (PEER, ADDRESS_BREDR), 0x40: (LE_PEER, ADDRESS_LE_RANDOM), 0x41: (bytes(5) + b"\xff", 2)}
ROLES = {HANDLE: CENTRAL, 0x40: CENTRAL, 0x41: PERIPHERAL}
SECRETS = (KEY, b"L" * 16, b"N" * 16)
LE_KEY = LongTermKey(b"L" * 16, 7, 8)


def possible(pairing: Any, level: int = 0) -> bool:
    try:
        check_terms(pairing._replace(level=max(level, pairing.level)))
    except LocalProtocolError:
        return False
    return True


STATUS = st.sampled_from([0, 0, 0, 5, 6, 0x22, 0x23])
TERMS = st.builds(
    terms, st.integers(0, 4), st.integers(0, 4), bondable=st.booleans(), secure_connections=st.booleans(),
    pin_allowed=st.booleans(),
).filter(possible)  # fmt: skip
HANDLES = st.sampled_from([*LINKS, 0x0999])
ADDRESSES = st.sampled_from([PEER, PEER, PEER, OTHER])
SMALL = st.integers(0, 12)
PDU = st.one_of(
    st.binary(max_size=8),
    st.builds(lambda code, body: bytes((code,)) + body, st.integers(1, 14), st.binary(min_size=16, max_size=16)),
    st.sampled_from([b"\x01\x03\x00\x09\x10\x00\x00", b"\x02\x03\x00\x09\x10\x00\x00", b"\x0b\x09", b"\x05\x08"]),
)
#: What may happen, with its arguments.
CALLS: dict[str, tuple[Any, ...]] = {
    "reach": (HANDLES, st.integers(0, 4), st.none() | TERMS),
    "pair": (HANDLES, TERMS),
    "cancel": (SMALL,),
    "accept_pairing": (SMALL, TERMS),
    "refuse_pairing": (SMALL,),
    "answer_prompt": (SMALL, st.booleans(), st.none() | st.integers(-1, 10**6) | st.binary(max_size=17)),
    "receive_authenticated": (HANDLES, STATUS),
    "receive_encryption_changed": (HANDLES, STATUS, st.integers(0, 2), st.sampled_from([0, 6, 7, 15, 16])),
    "receive_key_refreshed": (HANDLES, STATUS),
    "receive_link_key_request": (ADDRESSES,),
    "receive_link_key": (ADDRESSES, st.just(b"N" * 16), st.integers(0, 9)),
    "receive_io_capability_request": (ADDRESSES,),
    "receive_io_capability": (ADDRESSES, st.integers(0, 5), st.booleans(), st.integers(0, 7)),
    "receive_confirmation_request": (ADDRESSES, st.sampled_from([0, 427193, 10**6])),
    "receive_passkey_request": (ADDRESSES,),
    "receive_passkey_shown": (ADDRESSES, st.sampled_from([0, 427193, 10**6])),
    "receive_pin_request": (ADDRESSES,),
    "receive_oob_request": (ADDRESSES,),
    "receive_pairing_complete": (ADDRESSES, STATUS),
    "receive_long_term_key_request": (HANDLES, st.sampled_from([0, 8]), st.sampled_from([0, 7])),
    "receive_smp": (HANDLES, PDU),
    "forget": (st.just(PEER), st.just(ADDRESS_BREDR)),
    "pass time": (st.sampled_from([0.1, 3.0, 30.0]),),
}
#: The calls without a time.
TIMELESS = ("forget",)
CALL = st.sampled_from(list(CALLS)).flatmap(lambda name: st.tuples(st.just(name), *CALLS[name]))


class Watched:
    """A Security of which all that must be true is looked at after each call."""

    def __init__(self, bonds: list[Bond]) -> None:
        self.now = 0.0
        self.book = BondBook()
        for bond in bonds:
            self.book.keep(bond)
        limits = SecurityLimits(wishes=3, lockouts=2)
        self.security = Security(bonds=self.book, random=bytes, le_address=bytes(5) + b"\xc0", limits=limits)
        for handle, (address, address_type) in LINKS.items():
            self.security.add_link(handle, transport_of(address_type), ROLES[handle], address, address_type, self.now)
        self.given: dict[int, set[Any]] = {handle: set() for handle in LINKS}  # keys that a link may have
        self.encryption = dict.fromkeys(LINKS, (0, 0))
        self.wished: set[int] = set()
        self.ended: Counter[int] = Counter()
        self.open: set[int] = set()
        self.kept = {(bond.address, bond.address_type): bond for bond in self.book}
        self.said: dict[int, tuple[Any, ...]] = dict.fromkeys(LINKS, (LEVEL_NONE, 0, False))

    def call(self, name: str, *arguments: Any) -> None:
        if name == "pass time":
            self.pass_time(arguments[0])
            return
        if name == "receive_link_key" and arguments[0] == PEER:
            self.given[HANDLE].add(BredrKey(*arguments[1:]))
        if name == "receive_encryption_changed" and arguments[0] in LINKS and not arguments[1]:
            self.encryption[arguments[0]] = arguments[2:]
        time = () if name in TIMELESS else (self.now,)
        if name == "reach" and arguments[2] is not None and not possible(arguments[2], arguments[1]):
            with pytest.raises(LocalProtocolError):
                self.security.reach(arguments[0], arguments[1], arguments[2], self.now)
            return
        result = getattr(self.security, name)(*arguments, *time)
        if name in ("reach", "pair"):
            self.wished.add(result)
        elif name == "accept_pairing" and result:
            self.wished.add(arguments[0])
        elif name == "forget":
            self.kept.pop(arguments, None)
        self.look()

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.security.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.security.handle_timeout(self.now)
            self.look()
        self.now = end

    def look(self) -> None:
        records: list[Any] = [*self.security.take_actions(), *self.security.take_events()]
        for record in records:
            assert not any(repr(secret)[2:-1] in repr(record) for secret in SECRETS)
            if isinstance(record, LevelReached | LevelRefused):
                self.ended[record.number] += 1
            elif isinstance(record, Prompted):
                self.open.add(record.number)
            elif isinstance(record, PromptWithdrawn):
                self.open.remove(record.number)
            elif isinstance(record, AnswerLinkKey) and record.key is not None:
                self.given[HANDLE] |= {bond.keys for bond in self.kept.values()} | {BredrKey(record.key, 0)}
            elif isinstance(record, StartEncryption | AnswerLongTermKey) and record.handle in LINKS:
                self.given[record.handle] |= {bond.keys for bond in self.kept.values()}
            elif isinstance(record, BondMade):
                bond = record.bond
                old = self.kept.get((bond.address, bond.address_type))
                assert record.replaced == old
                assert old is None or replacement_refused(old, bond) is None
                self.kept[bond.address, bond.address_type] = bond
            elif isinstance(record, LevelChanged):
                self.said[record.handle] = tuple(record[1:])
        assert {(bond.address, bond.address_type): bond for bond in self.book} == self.kept
        for handle in LINKS:
            self.look_at_link(handle)
        assert all(times == 1 for times in self.ended.values())
        assert self.ended.keys() <= self.wished | {
            number for number in self.ended if number > max(self.wished, default=0)
        }

    def look_at_link(self, handle: int) -> None:
        info = self.security.link_security(handle)
        assert self.said[handle] == info
        enabled, size = self.encryption[handle]
        given = self.given[handle]
        if not enabled or (handle == HANDLE and size < 7):
            assert info.level == LEVEL_NONE
        assert info.level <= max([LEVEL_NONE, *(level_of(keys) for keys in given)])
        if handle == HANDLE and (size < 16 or enabled != 2):
            assert info.level < LEVEL_SECURE
        if info.is_bonded:
            bond = self.book.find(*self.security.identity(handle))
            assert info.level > LEVEL_NONE
            assert bond is not None
            # the key of a pairing that nobody attended is kept as a weaker one than the controller said
            keys = bond.keys
            assert keys in given or (isinstance(keys, BredrKey) and keys.key in {each.key for each in given})

    def end(self) -> None:
        """Whatever was wished ends within the time limits, or at the latest with the links."""
        self.pass_time(1000.0)
        assert self.ended.keys() == self.wished
        assert self.security.statistics()["prompts"] == 0
        for handle in LINKS:
            self.security.remove_link(handle, self.now)
        assert self.security.next_timeout() is None
        assert self.security.take_events() == []


@settings(max_examples=settings().max_examples * 5)
@given(st.lists(CALL, max_size=40), st.lists(st.sampled_from([0, 4, 5, 7, 8]), max_size=1), st.integers(0, 2))
def test_anything_in_any_order(calls: list[tuple[Any, ...]], key_types: list[int], le_strength: int) -> None:
    bonds = [Bond(PEER, ADDRESS_BREDR, BredrKey(KEY, key_type)) for key_type in key_types]
    if le_strength:
        keys = LeKeys(LE_KEY, LE_KEY, 16, le_strength == 2, le_strength == 2)
        bonds += [Bond(*LINKS[handle], keys) for handle in (0x40, 0x41)]
    watched = Watched(bonds)
    for call in calls:
        note(repr(call))
        watched.call(*call)
    watched.end()


#: What a controller and people do in a pairing that goes well; others come between.
WELL = [
    ("receive_link_key_request", PEER),
    ("receive_io_capability_request", PEER),
    ("receive_io_capability", PEER, 1, False, 5),
    ("receive_confirmation_request", PEER, 427193),
    ("answer_prompt", 1, True, None),
    ("receive_pairing_complete", PEER, 0),
    ("receive_link_key", PEER, b"N" * 16, KEY_AUTHENTICATED_P256),
    ("receive_authenticated", HANDLE, 0),
    ("receive_encryption_changed", HANDLE, 0, 2, 16),
]


@settings(max_examples=settings().max_examples * 3)
@given(
    st.data(), st.booleans(), TERMS, st.lists(st.sampled_from([0, 5, 7, 8]), max_size=1),
    st.permutations(WELL), st.booleans(),
)  # fmt: skip
def test_a_pairing_with_anything_between(
    data: st.DataObject, incoming: bool, pairing: Any, key_types: list[int], shuffled: list[Any], in_order: bool
) -> None:
    watched = Watched([Bond(PEER, ADDRESS_BREDR, BredrKey(KEY, key_type)) for key_type in key_types])
    if incoming:
        watched.call("receive_io_capability_request", PEER)
        watched.call("accept_pairing", 1, pairing)
    else:
        watched.call("pair", HANDLE, pairing)
    for step in WELL if in_order else shuffled:
        for call in data.draw(st.lists(CALL, max_size=2)):
            watched.call(*call)
        watched.call(*step)
    watched.end()


# -- links that are not there, and the owner's mistakes


def test_there_is_no_link() -> None:
    desk = Desk(KEY_AUTHENTICATED_P192)
    security, now = desk.security, desk.now
    for level in (LEVEL_NONE, LEVEL_SECURE):
        number = security.reach(0x0999, level, None, now)
        assert desk.of(LevelRefused)[:3] == (number, 0x0999, Why.LINK_LOST)
    security.receive_link_key_request(OTHER, now)
    security.receive_io_capability_request(OTHER, now)
    security.receive_confirmation_request(OTHER, 1, now)
    security.receive_passkey_request(OTHER, now)
    security.receive_pin_request(OTHER, now)
    security.receive_oob_request(OTHER, now)
    assert desk.actions() == [
        AnswerLinkKey(OTHER, None), RefuseIoCapability(OTHER, 0x18), AnswerConfirmation(OTHER, False),
        AnswerPasskey(OTHER, None), AnswerPin(OTHER, None), AnswerOob(OTHER, None),
    ]  # fmt: skip
    security.receive_authenticated(0x0999, 0, now)
    security.receive_encryption_changed(0x0999, 0, 1, 16, now)
    security.receive_link_key(OTHER, KEY, 4, now)
    security.remove_link(0x0999, now)
    assert (desk.actions(), desk.events()) == ([], [])
    statistics = security.statistics()
    assert (statistics["requests_refused"], statistics["events_unexpected"], statistics["keys_ignored"]) == (6, 2, 1)


def test_a_bonds_key_is_given_for_its_own_link_only() -> None:
    """A controller that asks for keys of peers with which it has no link gets none."""
    desk = Desk(KEY_AUTHENTICATED_P192)
    desk.security.remove_link(HANDLE, desk.now)
    desk.asks_key()
    assert desk.actions() == [AnswerLinkKey(PEER, None)]


def test_mistakes_of_the_owner() -> None:
    desk = Desk(limits=SecurityLimits(links=2))
    security, now = desk.security, desk.now
    for handle, address in ((HANDLE, OTHER), (0x43, PEER)):
        with pytest.raises(LocalProtocolError):
            security.add_link(handle, BREDR, CENTRAL, address, ADDRESS_BREDR, now)
    security.add_link(0x43, LE, CENTRAL, LE_PEER, ADDRESS_LE_RANDOM, now)
    with pytest.raises(LocalProtocolError):
        security.add_link(0x44, LE, CENTRAL, OTHER, ADDRESS_LE_RANDOM, now)
    for level, pairing in ((5, None), (-1, None), (2, terms(2, 9)), (LEVEL_SECURE, terms(2, secure_connections=False))):
        with pytest.raises(LocalProtocolError):
            security.reach(HANDLE, level, pairing, now)
    with pytest.raises(LocalProtocolError):
        security.accept_pairing(1, terms(2, 9), now)
    with pytest.raises(LocalProtocolError):
        security.receive_link_key(PEER, b"short", 4, now)
    for ask in (security.level, security.link_security, security.identity, security.is_encrypted, security.bond):
        with pytest.raises(LocalProtocolError):
            ask(0x0999)
    assert (desk.actions(), desk.events()) == ([], [])


def test_wishes_are_bounded() -> None:
    desk = Desk(limits=SecurityLimits(wishes=2))
    numbers = [desk.pair(terms()) for _ in range(3)]
    refused = desk.of(LevelRefused)
    assert (refused.number, refused.reason) == (numbers[2], Why.TOO_MANY)


def test_a_wish_behind_others_has_its_own_time_limit() -> None:
    desk = Desk(limits=SecurityLimits(wish_s=5.0))
    desk.pair(terms())
    desk.reach(LEVEL_ENCRYPTED)
    desk.pass_time(6)
    refused = [event for event in desk.events() if isinstance(event, LevelRefused)]
    assert [event.reason for event in refused] == [Why.TIMED_OUT] * 2


def test_what_one_pairing_reaches_is_enough_for_all() -> None:
    desk = Desk()
    numbers = [desk.reach(LEVEL_ENCRYPTED, terms()), desk.reach(LEVEL_ENCRYPTED), desk.reach(LEVEL_AUTHENTICATED)]
    desk.asks_io()
    desk.confirms()
    desk.key(4)
    desk.paired()
    desk.authenticated()
    desk.encrypted()
    ends = [event for event in desk.events() if isinstance(event, LevelReached | LevelRefused)]
    assert [(type(event), event.number) for event in ends] == [
        (LevelReached, numbers[0]), (LevelReached, numbers[1]), (LevelRefused, numbers[2]),
    ]  # fmt: skip


def test_who_has_to_wait_does_so_after_a_reset() -> None:
    lockout = Lockout(SecurityLimits())
    for reason in (Why.PEER_REFUSED, Why.LOCKED_OUT):
        desk = Desk(lockout=lockout)
        desk.pair(terms())
        desk.asks_io()
        desk.authenticated(5)
        assert desk.of(LevelRefused).reason == reason


def test_a_refusal_names_peer_and_level() -> None:
    desk = Desk()
    desk.reach(LEVEL_SECURE)
    text = desk.of(LevelRefused).text
    assert text == (
        "C0:FF:EE:00:00:13 was to reach the level secure, but there are no keys for this level, "
        "and no agent that may pair"
    )


def test_records_of_different_kinds_are_told_apart_here() -> None:
    assert Typed([PairingAsked(1, 2)]) != [LevelReached(1, 2, 3)]
    assert Typed([PairingAsked(1, 2)]) != [(1, 2)]
