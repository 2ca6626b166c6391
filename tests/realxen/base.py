"""What the domains are made of, from Debian: Xen, the kernel, and a root file system each for dom0 and for the others.

Built without root and without a loop device, kept in the cache under a checksum of what it is built from.
"""

import fcntl
import hashlib
import importlib.metadata
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from bundle import compile_modules, copy_requirements, requirements
from tests import ROOT
from tests.realxen import cpio, debian, xen_hcd
from tests.realxen.choice import Kernel, Xen, choose_kernel, choose_xen

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "usbbtd" / "xenlab"
#: Where Debian's interpreter looks for modules, and Python's way of saying so.
PACKAGES = "usr/lib/python3/dist-packages"
PYTHON = (3, 11)

_EVERYWHERE = ("busybox-static", "kmod", "python3.11", "xenstore-utils", "libsystemd0", "libgcc-s1")
_DOM0 = (*_EVERYWHERE, "qemu-system-xen", "udev", "libusb-1.0-0")  # and Xen's tools
_DOMU = (*_EVERYWHERE, "libxengnttab1", "libxenevtchn1", "bluez")

_COMMON_MODULES = ("xen-gntdev", "xen-gntalloc", "xen-evtchn", "xenfs", "xen-privcmd", "btusb")
_DOM0_MODULES = (*_COMMON_MODULES, "virtio_pci", "virtio_console", "virtio_blk", "xen-blkback", "xhci_pci", "xhci_hcd")
#: With which Linux pairs over LE; it asks for them by the names of algorithms.
_CRYPTO_MODULES = ("cmac", "ecb", "drbg", "sha512_generic")
_DOMU_MODULES = (*_COMMON_MODULES, *_CRYPTO_MODULES, "xen-hcd", "xen-blkfront", "ext4", "crc32c_generic")

_DIRECTORIES = ("dev", "mnt", "proc", "sys", "run", "tmp", "root", "etc", "bed", "var/log", "var/lib")
#: Packages that others depend on and that nothing here runs.
_UNUSED_PACKAGES = re.compile(
    r"(adduser|bridge-utils|dbus(?=_)|dbus-(bin|session)|debconf|dpkg|gcc-[^-]+-base|init-system-helpers|ipxe-qemu|iproute2"
    r"|iso-codes|lib(asound2-data|db5|file-find|gdbm|gssapi|k5crypto|krb5|nsl|number|pam|perl|semanage|sepol|sqlite3"
    r"|text-glob|tirpc)|linux-|lsb-base|media-types|passwd|perl|seabios|shared-mime-info|sysvinit-utils|tar|tzdata"
    r"|usrmerge|xdg-)[^_]*_"
)
_UNUSED = [
    re.compile(pattern)
    for pattern in (
        r"usr/share/(?!dbus-1/system|qemu/keymaps|python3)",
        r"usr/lib/x86_64-linux-gnu/(gconv|gstreamer-1.0|perl|qemu|dri|gio)",
        r"usr/lib/python3\.11/(test|idlelib|lib2to3|ensurepip|turtledemo|pydoc_data|distutils|tkinter|unittest)/",
        r"usr/lib/(debug|xen-[^/]+/boot|udev/hwdb\.d|systemd/(system|network)|init|tmpfiles\.d|sysusers\.d)/",
        r"(boot|var|etc/(init\.d|apparmor\.d|cron|logrotate|pam\.d|xdg))",
    )
]
_SOURCES = ("base.py", "choice.py", "cpio.py", "debian.py", "xen_hcd.py")


class _Taken(NamedTuple):
    """Holds what was downloaded together: dom0's packages and those of other domains by the names of their files."""

    kernel: Kernel
    xen: Xen
    dom0: list[str]
    domu: list[str]


def base() -> Path:
    """The directory with ``xen``, ``vmlinux``, ``dom0.cpio`` and ``domu.cpio``; built if it is not there."""
    return cached("base", _checksum(), _build)


