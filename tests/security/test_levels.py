"""Levels of links, and the results that refuse channels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.test_bonds import BREDR_KEYS, KEY, LE_KEYS, LONG
from usbbtd.bluetooth import (
    BREDR,
    KEY_AUTHENTICATED_P256,
    KEY_UNAUTHENTICATED_P192,
    LE,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    LEVEL_NONE,
    LEVEL_SECURE,
    BredrResult,
    LeResult,
)
from usbbtd.security.bonds import BredrKey, LeKeys
from usbbtd.security.levels import channel_refused, is_downgraded, level_of, link_level

SECURE = BredrKey(KEY, KEY_AUTHENTICATED_P256)


@pytest.mark.parametrize(
    ("authenticated", "secure", "size", "level"),
    [
        (False, False, 16, LEVEL_ENCRYPTED),
        (False, True, 16, LEVEL_ENCRYPTED),
        (True, False, 16, LEVEL_AUTHENTICATED),
        (True, True, 15, LEVEL_AUTHENTICATED),
        (True, True, 16, LEVEL_SECURE),
    ],
)
def test_levels_of_le(authenticated: bool, secure: bool, size: int, level: int) -> None:
    keys = LeKeys(LONG, LONG, size, authenticated, secure)
    assert level_of(keys) == link_level(keys, 1, size) == level


@pytest.mark.parametrize("size", range(17))
def test_short_keys(size: int) -> None:
    level = LEVEL_NONE if size < 7 else LEVEL_AUTHENTICATED if size < 16 else LEVEL_SECURE
    assert link_level(SECURE, 2, size) == level


def test_secure_connections_and_e0() -> None:
    assert is_downgraded(SECURE, 1)
    assert link_level(SECURE, 1, 16) == LEVEL_NONE
    assert not is_downgraded(BredrKey(KEY, KEY_UNAUTHENTICATED_P192), 1)
    assert not is_downgraded(LeKeys(LONG, LONG, 16, True, True), 1)


@given(st.none() | BREDR_KEYS | LE_KEYS, st.integers(0, 2), st.integers(0, 16))
def test_no_level_is_above_what_key_and_encryption_give(
    keys: BredrKey | LeKeys | None, enabled: int, size: int
) -> None:
    level = link_level(keys, enabled, size)
    assert LEVEL_NONE <= level <= (LEVEL_NONE if keys is None else level_of(keys))
    if not enabled or size < 7:
        assert level == LEVEL_NONE
    if size < 16:
        assert level < LEVEL_SECURE


@pytest.mark.parametrize(
    ("needed", "level", "encrypted", "bonded", "size", "result"),
    [
        (LEVEL_ENCRYPTED, LEVEL_NONE, False, False, 0, LeResult.INSUFFICIENT_AUTHENTICATION),
        (LEVEL_ENCRYPTED, LEVEL_NONE, False, True, 0, LeResult.INSUFFICIENT_ENCRYPTION),
        (LEVEL_SECURE, LEVEL_NONE, False, True, 0, LeResult.INSUFFICIENT_ENCRYPTION),
        (LEVEL_ENCRYPTED, LEVEL_NONE, True, True, 6, LeResult.KEY_SIZE_TOO_SHORT),
        (LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, True, True, 16, LeResult.INSUFFICIENT_AUTHENTICATION),
        (LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, True, True, 7, LeResult.INSUFFICIENT_AUTHENTICATION),
        (LEVEL_SECURE, LEVEL_AUTHENTICATED, True, False, 15, LeResult.KEY_SIZE_TOO_SHORT),
        (LEVEL_SECURE, LEVEL_AUTHENTICATED, True, False, 16, LeResult.INSUFFICIENT_AUTHENTICATION),
        (LEVEL_SECURE, LEVEL_SECURE, True, False, 16, None),
        (LEVEL_NONE, LEVEL_NONE, False, False, 0, None),
    ],
)
def test_refused_channels(
    needed: int, level: int, encrypted: bool, bonded: bool, size: int, result: int | None
) -> None:
    known = {"is_encrypted": encrypted, "is_bonded": bonded}
    assert channel_refused(LE, needed, level, **known, key_size=size) == result
    blocked = None if result is None else BredrResult.SECURITY_BLOCK
    assert channel_refused(BREDR, needed, level, **known, key_size=size) == blocked
