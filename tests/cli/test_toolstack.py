"""usbbt-toolstack by hand, in dom0 of the simulated Xen, with the very service in the driver domain."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from tests.support.domain import NewDomain
from tests.support.host import Host
from usbbtd import xenbus
from usbbtd.guest import AdapterGone, open_adapter
from usbbtd.xen.store import Store


@pytest.fixture
def driver(host: Host) -> int:
    """sys-bt, with usbbtd."""
    domid = host.create("sys-bt")
    host.serve(domid)
    return domid


@pytest.fixture
def guest(host: Host) -> int:
    return host.create("work")


def snapshot(host: Host, *domids: Any) -> dict[str, tuple[str, str]]:
    """All that xenstore has of these domains: (value, permissions) by path."""
    output = subprocess.run(
        ["xenstore-ls", "-fp"], env=os.environ | host.world.environment(0), capture_output=True, text=True, check=True
    ).stdout
    homes = tuple(f"{above}/{domid}/" for domid in domids for above in ("/local/domain", "/libxl"))
    found = re.findall(r'^(\S+) = "(.*)"\s+\((.*)\)$', output, re.MULTILINE)
    return {path: (value, permissions) for path, value, permissions in found if path.startswith(homes)}


def test_attach_list_detach(host: Host, driver: int, guest: int) -> None:
    before = snapshot(host, driver, guest)
    planned = host.run("attach", "work", "backend=sys-bt", "--dry-run", "--json").splitlines()
    assert snapshot(host, driver, guest) == before
    assert host.run("attach", "work", "backend=sys-bt") == "work: device 0 attached to sys-bt\n"
    front, back = f"/local/domain/{guest}/device/vl2cap/0", host.backend(guest, driver)
    made = snapshot(host, driver, guest)
    made[f"{back}/state"] = ("1", made[f"{back}/state"][1])  # the backend has gone on
    for node in map(json.loads, planned):
        assert node.pop("do") == "write"
        assert made[node["path"]] == (node["value"], ",".join(node["permissions"]))
    assert made[f"{front}/state"] == ("1", f"n{guest},r{driver}")
    assert made[f"{back}/versions"] == ("1", f"n{driver},r{guest}")  # by the service, from its directory
    assert made[f"/local/domain/{driver}/backend/vl2cap/{guest}"] == ("", f"n0,r{driver}")

    row = {"guest": "work", "guest_domid": guest, "devid": 0, "backend": "sys-bt", "backend_domid": driver}
    row |= {"frontend_state": "Initialising", "backend_state": "InitWait"}
    assert json.loads(host.run("list", "work", "--json")) == row
    assert row in [json.loads(line) for line in host.run("list", "--json").splitlines()]
    assert [line.split() for line in host.run("list", guest).splitlines()[1:]] == [
        ["work", str(guest), "0", "sys-bt", str(driver), "Initialising", "InitWait"]
    ]

    second = json.loads(host.run("attach", guest, f"backend={driver}", "--json"))
    assert (second["devid"], second["backend"]) == (1, "sys-bt")
    assert "say which" in host.run("detach", "work", status=2)
    assert host.run("detach", "work", "1") == "work: device 1 detached\n"
    dry: list[object] = [json.loads(line) for line in host.run("detach", "work", "--dry-run", "--json").splitlines()]
    assert {"do": "remove", "path": f"/local/domain/{guest}/device/vl2cap"} in dry
    assert host.world.read(f"{back}/state") == "2"
    detached = json.loads(host.run("detach", "work", "--json"))
    assert (detached["backend_state"], detached["closed"]) == ("Closed", True)
    after = snapshot(host, driver, guest)
    kept = {path: node for path, node in after.items() if path.startswith(f"/libxl/{guest}/device/vl2cap")}
    assert [node for node, _ in kept.values()] == ["", "", "0", "sys-bt", "", "0", "sys-bt"]
    assert {path: node for path, node in after.items() if path not in kept} == before


def test_a_device_for_another_guest(host: Host, driver: int, guest: int) -> None:
    """It has that one's name, once in a domain; the record keeps it for the next driver domain."""
    host.run("attach", "work", "backend=sys-bt,for=minix")
    back = host.backend(guest, driver)
    assert [host.world.read(f"{back}/{node}") for node in ("domain", "stands-for", "frontend-id")] == [
        "minix", "minix", str(guest),
    ]  # fmt: skip
    assert host.world.read(f"/libxl/{guest}/device/vl2cap/0/stands-for") == "minix"
    said = host.run("attach", "work", "backend=sys-bt,for=minix", status=6)
    assert said == f"usbbt-toolstack: work (domain {guest}) has a device for minix already, 0\n"
    host.run("attach", "work", "backend=sys-bt,for=dos")
    host.run("attach", "work", "backend=sys-bt")
    own = host.backend(guest, driver, 2)
    assert [host.world.read(f"{own}/{node}") for node in ("domain", "stands-for")] == ["work", None]


