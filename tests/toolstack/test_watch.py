"""usbbt-toolstack watch as dom0's service, on the simulated Xen, while domains come and go."""

import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.domain import NewDomain
from tests.support.host import Host
from tests.support.stack import Process
from usbbtd.guest import AdapterGone, NoAdapter, open_adapter
from usbbtd.xen.store import Store


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "xen"
    path.mkdir()
    return path


def configure(directory: Path, name: str, *devices: Any, file: str | None = None) -> Path:
    path = directory / (file or f"{name}.cfg")
    path.write_text(f'name = "{name}"\nmemory = 256\nvl2cap = [ {", ".join(map(repr, devices))}, ]\n')
    return path


def watch(host: Host, directory: Path, **environment: Any) -> Process:
    process = host.watch("--config-dir", str(directory), **environment)
    process.wait_logged("usbbt-toolstack watches")
    return process


def wait_attached(host: Host, guest: int, driver: int, devid: int = 0, state: str = "1") -> None:
    host.world.wait_value(f"{host.backend(guest, driver, devid)}/state", state)
    assert host.nodes(guest, devid) == (host.backend(guest, driver, devid),) * 2 + ("1",)


def test_a_guest_gets_its_device_whoever_comes_first(host: Host, directory: Path) -> None:
    configure(directory, "work", "backend=sys-bt", "backend=sys-b2,devid=4")
    early = host.create("work")
    process = watch(host, directory)
    process.wait_logged("device waits for its driver domain", f"domid={early}", "devid=4")
    assert host.nodes(early) == (None, None, "1")
    listed = [line.split() for line in host.run("list", "work").splitlines()[1:]]
    expected = ((early, 0, "sys-bt"), (early, 4, "sys-b2"))
    assert listed == [f"work {domid} {devid} {name} - - -".split() for domid, devid, name in expected]
    driver = host.create("sys-bt")
    wait_attached(host, early, driver)
    assert host.nodes(early, 4) == (None, None, "1")
    host.serve(driver)
    host.world.wait_value(f"{host.backend(early, driver)}/state", "2")
    host.destroy(early)
    late = host.create("work")
    wait_attached(host, late, driver, state="2")
    host.world.wait_value(host.backend(early, driver), None)
    second = host.create("sys-b2")
    wait_attached(host, late, second, 4)
    assert process.terminate() == 0


async def go_on() -> None:
    """Two echoes' worth of adapter: the second after the driver domain was started anew."""
    store = await Store.open()
    async with open_adapter(timeout=20, powered=False) as adapter:
        listener = await adapter.listen(0x1077)
        await store.write("data/done", "connected")
        with pytest.raises(AdapterGone):
            await listener.accept()
        with pytest.raises(NoAdapter):
            await adapter.wait_connected(0.2)
        await store.write("data/done", "gone")
        await adapter.wait_connected(20)
        await (await adapter.listen(0x1077)).close()
    await store.close()


def test_a_driver_domain_is_started_anew(host: Host, directory: Path, new_domain: NewDomain) -> None:
    guest, by_hand = new_domain(), host.create("by-hand")
    configure(directory, f"guest-{guest.domid}", "backend=sys-bt")
    process = watch(host, directory)
    driver = host.create("sys-bt")
    host.serve(driver)
    host.run("attach", "by-hand", "backend=sys-bt,for=minix")
    running = guest.start(go_on)
    guest.world.wait_value(f"{guest.home}/data/done", "connected")
    host.destroy(driver)
    process.wait_logged("its driver domain is gone", f"domid={guest.domid}")
    guest.world.wait_value(f"{guest.home}/data/done", "gone")
    assert host.nodes(guest.domid) == (None, None, "1")
    again = host.create("sys-bt")
    host.serve(again)
    running.result()
    wait_attached(host, by_hand, again, state="2")
    assert host.world.read(f"{host.backend(by_hand, again)}/domain") == "minix"
    assert host.world.read(f"/local/domain/{driver}") is None


