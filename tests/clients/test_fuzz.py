"""libvl2cap without Xen, under a program that calls everything and a backend that lies: fuzz/. Long: ``make fuzz``."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

from tests import ROOT
from tests.clients.programs import SANITIZERS, SOURCES, WARNINGS

WORLDS_AN_EXAMPLE = 30
#: All that the library can bring a program has to have come, and been looked at.
REACHED = (
    "connected",
    "opened",
    "sent",
    "received",
    "accepted",
    "reported",
    "prompted",
    "paired",
    "echoed",
    "lost",
    "broken",
)


@pytest.fixture(scope="session")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program: all of the library but its part for an operating system."""
    target = tmp_path_factory.mktemp("fuzz") / "fuzz"
    flags = ["-std=c11", "-O1", "-g", "-D_POSIX_C_SOURCE=200809L", "-DL2CAPIF_WITHOUT_XEN", *WARNINGS, *SANITIZERS]
    includes = [f"-I{directory}" for directory in (SOURCES / "include", SOURCES / "src", ROOT / "usbbtd/abi/include")]
    library = [path for path in sorted((SOURCES / "src").glob("*.c")) if not path.name.startswith("os_")]
    sources = [*sorted((Path(__file__).parent / "fuzz").glob("*.c")), *library]
    subprocess.run(["cc", *flags, *includes, "-o", target, *sources], check=True)
    return target


@pytest.mark.hypothesis
def test_nothing_that_a_backend_does_harms_a_program(fuzz: Path) -> None:
    worlds = WORLDS_AN_EXAMPLE * settings().max_examples
    done = subprocess.run([fuzz, "0", str(worlds)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    counts = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    assert {name for name, count in counts.items() if count} >= set(REACHED)