async def lose_the_adapter() -> None:
    async with open_adapter(powered=False) as adapter:
        store = await Store.open()
        await store.write("data/done", "connected")
        listener = await adapter.listen(0x1077)
        with pytest.raises(AdapterGone):
            await listener.accept()
        await store.close()


def test_detach_from_a_guest_that_is_connected(host: Host, driver: int, new_domain: NewDomain) -> None:
    guest = new_domain()
    host.run("attach", guest.domid, "backend=sys-bt,devid=0")
    running = guest.start(lose_the_adapter)
    guest.world.wait_value(f"{guest.home}/data/done", "connected")
    assert json.loads(host.run("detach", guest.domid, "0", "--json"))["closed"] is True
    running.result()
    assert host.nodes(guest.domid) == (None, None, "0")
    host.run("attach", guest.domid, "backend=sys-bt,devid=0")
    assert host.nodes(guest.domid)[2] == "1"


def test_a_backend_domain_without_usbbtd(host: Host, guest: int) -> None:
    driver = host.create("sys-idle")
    before = snapshot(host, driver, guest)
    said = host.run("attach", "work", "backend=sys-idle", "--timeout", "0.2", status=8)
    assert said == (
        f"usbbt-toolstack: nothing in sys-idle (domain {driver}) took the device up within 0.2 s: "
        "does usbbtd run there?\n"
    )
    assert snapshot(host, driver, guest) == before
    host.world.attach_vl2cap(guest, driver)  # by somebody else, without a record
    with host.start("detach", "work", "--timeout", "0.2") as process:
        output, errors = host.finish(process)
    assert (process.returncode, output) == (0, "work: device 0 detached\n")
    assert errors == "usbbt-toolstack: sys-idle did not close the device within 0.2 s; it was removed all the same\n"
    assert host.nodes(guest) == (None, None, "0")
    assert host.world.read(f"/local/domain/{driver}/backend") is None
    before = snapshot(host, driver, guest)
    host.run("attach", "work", "backend=sys-idle", "--timeout", "0.2", status=8)
    assert snapshot(host, driver, guest) == before  # detached by hand, as before


async def refuse(guest: Any, reason: str) -> None:
    """A backend that closes the device that comes."""
    store = await Store.open()
    path = f"backend/vl2cap/{guest}/0"
    async with store.watch(f"{path}/state") as changes:
        async for _ in changes:
            if await store.read(f"{path}/state") == str(xenbus.INITIALISING):
                if reason:
                    await store.write(f"error/{path}/error", reason)
                await store.write(f"{path}/state", str(xenbus.CLOSED))
                break
    await store.close()


