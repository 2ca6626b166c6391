"""How processes enter the world."""

import errno
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.sim.conftest import NewDomid, Pair, StartGuest, Until
from tests.sim.world import World


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"XENSIM_DIR": None}, errno.ENOENT),  # as without /dev/xen
        ({"XENSIM_DIR": "/nonexistent"}, errno.ENOENT),
        ({"XENSIM_DIR": "/" + "x" * 200}, errno.ENAMETOOLONG),
        ({"XENSIM_DOMID": "30000"}, errno.ESRCH),
    ],
)
def test_opening_fails(world: World, new_domain: NewDomid, change: dict[Any, Any], expected: int) -> None:
    environment = os.environ | world.environment(new_domain()) | change
    environment = {key: value for key, value in environment.items() if value is not None}
    command = [sys.executable, "-S", "-m", "tests.sim.agent"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)
    assert f"[Errno {expected}] xengntshr_open" in done.stderr


def test_a_forked_child_is_another_process_and_cannot_hurt_its_parent(pair: Pair, world: World) -> None:
    a, b = pair
    shared = a.share(b.domid, 1)
    port = a.bind_unbound(b.domid)
    assert a.fork() != port
    b.map([a.domid], shared["refs"])
    to_a = b.bind_interdomain(a.domid, port)
    b.notify(to_a)
    assert a.pending() == port


def test_the_childs_port_goes_with_the_child(start_guest: StartGuest, until: Until) -> None:
    guest = start_guest()
    guest.fork()
    until(guest.domid, ports=0, processes=1)
