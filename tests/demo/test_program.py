"""The programs of the simulation, with outputs that fail: they end as the commands do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from usbbtd.cli.program import CANNOT_WRITE

programs = pytest.mark.parametrize("name", ["demo", "play", "bench"])


def start(name: str, *arguments: str, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", f"tests.{name}", *arguments]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


@programs
def test_a_reader_that_has_gone(name: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    running = start(name, "--output", str(tmp_path), stdout=writing)
    os.close(writing)
    assert (running.communicate()[1], running.returncode) == ("", 141)


@programs
def test_a_full_disk(name: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        running = start(name, "--output", str(tmp_path), stdout=full)
        said = running.communicate()[1]
    assert said == f"{name}: cannot write standard output: No space left on device\n"
    assert running.returncode == CANNOT_WRITE
