"""Compiles usbbtd into build/compiled, unless what is there was made of the same sources. ``make`` runs it each time.

What a source says decides, and not how old it is: one may be removed, or come back as it was.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
TREE = BUILD / "compiled"
#: What the tree was made of. It is not there while the tree is being made.
MADE_OF = BUILD / "compiled.json"


def main() -> int:
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "compiled.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another make has the same to do
        wanted = ingredients(ROOT)
        made_of = read_made_of()
        if made_of == wanted:
            return 0
        sys.stdout.write("Compiling usbbtd\n")
        sys.stdout.flush()
        MADE_OF.unlink(missing_ok=True)
        clear(all_of_it=made_of is None or made_of["tools"] != wanted["tools"])
        if not build():
            return 1
        MADE_OF.write_text(json.dumps(wanted), encoding="utf-8")
        return 0


def ingredients(root: Path) -> dict[str, str]:
    """Digests of the Python sources, and of all else that a compiled module depends on."""
    package = root / "usbbtd"
    sources = {*package.rglob("*.py")}
    headers = {file for kind in ("*.h", "*.c") for file in package.rglob(kind) if not file.name.startswith("_")}
    builders = {root / "pyproject.toml", root / "setup.py", package / "abi" / "build.py", *headers}
    tools = f"{sys.version} {version('mypy')} {version('setuptools')} {version('cffi')}"
    return {"sources": digest(root, sources), "tools": digest(root, builders, tools)}


def digest(root: Path, files: Iterable[Path], more: str = "") -> str:
    made = hashlib.sha256(more.encode())
    for file in sorted(files):
        content = file.read_bytes()
        made.update(f"\n{file.relative_to(root)} {len(content)}\n".encode() + content)
    return made.hexdigest()


def read_made_of() -> dict[str, str] | None:
    try:
        made_of: dict[str, str] = json.loads(MADE_OF.read_bytes())
    except (OSError, ValueError):
        return None
    return made_of


def clear(*, all_of_it: bool) -> None:
    """Removes what would not be made anew: all, or the sources' copies, among which one may have no source any more."""
    if all_of_it:
        for made in (TREE, BUILD / "mypyc", BUILD / "temp"):
            shutil.rmtree(made, ignore_errors=True)
    else:
        for copy in TREE.rglob("*.py"):
            copy.unlink()


def build() -> bool:
    """Returns whether the tree was built; shows what the tools say only if it was not."""
    command = [sys.executable, "setup.py", "--quiet", "build", f"--build-lib={TREE}", f"--build-temp={BUILD / 'temp'}"]
    environment = {name: value for name, value in os.environ.items() if name != "USBBTD_PURE"}
    log = BUILD / "compiled.log"
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
    return not done.returncode


if __name__ == "__main__":
    sys.exit(main())
