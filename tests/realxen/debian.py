"""Debian packages: what belongs to them, downloaded by apt but not installed, and unpacked."""

import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.realxen.choice import IncompleteError, Package

T = TypeVar("T")

_PRINTED = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) \d+")
#: A system of merged /usr, as Debian's: what packages still have at the old places belongs there.
_MERGED = ("bin/", "sbin/", "lib/", "lib64/")


#: For apt_preferences(5): a negative priority keeps the security archive's packages from being taken.
_RELEASE_ONLY = "Package: *\nPin: release l=Debian-Security\nPin-Priority: -1\n"
_SECURITY = re.compile(r"\S+-security/")


class AptError(RuntimeError):
    """Says which command of apt failed, and what it said."""


class Archive:
    """Takes packages from Debian's archive into one directory of the cache, which has the archive's index too.

    The index is the cache's own, so that reading it anew needs no root.
    """

    def __init__(self, directory: Path, *, sources: Path | None = None) -> None:
        """``sources``: a file as sources.list(5) instead of the machine's own."""
        self.directory = directory
        self._state = directory / "apt"
        for path in (directory, self._state / "none", self._state / "lists"):
            (path / "partial").mkdir(parents=True, exist_ok=True)
        (self._state / "status").touch()
        self._preferences = self._state / "preferences"
        self._preferences.unlink(missing_ok=True)
        self._sources = {"Dir::Etc::sourcelist": str(sources), "Dir::Etc::sourceparts": "-"} if sources else {}

    def agreeing(self, take: Callable[[], T]) -> T:
        """Returns what `take` returns, which takes packages from here.

        An archive changes at any time. So where `take` fails, the index is read anew for one more try, and the last one
        is with the release alone, without the security archive. Raises the second try's AptError or IncompleteError
        if that fails too.
        """
        if not any((self._state / "lists").glob("*Packages*")):
            self._update()
        try:
            return take()
        except (AptError, IncompleteError) as error:
            _say(f"{error}\nReading the index of Debian's packages anew")
        self._update()
        try:
            return take()
        except (AptError, IncompleteError) as error:
            _say(f"{error}\nTrying without the security archive")
            with self._release_only():
                try:
                    return take()
                except (AptError, IncompleteError):
                    raise error from None

    def listed(self, name: str) -> list[Package]:
        """Returns all packages in the index, in each of their versions, whose names match this regular expression."""
        names = [each for each in self._apt("apt-cache", "pkgnames").split() if re.fullmatch(name, each)]
        table = self._apt("apt-cache", "madison", *names) if names else ""
        rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
        without_security = self._preferences.exists()
        return [Package(*row[:2]) for row in rows if not (without_security and _SECURITY.search(row[2]))]

    def with_dependencies(self, packages: Sequence[str]) -> list[str]:
        """The names of these packages' files and of all that they depend on, as if nothing were installed.

        A package may be asked for as name=version.
        """
        printed = self._apt("apt-get", "--print-uris", "-q", "install", *packages, archives=self._state / "none")
        return [match["file"] for match in _PRINTED.finditer(printed)]

    def download_with_dependencies(self, packages: Sequence[str]) -> list[str]:
        """Downloads the files that are not there yet, and returns the names of all."""
        self._apt("apt-get", "--download-only", "-q", "install", *packages)
        return self.with_dependencies(packages)

    def download(self, package: Package) -> Path:
        """This package alone."""
        pattern = f"{package.name}_{package.version.replace(':', '%3a')}_*.deb"
        if not (found := list(self.directory.glob(pattern))):
            self._apt("apt-get", "-qq", "download", f"{package.name}={package.version}")
            found = list(self.directory.glob(pattern))
        return found[0]

    def _update(self) -> None:
        self._apt("apt-get", "update", "-qq")

    @contextmanager
    def _release_only(self) -> Iterator[None]:
        self._preferences.write_text(_RELEASE_ONLY)
        try:
            yield
        finally:
            self._preferences.unlink()

    def _apt(self, command: str, *arguments: str, archives: Path | None = None) -> str:
        settings = {
            "APT::Sandbox::User": "",
            "APT::Get::Assume-Yes": "1",
            "APT::Install-Recommends": "0",
            "APT::Update::Error-Mode": "any",
            "Debug::NoLocking": "1",
            "Dir::Etc::preferences": str(self._preferences),
            "Dir::State::lists": str(self._state / "lists"),
            "Dir::State::status": str(self._state / "status"),
            "Dir::Cache::archives": str(archives or self.directory),
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            **self._sources,
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run(
            [command, *options, *arguments], capture_output=True, text=True, check=False, cwd=self.directory
        )
        if done.returncode:
            raise AptError(f"{command} {' '.join(arguments)} fails:\n{done.stdout}{done.stderr}".rstrip())
        return done.stdout


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


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