def test_a_driver_domain_that_is_back_before_anybody_looked(host: Host, directory: Path) -> None:
    guest, driver = host.create("work"), host.create("sys-bt")
    configure(directory, "work", "backend=sys-bt,tags=input headset")
    process = watch(host, directory)
    wait_attached(host, guest, driver)
    process.kill()
    host.destroy(driver)
    again = host.create("sys-bt")
    configure(directory, "work", "backend=sys-bt")  # of the next start
    watch(host, directory)
    wait_attached(host, guest, again)
    assert host.world.read(f"{host.backend(guest, again)}/domain") == "work"
    assert host.world.read(f"{host.backend(guest, again)}/tags") == "headset input"


def test_what_was_detached_by_hand_stays_detached_while_the_guest_lives(host: Host, directory: Path) -> None:
    configure(directory, "work", "backend=sys-bt")
    driver, guest = host.create("sys-bt"), host.create("work")
    host.serve(driver)
    process = watch(host, directory)
    wait_attached(host, guest, driver, state="2")
    host.run("detach", "work")
    for number in range(2):  # the second time in a process that did not see it
        witness = host.create(f"witness-{number}")
        configure(directory, f"witness-{number}", "backend=sys-bt")
        os.kill(process.pid, signal.SIGHUP)
        wait_attached(host, witness, driver, state="2")  # and "work", which comes before it, has been looked at
        process.terminate()
        process = watch(host, directory)
    assert host.nodes(guest) == (None, None, "0")
    host.destroy(guest)
    guest = host.create("work")
    wait_attached(host, guest, driver, state="2")


def test_directories_of_dead_guests_are_removed(host: Host, directory: Path) -> None:
    driver, dead, alive = host.create("sys-bt"), host.create("dead"), host.create("alive")
    for guest in (dead, alive):
        host.world.attach_vl2cap(guest, driver)
    host.world.attach_vl2cap(dead, driver, 1)
    host.destroy(dead)
    assert host.world.read(f"{host.backend(dead, driver)}/state") == "1"  # nobody else removes it
    process = watch(host, directory)
    host.world.wait_value(f"/local/domain/{driver}/backend/vl2cap/{dead}", None)
    assert host.world.read(f"{host.backend(alive, driver)}/state") == "1"
    host.destroy(alive)
    host.world.wait_value(f"/local/domain/{driver}/backend", None)
    process.wait_logged("directory of a dead guest removed", f"domid={alive}")


def test_a_device_without_a_record_whose_driver_domain_is_gone(host: Host, directory: Path) -> None:
    driver, guest = host.create("sys-bt"), host.create("work")
    host.world.attach_vl2cap(guest, driver)
    host.destroy(driver)
    watch(host, directory)
    host.world.wait_value(f"/local/domain/{guest}/device/vl2cap", None)
    assert host.nodes(guest) == (None, None, None)


def test_files_that_change_and_files_that_are_wrong(host: Host, directory: Path) -> None:
    configure(directory, "work", "backend=sys-bt", file="a.cfg")
    second = configure(directory, "work", "backend=sys-b2", file="b.cfg")
    broken = directory / "c.cfg"
    broken.write_text('name = "personal"\nvl2cap = ["backend=sys-bt"\n')
    driver = host.create("sys-bt")
    work, personal, third = (host.create(name) for name in ("work", "personal", "third"))
    configure(directory, "third", "backend=sys-bt")
    process = watch(host, directory)
    wait_attached(host, third, driver)
    process.wait_logged("passed over", "a.cfg and ")
    process.wait_logged("passed over", f"{broken}:3: ',' or ']' should follow in a list")
    assert host.nodes(work) == host.nodes(personal) == (None, None, None)
    second.unlink()
    broken.write_text('name = "personal"\nvl2cap = ["backend=sys-bt"]\n')
    os.kill(process.pid, signal.SIGHUP)
    wait_attached(host, work, driver)
    wait_attached(host, personal, driver)
    assert len([line for line in process.log if "passed over" in line]) == 2


