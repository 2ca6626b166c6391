"""The machines on which clients of several kinds run, and the programs that take part in the tests of all."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.clients import serial_programs
from tests.clients.client import ClientProgram
from tests.clients.programs import FOR_LINUX, FOR_WINDOWS, MINGW_32, MINGW_64, Vl2cap, build, compile_programs
from tests.sim.windows import wine as windows
from tests.sim.windows.wine import Wine
from tests.support.domain import Domain, NewDomain
from tests.support.echo_backend import serve
from tests.support.installed import require

OCAML = ROOT / "clients/ocaml"


@pytest.fixture(scope="session")
def wine(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    """A machine with Windows."""
    require("Windows", windows.LOADER, windows.COMPILER)
    with Wine.start(tmp_path_factory.mktemp("wine")) as machine:
        yield machine


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C library and its programs with sanitizers: any error, or leak, ends one with a message on standard error."""
    directory = build(tmp_path_factory.mktemp("sanitized"), "SANITIZE=address,undefined")
    compile_programs(directory, FOR_LINUX)
    return directory


@pytest.fixture(scope="session")
def mingw() -> None:
    """Compilers for Windows."""
    require("Windows", MINGW_64, MINGW_32)


@pytest.fixture(scope="session")
def windows_build(mingw: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C library, the command and the programs for Windows, of 64 bits."""
    directory = tmp_path_factory.mktemp("windows") / "x86_64"
    build(directory.parent, str(directory))
    compile_programs(directory, FOR_WINDOWS)
    return directory


@pytest.fixture
def guest(new_domain: NewDomain) -> Domain:
    """A domain with a device, which ``echo_backend`` serves in another."""
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(serve, guest.domid)
    return guest


@pytest.fixture(params=["linux", "windows"])
def vl2cap(request: pytest.FixtureRequest) -> Iterator[Vl2cap]:
    """The command, in domains that all have the same system."""
    if request.param == "linux":
        programs = Vl2cap(request.getfixturevalue("sanitized"))
    else:
        programs = Vl2cap(request.getfixturevalue("windows_build"), request.getfixturevalue("wine"))
    yield programs
    programs.close()


@pytest.fixture(scope="session")
def ocaml_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything of clients/ocaml, built without a warning, by each process of pytest's for itself."""
    require("OCaml", "dune", "ocamlc")
    built = tmp_path_factory.mktemp("ocaml")
    command: list[str | Path] = ["dune", "build", "--root", OCAML, "--build-dir", built, "@default"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "directory" not in line]) == (0, [])
    return built / "default"


@pytest.fixture(scope="session")
def serial_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command for serial lines, and the program that obeys lines over one, with sanitizers."""
    return serial_programs.build(tmp_path_factory.mktemp("serial"))


@pytest.fixture(scope="session")
def linux_client(sanitized: Path) -> ClientProgram:
    return ClientProgram([sanitized / "lines"])


@pytest.fixture(scope="session")
def windows_client(windows_build: Path, wine: Wine) -> ClientProgram:
    return ClientProgram(wine.command(windows_build / "lines.exe"), wine.environment)


@pytest.fixture(scope="session")
def ocaml_client(ocaml_build: Path) -> ClientProgram:
    return ClientProgram([ocaml_build / "test/lines.exe"])
