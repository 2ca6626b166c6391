"""Compiles the C client for serial lines, its command, and the program that obeys lines."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests import ROOT
from tests.clients.programs import SANITIZERS
from tests.serial.c_client import FLAGS, SOURCES

FOR_TESTS = ("cc", "-g", *SANITIZERS)
_FLAGS = [*FLAGS, f"-I{SOURCES / 'tool'}", "-DVLS_MTU=2048", "-DVLS_OBJECTS=6", "-DVLS_CREDITS=3"]
_LINES = [
    ROOT / "tests/clients/serial_lines.c", SOURCES / "src/vl2cap_serial.c", SOURCES / "tool/session.c",
    SOURCES / "tool/line_posix.c",
]  # fmt: skip


def build(path: Path) -> Path:
    """Builds the command and the program that obeys lines, ``lines``, with sanitizers, and returns where."""
    subprocess.run(["make", "-s", "-C", SOURCES, f"OUT={path}", "SANITIZE=address,undefined"], check=True)
    compile_lines(FOR_TESTS, path / "lines")
    return path


def compile_lines(compiler: Sequence[str], path: Path) -> None:
    subprocess.run([*compiler, *_FLAGS, "-o", path, *_LINES], check=True)