def test_what_is_attached_already_is_left_alone_and_followed(host: Host, directory: Path) -> None:
    driver, guest = host.create("sys-bt"), host.create("work")
    host.world.attach_vl2cap(guest, driver)
    configure(directory, "work", "backend=sys-bt")
    watch(host, directory)
    host.world.wait_value(f"/libxl/{guest}/device/vl2cap/0/backend", host.backend(guest, driver))
    host.destroy(driver)
    wait_attached(host, guest, host.create("sys-bt"))


def test_names_that_come_after_their_domains(host: Host, directory: Path) -> None:
    configure(directory, "work", "backend=sys-bt")
    watch(host, directory)
    guest, driver = host.create("work--incoming"), host.create("sys-bt--incoming")
    witness = host.create("witness")
    host.world.attach_vl2cap(witness, driver)
    host.destroy(witness)
    host.world.wait_value(host.backend(witness, driver), None)  # so all three have been looked at
    host.rename(guest, "work")
    host.world.wait_value(f"/libxl/{guest}/device/vl2cap/0/online", "1")
    assert host.nodes(guest) == (None, None, "1")
    host.rename(driver, "sys-bt")
    wait_attached(host, guest, driver)
    host.rename(guest, "work-old")
    again = host.create("x")
    host.world.change_store(remove=[f"/local/domain/{again}/name"])
    host.rename(again, "work")
    wait_attached(host, again, driver)
    assert host.nodes(guest)[2] == "1"


@pytest.mark.parametrize("successor", ["sys-bt", "stranger"])
def test_a_domid_that_is_used_again_while_the_service_is_away(host: Host, directory: Path, successor: str) -> None:
    guest, driver = host.create("work"), host.create("sys-bt")
    configure(directory, "work", "backend=sys-bt")
    process = watch(host, directory)
    wait_attached(host, guest, driver)
    process.kill()
    host.destroy(driver)
    assert host.create(successor, driver) == driver
    assert host.run("list", "work").splitlines()[1].split()[3:5] == ["sys-bt", "-"]
    process = watch(host, directory)
    if successor == "sys-bt":
        wait_attached(host, guest, driver)
    else:
        process.wait_logged("device removed: its driver domain is gone", f"domid={guest}")
        assert host.nodes(guest) == (None, None, "1")
        assert host.world.read(f"/local/domain/{driver}/backend") is None
        wait_attached(host, guest, host.create("sys-bt"))


def test_a_driver_domain_that_is_kept_under_another_name(host: Host, directory: Path) -> None:
    """As on_crash="rename-restart" does; while nobody has the name, nothing better is there."""
    guest, driver = host.create("work"), host.create("sys-bt")
    configure(directory, "work", "backend=sys-bt")
    watch(host, directory)
    wait_attached(host, guest, driver)
    host.rename(driver, "sys-bt-1")
    configure(directory, "witness", "backend=sys-bt-1")
    wait_attached(host, host.create("witness"), driver)
    assert host.nodes(guest)[0] == host.backend(guest, driver)
    again = host.create("sys-bt")
    wait_attached(host, guest, again)
    assert host.world.read(host.backend(guest, driver)) is None


@pytest.mark.parametrize("of", ["device", "guest", "all"])
def test_a_backend_directory_that_is_removed_by_hand(host: Host, directory: Path, of: str) -> None:
    guest, driver = host.create("work"), host.create("sys-bt")
    configure(directory, "work", "backend=sys-bt")
    watch(host, directory)
    wait_attached(host, guest, driver)
    path = host.backend(guest, driver)
    removed = {"device": path, "guest": path.rpartition("/")[0], "all": f"/local/domain/{driver}/backend"}[of]
    host.world.change_store(write=[(f"{path}/mark", "old", None)])
    host.world.change_store(remove=[removed])
    host.world.wait_value(f"{path}/state", "1")
    assert host.nodes(guest) == (path, path, "1")
    assert host.world.read(f"{path}/mark") is None


