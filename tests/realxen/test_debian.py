"""Packages out of an archive that changes while they are taken; apt is the machine's own."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.realxen.choice import IncompleteError, Package
from tests.realxen.debian import AptError, Archive


class Mirror:
    """A package archive in a directory, whose index and files can be of different times."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self._label = name
        self._stanzas: list[str] = []
        self._written = 0
        self._write_index()

    def line(self) -> str:
        return f"deb [trusted=yes] copy:{self.directory} ./\n"

    def publish(self, name: str, version: str, *, depends: str = "") -> Path:
        """Puts a package beside those that are there and into the index."""
        tree = self.directory / f"{name}-{version}"
        control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody\nDescription: none\n"
        if depends:
            control += f"Depends: {depends}\n"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(control)
        package = self.directory / f"{name}_{version.rpartition(':')[2]}_all.deb"  # a pool's files have no epoch
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, capture_output=True)
        content = package.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self._stanzas.append(f"{control}Filename: ./{package.name}\nSize: {len(content)}\nSHA256: {digest}\n")
        self._write_index()
        return package

    def withdraw(self) -> None:
        """Takes all packages out of the index, and their files away."""
        self._stanzas.clear()
        self._write_index()
        for package in self.directory.glob("*.deb"):
            package.unlink()

    def _write_index(self) -> None:
        """Writes it with a later date each time, by which apt knows that it is another one."""
        index = "".join(f"{stanza}\n" for stanza in self._stanzas)
        digest = hashlib.sha256(index.encode()).hexdigest()
        (self.directory / "Packages").write_text(index)
        (self.directory / "Release").write_text(
            f"Label: {self._label}\nSuite: stable\nCodename: stable\nSHA256:\n {digest} {len(index)} Packages\n"
        )
        self._written += 1
        for name in ("Packages", "Release"):
            os.utime(self.directory / name, (self._written, self._written))


@pytest.fixture
def release(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path, "Debian")


@pytest.fixture
def security(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path, "Debian-Security")


@pytest.fixture
def archive(tmp_path: Path, release: Mirror, security: Mirror) -> Archive:
    (tmp_path / "sources.list").write_text(release.line() + security.line())
    return Archive(tmp_path / "cache", sources=tmp_path / "sources.list")


def test_package_that_vanished_between_index_and_download(
    archive: Archive, release: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    release.publish("tool", "1:1.0-1", depends="library")
    release.publish("library", "1.0-1")
    archive.agreeing(lambda: archive.listed("tool"))  # reads the index
    release.withdraw()
    release.publish("tool", "1:1.0-2", depends="library")
    release.publish("library", "1.0-2")
    taken = archive.agreeing(lambda: archive.download_with_dependencies(["tool"]))
    assert sorted(taken) == ["library_1.0-2_all.deb", "tool_1%3a1.0-2_all.deb"]
    assert all((archive.directory / name).exists() for name in taken)
    assert "Reading the index of Debian's packages anew" in capsys.readouterr().out


def test_package_whose_file_is_nowhere(archive: Archive, release: Mirror) -> None:
    release.publish("tool", "1.0-1").unlink()
    with pytest.raises(AptError, match=r"tool_1\.0-1_all\.deb"):
        archive.agreeing(lambda: archive.download(Package("tool", "1.0-1")))


def test_version_is_taken_though_another_one_is_in_the_cache(archive: Archive, release: Mirror) -> None:
    for version in ("1:1.0-1", "1:1.0-2"):
        release.publish("tool", version)
    archive.agreeing(lambda: archive.listed("tool"))
    for version in ("1:1.0-2", "1:1.0-1", "1:1.0-2"):
        taken = archive.download(Package("tool", version))
        assert taken.name == f"tool_{version.replace(':', '%3a')}_all.deb"


def test_all_versions_are_listed(archive: Archive, release: Mirror, security: Mirror) -> None:
    release.publish("tool", "1.0-1")
    security.publish("tool", "1.0-2")
    release.publish("tool-not", "1.0-1")
    assert set(archive.agreeing(lambda: archive.listed("tool"))) == {Package("tool", "1.0-1"), Package("tool", "1.0-2")}


def test_release_where_the_security_archive_is_in_between(
    archive: Archive, release: Mirror, security: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, depends in (("tool", "library (= 1.0-1)"), ("library", "")):
        release.publish(name, "1.0-1", depends=depends)
    security.publish("tool", "1.0-2", depends="library (= 1.0-2)")
    taken = archive.agreeing(lambda: archive.download_with_dependencies(["tool"]))
    assert sorted(taken) == ["library_1.0-1_all.deb", "tool_1.0-1_all.deb"]
    assert "Trying without the security archive" in capsys.readouterr().out
    assert archive.download(Package("tool", "1.0-2")).exists()  # for once only: what comes later may be of both


def test_choice_that_is_incomplete_in_an_old_index(archive: Archive, release: Mirror) -> None:
    def both() -> list[Package]:
        listed = [*archive.listed("tool"), *archive.listed("library")]
        if len(listed) == 1:
            raise IncompleteError(str(listed))
        return listed

    release.publish("tool", "1.0-1")
    archive.agreeing(lambda: archive.listed("tool"))
    release.publish("library", "1.0-1")
    assert archive.agreeing(both) == [Package("tool", "1.0-1"), Package("library", "1.0-1")]


def test_sentence_says_what_is_missing(archive: Archive, release: Mirror) -> None:
    release.publish("tool", "1.0-1", depends="library (= 1.0-2)")
    release.publish("library", "1.0-1")
    with pytest.raises(AptError, match=r"tool : Depends: library \(= 1\.0-2\)"):
        archive.agreeing(lambda: archive.download_with_dependencies(["tool"]))
