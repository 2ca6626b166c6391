"""A lab that is up in seconds: set up once, saved in the cache, restored as often as one likes."""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.realxen.base import HERE, cached
from tests.realxen.image import image
from tests.realxen.lab import Lab
from tests.realxen.machine import MachineError, find_qemu, processors

#: What a saved lab depends on, besides its image.
_SOURCES = ("agents.py", "lab.py", "machine.py", "snapshot.py")


def new_lab(logs: Path) -> Lab:
    """A lab after ``set_up``: dom0, a driver domain in which usbbtd waits for a dongle, guests attached to it.

    Restored; set up anew where that fails, which is told.
    """
    built = image()
    saved = _saved(built, logs)
    try:
        return Lab(built, logs, saved)
    except MachineError as error:
        sys.stderr.write(f"the saved lab is not restored, so one is set up: {error}\n")
        return _set_up(built, logs)


def _saved(built: Path, logs: Path) -> Path:
    """The directory of the cache with a saved lab; set up and saved if need be."""
    version = subprocess.run([find_qemu(), "--version"], capture_output=True, check=True).stdout
    content = [built.name.encode(), version, bytes([processors()]), *((HERE / name).read_bytes() for name in _SOURCES)]
    key = hashlib.sha256(b"".join(content)).hexdigest()[:16]
    return cached("lab", key, lambda directory: _set_up(built, logs.with_name(f"{logs.name}-set-up")).save(directory))


def _set_up(built: Path, logs: Path) -> Lab:
    lab = Lab(built, logs)
    try:
        lab.set_up()
    except BaseException:
        lab.collect_logs()
        lab.close()
        raise
    return lab
