"""A guest with nothing but a serial port: Linux without Xen's drivers at work, and the C89 client as its only program.

The guest is a QEMU of its own beside the bed: domains with firmware do not run in the bed. Its port leads to dom0 by a
virtio port of the bed's machine, and there usbbt-serial serves it by a device that stands for it.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.demo import plan
from tests.realxen import cpio
from tests.realxen.air import MIRROR
from tests.realxen.image import image
from tests.realxen.lab import DRIVER_DOMAIN, Lab
from tests.realxen.machine import find_qemu

GUEST = "minix"
PORT = "serial"
GUEST_S = 600


@pytest.fixture(scope="module")
def ramdisk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest's whole system: the command, linked with all that it needs, and what runs it."""
    directory = tmp_path_factory.mktemp("guest")
    tree, built = directory / "tree", directory / "built"
    tree.mkdir()
    subprocess.run(["make", "-s", "-C", ROOT / "clients/serial", f"OUT={built}", "STATIC=1"], check=True)
    subprocess.run(["strip", "-o", tree / "vl2cap-serial", built / "vl2cap-serial"], check=True)
    peers = {
        "PEER": MIRROR.address, "PSM": hex(plan.ECHO_PSM["bredr"]),
        "LE_PEER": MIRROR.le_address, "LE_PSM": hex(plan.ECHO_PSM["le"]),
    }  # fmt: skip
    defines = [f'-D{name}="{value}"' for name, value in peers.items()]
    source = ROOT / "tests/realxen/serial_guest.c"
    command: list[str | Path] = ["cc", "-Wall", "-Wextra", "-Werror", "-static", *defines, "-o", tree / "init", source]
    subprocess.run(command, check=True)
    archive = directory / "guest.cpio"
    with archive.open("wb") as written:
        cpio.write_tree(tree, written)
    return archive


@pytest.fixture
def guest(lab: Lab, ramdisk: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """It boots while the bed is prepared for it, and asks until it is answered."""
    line = Path(os.path.relpath(tmp_path / PORT))  # names of sockets are short
    command = [
        find_qemu(),
        "-cpu",
        "qemu64",
        "-m",
        "256",
        "-nodefaults",
        "-nic",
        "none",
        "-display",
        "none",
        "-no-reboot",
    ]
    command += ["-kernel", str(image() / "vmlinux"), "-initrd", str(ramdisk)]
    command += ["-append", "console=ttyS1 loglevel=4 rdinit=/init tsc=unstable"]
    command += ["-serial", f"unix:{line},server=on,wait=off", "-serial", f"file:{lab.logs / 'serial-guest.log'}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as running:
        yield running
        running.kill()


def test_a_guest_with_nothing_but_a_serial_port(lab: Lab, guest: subprocess.Popen[bytes], tmp_path: Path) -> None:
    lab.give_dongle()
    address = {"type": "unix", "data": {"path": str(Path(os.path.relpath(tmp_path / PORT)))}}
    backend = {"type": "socket", "data": {"addr": address, "server": False}}
    lab.machine.execute("chardev-add", id=PORT, backend=backend)
    lab.machine.execute("device_add", driver="virtserialport", id=PORT, chardev=PORT, name=PORT)
    lab.dom0.wait(f"grep -qx {PORT} /sys/class/virtio-ports/*/name")
    port = lab.dom0.shell(f"cd /sys/class/virtio-ports && grep -lx {PORT} */name").split("/")[0]
    spec = f"backend={DRIVER_DOMAIN},for={GUEST}"
    lab.dom0.run("usbbt-toolstack", "attach", "0", spec, "--timeout", "60", timeout_s=120)
    bridge = lab.dom0.start("usbbt-serial", GUEST, "--line", f"/dev/{port}", log="/var/log/usbbt-serial")
    bridge.wait_logged("serving", timeout_s=240)
    assert guest.wait(GUEST_S) == 0
    said = (lab.logs / "serial-guest.log").read_text()
    assert f"address    {plan.DONGLE_ADDRESS}" in said
    assert MIRROR.le_address in said
    assert said.count("10 of 10 came back") == 3
    assert said.count("status 0") == 5
    assert lab.usbbtd
    lab.usbbtd.wait_logged(f"guest={GUEST}")
