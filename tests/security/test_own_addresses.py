"""Bonds that were made with another address of ours: their keys are for links that have it, and for no others."""

from typing import Any

import pytest

from tests.security.conftest import HANDLE, KEY, PEER, Desk, Typed, terms
from tests.security.test_le import ADDRESSES, HANDLES, JUST_WORKS, LeDesks
from usbbtd.bluetooth import (
    ADDRESS_BREDR,
    ADDRESS_LE_PUBLIC,
    ADDRESS_LE_RANDOM,
    BREDR,
    CENTRAL,
    KEY_AUTHENTICATED_P256,
    LE,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    PERIPHERAL,
)
from usbbtd.security.bonds import Bond, BredrKey, LeKeys, LongTermKey
from usbbtd.security.events import (
    AnswerLinkKey,
    AnswerLongTermKey,
    BondMade,
    LevelReached,
    LevelRefused,
    PairingAsked,
    StartEncryption,
    Why,
)

PUBLIC, OTHER = bytes.fromhex("010000eeffc0"), bytes.fromhex("990000eeffc0")
LEGACY = LeKeys(None, LongTermKey(b"k" * 16, 7, 8), 16, False, False)
SECURE = LeKeys(LongTermKey(b"k" * 16), LongTermKey(b"k" * 16), 16, True, True)


class ImportedDesk(Desk):
    """A Security whose BR/EDR bond and links are with these controllers."""

    def __init__(self, bonds_own: bytes | None, links_own: bytes | None) -> None:
        self.own = links_own
        super().__init__()
        self.bonds.keep(Bond(PEER, ADDRESS_BREDR, BredrKey(KEY, KEY_AUTHENTICATED_P256), own_address=bonds_own))

    def link(self) -> None:
        self.security.add_link(HANDLE, BREDR, CENTRAL, PEER, ADDRESS_BREDR, self.now, own=self.own)


@pytest.mark.parametrize(
    ("bonds_own", "links_own"), [(PUBLIC, PUBLIC), (None, PUBLIC), (None, None)], ids=["same", "of before", "unknown"]
)
def test_a_link_key_goes_to_its_own_controller(bonds_own: bytes | None, links_own: bytes | None) -> None:
    desk = ImportedDesk(bonds_own, links_own)
    desk.asks_key()
    assert desk.actions() == [AnswerLinkKey(PEER, KEY)]
    desk.reach(LEVEL_SECURE)
    desk.asks_key()
    desk.authenticated()
    desk.encrypted(2)
    assert desk.of(LevelReached).level == LEVEL_SECURE


@pytest.mark.parametrize("links_own", [OTHER, None])
def test_a_link_key_goes_to_no_other_controller(links_own: bytes | None) -> None:
    desk = ImportedDesk(PUBLIC, links_own)
    desk.asks_key()
    assert desk.actions() == [AnswerLinkKey(PEER, None)]
    desk.reach(LEVEL_SECURE, terms())
    refused = desk.of(LevelRefused)
    assert refused.reason == Why.KEY_MISSING
    assert refused.text.endswith("the bond was made with another adapter, C0:FF:EE:00:00:01")
    assert desk.actions() == []
    assert desk.security.bond(HANDLE) is None
    assert len(desk.bonds) == 1


@pytest.mark.parametrize("links_own", [PUBLIC, None])
def test_a_bond_of_ours_is_its_controllers(links_own: bytes | None) -> None:
    desk = ImportedDesk(OTHER, links_own)
    desk.pair(terms(LEVEL_SECURE))
    desk.asks_key()
    desk.asks_io()
    desk.peer_io(1)
    desk.confirms()
    (prompt,) = desk.events()
    desk.answers(prompt.number)
    desk.paired()
    desk.key(KEY_AUTHENTICATED_P256)
    assert desk.of(BondMade).bond.own_address == links_own


