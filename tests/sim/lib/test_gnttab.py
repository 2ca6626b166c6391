"""grant_copy: flags, bounds and status codes of Xen's grant_table.h."""

import pytest

from tests.sim.conftest import Pair, StartGuest

GENERAL_ERROR, BAD_DOMAIN, BAD_GNTREF = -1, -2, -3


def test_copy_in_and_out(pair: Pair) -> None:
    a, b = pair
    shared = a.share(b.domid, 1)
    a.poke(shared["region"], 4092, "deadbeef")
    assert b.copy_in(a.domid, shared["refs"][0], 4092, 4) == ["deadbeef", 0]
    assert b.copy_out(a.domid, shared["refs"][0], 10, "0102") == 0
    assert a.peek(shared["region"], 9, 4) == "00010200"


def test_copy_from_one_domain_to_another(pair: Pair, start_guest: StartGuest) -> None:
    a, b = pair
    copier = start_guest()
    source, dest = a.share(copier.domid, 1, False), b.share(copier.domid, 1)
    a.poke(source["region"], 0, "0123456789")
    assert copier.copy_across(a.domid, source["refs"][0], b.domid, dest["refs"][0], 4) == 0
    assert b.peek(dest["region"], 0, 5) == "0123456700"


def test_status_codes(pair: Pair, start_guest: StartGuest) -> None:
    a, b = pair
    readonly = a.share(b.domid, 1, False)["refs"][0]
    assert b.copy_in(a.domid, readonly + 1, 0, 4)[1] == GENERAL_ERROR
    assert b.copy_in(a.domid, 1 << 30, 0, 4)[1] == BAD_GNTREF
    assert b.copy_in(0x7ABC, readonly, 0, 4)[1] == BAD_DOMAIN
    assert b.copy_out(a.domid, readonly, 0, "00") == GENERAL_ERROR
    assert start_guest().copy_in(a.domid, readonly, 0, 4)[1] == GENERAL_ERROR


def test_impossible_segments(pair: Pair) -> None:
    a, b = pair
    ref = a.share(b.domid, 1)["refs"][0]
    with pytest.raises(OSError, match="Invalid"):
        b.copy_in(a.domid, ref, 4093, 4)  # crosses the page
    with pytest.raises(OSError, match="Bad address"):
        b.copy_to_nowhere(a.domid, ref)
