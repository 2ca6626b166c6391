"""The machines on which clients of several kinds run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.programs import Vl2cap, build
from tests.sim.windows import wine as windows
from tests.sim.windows.wine import Wine
from tests.support.installed import require

MINGW_64, MINGW_32 = "x86_64-w64-mingw32-gcc", "i686-w64-mingw32-gcc"


@pytest.fixture(scope="session")
def wine(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    """A machine with Windows."""
    require("Windows", windows.LOADER, windows.COMPILER, MINGW_64, MINGW_32)
    with Wine.start(tmp_path_factory.mktemp("wine")) as machine:
        yield machine


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C library with sanitizers: any error, or leak, ends a program with a message on standard error."""
    return build(tmp_path_factory.mktemp("sanitized"), "SANITIZE=address,undefined")


@pytest.fixture(scope="session")
def windows_build(wine: Wine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C library and the command for Windows, in a directory for each number of bits."""
    return build(tmp_path_factory.mktemp("windows"), "windows")


@pytest.fixture(params=["linux", "windows"])
def vl2cap(request: pytest.FixtureRequest) -> Iterator[Vl2cap]:
    """The command, in domains that all have the same system."""
    if request.param == "linux":
        programs = Vl2cap(request.getfixturevalue("sanitized"))
    else:
        programs = Vl2cap(request.getfixturevalue("windows_build") / "x86_64", request.getfixturevalue("wine"))
    yield programs
    programs.close()
