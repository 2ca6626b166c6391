"""What is built of the C library for Windows: which machines it is for, what it wants of Windows, and what it gives."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.programs import MINGW_32, MINGW_64, SOURCES, Vl2cap, build
from tests.sim.windows.wine import Wine
from tests.support.domain import NewDomain

#: By the directory of the build.
COMPILERS = {"x86_64": MINGW_64, "i686": MINGW_32}
FORMATS = {"x86_64": "pei-x86-64", "i686": "pei-i386"}
HEADER = SOURCES / "include/vl2cap.h"
EXPORTS = "[Ordinal/Name Pointer] Table"
PROGRAM = """\
#include <vl2cap.h>
int main(void) { return vl2cap_strerror(VL2CAP_GONE) == 0; }
"""


@pytest.fixture(params=COMPILERS)
def built(windows_build: Path, request: pytest.FixtureRequest) -> Path:
    """The directory of a build; that of 64 bits is there already."""
    architecture: str = request.param
    return build(windows_build.parent, "windows") / architecture


def read_headers(file: Path) -> str:
    """Returns what the headers of a file for Windows say, in words."""
    return subprocess.run(["objdump", "-p", "-f", file], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["vl2cap.exe", "vl2cap.dll"])
def test_it_needs_nothing_but_windows_7(built: Path, name: str) -> None:
    headers = read_headers(built / name)
    assert f"file format {FORMATS[built.name]}" in headers
    assert set(re.findall(r"DLL Name: (\S+)", headers)) == {"KERNEL32.dll", "msvcrt.dll"}
    assert re.search(r"MajorSubsystemVersion\s+6\nMinorSubsystemVersion\s+1\n", headers)
    assert "DYNAMIC_BASE" in headers
    assert "NX_COMPAT" in headers


def test_it_exports_what_the_header_declares(built: Path) -> None:
    declared = re.findall(r"^VL2CAP_API .*?(vl2cap_\w+)\(", HEADER.read_text(), re.MULTILINE)
    assert len(declared) > 20
    exported = read_headers(built / "vl2cap.dll").partition(EXPORTS)[2].partition("\n\n")[0]
    assert re.findall(r"\] (\w+)$", exported, re.MULTILINE) == sorted(declared)
    assert re.findall(r"^ +(\w+) @", (built / "vl2cap.def").read_text(), re.MULTILINE) == sorted(declared)
    assert EXPORTS not in read_headers(built / "vl2cap.exe")


@pytest.mark.parametrize("standard", ["c99", "gnu17"])
def test_a_program_can_be_linked_with_it(built: Path, tmp_path: Path, standard: str) -> None:
    program = tmp_path / "program.exe"
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-DVL2CAP_SHARED", f"-I{HEADER.parent}"]
    command = [COMPILERS[built.name], *flags, "-x", "c", "-", "-o", str(program), f"-L{built}", "-lvl2cap"]
    subprocess.run(command, input=PROGRAM, text=True, check=True)
    assert "DLL Name: vl2cap.dll" in read_headers(program)


def test_the_lack_of_drivers_is_told(windows_build: Path, wine: Wine, new_domain: NewDomain) -> None:
    with wine.without_driver():
        _, errors = Vl2cap(windows_build, wine).run(new_domain(), "info", status=3)
    assert errors == "vl2cap: device/vl2cap/0: xencontrol.dll of Xen's drivers for Windows is not there, or too old\n"
