"""The commands at the prompt: each runs where its user would, in the guest, the driver domain or a remote device."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from tests import ROOT
from tests.demo import plan
from tests.demo.lab import DemoLab
from usbbtd.cli import ctl
from usbbtd.cli.completion import options, parsers

_DOCTOR = """\
case $1 in doctor) echo "play: this Xen is simulated: the checks of Xen and of /dev/xen must fail here" >&2;; esac
"""


def write_commands(lab: DemoLab) -> Path:
    """Writes them to a folder, for PATH: the folder."""
    folder = lab.directory / "bin"
    folder.mkdir()
    _write(folder / "usbbt-guest", ["usbbtd.cli.guest"])
    # From wherever it is typed: usbbtd is where this process has it, or installed.
    path = ":".join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    _write(
        folder / "peer-connect", ["tests.play.peer", lab.air_socket(plan.CALLER)], environment={"PYTHONPATH": path}
    )  # fmt: skip
    _write(folder / "gatt", ["tests.play.gatt"], environment={"PYTHONPATH": path})
    _write(
        folder / "usbbtctl", ["usbbtd.cli.ctl", "--socket", str(lab.control)],
        environment=lab.world.environment(plan.DRIVER_DOMAIN),
        first=_DOCTOR + _configured(str(lab.configuration)),
    )  # fmt: skip
    return folder


def _configured(configuration: str) -> str:
    """Gives usbbtd's configuration to commands of usbbtctl that take one; one that is typed comes later, and wins."""
    cases = [
        f'"{path[1:]} "*) shift {len(words)}; set --{path} --config {shlex.quote(configuration)} "$@";;\n'
        for path, parser in parsers(ctl.make_parser())
        if "--config" in options(parser) and (words := path.split())
    ]
    return f'case "$* " in\n{"".join(cases)}esac\n'


def _write(path: Path, words: list[str], environment: Mapping[str, str] | None = None, first: str = "") -> None:
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in (environment or {}).items())
    command = shlex.join([sys.executable, "-m", *words])
    path.write_text(f'#!/bin/sh\n{exports}{first}exec {command} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
