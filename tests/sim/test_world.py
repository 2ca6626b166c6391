import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.sim.conftest import NewDomid, StartGuest, Until
from tests.sim.world import World


def permissions(world: World, path: str) -> str:
    command = ["xenstore-ls", "-f", "-p", path.rpartition("/")[0]]
    listing = subprocess.run(
        command, env=os.environ | world.environment(0), capture_output=True, text=True, check=True
    ).stdout
    return next(line.split()[-1] for line in listing.splitlines() if line.startswith(f"{path} "))


def test_a_new_domain_as_xl_makes_it(world: World, new_domain: NewDomid) -> None:
    domid = new_domain("sys-bluetooth")
    home = f"/local/domain/{domid}"
    assert world.read(f"{home}/domid") == str(domid)
    assert world.read(f"{home}/name") == "sys-bluetooth"
    assert permissions(world, f"{home}/device") == f"(n0,r{domid})"
    assert permissions(world, f"{home}/data") == f"(n{domid})"
    assert world.read(f"{home}/backend") is None
    with pytest.raises(FileExistsError):
        world.create_domain(domid, "again")


def test_vl2cap(world: World, new_domain: NewDomid) -> None:
    guest, driver = new_domain(), new_domain()
    world.attach_vl2cap(guest, driver, 3, adapter="hci0")
    front = f"/local/domain/{guest}/device/vl2cap/3"
    back = f"/local/domain/{driver}/backend/vl2cap/{guest}/3"
    assert {key: world.read(f"{front}/{key}") for key in ("backend", "backend-id", "state")} == {
        "backend": back,
        "backend-id": str(driver),
        "state": "1",
    }
    assert {key: world.read(f"{back}/{key}") for key in ("frontend", "frontend-id", "online", "state", "adapter")} == {
        "frontend": front,
        "frontend-id": str(guest),
        "online": "1",
        "state": "1",
        "adapter": "hci0",
    }
    assert permissions(world, f"{front}/state") == permissions(world, front) == f"(n{guest},r{driver})"
    assert permissions(world, f"{back}/state") == permissions(world, back) == f"(n{driver},r{guest})"
    assert permissions(world, f"/local/domain/{driver}/backend") == f"(n0,r{driver})"
    with pytest.raises(FileExistsError):
        world.attach_vl2cap(guest, driver, 3)


def test_vusb(world: World, new_domain: NewDomid) -> None:
    frontend = new_domain()
    world.attach_vusb(frontend, 0, ports=2)
    front, back = f"/local/domain/{frontend}/device/vusb/0", f"/local/domain/0/backend/qusb/{frontend}/0"
    assert world.read(f"{front}/backend") == back
    assert [world.read(f"{back}/{key}") for key in ("num-ports", "usb-ver", "type", "port/1", "port/2", "port/3")] == [
        "2", "2", "qusb", "", "", None,
    ]  # fmt: skip
    world.detach_vusb(frontend, 0, timeout_s=0)
    assert world.read(front) is None
    assert world.read("/local/domain/0/backend") is None


def test_detaching_waits_for_the_backend(world: World, new_domain: NewDomid) -> None:
    guest, driver = new_domain(), new_domain()
    world.attach_vl2cap(guest, driver)
    back = f"/local/domain/{driver}/backend/vl2cap/{guest}/0"
    seen = []

    def backend() -> None:
        seen.append(world.wait_value(f"{back}/state", "5"))
        seen.append(world.read(f"{back}/online"))
        world.change_store(write=[(f"{back}/state", "6", None)])

    thread = threading.Thread(target=backend)
    thread.start()
    world.detach_vl2cap(guest, driver)
    thread.join()
    assert seen == ["5", "0"]
    assert world.read(back) is None


def test_waiting(world: World) -> None:
    with pytest.raises(TimeoutError):
        world.wait_value("/never", "1", timeout_s=0)
    assert world.wait_value("/never", None) is None


def test_change_store_is_all_or_nothing(world: World) -> None:
    with pytest.raises(OSError, match="EINVAL"):
        world.change_store(write=[("/tool/a", "1", None), ("/tool/b/", "1", None)])
    assert world.read("/tool/a") is None


def test_a_destroyed_domain_leaves_nothing(world: World, new_domain: NewDomid, start_guest: StartGuest) -> None:
    guest = start_guest()
    other = new_domain()
    guest.share(other, 3)
    guest.bind_unbound(other)
    guest.kill()
    world.destroy_domain(guest.domid)
    assert world.read(f"/local/domain/{guest.domid}") is None
    assert guest.domid not in world.statistics()
    assert not Path(world.environment(guest.domid)["XENSTORED_PATH"]).exists()
    world.create_domain(guest.domid, "again")
    assert world.statistics()[guest.domid].items() >= {"shared": 0, "ports": 0, "watches": 0}.items()


def test_who_outlives_its_domain_harms_nobody(world: World, start_guest: StartGuest) -> None:
    guest, neighbour = start_guest(), start_guest()
    shared = guest.share(neighbour.domid, 1)
    own = guest.map_notify(neighbour.domid, neighbour.share(guest.domid, 1)["refs"][0], 0, None)
    guest.bind_unbound(neighbour.domid)
    world.destroy_domain(guest.domid)
    guest.close_channels(0)
    guest.unshare(shared["region"])
    guest.unmap(own["region"])
    assert world.statistics()[neighbour.domid].items() >= {"shared": 1, "mapped": 0, "ports": 0}.items()


def test_no_such_domain(world: World) -> None:
    with pytest.raises(ProcessLookupError):
        world.destroy_domain(30000)


def test_the_world_ends_with_the_block(libraries: Path, tmp_path: Path) -> None:
    with World.start(tmp_path / "w") as world:
        assert world.read("/local/domain/0/name") == "Domain-0"
    assert list((tmp_path / "w").iterdir()) == []


def test_a_path_too_long_for_sockets(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="at most") as caught, World.start(tmp_path / ("x" * 100)):
        pass
    assert caught.value.errno == errno.ENAMETOOLONG


def test_killed_processes_leave_no_trace(world: World, start_guest: StartGuest, until: Until) -> None:
    """Many deaths at any moment: the counts come back to nothing, and the survivor goes on."""
    survivor = start_guest()
    for _ in range(5):
        victim = start_guest()
        refs = survivor.share(victim.domid, 8)["refs"]
        port = survivor.bind_unbound(victim.domid)
        victim.bind_interdomain(survivor.domid, port)
        victim.map([survivor.domid] * 8, refs)
        victim.kill()
        until(victim.domid, shared=0, mapped=0, ports=0, handles=0, processes=0)
        survivor.notify(port)
    assert world.statistics()[survivor.domid]["ports"] == 5
