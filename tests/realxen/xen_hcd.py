"""Linux's own frontend of usbif, xen-hcd, which Debian's kernel leaves out: built from that kernel's source."""

import subprocess
from pathlib import Path

from tests.realxen import debian
from tests.realxen.choice import Kernel


def build(archive: debian.Archive, kernel: Kernel, scratch: Path) -> Path:
    """The module, as Linux has it. Source, headers and build tools are unpacked into ``scratch``."""
    for package in (kernel.headers, kernel.common_headers, kernel.kbuild, kernel.source):
        debian.unpack(archive.download(package), scratch)
    headers = scratch / f"usr/src/linux-headers-{kernel.release}"
    makefile = headers / "Makefile"  # names the common headers where they would be if they were installed
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{scratch}/usr/src/"))
    module = scratch / "xen-hcd"
    module.mkdir()
    (module / "Makefile").write_text("obj-m := xen-hcd.o\n")
    source = kernel.source.name
    _run(
        "tar", "--extract", "--file", scratch / f"usr/src/{source}.tar.xz", "--occurrence=1",
        "--directory", module, "--strip-components=4", f"{source}/drivers/usb/host/xen-hcd.c",
    )  # fmt: skip
    _run("make", "-C", headers, f"M={module}", "modules")
    _run("strip", "--strip-debug", module / "xen-hcd.ko")
    return module / "xen-hcd.ko"


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} fails:\n{done.stdout}{done.stderr}")
