"""Bonds: what may be kept, what may replace what, and what is never shown."""

import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.bluetooth import (
    ADDRESS_BREDR,
    ADDRESS_LE_PUBLIC,
    ADDRESS_LE_RANDOM,
    BREDR,
    KEY_AUTHENTICATED_P192,
    KEY_AUTHENTICATED_P256,
    KEY_CHANGED,
    KEY_COMBINATION,
    KEY_DEBUG,
    KEY_UNAUTHENTICATED_P192,
    KEY_UNAUTHENTICATED_P256,
    LE,
)
from usbbtd.errors import LocalProtocolError
from usbbtd.security.bonds import (
    Bond,
    BondBook,
    BredrKey,
    LeKeys,
    LongTermKey,
    is_private,
    is_resolvable,
    replacement_refused,
)
from usbbtd.security.levels import level_of
from usbbtd.security.limits import SecurityLimits
from usbbtd.security.toolbox import ah

ADDRESS = bytes.fromhex("130000eeffc0")
KEY = b"secretsecretkey!"
IRK = b"identitysecret!!"
LONG = LongTermKey(KEY, 1, 2)
TYPES = [
    KEY_COMBINATION,
    KEY_UNAUTHENTICATED_P192,
    KEY_AUTHENTICATED_P192,
    KEY_UNAUTHENTICATED_P256,
    KEY_AUTHENTICATED_P256,
]

BREDR_KEYS = st.builds(BredrKey, st.binary(min_size=16, max_size=16), st.sampled_from(TYPES))
LE_KEYS = st.builds(LeKeys, st.just(LONG), st.none() | st.just(LONG), st.integers(7, 16), st.booleans(), st.booleans())


def bredr(key_type: int, address: bytes = ADDRESS) -> Bond:
    return Bond(address, ADDRESS_BREDR, BredrKey(KEY, key_type))


def le(authenticated: bool = False, secure: bool = False, size: int = 16, irk: bytes | None = None) -> Bond:
    return Bond(ADDRESS, ADDRESS_LE_PUBLIC, LeKeys(LONG, LONG, size, authenticated, secure, irk))


def test_nothing_shows_a_key() -> None:
    for record in (bredr(4), le(irk=IRK), LONG, BondBook()):
        for text in (repr(record), str(record), f"{record}"):
            assert "secret" not in text
    assert repr(bredr(4)).startswith(
        "Bond(address=b'\\x13\\x00\\x00\\xee\\xff\\xc0', address_type=0, keys=BredrKey(key=…"
    )
    assert "irk=None" in repr(le())


@pytest.mark.parametrize("key_type", [KEY_DEBUG, KEY_CHANGED, 1, 2, 9, 255])
def test_types_that_are_not_kept(key_type: int) -> None:
    book = BondBook()
    assert book.refused(bredr(key_type))
    with pytest.raises(LocalProtocolError) as refused:
        book.keep(bredr(key_type))
    assert "secret" not in str(refused.value)
    assert len(book) == 0


@pytest.mark.parametrize(
    "bond",
    [
        Bond(ADDRESS, ADDRESS_BREDR, BredrKey(KEY[:15], 4)),
        le(size=6),
        le(size=17),
        le(irk=IRK[:4]),
        Bond(ADDRESS, ADDRESS_LE_PUBLIC, LeKeys(LongTermKey(KEY[:8]), LONG, 16, False, False)),
        Bond(ADDRESS, ADDRESS_LE_PUBLIC, LeKeys(None, None, 16, True, True, IRK)),
        Bond(ADDRESS, ADDRESS_LE_PUBLIC, BredrKey(KEY, 4)),
        Bond(ADDRESS, ADDRESS_BREDR, LeKeys(LONG, LONG, 16, False, False)),
    ],
)
def test_keys_that_are_none(bond: Bond) -> None:
    assert BondBook().refused(bond)


@pytest.mark.parametrize("old", TYPES)
@pytest.mark.parametrize("new", TYPES)
def test_what_replaces_what_on_bredr(old: int, new: int) -> None:
    authenticated, secure = (
        (KEY_AUTHENTICATED_P192, KEY_AUTHENTICATED_P256),
        (KEY_UNAUTHENTICATED_P256, KEY_AUTHENTICATED_P256),
    )
    is_weaker = (old in authenticated and new not in authenticated) or (old in secure and new not in secure)
    assert bool(replacement_refused(bredr(old), bredr(new))) is is_weaker
    book = BondBook()
    book.keep(bredr(old))
    assert bool(book.refused(bredr(new))) is is_weaker


