"""What a bond is in a file, and that what is wrong there shows no key."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.bluetooth import KEY_AUTHENTICATED_P192, KEY_DEBUG
from usbbtd.security.bonds import Bond, BredrKey, LeKeys, LongTermKey
from usbbtd.service.bond_record import MAX_NAME, decode, encode, is_name, name_of

KEY = bytes(range(0xA0, 0xB0))
ADDRESS = bytes.fromhex("110000eeffc0")

keys = st.binary(min_size=16, max_size=16)
long_term = st.none() | st.builds(LongTermKey, keys, st.integers(0, 0xFFFF), st.integers(0, (1 << 64) - 1))
common: dict[str, st.SearchStrategy[Any]] = {
    "address": st.binary(min_size=6, max_size=6),
    "guests": st.frozensets(st.text()),
    "made": st.floats(0, 253_402_300_799),
    "seen": st.none() | st.floats(0, 253_402_300_799),
    "name": st.text(max_size=MAX_NAME),
    "own_address": st.none() | st.binary(min_size=6, max_size=6),
}
bonds = st.builds(
    Bond, address_type=st.just(0), keys=st.builds(BredrKey, keys, st.sampled_from([0, 4, 5, 7, 8])), **common
) | st.builds(
    Bond,
    address_type=st.sampled_from([1, 2]),
    keys=st.builds(
        LeKeys, long_term, long_term, st.integers(7, 16), st.booleans(), st.booleans(), st.none() | keys
    ).filter(lambda made: made.ours is not None or made.theirs is not None),
    **common,
)  # fmt: skip


@given(bonds)
def test_a_bond_comes_back(bond: Bond) -> None:
    assert decode(json.loads(json.dumps(encode(bond)))) == bond
    assert is_name(name_of(bond))


def test_the_form() -> None:
    bond = Bond(ADDRESS, 0, BredrKey(KEY, KEY_AUTHENTICATED_P192), frozenset({"work", "home"}), 1.0, None, "x" * 300)
    assert name_of(bond) == "c0ffee000011-bredr"
    assert encode(bond) == {
        "address": "C0:FF:EE:00:00:11",
        "type": "bredr",
        "keys": {"key": "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf", "key_type": 5},
        "guests": ["home", "work"],
        "made": 1.0,
        "seen": None,
        "name": "x" * MAX_NAME,
        "own_address": None,
    }
    assert decode(encode(bond._replace(own_address=ADDRESS))).own_address == ADDRESS


def test_a_file_of_before_has_no_own_address() -> None:
    before = {name: value for name, value in GOOD.items() if name != "own_address"}
    assert decode(before) == decode(GOOD)


@pytest.mark.parametrize("name", ["adapter-address", "c0ffee000011", "C0FFEE000011-bredr", "c0ffee000011-bredr.new"])
def test_other_files_are_no_bonds(name: str) -> None:
    assert not is_name(name)


GOOD: Any = encode(Bond(ADDRESS, 0, BredrKey(KEY, KEY_AUTHENTICATED_P192)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"address": KEY.hex()}, "not a bond"),
        ({"type": KEY.hex()}, "not a bond"),
        ({"keys": KEY.hex()}, "not a bond"),
        ({"keys": {"key": KEY.hex() + "00", "key_type": 5}}, "not a bond"),
        ({"keys": {"key": KEY.hex(), "key_type": "5"}}, "not a bond"),
        ({"keys": {"key": KEY.hex(), "key_type": KEY_DEBUG}}, "a link key of type 3 is not kept"),
        ({"type": "random"}, "a bond with keys of another transport"),
        ({"guests": [1]}, "not a bond"),
        ({"own_address": KEY.hex()}, "not a bond"),
        ({"made": float("nan")}, "not a bond"),
        ({"made": 1e300}, "not a bond"),
        ({"seen": -1.0}, "not a bond"),
        ({"more": KEY.hex()}, "not a bond"),
    ],
)
def test_what_is_no_bond_is_refused_and_not_shown(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        decode(GOOD | changes)
    assert KEY.hex() not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists))
def test_any_value_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a bond"):
        decode(value)


def test_what_only_bonds_need_is_imported_with_the_first_one() -> None:
    code = (
        "import sys; from usbbtd.service import bond_record, run; from usbbtd.security.bonds import Bond, BredrKey\n"
        "late = ('usbbtd.service.bond_models', 'cryptography')\n"
        "print([name in sys.modules for name in late])\n"
        "bond_record.encode(Bond(bytes(6), 0, BredrKey(bytes(16), 5))); print(late[0] in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=True, capture_output=True, text=True)
    assert done.stdout == "[False, False]\nTrue\n"
