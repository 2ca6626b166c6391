"""Event channels against Xen's rules (common/event_channel.c) and those of /dev/xen/evtchn."""

import errno

import pytest

from tests.sim.conftest import Guest, Pair, StartGuest, Until
from tests.sim.world import World


def bound(pair: tuple[Guest, Guest]) -> tuple[int, int]:
    """Ports of the two guests, with the event that binding raises already taken."""
    a, b = pair
    port_a = a.bind_unbound(b.domid)
    port_b = b.bind_interdomain(a.domid, port_a)
    assert b.pending() == port_b
    b.unmask(port_b)
    return port_a, port_b


def test_events_both_ways(pair: Pair) -> None:
    a, b = pair
    port_a, port_b = bound(pair)
    a.notify(port_a)
    assert b.pending() == port_b
    b.notify(port_b)
    assert a.pending() == port_a


def test_binding_raises_an_event_only_at_the_binder(pair: Pair) -> None:
    a, b = pair
    port_a = a.bind_unbound(b.domid)
    port_b = b.bind_interdomain(a.domid, port_a)
    assert b.pending() == port_b
    assert a.pending() is None


def test_a_taken_port_stays_masked_and_keeps_one_event(pair: Pair) -> None:
    a, b = pair
    port_a, port_b = bound(pair)
    for _ in range(5):
        a.notify(port_a)
    assert b.pending() == port_b
    assert b.pending() is None
    a.notify(port_a)
    a.notify(port_a)
    assert b.pending() is None
    b.unmask(port_b)
    assert b.pending() == port_b
    b.unmask(port_b)
    assert b.pending() is None


def test_unmask_of_what_is_not_masked_or_not_there_is_no_error(pair: Pair) -> None:
    a, _ = pair
    port_a, port_b = bound(pair)
    a.unmask(port_a)
    a.unmask(port_b + 1000)
    a.unmask(1 << 31)
    assert a.pending() is None


def test_notify_on_an_unbound_port_is_dropped(pair: Pair) -> None:
    a, b = pair
    port = a.bind_unbound(b.domid)
    a.notify(port)
    assert b.bind_interdomain(a.domid, port) > 0


def test_errors(pair: Pair, start_guest: StartGuest) -> None:
    a, b = pair
    port_a = a.bind_unbound(b.domid)
    stranger = start_guest()
    for guest, domid, port, expected in (
        (b, 0x7ABC, port_a, errno.ESRCH),
        (b, a.domid, port_a + 1, errno.EINVAL),
        (b, a.domid, 1 << 20, errno.EINVAL),
        (stranger, a.domid, port_a, errno.EINVAL),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            guest.bind_interdomain(domid, port)
        assert caught.value.errno == expected
    b.bind_interdomain(a.domid, port_a)
    with pytest.raises(OSError, match="Invalid argument"):
        b.bind_interdomain(a.domid, port_a)  # no longer unbound
    for call in (a.notify, a.unbind):
        with pytest.raises(OSError, match="not connected"):
            call(port_a + 7)
        with pytest.raises(OSError, match="Invalid argument"):
            call(1 << 20)


def test_a_port_belongs_to_one_handle(pair: Pair) -> None:
    a, _ = pair
    port_a, _ = bound(pair)
    other = a.open_channels()
    with pytest.raises(OSError, match="not connected"):
        a.notify(port_a, other)


def test_closing_one_end_unbinds_the_other_which_can_be_bound_again(pair: Pair) -> None:
    a, b = pair
    port_a, port_b = bound(pair)
    b.unbind(port_b)
    a.notify(port_a)  # dropped
    again = b.bind_interdomain(a.domid, port_a)
    assert b.pending() == again
    b.unmask(again)
    a.notify(port_a)
    assert b.pending() == again


def test_handles_are_apart_and_close_their_ports(pair: Pair, world: World) -> None:
    a, b = pair
    second = a.open_channels()
    first_port, second_port = a.bind_unbound(b.domid), a.bind_unbound(b.domid, second)
    to_first, to_second = b.bind_interdomain(a.domid, first_port), b.bind_interdomain(a.domid, second_port)
    b.notify(to_second)
    assert a.pending() is None
    assert a.pending(0, second) == second_port
    a.close_channels(second)
    assert world.statistics()[a.domid]["ports"] == 1
    b.notify(to_second)
    b.notify(to_first)
    assert a.pending() == first_port


def test_loopback(start_guest: StartGuest) -> None:
    guest = start_guest()
    port = guest.bind_unbound(0x7FF0)  # DOMID_SELF
    other = guest.bind_interdomain(guest.domid, port)
    assert guest.pending() == other
    guest.notify(other)
    assert guest.pending() == port


def test_ports_run_out(start_guest: StartGuest) -> None:
    guest = start_guest()
    ports = [guest.bind_unbound(0) for _ in range(4095)]
    assert len(set(ports)) == 4095
    with pytest.raises(OSError, match="No space"):
        guest.bind_unbound(0)
    guest.unbind(ports[7])
    assert guest.bind_unbound(0) == ports[7]


def test_a_killed_process_leaves_its_peer_unbound(pair: Pair, start_guest: StartGuest, until: Until) -> None:
    a, b = pair
    port_a, _ = bound(pair)
    b.kill()
    successor = start_guest(b.domid)
    until(b.domid, processes=1)
    a.notify(port_a)  # dropped
    port = successor.bind_interdomain(a.domid, port_a)
    assert successor.pending() == port


def test_many_events_in_turn(pair: Pair) -> None:
    a, b = pair
    port_a, port_b = bound(pair)
    for _ in range(200):
        a.notify(port_a)
        assert b.pending(1) == port_b
        b.unmask(port_b)