@given(st.tuples(BREDR_KEYS, BREDR_KEYS) | st.tuples(LE_KEYS, LE_KEYS))
def test_no_replacement_is_weaker(pair: tuple[BredrKey | LeKeys, BredrKey | LeKeys]) -> None:
    old, new = (Bond(ADDRESS, ADDRESS_BREDR, keys) for keys in pair)
    if replacement_refused(old, new) is None:
        assert level_of(new.keys) >= level_of(old.keys)
        assert new.key_size >= old.key_size
    assert replacement_refused(old, old) is None


def test_shorter_keys_of_le_replace_nothing() -> None:
    assert replacement_refused(le(size=16), le(size=15)) == "the bond has keys of 16 octets, the new keys have 15"
    assert replacement_refused(le(size=15), le(size=16)) is None


def test_the_book() -> None:
    book = BondBook(SecurityLimits(bonds=2))
    book.keep(bredr(4))
    book.keep(le())
    assert (len(book), [bond.transport for bond in book]) == (2, [BREDR, LE])
    assert book.find(ADDRESS, ADDRESS_BREDR) == bredr(4)
    assert book.find(ADDRESS, ADDRESS_LE_RANDOM) is None
    assert book.refused(bredr(4, bytes(6))) == "there are as many bonds as there may be"
    assert book.refused(bredr(5)) is None
    assert book.forget(ADDRESS, ADDRESS_BREDR) == bredr(4)
    assert book.forget(ADDRESS, ADDRESS_BREDR) is None
    for _ in book:
        book.forget(ADDRESS, ADDRESS_LE_PUBLIC)
    assert len(book) == 0


@given(st.binary(min_size=3, max_size=3))
def test_private_addresses_are_resolved(random: bytes) -> None:
    prand = random[:2] + bytes((random[2] & 0x3F | 0x40,))
    book = BondBook()
    book.keep(bredr(4))
    assert book.resolve(ah(IRK, prand) + prand) is None
    book.keep(le(irk=IRK))
    assert book.resolve(ah(IRK, prand) + prand) == le(irk=IRK)
    assert book.resolve(ah(KEY, prand) + prand) is None


def test_keys_are_expanded_once_for_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that who floods us with private addresses does not have us expand all keys for each of them."""
    expanded: list[bytes] = []
    aes = algorithms.AES

    def counted(key: bytes) -> algorithms.AES:
        expanded.append(key)
        return aes(key)

    book = BondBook()
    for irk in (KEY, IRK):
        book.keep(le(irk=irk)._replace(address=irk[:6]))
    monkeypatch.setattr(algorithms, "AES", counted)
    for number in range(100):
        assert book.resolve(bytes((number, 1, 2, 3, 4, 0x40))) is None
    assert sorted(expanded) == sorted((KEY[::-1], IRK[::-1]))


def test_bonds_that_come_and_go_are_resolved_as_they_are() -> None:
    prand = bytes((1, 2, 0x40))
    one, other = (ah(irk, prand) + prand for irk in (KEY, IRK))
    book = BondBook()
    book.keep(le(irk=KEY))
    assert book.resolve(one) is not None
    book.keep(le(irk=IRK))
    assert (book.resolve(one), book.resolve(other)) == (None, le(irk=IRK))
    book.keep(new := le(irk=IRK)._replace(name="keyboard"))
    assert book.resolve(other) == new
    book.forget(new.address, new.address_type)
    assert book.resolve(other) is None


@pytest.mark.parametrize(("top", "resolvable", "private"), [(0x00, 0, 1), (0x40, 1, 1), (0x80, 0, 1), (0xC0, 0, 0)])
def test_kinds_of_random_addresses(top: int, resolvable: bool, private: bool) -> None:
    address = bytes(5) + bytes((top,))
    assert is_resolvable(address, ADDRESS_LE_RANDOM) == resolvable
    assert is_private(address, ADDRESS_LE_RANDOM) == private
    assert not is_resolvable(address, ADDRESS_LE_PUBLIC)
    assert not is_private(address, ADDRESS_BREDR)
