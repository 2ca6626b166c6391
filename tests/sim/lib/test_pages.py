"""Grants against gntalloc, gntdev and what Xen checks between them."""

import errno

import pytest

from tests.sim.conftest import Guest, Pair, StartGuest, Until
from tests.sim.world import World


def test_both_see_the_same_pages_in_any_order(pair: Pair) -> None:
    a, b = pair
    shared = a.share(b.domid, 5)
    for page in range(5):
        a.poke(shared["region"], page * 4096, f"{page:02x}" * 16)
    order = [3, 0, 1, 4, 2]
    mapped = b.map([a.domid] * 5, [shared["refs"][i] for i in order])["region"]
    for position, page in enumerate(order):
        assert b.peek(mapped, position * 4096, 16) == f"{page:02x}" * 16
    b.poke(mapped, 4 * 4096 + 4095, "ee")
    assert a.peek(shared["region"], 2 * 4096 + 4095, 1) == "ee"


def test_pages_of_two_domains_in_one_mapping(pair: Pair, start_guest: StartGuest) -> None:
    a, b = pair
    mapper = start_guest()
    from_a, from_b = a.share(mapper.domid, 1), b.share(mapper.domid, 1)
    a.poke(from_a["region"], 0, "aa")
    b.poke(from_b["region"], 0, "bb")
    region = mapper.map([a.domid, b.domid], from_a["refs"] + from_b["refs"])["region"]
    assert mapper.peek(region, 0, 1) + mapper.peek(region, 4096, 1) == "aabb"


