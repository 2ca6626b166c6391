"""What tests of some guests need, and not every machine has: see ``guest-systems`` in the Makefile."""

import os
import shutil
from pathlib import Path

import pytest


def require(guest: str, *needed: str | Path) -> None:
    """Skips the test if a program, or the file of a path, is missing, and says which.

    Fails it where CI is set, which runs all there is.
    """
    missing = [str(one) for one in needed if not (one.exists() if isinstance(one, Path) else shutil.which(one))]
    if not missing:
        return
    said = f"tests of guests with {guest} are not run without {', '.join(missing)}: make guest-systems installs it"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)
