"""Linux's own frontend of usbif, xen-hcd, which Debian's kernel leaves out: built from that kernel's source."""

import subprocess
from pathlib import Path

from tests.realxen import debian


def build(archive: debian.Archive, kernel: Path, scratch: Path) -> Path:
    """The module, as Linux has it. ``kernel``: the package file of the kernel that it is for.

    Source, headers and build tools have to be of that kernel's version; they are unpacked into ``scratch``.
    """
    name, version, _ = kernel.stem.split("_")
    release = name.removeprefix("linux-image-")  # 6.1.0-56-amd64
    series = ".".join(version.split(".")[:2])  # 6.1
    common = f"linux-headers-{release.removesuffix('-amd64')}-common"
    for package in (f"linux-headers-{release}", common, f"linux-kbuild-{series}", f"linux-source-{series}"):
        debian.unpack(archive.download(package, version), scratch)
    headers = scratch / f"usr/src/linux-headers-{release}"
    makefile = headers / "Makefile"  # names the common headers where they would be if they were installed
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{scratch}/usr/src/"))
    module = scratch / "xen-hcd"
    module.mkdir()
    (module / "Makefile").write_text("obj-m := xen-hcd.o\n")
    source = f"linux-source-{series}"
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
