"""What the image carries of this tree, without a machine that boots it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bundle import copy_requirements
from tests.realxen.base import PACKAGES
from tests.realxen.image import PROGRAMS, VCHAN, collect
from tests.test_parts import import_all


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "tree"
    collect(path)
    return path


def test_programs(tree: Path, tmp_path: Path) -> None:
    """Find all that they import, with what domains have of packages."""
    copy_requirements(tmp_path)
    import_all(tree / PACKAGES, tmp_path, package="tests")
    for program in PROGRAMS:
        assert (tree / PACKAGES / f"{program.replace('.', '/')}.py").is_file()
    assert not list((tree / PACKAGES).rglob("test_*"))


def test_bed(tree: Path) -> None:
    """Has what domains run before they find modules, and what is no module."""
    assert {path.name for path in (tree / "bed").iterdir()} == {"agent.py", Path(VCHAN).name}
    agent = subprocess.run([sys.executable, "-IS", tree / "bed/agent.py"], capture_output=True, text=True, check=False)
    assert agent.stderr.endswith("IndexError: list index out of range\n")  # it wants a device
    assert shutil.which(f"{tree}{VCHAN}")
