"""Reads the bonds that BlueZ keeps in /var/lib/bluetooth: ADAPTER/PEER/info, each an ini file.

BlueZ's own description of the files is doc/settings-storage.txt. Keys are in hexadecimal, in the order of HCI's octets.
"""

import configparser
from collections.abc import Iterator
from pathlib import Path

from usbbtd.bluetooth import ADDRESS, ADDRESS_BREDR, ADDRESS_LE_PUBLIC, ADDRESS_LE_RANDOM, parse_address
from usbbtd.security.bonds import Bond, BredrKey, LeKeys, LongTermKey, keys_refused

#: The longest file that is read, in bytes: BlueZ's have some hundred.
MAX_BYTES = 1 << 16

#: The value of "Authenticated" says of an LE key whether it is authenticated, and whether it is of Secure Connections.
_KINDS = {0: (False, False), 1: (True, False), 2: (False, True), 3: (True, True)}

#: Groups with a key for when the peer is the peripheral, and for when we are. Of Secure Connections, it is one key, in
#: any of them. The last is the name of before BlueZ 5.63.
_THEIRS, _OURS = ("LongTermKey",), ("PeripheralLongTermKey", "SlaveLongTermKey")


class BadBluezFile(Exception):
    """A file or directory of BlueZ's that cannot be used; the message says which, and why. It shows no key."""


def find_adapter(directory: Path) -> Path:
    """Returns the directory of one adapter: ``directory`` itself, or the only one in it. Raises BadBluezFile."""
    if ADDRESS.fullmatch(directory.name):
        return directory
    adapters = [path for path in _list(directory) if ADDRESS.fullmatch(path.name)]
    if not adapters:
        raise BadBluezFile(f"{directory}: no directory of an adapter, such as {directory}/C0:FF:EE:00:00:01")
    if len(adapters) > 1:
        raise BadBluezFile(f"{directory}: several adapters; name one: {', '.join(map(str, adapters))}")
    return adapters[0]


def find_peers(adapter: Path) -> list[Path]:
    """Returns the files of an adapter's peers, those without keys too, and that cannot be read. Raises BadBluezFile."""
    return [path / "info" for path in _list(adapter) if ADDRESS.fullmatch(path.name) and _may_exist(path / "info")]


def read_bonds(path: Path, own_address: bytes, guests: frozenset[str], now: float) -> list[Bond]:
    """Returns the bonds in a peer's file: none, or one of BR/EDR, one of LE, or both.

    ``own_address``: of BlueZ's adapter, by which the peer knows it. ``guests`` are given the bonds; ``now`` is when
    they are said to be made. Raises BadBluezFile.
    """
    info = _parse(path)
    try:
        name = info.get("General", "Name", fallback="")
        bonds = [
            Bond(parse_address(path.parent.name), kind, keys, guests, now, None, name, own_address)
            for kind, keys in _keys(info)
        ]
    except (ValueError, OverflowError, KeyError, configparser.Error):
        raise BadBluezFile(f"{path}: a key is not as BlueZ writes it") from None
    if bonds and info.get("General", "Blocked", fallback="") == "true":
        raise BadBluezFile(f"{path}: BlueZ blocks this device")  # with a bond it could come in here
    for bond in bonds:
        if (reason := keys_refused(bond.keys)) is not None:
            raise BadBluezFile(f"{path}: {reason}")
    return bonds


def _keys(info: configparser.RawConfigParser) -> Iterator[tuple[int, BredrKey | LeKeys]]:
    """Yields the type of the peer's address, and keys. Raises ValueError, KeyError and those of configparser."""
    if info.has_section("LinkKey"):
        yield ADDRESS_BREDR, BredrKey(bytes.fromhex(info["LinkKey"]["Key"]), info.getint("LinkKey", "Type"))
    if (keys := _le_keys(info)) is not None:
        static = info.get("General", "AddressType", fallback="public") == "static"
        yield ADDRESS_LE_RANDOM if static else ADDRESS_LE_PUBLIC, keys


def _le_keys(info: configparser.RawConfigParser) -> LeKeys | None:
    found = {group: key for group in (*_THEIRS, *_OURS) if (key := _long_term_key(info, group)) is not None}
    if not found:
        return None
    theirs, ours = (next((group for group in groups if group in found), None) for groups in (_THEIRS, _OURS))
    group = theirs or ours
    assert group is not None  # found has one
    kinds = {_KINDS[info.getint(each, "Authenticated")] for each in (theirs, ours) if each is not None}
    authenticated, secure_connections = min(kinds)  # of two keys, the weaker one is what the bond is worth
    if secure_connections:
        theirs = ours = group
    irk = info.get("IdentityResolvingKey", "Key", fallback=None)
    return LeKeys(
        found[ours] if ours is not None else None,
        found[theirs] if theirs is not None else None,
        min(info.getint(each, "EncSize") for each in {theirs, ours} if each is not None),
        authenticated,
        secure_connections,
        None if irk is None else bytes.fromhex(irk),
    )


def _long_term_key(info: configparser.RawConfigParser, group: str) -> LongTermKey | None:
    if not info.has_section(group):
        return None
    section = info[group]
    diversifier, random = int(section.get("EDiv", "0")), int(section.get("Rand", "0"))
    if not 0 <= diversifier < 1 << 16 or not 0 <= random < 1 << 64:
        raise ValueError
    return LongTermKey(bytes.fromhex(section["Key"]), diversifier, random)


def changed_at(path: Path) -> float:
    """Returns when a file was changed, in seconds since 1970 and not before. Raises BadBluezFile."""
    try:
        return max(0.0, path.stat().st_mtime)
    except OSError as error:
        raise BadBluezFile(f"{path}: {error.strerror}") from None


def _parse(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names differ by their case
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            parser.read_string(file.read(MAX_BYTES))
    except OSError as error:
        raise BadBluezFile(f"{path}: {error.strerror}") from None
    except configparser.Error:
        raise BadBluezFile(f"{path}: not an ini file") from None
    return parser


def _may_exist(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # whoever reads it finds out why not


def _list(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError as error:
        raise BadBluezFile(f"{directory}: {error.strerror}") from None
