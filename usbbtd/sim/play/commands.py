"""The commands at the prompt: each runs where its user would, in the guest, the driver domain or a remote device."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from usbbtd.sim.demo import plan
from usbbtd.sim.demo.lab import Lab

#: Commands of usbbtctl that read usbbtd's configuration, which is not where they would look for it.
_READ_CONFIGURATION = "doctor|dump"


def write_commands(lab: Lab) -> Path:
    """Writes them to a folder, for PATH: the folder."""
    folder = lab.directory / "bin"
    folder.mkdir()
    _write(folder / "usbbt-guest", ["usbbtd.cli.guest"])
    _write(folder / "peer-connect", ["usbbtd.sim.play.peer", lab.air_socket(plan.CALLER)])
    _write(
        folder / "usbbtctl", ["usbbtd.cli.ctl", "--socket", str(lab.control)],
        environment=lab.world.environment(plan.DRIVER_DOMAIN),
        first=f'case $1 in {_READ_CONFIGURATION}) set -- "$@" --config {shlex.quote(str(lab.configuration))};; esac\n',
    )  # fmt: skip
    return folder


def _write(path: Path, words: list[str], environment: Mapping[str, str] | None = None, first: str = "") -> None:
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in (environment or {}).items())
    command = shlex.join([sys.executable, "-m", *words])
    path.write_text(f'#!/bin/sh\n{exports}{first}exec {command} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