def le_link(bonds_own: bytes | None, links_own: bytes | None, keys: LeKeys = SECURE, role: int = CENTRAL) -> LeDesks:
    """A central and a peripheral of ours, of which the first has a bond."""
    desks = LeDesks()
    desks.books[0].keep(Bond(ADDRESSES[1], ADDRESS_LE_RANDOM, keys, own_address=bonds_own))
    for side, security in enumerate(desks.securities):
        security.remove_link(HANDLES[side], desks.now)
    desks.securities[0].add_link(HANDLES[0], LE, role, ADDRESSES[1], ADDRESS_LE_RANDOM, desks.now, own=links_own)
    seen = (ADDRESSES[0], ADDRESS_LE_RANDOM) if links_own is None else (links_own, ADDRESS_LE_PUBLIC)
    desks.securities[1].add_link(HANDLES[1], LE, 1 - role, *seen, desks.now)
    return desks


@pytest.mark.parametrize("keys", [LEGACY, SECURE], ids=["legacy", "secure"])
@pytest.mark.parametrize("own", [PUBLIC, None])
def test_a_long_term_key_is_for_links_with_its_address(own: bytes | None, keys: LeKeys) -> None:
    desks = le_link(own, own, keys)
    desks.securities[0].reach(HANDLES[0], LEVEL_ENCRYPTED, None, desks.now)
    key = keys.theirs
    assert key is not None
    assert Typed(desks.securities[0].take_actions()) == [
        StartEncryption(HANDLES[0], key.random, key.diversifier, key.key)
    ]


OTHERS = [(PUBLIC, None), (PUBLIC, OTHER), (None, PUBLIC)]


@pytest.mark.parametrize("keys", [LEGACY, SECURE], ids=["legacy", "secure"])
@pytest.mark.parametrize(("bonds_own", "links_own"), OTHERS)
def test_a_long_term_key_is_for_no_other_links(bonds_own: Any, links_own: Any, keys: LeKeys) -> None:
    desks = le_link(bonds_own, links_own, keys)
    desks.reach(0, LEVEL_ENCRYPTED)
    refused = desks.take(0, LevelRefused)
    if bonds_own is None:
        assert refused.text.endswith("the bond was made with our own address, which this link does not have")
    else:
        assert refused.text.endswith("the bond was made with another adapter, C0:FF:EE:00:00:01")
    assert refused.reason == Why.KEY_MISSING
    desks.securities[0].receive_smp(HANDLES[0], b"\x0b\x01", desks.now)  # a security request
    desks.terms[0] = None
    desks.run()
    assert desks.take(0, PairingAsked)
    assert StartEncryption not in map(type, desks.actions[0])
    assert desks.levels() == [(LEVEL_NONE, False)] * 2


@pytest.mark.parametrize(("bonds_own", "links_own"), OTHERS)
def test_a_central_asks_for_the_key_of_another_address(bonds_own: Any, links_own: Any) -> None:
    desks = le_link(bonds_own, links_own, role=PERIPHERAL)
    desks.securities[0].receive_long_term_key_request(HANDLES[0], 0, 0, desks.now)
    assert Typed(desks.securities[0].take_actions()) == [AnswerLongTermKey(HANDLES[0], None)]


def test_a_pairing_makes_a_bond_with_the_links_address() -> None:
    """Both sides reckon with the address that is on the air; and one bond replaces the other."""
    desks = le_link(None, PUBLIC)
    secure = terms(LEVEL_SECURE)
    desks.terms = [secure, secure]
    desks.pair(0, secure)
    assert desks.levels() == [(LEVEL_SECURE, True)] * 2
    assert desks.take(0, BondMade).bond.own_address == PUBLIC
    assert [bond.own_address for bond in desks.books[0]] == [PUBLIC]


def test_a_bond_that_would_not_be_enough_does_not_keep_from_pairing() -> None:
    desks = le_link(PUBLIC, None, LEGACY)
    secure = terms(LEVEL_SECURE)
    desks.terms = [secure, secure]
    desks.reach(0, LEVEL_SECURE, secure)
    assert desks.take(0, LevelReached)
    assert [bond.own_address for bond in desks.books[0]] == [None]


def test_a_weaker_pairing_with_another_address_does_not_replace_a_bond() -> None:
    desks = le_link(PUBLIC, None)
    desks.pair(0, JUST_WORKS)
    assert desks.take(0, LevelRefused).reason == Why.WEAKER
    assert [bond.own_address for bond in desks.books[0]] == [PUBLIC]