@pytest.mark.parametrize(("reason", "said"), [("", "; its log says why"), ("no\nroom", r": 'no\nroom'")])
def test_a_backend_that_refuses(host: Host, new_domain: NewDomain, reason: str, said: str) -> None:
    driver, guest = new_domain(), new_domain()
    refusing = driver.start(refuse, guest.domid, reason)
    heard = host.run("attach", guest.domid, f"backend={driver.domid}", status=9)
    assert heard == f"usbbt-toolstack: guest-{driver.domid} (domain {driver.domid}) closed the device{said}\n"
    refusing.result()
    assert host.nodes(guest.domid) == (None, None, None)
    assert host.world.read(f"/local/domain/{driver.domid}/backend") is None


def test_a_guest_that_goes_while_attach_waits(host: Host, guest: int) -> None:
    driver = host.create("sys-idle")
    with host.start("attach", "work", "backend=sys-idle") as process:
        host.world.wait_value(host.backend(guest, driver) + "/state", "1")
        host.destroy(driver)
        _, errors = host.finish(process)
    assert process.returncode == 9
    assert "has ended" in errors
    assert host.nodes(guest) == (None, None, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_attach_that_is_interrupted_takes_back_what_it_wrote(host: Host, guest: int, number: Signals) -> None:
    driver = host.create("sys-idle")
    before = snapshot(host, driver, guest)
    with host.start("attach", "work", "backend=sys-idle") as process:
        host.world.wait_value(host.backend(guest, driver) + "/state", "1")
        process.send_signal(number)
        host.finish(process)
    assert process.returncode == 128 + number
    assert snapshot(host, driver, guest) == before


def test_what_cannot_be(host: Host, driver: int, guest: int) -> None:
    other = host.create("twin"), host.create("twin")
    host.run("attach", "work", "backend=sys-bt,devid=3")
    host.world.attach_vl2cap(guest, driver, 4)
    host.world.wait_value(f"{host.backend(guest, driver, 4)}/state", "2")
    before = snapshot(host, driver, guest, *other)
    for arguments, status, said in (
        (("attach", "wrk", "backend=sys-bt"), 5, "there is no domain 'wrk'"),
        (("attach", "31999", "backend=sys-bt"), 5, "there is no domain '31999'"),
        (("attach", "work", "backend=sys-b"), 5, "backend: there is no domain 'sys-b'"),
        (
            ("attach", "twin", "backend=sys-bt"),
            5,
            f"the domains {other[0]}, {other[1]} are all called 'twin': name one",
        ),
        (("attach", "work", "backend=work"), 2, f"work (domain {guest}) cannot be its own backend"),
        (("attach", "work", "backend=sys-bt,devid=3"), 6, "has a device 3 already, attached to sys-bt: detach that"),
        (("attach", "work", "backend=sys-bt,devid=4"), 6, f"a device 4 already, attached to domain {driver}"),
        (
            ("attach", "work", "backend=sys-bt,psm=1"),
            2,
            "character 16: there is no key 'psm', only backend, devid, for and tags",
        ),
        (("attach", "work", "--timeout", "soon"), 2, "'soon' is no time in seconds"),
        (("detach", "sys-bt"), 7, f"sys-bt (domain {driver}) has no device"),
        (("detach", "work", "5"), 7, f"work (domain {guest}) has no device 5"),
        (("detach", "work", "x"), 2, "'x' is no number from 0 to 9999"),
        (("list", "wrk"), 5, "there is no domain 'wrk'"),
        (("watch", "--config-dir", "/not/there"), 2, "/not/there: there is no such directory"),
    ):
        assert said in host.run(*arguments, status=status), arguments
    assert snapshot(host, driver, guest, *other) == before


def test_only_dom0_may(host: Host, driver: int, guest: int) -> None:
    for command in (("attach", "work", "backend=sys-bt"), ("detach", "work"), ("list",)):
        assert host.run(*command, status=4, domid=guest) == (
            "usbbt-toolstack: cannot list /local/domain: Permission denied; this is for root in dom0\n"
        )
    assert host.nodes(guest) == (None, None, None)


def test_no_xenstore(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "usbbtd.cli.toolstack", "list"],
        env={"XENSTORED_PATH": str(tmp_path / "none")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 3
    assert result.stderr.startswith(f"usbbt-toolstack: no xenstore: cannot open {tmp_path}/none")
    assert len(result.stderr.splitlines()) == 1


async def name_another(guest: Any, path: str) -> None:
    """A guest that writes what it likes into its own directory."""
    store = await Store.open()
    await store.write("device/vl2cap/0/backend", path)
    await store.close()


def test_what_a_guest_says_of_its_backend_is_not_believed(host: Host, driver: int, new_domain: NewDomain) -> None:
    guest, victim = new_domain(), new_domain()
    host.run("attach", guest.domid, "backend=sys-bt")
    host.run("attach", victim.domid, "backend=sys-bt")
    theirs = host.backend(victim.domid, driver)
    guest.run(name_another, guest.domid, theirs)
    assert json.loads(host.run("list", guest.domid, "--json"))["backend_domid"] == driver
    assert json.loads(host.run("detach", guest.domid, "--json"))["closed"] is True
    assert host.world.read(host.backend(guest.domid, driver)) is None
    assert host.world.read(f"{theirs}/state") == "2"

    host.world.attach_vl2cap(guest.domid, driver)  # without a record there is nothing else to go by
    guest.run(name_another, guest.domid, theirs)
    assert "has no device" in host.run("detach", guest.domid, status=7)
    assert host.world.read(f"{theirs}/state") == "2"
    guest.run(name_another, guest.domid, "/local/domain/0")
    host.run("attach", guest.domid, "backend=sys-bt,devid=0")
    assert host.world.read("/local/domain/0/name") is not None


def test_commands_that_do_not_wait_start_fast() -> None:
    """On a small machine every import is felt: neither settings nor logs are needed by hand."""
    code = "import sys, usbbtd.cli.toolstack; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "structlog", "systemd"} & set(modules)


@pytest.mark.parametrize("output", ["/dev/full", "pipe"])
def test_what_was_done_is_no_failure_though_it_cannot_be_told(host: Host, driver: int, guest: int, output: str) -> None:
    for command in (("attach", "work", "backend=sys-bt"), ("detach", "work")):
        reading, writing = os.pipe()
        os.close(reading)
        target = writing if output == "pipe" else os.open(output, os.O_WRONLY)
        done = subprocess.run(
            [sys.executable, "-m", "usbbtd.cli.toolstack", *command],
            env=os.environ | host.world.environment(0), stdout=target, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        for descriptor in {writing, target}:
            os.close(descriptor)
        said = "" if output == "pipe" else "cannot write standard output: No space left on device\n"
        assert (done.returncode, done.stderr) == (0, said)
        assert bool(host.run("list", "--json")) == (command[0] == "attach")


def test_both_services_go_on_though_their_logs_cannot_be_written(host: Host, tmp_path: Path) -> None:
    driver = host.create("sys-bt")
    configuration = tmp_path / "usbbtd.toml"
    configuration.write_text("[control]\nsocket = ''\n")
    (tmp_path / "work.cfg").write_text('name = "work"\nvl2cap = ["backend=sys-bt"]\n')
    commands = {
        driver: ["usbbtd", "run", "--config", str(configuration)],
        0: ["usbbtd.cli.toolstack", "watch", "--config-dir", str(tmp_path)],
    }
    with open("/dev/full", "w") as full, contextlib.ExitStack() as running:
        services = []
        for domid, command in commands.items():
            environment = os.environ | host.world.environment(domid) | {"PYTHONIOENCODING": "ascii"}
            service = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=full, stderr=full)
            running.callback(service.wait)
            running.callback(service.kill)
            services.append(service)
        guest = host.create("work")
        host.world.wait_value(f"{host.backend(guest, driver)}/state", str(xenbus.INIT_WAIT))
        assert [service.poll() for service in services] == [None, None]
        for service in services:
            service.terminate()
            assert service.wait(30) == 0
