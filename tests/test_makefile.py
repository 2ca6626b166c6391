"""The Makefile's way of getting system packages, with an archive that changes meanwhile."""

import os
import subprocess
from pathlib import Path

from tests import ROOT

PACKAGE = "usbbtd-no-such-package"
APT_GET = """\
#!/bin/sh
echo $1 >> {log}
[ $1 = update ] || case "$*" in *" --no-remove "*) ;; *) exit 1; esac
[ $1 = update ] || [ $(grep -c install {log}) -gt {failures} ]
"""


def get(
    directory: Path, failures: int, *, stamp_of: str = "SYSTEM", target: str = "", **variables: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Has make want a package of an apt-get that fails so many times; what make did, and what apt-get was asked.

    ``target``: what wants the stamp ``stamp_of``; "": the stamp itself is made.
    """
    log, stamp = directory / "log", directory / "stamp"
    for name, text in {"apt-get": APT_GET.format(log=log, failures=failures), "sudo": '#!/bin/sh\nexec "$@"\n'}.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"} | {"CI": ""} | variables
    command = ["make", "-C", str(ROOT), f"{stamp_of}={stamp}", f"SYSTEM_PACKAGES={PACKAGE}", target or str(stamp)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert stamp.exists() == (failures < 2)
    return done, log.read_text().split()


def test_vanished(tmp_path: Path) -> None:
    """What has vanished from the mirror since its index was read is had by a new index."""
    done, asked = get(tmp_path, 1)
    assert (done.returncode, asked) == (0, ["update", "install"] * 2)


def test_missing(tmp_path: Path) -> None:
    """What is not to be had is named."""
    done, asked = get(tmp_path, 9)
    assert done.returncode
    assert asked == ["update", "install"] * 2
    assert f"apt-get install {PACKAGE}" in done.stderr


def test_guests(tmp_path: Path) -> None:
    """What only tests of some guests want may be missing, but not in CI."""
    for number, (ci, fails) in enumerate([("", False), ("1", True)]):
        directory = tmp_path / str(number)
        directory.mkdir()
        done, _ = get(directory, 9, stamp_of="GUEST_SYSTEMS", target="guest-systems", CI=ci)
        assert bool(done.returncode) == fails
        assert f"apt-get install {PACKAGE}" in done.stderr
        assert ("are not run" in done.stderr) != fails
