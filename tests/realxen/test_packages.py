"""The packages of ``make deb``: what is in them, and what they ask for."""

import subprocess
import sys

import pytest

from tests import ROOT

#: Where packages have modules: for usbbtd's commands alone, and for every program.
PRIVATE = "/usr/lib/usbbtd/"
API = "/usr/lib/python3/dist-packages/"
#: One release of Python, as the packages in the private directory are compiled for it.
ONE_PYTHON = f"python3 (<< 3.{sys.version_info.minor + 1})"


def dpkg_deb(option: str, name: str, *fields: str) -> str:
    (package,) = (ROOT / "build" / "deb").glob(f"{name}_*.deb")
    return subprocess.run(["dpkg-deb", option, package, *fields], check=True, capture_output=True, text=True).stdout


def files(name: str) -> list[str]:
    lines = dpkg_deb("--contents", name).splitlines()
    return [line.split(maxsplit=5)[5].removeprefix(".") for line in lines if not line.endswith("/")]


def depends(name: str) -> set[str]:
    return set(dpkg_deb("--field", name, "Depends").strip().split(", "))


@pytest.mark.parametrize("name", ["usbbt-guest", "usbbt-toolstack"])
def test_commands_have_no_modules(name: str) -> None:
    assert not [file for file in files(name) if file.startswith((PRIVATE, API))]


def test_api() -> None:
    """For any Python that Debian has, with its backend of cffi: compiled for one, with the sources for the others."""
    modules = [
        file.removeprefix(API) for file in files("python3-usbbtd-guest") if not file.startswith("/usr/share/doc")
    ]
    assert "usbbtd/guest/__init__.py" in modules
    compiled = {module for module in modules if ".cpython-" in module}
    libraries = {module for module in compiled if "/" not in module}
    assert {module.partition("/")[0].partition("-")[0] for module in {*modules} - libraries} == {"usbbtd"}
    assert [library for library in libraries if not library.startswith("usbbtd_")] == []
    assert "usbbtd/xen/ring" in {module.partition(".")[0] for module in compiled}
    assert [module for module in compiled - libraries if f"{module.partition('.')[0]}.py" not in modules] == []
    assert "/usr/share/doc/python3-usbbtd-guest/guest-api.md" in files("python3-usbbtd-guest")
    needed = depends("python3-usbbtd-guest")
    assert "python3-cffi-backend" in needed
    assert not [need for need in needed if "<<" in need]


def test_pydantic_is_the_services() -> None:
    assert not [file for file in files("usbbt-common") if "pydantic" in file or "usb1" in file]
    assert [file for file in files("usbbtd") if file.startswith(f"{PRIVATE}pydantic/")]


def test_cryptography_is_debians() -> None:
    """The service sees Debian's package, and nothing else of Debian's."""
    (link,) = [file for file in files("usbbtd") if "cryptography" in file and not file.startswith("/usr/share/doc")]
    assert link == f"{PRIVATE}cryptography -> ../python3/dist-packages/cryptography"
    assert "python3-cryptography" in depends("usbbtd")


@pytest.mark.parametrize("name", ["usbbt-common", "usbbtd"])
def test_python(name: str) -> None:
    """The one that they were compiled for."""
    assert ONE_PYTHON in depends(name)


def test_no_file_twice() -> None:
    """They can be installed in one domain, all together."""
    everything = [
        file for path in (ROOT / "build" / "deb").glob("*.deb") for file in files(path.name.partition("_")[0])
    ]
    assert len(everything) == len(set(everything))


def test_the_c_library_has_three() -> None:
    """What runs with a program, what it is compiled with, and a command that needs neither."""
    (library,) = [file for file in files("libvl2cap0") if ".so" in file]
    assert library.endswith("/libvl2cap.so.0")
    brought = [file.split(" -> ")[0].rpartition("/")[2] for file in files("libvl2cap-dev")]
    assert {"vl2cap.h", "libvl2cap.a", "libvl2cap.so", "libvl2cap.pc", "libvl2cap.3.gz", "echo.c"} <= set(brought)
    assert {"/usr/bin/vl2cap", "/usr/share/man/man1/vl2cap.1.gz"} <= set(files("vl2cap"))
    needed = {need.partition(" ")[0] for need in depends("vl2cap")}
    assert needed - {"systemd"} == {"libc6", "libxenevtchn1", "libxengnttab1"}  # that makes the group
    opened = {"modules-load.d/vl2cap.conf", "sysusers.d/vl2cap.conf", "udev/rules.d/70-vl2cap.rules"}
    assert {f"/usr/lib/{file}" for file in opened} <= set(files("vl2cap"))
