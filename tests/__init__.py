"""The tests, with the simulation, the demo and the bench: all of it runs from the root of the repository."""

import sys
from pathlib import Path

import usbbtd

ROOT = Path(__file__).parents[1]
#: Whether usbbtd is what make compiled, or its sources.
IS_COMPILED = Path(usbbtd.__file__).parents[1] != ROOT
#: Installs what is tested.
MAKE = ("make", "-C", str(ROOT), "PURE=" if IS_COMPILED else "PURE=1")

# So bundle.py is found: as a package, that folder would hide Python's own of this name.
sys.path.append(str(ROOT / "packaging"))
