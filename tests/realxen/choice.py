"""Chooses which versions of Debian's packages are taken together.

An archive is often in between: a package of a new version is there and another one of the same source is not yet, or
is not any more. So the newest version that is complete is taken, which may be the release's instead of the security
archive's.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cmp_to_key
from typing import NamedTuple

_IMAGE = re.compile(r"linux-image-(?P<abi>(?P<series>\d+\.\d+)\.\d+-\d+)-amd64")
_HYPERVISOR = re.compile(r"xen-hypervisor-(?P<series>\d+\.\d+)-amd64")


class IncompleteError(RuntimeError):
    """Says what each version in the archive lacks: everything can be had of none."""


class Package(NamedTuple):
    """Names a package and one of its versions that an archive lists."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Kernel(NamedTuple):
    """Holds the packages of one kernel and of what builds a module for it."""

    image: Package
    headers: Package
    common_headers: Package
    source: Package
    kbuild: Package

    @property
    def release(self) -> str:
        """Returns what the kernel calls itself, as 6.1.0-56-amd64."""
        return self.image.name.removeprefix("linux-image-")

    def __str__(self) -> str:
        return f"{self.image}" + (f", with {self.kbuild}" if self.kbuild.version != self.image.version else "")


class Xen(NamedTuple):
    """Holds the packages of one hypervisor and its tools."""

    hypervisor: Package
    utils: Package

    def __str__(self) -> str:
        return f"{self.hypervisor}"


def choose_kernel(listed: Iterable[Package]) -> Kernel:
    """Returns the newest kernel that is listed with its headers, its source and a kbuild of its series.

    The build tools may be of another revision than the kernel, its own is preferred. Kernels of backports are passed
    over. Raises IncompleteError if no kernel is complete.
    """
    available = set(listed)
    lacking = []
    for image, match in _newest_first(available, _IMAGE):
        headers = Package(f"linux-headers-{match['abi']}-amd64", image.version)
        common_headers = Package(f"linux-headers-{match['abi']}-common", image.version)
        source = Package(f"linux-source-{match['series']}", image.version)
        own_kbuild = Package(f"linux-kbuild-{match['series']}", image.version)
        kbuilds = [own_kbuild] if own_kbuild in available else _versions(available, own_kbuild.name)
        missing = [str(package) for package in (headers, common_headers, source) if package not in available]
        if not kbuilds:
            missing.append(own_kbuild.name)
        if not missing:
            return Kernel(image, headers, common_headers, source, kbuilds[0])
        lacking.append(f"{image} lacks {', '.join(missing)}")
    raise IncompleteError(_sentence("kernel", lacking))


def choose_xen(listed: Iterable[Package]) -> Xen:
    """Returns the newest hypervisor that is listed with tools of its version.

    Raises IncompleteError if none is.
    """
    available = set(listed)
    lacking = []
    for hypervisor, match in _newest_first(available, _HYPERVISOR):
        utils = Package(f"xen-utils-{match['series']}", hypervisor.version)
        if utils in available:
            return Xen(hypervisor, utils)
        lacking.append(f"{hypervisor} lacks {utils}")
    raise IncompleteError(_sentence("hypervisor", lacking))


def _newest_first(available: Iterable[Package], name: re.Pattern[str]) -> Iterator[tuple[Package, re.Match[str]]]:
    for package in sorted(available, key=_AGE, reverse=True):
        if (match := name.fullmatch(package.name)) and "~bpo" not in package.version:
            yield package, match


def _versions(available: Iterable[Package], name: str) -> list[Package]:
    found = [package for package in available if package.name == name and "~bpo" not in package.version]
    return sorted(found, key=_AGE, reverse=True)


def _sentence(what: str, lacking: list[str]) -> str:
    return f"no {what} is complete in the package archive: {'; '.join(lacking) or 'none is listed'}"


def _compare(one: Package, other: Package) -> int:
    if one.version == other.version:
        return (one.name > other.name) - (one.name < other.name)
    newer = subprocess.run(["dpkg", "--compare-versions", one.version, "gt", other.version], check=False)
    return 1 if newer.returncode == 0 else -1


#: As dpkg compares versions.
_AGE = cmp_to_key(_compare)
