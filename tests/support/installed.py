"""What tests of some guests need, and not every machine has: see ``guest-systems`` in the Makefile."""

import os
import shutil
from pathlib import Path

import pytest


def require(guest: str, *programs: str | Path) -> None:
    """Skips the test if a program is missing, and says which; fails it where CI is set, which runs all there is."""
    missing = [str(program) for program in programs if shutil.which(program) is None]
    if not missing:
        return
    said = f"tests of guests with {guest} are not run without {', '.join(missing)}: make guest-systems installs it"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)
