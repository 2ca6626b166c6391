"""Debian packages: what belongs to them, downloaded by apt but not installed, and unpacked."""

import re
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

_PRINTED = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) \d+")
#: A system of merged /usr, as Debian's: what packages still have at the old places belongs there.
_MERGED = ("bin/", "sbin/", "lib/", "lib64/")


class Archive:
    """Package files in one directory of the cache."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._state = directory / "apt"
        (self._state / "none/partial").mkdir(parents=True, exist_ok=True)
        (directory / "partial").mkdir(exist_ok=True)
        (self._state / "status").touch()

    def with_dependencies(self, packages: Sequence[str]) -> list[str]:
        """The names of these packages' files and of all that they depend on, as if nothing were installed."""
        options = [*self._options(self._state / "none"), "--print-uris", "-qq", "install"]
        printed = _output("apt-get", *options, *packages)
        return [match["file"] for match in _PRINTED.finditer(printed)]

    def download_with_dependencies(self, packages: Sequence[str]) -> None:
        _output("apt-get", *self._options(self.directory), "--download-only", "-qq", "install", *packages)

    def download(self, package: str, version: str = "") -> Path:
        """This package alone, the newest or of that version."""
        pattern = f"{package}_{version or '*'}_*.deb"
        if not (found := sorted(self.directory.glob(pattern))):
            wanted = f"{package}={version}" if version else package
            _output("apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", wanted, directory=self.directory)
            found = sorted(self.directory.glob(pattern))
        return found[-1]

    def _options(self, archives: Path) -> list[str]:
        settings = {
            "APT::Sandbox::User": "",
            "APT::Get::Assume-Yes": "1",
            "APT::Install-Recommends": "0",
            "Debug::NoLocking": "1",
            "Dir::State::status": str(self._state / "status"),
            "Dir::Cache::archives": str(archives),
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
        }
        return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def kernel_package() -> str:
    """The package that Debian's linux-image-amd64 stands for now."""
    for line in _output("apt-cache", "depends", "linux-image-amd64").splitlines():
        if match := re.search(r"Depends: (linux-image-\S+)", line):
            return match[1]
    raise RuntimeError("apt knows no linux-image-amd64: has apt-get update run?")


def unpack(package: Path, tree: Path, *, unwanted: Iterable[re.Pattern[str]] = ()) -> None:
    """The package's files without its scripts, into a tree of merged /usr. ``unwanted``: paths like usr/share/doc."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacking:
        assert unpacking.stdout
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
            for member in archive:
                member.name = _merged(member.name.removeprefix("./"))
                if member.islnk():
                    member.linkname = _merged(member.linkname.removeprefix("./"))
                if member.name and not any(pattern.match(member.name) for pattern in unwanted):
                    archive.extract(member, tree, filter="tar")
    if unpacking.returncode:
        raise RuntimeError(f"dpkg-deb fails on {package}")


def new_tree(tree: Path, directories: Sequence[str]) -> None:
    """An empty root file system of merged /usr."""
    for name in _MERGED:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name.rstrip("/")).symlink_to(f"usr/{name}".rstrip("/"))
    for directory in directories:
        (tree / directory).mkdir(parents=True, exist_ok=True)


def _merged(path: str) -> str:
    return f"usr/{path}" if path.startswith(_MERGED) else "" if f"{path}/" in _MERGED else path


def _output(*command: str, directory: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} fails:\n{done.stderr}")
    return done.stdout
