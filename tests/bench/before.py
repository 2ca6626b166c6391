"""The tree of a commit from before the path was made fast: its service is the peer of rows about processor time."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import ROOT

#: The last commit whose data path was not touched for speed.
COMMIT = "80d9d49"
PEER = f"commit {COMMIT}"

TREE = ROOT / "build" / "bench" / "before"
_PARTS = ("usbbtd", "setup.py", "pyproject.toml", "README.md", "LICENSE")


class NoTreeError(Exception):
    """Why there is no such tree, for people."""


def build_tree(tree: Path = TREE, commit: str = COMMIT) -> Path:
    """Makes the tree, with its extensions, unless it is there. Raises NoTreeError."""
    if tree.exists():
        return tree
    if run_git("cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise NoTreeError(f"this clone has no commit {commit}, whose service is the peer of these rows")
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.parent) as directory:
        made = Path(directory) / "tree"
        made.mkdir()
        archive = run_git("archive", "--format=tar", commit, *_PARTS)
        try:
            subprocess.run([shutil.which("tar") or "tar", "-x", "-C", made], input=archive, check=True)
            build = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_ext", "--inplace"]
            subprocess.run(build, cwd=made, check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            raise NoTreeError(f"the tree of commit {commit} cannot be built: {error}") from None
        shutil.rmtree(made / "build", ignore_errors=True)
        made.rename(tree)
    return tree


def environment_of(tree: Path) -> dict[str, str]:
    """Returns what has our Python run the tree's modules, with its own packages beside them."""
    return {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}


def current_commit() -> str:
    """Returns the name of the commit that is measured, or that it is not known."""
    name = run_git("describe", "--always", "--dirty", "--exclude=*")
    return name.decode().strip() if name else "not known"


def run_git(*arguments: str) -> bytes | None:
    """Returns what git prints in our tree; None if it fails, or is not there."""
    git = shutil.which("git")
    if git is None:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run([git, "-C", str(ROOT), *arguments], env=environment, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None
