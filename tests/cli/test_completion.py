"""Bash completion: the files are those of the parsers, and bash does with them what they are for."""

import subprocess
from pathlib import Path

import pytest

from tests import ROOT
from usbbtd.cli import completion

COMPLETIONS = ROOT / "packaging/completions"


def test_the_files_are_those_of_the_parsers(tmp_path: Path) -> None:
    """Otherwise: make completions."""
    completion.main(tmp_path)
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_text() for file in COMPLETIONS.iterdir()}
    assert set(made) == {"usbbtd", "usbbtctl", "usbbt-guest", "usbbt-serial", "usbbt-toolstack"}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("usbbtctl sta", {"status", "stats"}),
        ("usbbtctl --", {"--help", "--socket", "--version"}),
        ("usbbtctl --socket x stats --o", {"--openmetrics", "--output"}),
        ("usbbtctl capture --link ", set()),
        ("usbbtctl capture some", {"some-file"}),
        ("usbbtctl doctor --config some", {"some-file"}),
        ("usbbtd run --c", {"--config"}),
        ("usbbt-guest connect --le ", {"public", "random"}),
        ("usbbt-toolstack watch --config-dir some", {"some-directory"}),
    ],
)
def test_bash_offers_what_fits(line: str, offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "some-directory").mkdir()
    (tmp_path / "some-file").touch()
    program, *_ = words = line.split(" ")
    script = (
        f'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _{program.replace("-", "_")}; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", script, "bash", str(COMPLETIONS / program), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=30, check=True)
    found = set(done.stdout.split())
    assert done.stderr == ""
    assert found == offered | ({"some-directory"} & found if "some-file" in offered else set())
