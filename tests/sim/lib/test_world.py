"""The lock and its repair: processes are killed at any moment, also inside."""

from tests.sim.conftest import Pair, StartGuest, Until
from tests.sim.world import World


def test_the_lock_of_the_dead(pair: Pair, start_guest: StartGuest, world: World, until: Until) -> None:
    a, b = pair
    shared = a.share(b.domid, 2)
    mapped = b.map([a.domid] * 2, shared["refs"])["region"]
    port_a = a.bind_unbound(b.domid)
    port_b = b.bind_interdomain(a.domid, port_a)
    victim = start_guest(b.domid)
    victim.map([a.domid], shared["refs"][:1])
    victim.start("die_inside")
    until(b.domid, processes=1, mapped=2)
    a.notify(port_a)
    assert b.pending() == port_b
    a.unshare(shared["region"])
    assert world.statistics()[a.domid]["shared"] == 2
    b.unmap(mapped)
    assert world.statistics()[a.domid]["shared"] == 0


def test_killed_in_the_middle_of_everything(world: World, start_guest: StartGuest, until: Until) -> None:
    survivor = start_guest()
    for _ in range(8):
        victim = start_guest()
        victim.start("storm", survivor.domid)
        for _ in range(40):
            survivor.unbind(survivor.bind_unbound(victim.domid))
        victim.kill()
        until(victim.domid, shared=0, mapped=0, ports=0, handles=0, processes=0)
    assert world.statistics()[survivor.domid].items() >= {"shared": 0, "mapped": 0, "ports": 0}.items()