def cached(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """A directory of the cache that is whole or not there. A new one takes the place of all others of its kind.

    Who wants it while another process builds it waits.
    """
    directory = CACHE / f"{kind}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"new-{kind}-") as unfinished:
                result = Path(unfinished, "result")
                result.mkdir()
                build(result)
                result.rename(directory)
            for other in CACHE.glob(f"{kind}-*"):
                if other != directory:
                    shutil.rmtree(other, ignore_errors=True)
    return directory


def _checksum() -> str:
    content = [path.read_bytes() for path in (ROOT / "packaging/bundle.py", *(HERE / name for name in _SOURCES))]
    versions = [f"{name} {importlib.metadata.version(name)}\n".encode() for name in sorted(requirements())]
    return hashlib.sha256(b"".join([*content, *versions])).hexdigest()[:16]


def _build(directory: Path) -> None:
    if sys.version_info[:2] != PYTHON:
        raise RuntimeError("the domains run Debian 12's Python 3.11: extensions of another version do not fit")
    archive = debian.Archive(CACHE / "packages")
    taken = archive.agreeing(lambda: _take(archive))
    sys.stdout.write(f"Taking {taken.kernel}; {taken.xen}\n")
    files = directory.parent
    debian.unpack(archive.download(taken.xen.hypervisor), files / "xen")
    debian.new_tree(files / "kernel", ())
    debian.unpack(archive.download(taken.kernel.image), files / "kernel")
    version = files / "kernel/usr/lib/modules" / taken.kernel.release
    shutil.copy(xen_hcd.build(archive, taken.kernel, files / "xen-hcd"), version)
    (hypervisor,) = (files / "xen/boot").glob("xen-*-amd64.gz")
    with (directory / "xen").open("wb") as unpacked:
        subprocess.run(["gunzip", "--stdout", hypervisor], stdout=unpacked, check=True)
    (image,) = (files / "kernel/boot").glob("vmlinuz-*")
    (directory / "vmlinux").write_bytes(_elf_of(image.read_bytes()))
    for name, packages, modules in (("dom0", taken.dom0, _DOM0_MODULES), ("domu", taken.domu, _DOMU_MODULES)):
        tree = files / name
        _build_tree(tree, archive, packages)
        _copy_kernel_modules(files / "kernel/usr/lib/modules", tree / "usr/lib/modules", modules)
        copy_requirements(tree / PACKAGES)
        compile_modules(tree / "usr/lib/python3.11")
        compile_modules(tree / PACKAGES)
        with (directory / f"{name}.cpio").open("wb") as written:
            cpio.write_tree(tree, written)


def _take(archive: debian.Archive) -> _Taken:
    kernel = choose_kernel(archive.listed(r"linux-(image|headers|kbuild|source)-.*"))
    xen = choose_xen(archive.listed("xen-(hypervisor|utils)-.*"))
    for package in (*kernel, xen.hypervisor):
        archive.download(package)
    dom0 = archive.download_with_dependencies((*_DOM0, f"{xen.utils.name}={xen.utils.version}"))
    return _Taken(kernel, xen, dom0, archive.download_with_dependencies(_DOMU))


def _build_tree(tree: Path, archive: debian.Archive, packages: Iterable[str]) -> None:
    debian.new_tree(tree, _DIRECTORIES)
    for name in packages:
        if not _UNUSED_PACKAGES.match(name):
            debian.unpack(archive.directory / name, tree, unwanted=_UNUSED)
    (tree / "var/run").symlink_to("/run")
    (tree / "var/lock").symlink_to("/run/lock")
    python = tree / "usr/bin/python3"
    python.unlink(missing_ok=True)
    python.symlink_to("python3.11")


def _elf_of(image: bytes) -> bytes:
    """The kernel itself out of a bzImage, see Linux's Documentation/arch/x86/boot.rst: Xen need not decompress it."""
    sectors = image[0x1F1]
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(image[start : start + length])


def _copy_kernel_modules(source: Path, target: Path, wanted: Iterable[str]) -> None:
    """These modules and what they need."""
    (version,) = source.iterdir()
    root = source.parent.parent.parent
    if not (version / "modules.dep").exists():
        subprocess.run(["depmod", "-b", root, version.name], check=True)
    needs = dict(line.split(":") for line in (version / "modules.dep").read_text().splitlines())
    paths = {Path(path).name.split(".")[0].replace("_", "-"): path for path in needs}
    copied = target / version.name
    copied.mkdir(parents=True)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(version / name, copied)
    for name in wanted:
        if (path := paths.get(name.replace("_", "-"))) is None:
            continue  # built in
        for each in (path, *needs[path].split()):
            (copied / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(version / each, copied / each)
    subprocess.run(["depmod", "-b", target.parent.parent.parent, version.name], check=True)
