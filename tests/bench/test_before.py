"""The tree of the older commit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.bench import before


def test_a_clone_without_the_commit_says_so(tmp_path: Path) -> None:
    with pytest.raises(before.NoTreeError, match="no commit 0123456789, whose service"):
        before.build_tree(tmp_path / "tree", "0123456789")
    assert not list(tmp_path.iterdir())


def test_no_git_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert before.current_commit() == "not known"
    with pytest.raises(before.NoTreeError):
        before.build_tree(tmp_path / "tree")


def test_a_tree_that_is_there_is_taken(tmp_path: Path) -> None:
    assert before.build_tree(tmp_path, "0123456789") == tmp_path


def test_its_modules_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "usbbtd").mkdir()
    (tmp_path / "usbbtd/__init__.py").touch()
    command = [sys.executable, "-c", "import usbbtd, structlog; print(usbbtd.__file__)"]
    environment = os.environ | before.environment_of(tmp_path)
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "usbbtd/__init__.py")
