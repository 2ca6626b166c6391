"""libxenevtchn.so.1 has the symbols of the real library, in the same versions; so has libxengnttab.so.1."""

import subprocess
from pathlib import Path

import pytest


def exported(library: Path | str) -> set[tuple[str, ...]]:
    lines = subprocess.run(["objdump", "-T", library], capture_output=True, text=True, check=True).stdout.splitlines()
    return {tuple(line.split()[-2:]) for line in lines if " DF .text" in line}


@pytest.mark.parametrize("name", ["libxenevtchn.so.1", "libxengnttab.so.1"])
def test_symbols(libraries: Path, name: str) -> None:
    real = subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
    assert exported(libraries / name) == exported(real)
