"""The tests, with the simulation, the demo and the bench: all of it runs from the root of the repository."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# So bundle.py is found: as a package, that folder would hide Python's own of this name.
sys.path.append(str(ROOT / "packaging"))
