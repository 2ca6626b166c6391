"""``make install``: everything has its place, and what is installed works without the tree."""

import importlib.metadata
import os
import re
import subprocess
from pathlib import Path

import pytest

from bundle import commands
from tests import MAKE, ROOT
from usbbtd.config import ControlSettings

#: systemd-analyze counts in tenths.
MOST_EXPOSED = {"usbbtd": 15, "usbbt-serial@": 20, "usbbt-toolstack": 20}

#: Directories of which a file in /etc or /run replaces that of the same name in /usr/lib.
SHADOWED = "udev/rules.d|systemd/(?:system|catalog)|(?:sysusers|tmpfiles|modules-load|modprobe|sysctl).d"
#: What tells people to write files.
TEXTS = [
    path
    for pattern in ("*.md", "docs/**/*", "etc/**/*", "systemd/**/*", "packaging/debian/*", "usbbtd/**/*.py")
    for path in ROOT.glob(pattern)
    if path.is_file()
]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("installed") / "usr"
    subprocess.run([*MAKE, "install", f"prefix={path}", f"sysconfdir={path}/etc"], check=True)
    return path


@pytest.mark.parametrize("directory", ["systemd", "docs/man", "packaging/completions", "etc"])
def test_every_file(prefix: Path, directory: str) -> None:
    """Of these directories: one of the rules of install.mk is for it."""
    library = prefix / "lib" / "usbbtd"
    installed = {path.name for path in prefix.rglob("*") if not path.is_relative_to(library)}
    assert {file.name for file in (ROOT / directory).rglob("*") if file.is_file()} <= installed


def test_commands(prefix: Path, tmp_path: Path) -> None:
    """They use what was installed with them, whatever the environment and the directory offer."""
    (tmp_path / "pydantic.py").write_text("raise SystemExit('the wrong pydantic')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert {path.name for path in (prefix / "bin").iterdir()} == set(commands())
    check: list[str | Path] = [
        prefix / "bin" / "usbbtd",
        "check-config",
        "--config",
        prefix / "etc" / "usbbtd" / "usbbtd.toml",
    ]
    assert subprocess.run(check, env=environment, cwd=tmp_path, check=False).returncode == 0
    library = prefix / "lib" / "usbbtd"
    assert not (library / "tests").exists()
    (distribution,) = importlib.metadata.distributions(name="usbbtd", path=[str(library)])
    assert distribution.version


@pytest.mark.parametrize(("service", "most"), MOST_EXPOSED.items())
def test_units(prefix: Path, service: str, most: int) -> None:
    """They start the command that was installed, and are confined."""
    unit = prefix / "lib" / "systemd" / "system" / f"{service}.service"
    (start,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert start.removeprefix("ExecStart=").split()[0] == str(prefix / "bin" / service.rstrip("@"))
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_groups(prefix: Path, tmp_path: Path) -> None:
    """Who may ask on the control socket may not open Xen's devices, which the service and programs of guests may."""
    (tmp_path / "etc").mkdir()
    for part in ("usbbt-guest", "usbbtd"):
        subprocess.run(["systemd-sysusers", f"--root={tmp_path}", prefix / f"lib/sysusers.d/{part}.conf"], check=True)
    lines = [line.split(":") for line in (tmp_path / "etc" / "group").read_text().splitlines()]
    assert {name: members for name, _, _, members in lines} == {"usbbtd": "", "usbbt-xen": "usbbtd"}
    rules = "".join(path.read_text() for path in (prefix / "lib/udev/rules.d").glob("*"))
    assert set(re.findall('GROUP="(.*?)"', rules)) == {"usbbt-xen"}
    assert ControlSettings().group == "usbbtd"


def test_nothing_is_shadowed(prefix: Path) -> None:
    """No text has people write a file that would replace one that was installed."""
    ours = {str(path.relative_to(prefix / "lib")) for path in (prefix / "lib").rglob("*") if path.is_file()}
    assert "udev/rules.d/70-usbbtd-xen.rules" in ours
    named = re.compile(rf"/(?:etc|run|usr/local/lib)/((?:{SHADOWED})/[\w.@-]+)")
    written = re.compile(r"(?:>|\btee|\b(?:cp|install) .*) *\{?(/etc/usbbtd/[\w./-]+)")
    configuration = {f"/{path.relative_to(prefix)}" for path in (prefix / "etc").rglob("*") if path.is_file()}
    assert "/etc/usbbtd/usbbtd.toml" in configuration
    for text in TEXTS:
        content = text.read_text(encoding="utf-8").replace("\\-", "-")
        assert not ours.intersection(named.findall(content)), text
        assert not configuration.intersection(written.findall(content)), text
