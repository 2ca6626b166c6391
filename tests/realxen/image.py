"""The images that the bed boots: the base, and above it this tree's usbbtd and the bed's own programs.

``python -m tests.realxen.image`` builds them where they are not in the cache, and the disk of disk.py, and prints where
they are.
"""

import hashlib
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import usbbtd
from bundle import commands, compile_modules, imported, install_command
from tests import ROOT
from tests.bench import rings
from tests.realxen import cpio
from tests.realxen.base import HERE, PACKAGES, base, cached
from tests.realxen.disk import disk

_DOMAIN = HERE / "domain"
#: Where the domains have the bench's end of libxenvchan's ring.
VCHAN = "/bed/vchan"
#: What domains run of the tests, as python3 -m; what these import of them comes along.
PROGRAMS = (
    *(f"tests.realxen.domain.{program.stem}" for program in sorted(_DOMAIN.glob("[!_]*.py"))),
    "tests.bench.ring_end",
    "tests.demo.guest",
)
#: What an extension or the interpreter makes beside the sources.
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "_*.c", "_*.o")


def image() -> Path:
    """The directory with ``xen``, ``vmlinux`` and ``dom0.cpio``, which has ``domu.cpio`` in it; built if need be."""
    below = base()
    with tempfile.TemporaryDirectory() as scratch:
        ours = Path(scratch, "ours")
        collect(ours)

        def build(directory: Path) -> None:
            compile_modules(ours / PACKAGES)
            guests = Path(scratch, "guests")
            (guests / "bed").mkdir(parents=True)
            shutil.copy(below / "vmlinux", guests / "bed")
            with (guests / "bed/domu.cpio").open("wb") as domu:
                _append(domu, below / "domu.cpio")
                _write_ours(ours, "domu", domu)
            with (directory / "dom0.cpio").open("wb") as dom0:
                _append(dom0, below / "dom0.cpio")
                _write_ours(ours, "dom0", dom0)
                cpio.write_tree(guests, dom0)
            for name in ("xen", "vmlinux"):
                (directory / name).hardlink_to(below / name)

        # Of the sources: byte code of the same source is not the same each time.
        content = io.BytesIO()
        content.write(below.name.encode())
        for name in ("dom0", "domu"):
            _write_ours(ours, name, content)
        return cached("image", hashlib.sha256(content.getvalue()).hexdigest()[:16], build)


def _write_ours(tree: Path, domain: str, archive: BinaryIO) -> None:
    shutil.copy(_DOMAIN / f"init-{domain}", tree / "init")
    cpio.write_tree(tree, archive)


def collect(tree: Path) -> None:
    """Copies usbbtd as it runs here, its commands, what the domains run of the tests, and the bed's agent."""
    package = Path(usbbtd.__file__).parent
    shutil.copytree(package, tree / PACKAGES / "usbbtd", ignore=_NOT_COPIED)
    for library in package.parent.glob("usbbtd_*__mypyc.*"):
        shutil.copy(library, tree / PACKAGES)
    for file in imported(PROGRAMS, "tests")[0]:
        copied = tree / PACKAGES / file.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copied)
    for command in commands():
        install_command(tree, f"/usr/bin/{command}", "/usr/bin/python3", f"/{PACKAGES}")
    (tree / "bed").mkdir()
    shutil.copy(_DOMAIN / "agent.py", tree / "bed")  # begins before there are modules to be found
    rings.build_vchan(Path(f"{tree}{VCHAN}"))


def _append(archive: BinaryIO, part: Path) -> None:
    with part.open("rb") as source:
        shutil.copyfileobj(source, archive)


if __name__ == "__main__":
    start = time.monotonic()
    try:
        built = image()
        disk()
    except RuntimeError as error:
        sys.exit(f"*** The test bed cannot be built: {error}")
    sys.stdout.write(f"{built} ({time.monotonic() - start:.1f} s)\n")
