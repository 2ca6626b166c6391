"""The identities that peers of LE give, against a peer that is an Smp with an identity of its choice."""

import random

import pytest

from tests.security.conftest import Typed, terms
from usbbtd.bluetooth import (
    ADDRESS_LE_PUBLIC,
    ADDRESS_LE_RANDOM,
    CENTRAL,
    LE,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    NO_INPUT_NO_OUTPUT,
    PERIPHERAL,
    ErrorCode,
)
from usbbtd.security.bonds import Bond, BondBook, LeKeys, LongTermKey
from usbbtd.security.core import Security
from usbbtd.security.events import (
    AnswerLongTermKey,
    BondRefused,
    BondUsed,
    EndLink,
    PairingAsked,
    PeerIdentified,
    Prompted,
    ResolvingListChanged,
    SendSmp,
)
from usbbtd.security.smp.events import SmpEncrypt
from usbbtd.security.smp.machine import Smp
from usbbtd.security.terms import PairingTerms
from usbbtd.security.toolbox import ah

HANDLE = 0x0040
OURS = bytes.fromhex("0100005566c7")
IRK = bytes(range(1, 17))
PRAND = b"\x01\x02\x43"
PRIVATE = (ah(IRK, PRAND) + PRAND, ADDRESS_LE_RANDOM)
PUBLIC = (bytes.fromhex("1111115566aa"), ADDRESS_LE_PUBLIC)
STATIC = (bytes.fromhex("3333335566ee"), ADDRESS_LE_RANDOM)
PASSING = (bytes.fromhex("44444455661e"), ADDRESS_LE_RANDOM)  # private, and not resolvable
VICTIM = (bytes.fromhex("2222225566aa"), ADDRESS_LE_PUBLIC)
TERMS = terms(LEVEL_ENCRYPTED, NO_INPUT_NO_OUTPUT)
KEY = LongTermKey(b"k" * 16)


class Visitor:
    """A central that pairs with a Security as the peripheral. ``air``: its address; ``identity``: what it says."""

    def __init__(self, air: tuple[bytes, int], identity: tuple[bytes, int] | None, *bonds: Bond) -> None:
        self.book = BondBook()
        for bond in bonds:
            self.book.keep(bond)
        self.replaceable = True
        self.asked: list[tuple[int, Bond]] = []  # what may be replaced
        self.security = Security(
            bonds=self.book, random=random.Random(1).randbytes, le_address=OURS, may_replace=self.may_replace
        )
        self.security.add_link(HANDLE, LE, PERIPHERAL, *air, 0.0)
        given = None if identity is None else (IRK, *identity)
        self.smp = Smp(CENTRAL, air, (OURS, ADDRESS_LE_RANDOM), random.Random(2).randbytes, identity=given)
        self.events = Typed()
        self.actions = Typed()

    def pair(self, pairing: PairingTerms = TERMS) -> "Visitor":
        self.smp.start(pairing, 0.0)
        busy = True
        while busy:
            busy = False
            for pdu in self.smp.take_pdus():
                busy = True
                self.security.receive_smp(HANDLE, pdu, 0.0)
            for smp_event in self.smp.take_events():
                if isinstance(smp_event, SmpEncrypt):
                    self.security.receive_long_term_key_request(HANDLE, 0, 0, 0.0)
            for event in self.security.take_events():
                self.events.append(event)
                if isinstance(event, PairingAsked):
                    self.security.accept_pairing(event.number, TERMS, 0.0)
                elif isinstance(event, Prompted):
                    self.security.answer_prompt(event.number, True, None, 0.0)
            for action in self.security.take_actions():
                busy = True
                self.actions.append(action)
                if isinstance(action, SendSmp):
                    self.smp.receive(action.payload, 0.0)
                elif isinstance(action, AnswerLongTermKey):
                    self.security.receive_encryption_changed(HANDLE, 0, 1, 0, 0.0)
                    self.smp.encrypted(0.0)
        return self

    def may_replace(self, handle: int, bond: Bond) -> bool:
        self.asked.append((handle, bond))
        return self.replaceable

    def kinds(self) -> list[type]:
        return [type(event) for event in self.events]


def bond_of(identity: tuple[bytes, int], *, strong: bool = False, irk: bytes | None = None) -> Bond:
    return Bond(*identity, LeKeys(KEY, KEY, 16, strong, strong, irk), frozenset({"work"}))


def test_a_private_address_is_bonded_by_its_identity() -> None:
    visitor = Visitor(PRIVATE, PUBLIC).pair()
    (bond,) = visitor.book
    assert ((bond.address, bond.address_type), bond.irk) == (PUBLIC, IRK)
    assert PeerIdentified(HANDLE, *PUBLIC) in visitor.events
    assert ResolvingListChanged() in visitor.actions
    assert visitor.security.identity(HANDLE) == PUBLIC
    assert visitor.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, True)
    # and is known by it the next time
    visitor.security.remove_link(HANDLE, 0.0)
    visitor.security.add_link(HANDLE, LE, PERIPHERAL, *PRIVATE, 0.0)
    assert visitor.security.identity(HANDLE) == PUBLIC
    assert visitor.security.level(HANDLE) == LEVEL_NONE