def test_wrong_domain_reference_or_access(pair: Pair, start_guest: StartGuest) -> None:
    a, b = pair
    readonly = a.share(b.domid, 1, False)
    stranger = start_guest()
    for guest, domid, ref, writable in (
        (b, a.domid, readonly["refs"][0] + 1, False),
        (b, a.domid, 1 << 30, False),
        (b, 0x7ABC, readonly["refs"][0], False),
        (b, a.domid, readonly["refs"][0], True),
        (stranger, a.domid, readonly["refs"][0], False),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            guest.map([domid], [ref], writable)
        assert caught.value.errno == errno.EINVAL
    assert b.map([a.domid], readonly["refs"], False)["region"] == 0


def test_a_mapping_that_fails_half_way_leaves_nothing(pair: Pair, world: World) -> None:
    a, b = pair
    shared = a.share(b.domid, 2)
    with pytest.raises(OSError, match="Invalid"):
        b.map([a.domid] * 3, [*shared["refs"], 1000])
    assert world.statistics()[b.domid]["mapped"] == 0


def test_the_limit_of_gntalloc(pair: Pair) -> None:
    a, b = pair
    first = a.share(b.domid, 1000)
    with pytest.raises(OSError, match="No space"):
        a.share(b.domid, 25)
    a.share(b.domid, 24)
    with pytest.raises(OSError, match="No space"):
        a.share(b.domid, 1)
    a.unshare(first["region"])
    a.share(b.domid, 1000)


@pytest.mark.parametrize("count", [0, -1])
def test_impossible_counts(pair: Pair, count: int) -> None:
    a, b = pair
    with pytest.raises(OSError, match=r"Invalid argument|memory"):
        a.share(b.domid, count)


def test_pages_come_zeroed(pair: Pair) -> None:
    a, b = pair
    shared = a.share(b.domid, 1)
    a.poke(shared["region"], 0, "ff" * 4096)
    a.unshare(shared["region"])
    again = a.share(b.domid, 1)
    assert again["refs"] == shared["refs"]
    assert a.peek(again["region"], 0, 4096) == "00" * 4096


def test_a_page_is_freed_when_the_peer_unmaps(pair: Pair, world: World) -> None:
    a, b = pair
    shared = a.share(b.domid, 1024)
    a.poke(shared["region"], 0, "5a")
    mapped = b.map([a.domid], shared["refs"][:1])["region"]
    a.unshare(shared["region"])
    assert world.statistics()[a.domid]["shared"] == 1
    with pytest.raises(OSError, match="No space"):
        a.share(b.domid, 1024)
    assert b.peek(mapped, 0, 1) == "5a"
    b.unmap(mapped)
    assert world.statistics()[a.domid]["shared"] == 0
    a.share(b.domid, 1024)


def test_a_mapper_keeps_the_pages_of_a_dead_granter(pair: Pair, until: Until) -> None:
    a, b = pair
    shared = a.share(b.domid, 2)
    a.poke(shared["region"], 0, "c0ffee")
    mapped = b.map([a.domid], shared["refs"][:1])["region"]
    a.kill()
    until(a.domid, shared=1, processes=0)
    assert b.peek(mapped, 0, 3) == "c0ffee"
    b.unmap(mapped)
    until(a.domid, shared=0)


def test_a_mapper_keeps_the_pages_of_a_destroyed_domain(pair: Pair, world: World) -> None:
    a, b = pair
    shared = a.share(b.domid, 1)
    a.poke(shared["region"], 0, "c0ffee")
    mapped = b.map([a.domid], shared["refs"])["region"]
    a.kill()
    world.destroy_domain(a.domid)
    world.create_domain(a.domid, "reborn")
    with pytest.raises(OSError, match="Invalid"):
        b.map([a.domid], shared["refs"])
    assert b.peek(mapped, 0, 3) == "c0ffee"
    b.unmap(mapped)


def test_mappings_of_a_killed_process_are_released(pair: Pair, until: Until) -> None:
    a, b = pair
    shared = a.share(b.domid, 3)
    b.map([a.domid] * 3, shared["refs"])
    a.unshare(shared["region"])
    b.kill()
    until(a.domid, shared=0)


def channel(a: Guest, b: Guest) -> tuple[int, int]:
    port_a = a.bind_unbound(b.domid)
    port_b = b.bind_interdomain(a.domid, port_a)
    b.unmask(b.pending())
    return port_a, port_b


@pytest.mark.parametrize("killed", [False, True])
def test_unmap_notification_of_the_mapper(pair: Pair, world: World, killed: bool) -> None:
    a, b = pair
    port_a, port_b = channel(a, b)
    shared = a.share(b.domid, 1)
    a.poke(shared["region"], 8, "0101")
    mapped = b.map_notify(a.domid, shared["refs"][0], 9, port_b)["region"]
    assert a.pending() is None
    if killed:
        b.kill()
    else:
        b.unmap(mapped)
    assert a.pending(10) == port_a
    assert a.peek(shared["region"], 8, 2) == "0100"
    assert world.statistics()[b.domid]["mapped"] == 0


@pytest.mark.parametrize("killed", [False, True])
def test_unmap_notification_of_the_granter(pair: Pair, killed: bool) -> None:
    a, b = pair
    port_a, port_b = channel(a, b)
    shared = a.share_notify(b.domid, 0, port_a)
    a.poke(shared["region"], 0, "0101")
    mapped = b.map([a.domid], shared["refs"])["region"]
    if killed:
        a.kill()
    else:
        a.unshare(shared["region"])
    assert b.pending(10) == port_b
    assert b.peek(mapped, 0, 2) == "0001"


def test_each_part_of_a_notification_alone(pair: Pair) -> None:
    a, b = pair
    port_a, port_b = channel(a, b)
    shared = a.share(b.domid, 2)
    a.poke(shared["region"], 0, "01")
    a.poke(shared["region"], 4096, "01")
    byte_only = b.map_notify(a.domid, shared["refs"][0], 0, None)["region"]
    event_only = b.map_notify(a.domid, shared["refs"][1], None, port_b)["region"]
    b.unmap(byte_only)
    assert a.pending() is None
    assert a.peek(shared["region"], 0, 1) == "00"
    b.unmap(event_only)
    assert a.pending() == port_a
    assert a.peek(shared["region"], 4096, 1) == "01"


def test_an_event_channel_lives_until_its_unmap_notification_is_sent(pair: Pair, world: World) -> None:
    a, b = pair
    port_a, port_b = channel(a, b)
    shared = a.share(b.domid, 1)
    mapped = b.map_notify(a.domid, shared["refs"][0], None, port_b)["region"]
    b.close_channels(0)
    assert world.statistics()[b.domid]["ports"] == 1
    b.unmap(mapped)
    assert a.pending() == port_a
    assert world.statistics()[b.domid]["ports"] == 0


def test_notifications_that_cannot_be(pair: Pair, world: World) -> None:
    a, b = pair
    shared = a.share(b.domid, 1)
    with pytest.raises(OSError, match="Invalid"):
        b.map_notify(a.domid, shared["refs"][0], None, 17)  # no such port
    with pytest.raises(OSError, match="Invalid"):
        b.map_notify(a.domid, shared["refs"][0], 0, None, False)  # no byte of a read-only page
    with pytest.raises(OSError, match="Invalid"):
        a.share_notify(b.domid, 0, 17)
    assert world.statistics()[b.domid]["mapped"] == 0
    assert world.statistics()[a.domid]["shared"] == 1
