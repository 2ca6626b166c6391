"""What each package brings of Python: all that it uses, and no more; and what pip makes of the tree."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bundle import PARTS, compiled, copy_requirements, distributions, imported, needs
from tests import MAKE, ROOT

#: Where the packages have the modules of the API, and those of the others: debian/rules, install.mk.
API, PRIVATE = "usr/lib/python3/dist-packages", "usr/lib/usbbtd"
#: Imports all of a package that is there, and prints what else that took of the packages besides Python's own.
IMPORT_ALL = """\
import importlib, pkgutil, sys
name, *sys.path[0:0] = sys.argv[1:]
package = importlib.import_module(name)
for module in pkgutil.walk_packages(package.__path__, f"{name}."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*{name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The root of each part, as debian/rules fills it."""
    shared = ["guest_library=/usr/lib/python3/dist-packages", "SHARED_LIBRARY=yes"]
    roots = {name: tmp_path_factory.mktemp(name) for name in PARTS}
    for name, root in roots.items():
        subprocess.run([*MAKE, f"install-{name}", f"DESTDIR={root}", "prefix=/usr", *shared], check=True)
    return roots


def modules(root: Path, library: str) -> set[str]:
    """The top level of what is installed there."""
    return {path.name.partition(".")[0] for path in (root / library).iterdir()} - {"__pycache__"}


def import_all(*libraries: Path, package: str = "usbbtd") -> set[str]:
    command = [sys.executable, "-ISB", "-c", IMPORT_ALL, package, *map(str, libraries)]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_api(packages: dict[str, Path], tmp_path: Path) -> None:
    """Needs cffi's backend, which is Debian's business, and brings nothing but usbbtd's own modules."""
    root = packages["python3-usbbtd-guest"]
    copy_requirements(tmp_path, {"cffi"})
    assert modules(tmp_path, ".") == {"_cffi_backend", f"cffi-{metadata.version('cffi').partition('.')[0]}"}
    own = {"usbbtd"} | {f"usbbtd_{group}__mypyc" for group in compiled().values()}
    assert import_all(root / API, tmp_path) <= {*own, "_cffi_backend", "__main__"}
    assert {"usbbtd"} <= {name for name in modules(root, API) if "-" not in name} <= own
    assert not list(root.rglob("*.pyc"))


def test_toolstack(packages: dict[str, Path]) -> None:
    """Works without what only the service uses."""
    root = packages["usbbt-common"]
    used = import_all(root / PRIVATE)
    assert {"structlog", "systemd", "_cffi_backend"} <= used
    assert not {"pydantic", "pydantic_core", "usb1"} & (used | modules(root, PRIVATE))


def test_service(packages: dict[str, Path]) -> None:
    """Has all that it uses, with the part below it, and no file twice."""
    below, own = (packages[name] / PRIVATE for name in ("usbbt-common", "usbbtd"))
    joined = below.parent / "joined"
    shutil.copytree(below, joined)
    shutil.copytree(own, joined, dirs_exist_ok=True)
    assert {"pydantic", "usb1", "structlog"} <= import_all(joined)
    assert (joined / "cryptography").is_dir()  # imported when it is needed
    files = [{path.relative_to(root) for path in root.rglob("*") if path.is_file()} for root in (below, own)]
    assert not files[0] & files[1]


def test_system_packages(tmp_path: Path) -> None:
    """What the distribution mends is a link to its package, in the part that needs it."""
    variables = (f"DESTDIR={tmp_path}", "prefix=/usr", "system_library=/usr/lib/python3/dist-packages")
    for part in ("usbbt-common", "usbbtd"):
        subprocess.run([*MAKE, f"install-{part}", *variables], check=True)
    library = tmp_path / PRIVATE
    assert [path.name for path in library.iterdir() if path.is_symlink()] == ["cryptography"]
    assert (library / "cryptography").readlink() == Path("/usr/lib/python3/dist-packages/cryptography")
    assert not list(library.glob("cryptography-*"))
    assert (library / "pydantic").is_dir()


@pytest.mark.parametrize(
    ("extra", "parts"),
    [("", ["python3-usbbtd-guest"]), ("toolstack", ["usbbt-common"]), ("service", ["usbbt-common", "usbbtd"])],
)
def test_requirements(extra: str, parts: list[str]) -> None:
    """pyproject.toml asks for what is imported."""
    used = {name for part in parts for name in imported(PARTS[part].modules)[1]}
    asked = {
        requirement.name
        for requirement in map(Requirement, metadata.requires("usbbtd") or ())
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    }
    assert distributions(used) == needs(asked)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that had cffi alone, with the wheel of a source distribution."""
    directory = tmp_path_factory.mktemp("pip")
    tree = directory / "tree"
    ignore = shutil.ignore_patterns("__pycache__", "_*.so", "_*.c", "_*.o", "*.egg-info")
    for package in ("usbbtd", "tests"):
        shutil.copytree(ROOT / package, tree / package, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    quiet = os.environ | {
        "PYTHONWARNINGS": "ignore",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONPATH": "",
        "USBBTD_PURE": "1",  # make compiles in the same way, once
    }
    make_sdist = "from setuptools.build_meta import build_sdist; build_sdist('..')"
    subprocess.run([sys.executable, "-c", make_sdist], cwd=tree, env=quiet, check=True, stdout=subprocess.DEVNULL)
    (sdist,) = directory.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not [name for name in archive.getnames() if name.endswith(".so")]
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-build-isolation", "--no-deps"]
    subprocess.run([*wheel, "-w", directory, sdist], env=quiet, check=True)
    (built,) = directory.glob("*.whl")
    venv.create(directory / "venv", with_pip=False, symlinks=True)
    (packages,) = (directory / "venv").glob("lib/python3*/site-packages")
    for name in ("cffi", "pycparser"):
        for file in metadata.files(name) or ():
            if ".." not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), packages / file)
    python = directory / "venv/bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index", str(built)]
    subprocess.run(install, env=quiet, check=True)
    return directory / "venv/bin"


def test_wheel(environment: Path, tmp_path: Path) -> None:
    """Installs with nothing but cffi there, is whole, and brings nothing but usbbtd."""
    (packages,) = environment.parent.glob("lib/python3*/site-packages")
    had = ("cffi", "_cffi_backend", "pycparser")
    assert {name for name in modules(packages, ".") if not name.startswith((*had, "usbbtd-"))} == {"usbbtd"}
    check = "import sys; from usbbtd.guest import open_adapter; print(sys.modules['usbbtd'].__file__)"
    command = [str(environment / "python"), "-I", "-c", check]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(environment.parent)
    shown = subprocess.run(
        [environment / "usbbt-guest", "--help"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "usage: usbbt-guest" in shown.stdout
