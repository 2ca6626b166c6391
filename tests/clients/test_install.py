"""What ``make -C clients/c install`` and the packages of it bring: a program is compiled with that alone."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests import MAKE, ROOT
from tests.clients.programs import SOURCES, Vl2cap
from tests.support.domain import NewDomain

#: What opens Xen's devices to a guest's programs: usbbt-guest's files, by where the package vl2cap has them.
OF_THE_GUEST = {
    "lib/modules-load.d/vl2cap.conf": "modules-load.d/usbbt-guest.conf",
    "lib/sysusers.d/vl2cap.conf": "sysusers.d/usbbt-guest.conf",
    "lib/udev/rules.d/70-vl2cap.rules": "udev/70-usbbt-guest.rules",
}
PARTS = ("libvl2cap0", "libvl2cap-dev", "vl2cap")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All parts, in the places of Debian's packages, but elsewhere."""
    path = tmp_path_factory.mktemp("installed")
    for part in PARTS:
        subprocess.run([*MAKE, f"install-{part}", f"prefix={path}", f"libdir={path}/lib/here"], check=True)
    return path


def pkg_config(prefix: Path, *options: str) -> list[str]:
    environment = os.environ | {"PKG_CONFIG_PATH": str(prefix / "lib/here/pkgconfig")}
    command = ["pkg-config", *options, "libvl2cap"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()


def test_every_file_has_its_place(prefix: Path) -> None:
    assert {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()} == {
        "bin/vl2cap",
        "include/vl2cap.h",
        "lib/here/libvl2cap.a",
        "lib/here/libvl2cap.so",
        "lib/here/libvl2cap.so.0",
        "lib/here/pkgconfig/libvl2cap.pc",
        *OF_THE_GUEST,
        "share/man/man1/vl2cap.1",
        "share/man/man3/libvl2cap.3",
    }
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert pkg_config(prefix, "--modversion") == [version]


@pytest.mark.parametrize(("installed", "source"), OF_THE_GUEST.items())
def test_devices_are_opened_as_by_the_package_with_python(prefix: Path, installed: str, source: str) -> None:
    assert (prefix / installed).read_bytes() == (ROOT / "systemd" / source).read_bytes()


@pytest.mark.parametrize(
    "options", [["--cflags", "--libs"], ["--cflags", "--libs", "--static"]], ids=["shared", "static"]
)
def test_a_program_is_compiled_with_it(prefix: Path, options: list[str], tmp_path: Path) -> None:
    """The example."""
    program = tmp_path / "echo"
    flags = pkg_config(prefix, *options)
    static = ["-static"] if "--static" in options else [f"-Wl,-rpath,{prefix}/lib/here"]
    subprocess.run(["cc", "-o", program, SOURCES / "examples/echo.c", *flags, *static], check=True)
    needed = subprocess.run(["readelf", "-d", program], check=True, capture_output=True, text=True).stdout
    assert ("libvl2cap.so.0" in needed) == ("--static" not in options)


def test_the_command_runs(prefix: Path, new_domain: NewDomain) -> None:
    """It has the library in it."""
    command = Vl2cap(prefix / "bin")
    _, errors = command.run(new_domain(), "info", "--wait", "0.1", status=3)
    assert errors == "vl2cap: this guest has no device/vl2cap/0: attach one to it in dom0\n"