def test_what_xenstore_refuses_costs_one_device_and_is_told_once(host: Host, directory: Path) -> None:
    name = "w" * 4060  # with the path of the backend's directory, longer than a message of xenstored's may be
    configure(directory, name, "backend=sys-bt", file="long.cfg")
    configure(directory, "work", "backend=sys-bt")
    process = watch(host, directory)
    driver, refused = host.create("sys-bt"), host.create(name)
    process.wait_logged("passed over", "Argument list too long")
    for _ in range(3):  # looks
        wait_attached(host, work := host.create("work"), driver)
        host.destroy(work)
    assert len([line for line in process.log if "Argument list too long" in line]) == 1
    assert host.nodes(refused)[0] is None
    configure(directory, "short", "backend=sys-bt")
    host.rename(refused, "short")
    wait_attached(host, refused, driver)


@pytest.mark.parametrize("number", ["99999999999999999999", "4294967296", "65536", "007"])
def test_what_is_no_domain_is_passed_over(host: Host, directory: Path, number: str) -> None:
    for name in ("big", "work"):
        configure(directory, name, "backend=sys-bt")
    process, driver = watch(host, directory), host.create("sys-bt")
    path = f"/local/domain/{number}"
    host.world.change_store(write=[(f"{path}/name", "big", None), (f"/libxl/{number}/device/vusb/0", "", None)])
    wait_attached(host, host.create("work"), driver)
    assert "there is no domain 'big'" in host.run("attach", "big", "backend=sys-bt", status=5)
    assert host.world.read(f"{path}/device") is None
    host.world.change_store(remove=[path, f"/libxl/{number}"])
    assert process.terminate() == 0
    assert not [line for line in process.log if "passed over" in line]


def test_too_many_devices_of_a_guest_are_passed_over_and_the_others_get_theirs(host: Host, directory: Path) -> None:
    configure(directory, "many", *["backend=sys-bt"] * 65)
    configure(directory, "work", "backend=sys-bt")
    process, driver, many = watch(host, directory), host.create("sys-bt"), host.create("many")
    told = process.wait_logged("passed over", "many.cfg: vl2cap: a domain has 64 devices at most")
    wait_attached(host, host.create("work"), driver)
    assert host.nodes(many) == (None, None, None)
    assert [line for line in process.log if "passed over" in line] == [told]
    for devid in range(64):
        host.world.attach_vl2cap(many, driver, devid)
    said = host.run("attach", "many", "backend=sys-bt", status=6)
    assert f"many (domain {many}) has 64 devices already, and no domain has more than 64" in said


def test_domains_of_one_name_are_told(host: Host, directory: Path) -> None:
    configure(directory, "work", "backend=sys-bt")
    process = watch(host, directory)
    drivers = host.create("sys-bt"), host.create("sys-bt")
    guests = host.create("work"), host.create("work")
    said = "domains {}, {} are all called '{}'"
    for domids, name in ((drivers, "sys-bt"), (guests, "work")):
        process.wait_logged("passed over", said.format(*domids, name))
    host.rename(drivers[0], "sys-b2")
    for guest in guests:
        wait_attached(host, guest, drivers[1])


def test_it_tells_the_service_manager(host: Host, directory: Path, tmp_path: Path) -> None:
    configure(directory, "work", "backend=sys-bt", "backend=nobody")
    host.create("work")
    host.create("sys-bt")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        manager.bind(str(tmp_path / "notify"))
        process = watch(host, directory, NOTIFY_SOCKET=str(tmp_path / "notify"))
        told = manager.recv(4096).decode()
        assert re.fullmatch(r"READY=1\nSTATUS=\d+ devices attached, 1 waiting for their driver domain", told)
        assert process.terminate() == 0
        assert manager.recv(4096) == b"STOPPING=1"
    assert not [line for line in process.log if "[error" in line]


def test_a_guest_cannot_watch(host: Host) -> None:
    guest = host.create("work")
    (line,) = host.run("watch", domid=guest, status=4).splitlines()
    assert line.startswith("usbbt-toolstack: ")
    assert "this is for root in dom0" in line