def test_an_address_that_stays_is_its_own_identity() -> None:
    for given in (PUBLIC, None):
        visitor = Visitor(PUBLIC, given).pair()
        (bond,) = visitor.book
        assert (bond.address, bond.address_type) == PUBLIC
        assert PeerIdentified not in visitor.kinds()


@pytest.mark.parametrize("air", [PUBLIC, STATIC])
@pytest.mark.parametrize("victim", [[], [bond_of(VICTIM)], [bond_of(VICTIM, strong=True)]])
def test_nobody_is_another_because_it_says_so(victim: list[Bond], air: tuple[bytes, int]) -> None:
    """The peer has a bond of its own, by the address that it has on the air, and none of the other's."""
    visitor = Visitor(air, VICTIM, *victim).pair()
    *others, bond = visitor.book
    assert others == victim
    assert ((bond.address, bond.address_type), bond.irk) == (air, IRK)
    assert BondRefused not in visitor.kinds()
    assert PeerIdentified not in visitor.kinds()
    assert visitor.security.identity(HANDLE) == air
    assert visitor.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, True)
    assert visitor.security.statistics()["identities_not_believed"] == 1
    # and with a private address it is who has paired
    visitor.security.remove_link(HANDLE, 0.0)
    visitor.security.add_link(HANDLE, LE, PERIPHERAL, *PRIVATE, 0.0)
    assert visitor.security.identity(HANDLE) == air


def test_an_irk_that_another_bond_has_stays_the_others() -> None:
    victim = bond_of(VICTIM, irk=IRK)
    visitor = Visitor(STATIC, VICTIM, victim).pair()
    assert [bond.irk for bond in visitor.book] == [IRK, None]
    assert ResolvingListChanged() not in visitor.actions
    assert visitor.book.resolve(PRIVATE[0]) == victim
    visitor = Visitor(STATIC, VICTIM, bond_of(STATIC, irk=IRK)).pair()  # its own bond is no other's
    assert [bond.irk for bond in visitor.book] == [IRK]


def test_an_address_that_changes_and_cannot_be_resolved_is_not_kept() -> None:
    visitor = Visitor(PASSING, PUBLIC).pair()
    assert len(visitor.book) == 0
    assert BondRefused in visitor.kinds()
    assert visitor.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, False)


@pytest.mark.parametrize("strong", [False, True])
def test_an_irk_of_its_own_does_not_make_it_the_peer_of_a_bond(strong: bool) -> None:
    victim = bond_of(VICTIM, strong=strong, irk=b"another key 1234")
    visitor = Visitor(PRIVATE, VICTIM, victim).pair()
    assert list(visitor.book) == [victim]
    assert BondRefused in visitor.kinds()
    assert visitor.security.identity(HANDLE) == PRIVATE
    assert not visitor.security.link_security(HANDLE).is_bonded


def test_a_private_address_without_an_identity_is_not_kept() -> None:
    visitor = Visitor(PRIVATE, None).pair()
    assert len(visitor.book) == 0
    assert BondRefused in visitor.kinds()
    assert visitor.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, False)


def test_a_peer_known_by_its_irk_pairs_anew() -> None:
    old = bond_of(PUBLIC, irk=IRK)
    visitor = Visitor(PRIVATE, PUBLIC, old).pair()
    (bond,) = visitor.book
    assert bond.keys != old.keys
    assert bond.guests == frozenset()
    assert visitor.security.link_security(HANDLE).is_bonded


def test_a_bond_that_may_not_be_replaced_stays_and_the_link_ends() -> None:
    old = bond_of(PUBLIC, irk=IRK)
    visitor = Visitor(PRIVATE, PUBLIC, old)
    visitor.replaceable = False
    visitor.pair()
    assert visitor.asked == [(HANDLE, old)]
    assert list(visitor.book) == [old]
    assert BondRefused in visitor.kinds()
    assert EndLink(HANDLE, ErrorCode.AUTHENTICATION_FAILURE) in visitor.actions
    assert visitor.security.level(HANDLE) == LEVEL_NONE
    for other in (Visitor(PUBLIC, None), Visitor(PUBLIC, None, old)):  # there is no bond, or no other than there was
        other.replaceable = False
        other.pair(TERMS._replace(bondable=False))
        assert other.asked == []


def test_weaker_keys_of_a_peer_known_by_its_irk_end_the_link() -> None:
    old = bond_of(PUBLIC, strong=True, irk=IRK)
    visitor = Visitor(PRIVATE, PUBLIC, old).pair()
    assert list(visitor.book) == [old]
    assert visitor.security.level(HANDLE) == LEVEL_NONE < LEVEL_SECURE


def test_a_peer_without_the_bonds_key_that_has_asked_us_for_it_gets_nothing_of_the_bond() -> None:
    bond = bond_of(PUBLIC)
    visitor = Visitor(PUBLIC, None, bond)
    visitor.security.receive_long_term_key_request(HANDLE, 0, 0, 0.0)
    assert visitor.security.take_actions() == [AnswerLongTermKey(HANDLE, KEY.key)]
    visitor.pair(TERMS._replace(bondable=False))
    assert visitor.security.link_security(HANDLE) == (LEVEL_ENCRYPTED, 16, False)
    assert BondUsed not in visitor.kinds()
    assert list(visitor.book) == [bond]
