"""Bonds in BlueZ's files: its groups and types of keys, and what is said of files that are no good."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usbbtd.cli.ctl.bluez import BadBluezFile, find_adapter, find_peers, read_bonds
from usbbtd.security.bonds import Bond, BredrKey, LeKeys, LongTermKey

PEER = "C0:FF:EE:00:00:11"
OCTETS = bytes.fromhex("110000eeffc0")
ADAPTER = bytes.fromhex("010000eeffc0")
KEY = bytes(range(0xA0, 0xB0))
OTHER = bytes(range(0xB0, 0xC0))
GUESTS = frozenset({"work"})
GENERAL = "[General]\nName=A mouse: 100% = good # here\nAddressType={}\nSupportedTechnologies=LE;\nTrusted=true\n\n"
LINK_KEY = f"[LinkKey]\nKey={KEY.hex().upper()}\nType=5\nPINLength=0\n\n"


def long_term(group: str, kind: int, key: bytes = KEY, size: int = 16, ediv: int = 0, rand: int = 0) -> str:
    return f"[{group}]\nKey={key.hex().upper()}\nAuthenticated={kind}\nEncSize={size}\nEDiv={ediv}\nRand={rand}\n\n"


def put(directory: Path, text: str, peer: str = PEER) -> Path:
    path = directory / peer / "info"
    path.parent.mkdir()
    path.write_text(text)
    return path


def bonds(tmp_path: Path, text: str) -> list[Bond]:
    return read_bonds(put(tmp_path, text), ADAPTER, GUESTS, 5.0)


def test_a_link_key(tmp_path: Path) -> None:
    name = "A mouse: 100% = good # here"
    assert bonds(tmp_path, GENERAL.format("public") + LINK_KEY) == [
        Bond(OCTETS, 0, BredrKey(KEY, 5), GUESTS, 5.0, None, name, ADAPTER)
    ]  # fmt: skip


def test_one_key_of_secure_connections_is_for_both_roles(tmp_path: Path) -> None:
    groups = long_term("PeripheralLongTermKey", 3) + long_term("SlaveLongTermKey", 3)
    text = GENERAL.format("static") + groups + f"[IdentityResolvingKey]\nKey={OTHER.hex()}\n"
    key = LongTermKey(KEY)
    (bond,) = bonds(tmp_path, text)
    assert (bond.address_type, bond.keys) == (2, LeKeys(key, key, 16, True, True, OTHER))


def test_keys_of_legacy_pairing_are_one_for_each_role(tmp_path: Path) -> None:
    text = long_term("LongTermKey", 1, KEY, 16, 0xFFFF, (1 << 64) - 1) + long_term(
        "SlaveLongTermKey", 0, OTHER, 7, 1, 2
    )
    (bond,) = bonds(tmp_path, text)
    ours, theirs = LongTermKey(OTHER, 1, 2), LongTermKey(KEY, 0xFFFF, (1 << 64) - 1)
    assert (bond.address_type, bond.keys) == (1, LeKeys(ours, theirs, 7, False, False, None))
    assert bond.own_address == ADAPTER


def test_a_device_with_both_transports_has_two_bonds(tmp_path: Path) -> None:
    found = bonds(tmp_path, GENERAL.format("public") + LINK_KEY + long_term("LongTermKey", 0))
    assert [bond.address_type for bond in found] == [0, 1]
    assert found[1].keys == LeKeys(None, LongTermKey(KEY), 16, False, False, None)


def test_a_peer_that_is_not_paired_has_none(tmp_path: Path) -> None:
    assert bonds(tmp_path, GENERAL.format("public")) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "not an ini file"),
        (LINK_KEY.replace("Type=5", "Type=x"), "a key is not as BlueZ writes it"),
        (LINK_KEY.replace("Type=5\n", ""), "a key is not as BlueZ writes it"),
        (LINK_KEY.replace("Type=5", "Type=3"), "a link key of type 3 is not kept"),
        (LINK_KEY.replace("A0A1", "A0"), "a link key has 16 octets, not 15"),
        (LINK_KEY.replace("A0A1", "XX"), "a key is not as BlueZ writes it"),
        (f"[General]\nBlocked=true\n{LINK_KEY}", "BlueZ blocks this device"),
        (long_term("LongTermKey", 4), "a key is not as BlueZ writes it"),
        (long_term("LongTermKey", 0, size=5), "a key of 5 octets is not kept"),
        (long_term("LongTermKey", 0, ediv=1 << 16), "a key is not as BlueZ writes it"),
    ],
)
def test_what_is_no_good_is_named_and_not_shown(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(BadBluezFile) as caught:
        bonds(tmp_path, text)
    assert str(caught.value) == f"{tmp_path}/{PEER}/info: {reason}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / PEER / "info"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"[LinkKey]\n{text}", encoding="utf-8", errors="replace")
    with pytest.raises(BadBluezFile):
        read_bonds(path, ADAPTER, GUESTS, 0.0)


def test_the_adapter_is_the_directory_or_the_only_one_in_it(tmp_path: Path) -> None:
    with pytest.raises(BadBluezFile, match="no directory of an adapter"):
        find_adapter(tmp_path)
    adapter = tmp_path / "C0:FF:EE:00:00:01"
    adapter.mkdir()
    (tmp_path / "cache").mkdir()
    assert find_adapter(tmp_path) == find_adapter(adapter) == adapter
    (tmp_path / "C0:FF:EE:00:00:02").mkdir()
    with pytest.raises(BadBluezFile, match="several adapters; name one: "):
        find_adapter(tmp_path)
    with pytest.raises(BadBluezFile, match="No such file"):
        find_adapter(tmp_path / "none")


def test_peers_are_those_with_a_file(tmp_path: Path) -> None:
    info = put(tmp_path, "")
    (tmp_path / "cache").mkdir()
    (tmp_path / "C0:FF:EE:00:00:12").mkdir()
    (tmp_path / "settings").touch()
    assert find_peers(tmp_path) == [info]


def test_a_peer_that_cannot_be_looked_into_costs_itself() -> None:
    """Others are found, and whoever reads this one hears why that cannot be."""
    with tempfile.TemporaryDirectory() as name:  # of pytest's own directories only their owner may see anything
        adapter = Path(name)
        adapter.chmod(0o755)
        closed, info = put(adapter, ""), put(adapter, "", "C0:FF:EE:00:00:12")
        closed.parent.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            assert find_peers(adapter) == [closed, info]
            with pytest.raises(BadBluezFile, match="Permission denied"):
                read_bonds(closed, ADAPTER, GUESTS, 0.0)
        finally:
            os.seteuid(user)
            closed.parent.chmod(0o700)
