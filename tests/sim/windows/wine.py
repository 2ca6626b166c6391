"""Windows in a guest of the simulated Xen, as far as Debian's Wine has it, with the library of Xen's drivers for it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT
from tests.sim.hypervisor import LIBRARIES

#: What Debian's packages wine64, wine64-tools and libwine-dev bring.
LOADER = Path("/usr/lib/wine/wine64")
COMPILER = "winegcc-stable"
SERVER = Path("/usr/lib/wine/wineserver64")
LIBRARIES_OF_WINDOWS = Path("/usr/lib/x86_64-linux-gnu/wine/x86_64-windows")
BUILT = ROOT / "build" / "sim" / "windows"
DRIVER_LIBRARY = "xencontrol.dll"


class Wine:
    """A machine with Windows: what its programs have in common, such as the names of mutexes, is in ``prefix``."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix

    @classmethod
    @contextlib.contextmanager
    def start(cls, prefix: Path) -> Iterator["Wine"]:
        """Makes the machine, whose processes end with the block.

        Wine fills a prefix with 690 MB. What programs want of that are files by which Wine finds its own libraries:
        links are enough, and Wine is told that there is nothing to be brought up to date.
        """
        subprocess.run(
            ["make", "-s", "-C", ROOT / "tests/sim/windows", f"OUT={BUILT}", f"LIBRARIES={LIBRARIES}"], check=True
        )
        system = prefix / "drive_c/windows/system32"
        system.mkdir(parents=True)
        for library in LIBRARIES_OF_WINDOWS.iterdir():
            (system / library.name).symlink_to(library)
        (prefix / ".update-timestamp").write_text("disable\n")
        machine = cls(prefix)
        machine._install_driver()
        environment = os.environ | machine.environment
        # What Wine starts before its first program, in a second, stays until none runs: so one does all the time.
        prompt = subprocess.Popen(
            machine.command("cmd.exe"), env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert prompt.stdout
            prompt.stdout.read(1)
            yield machine
        finally:
            subprocess.run([SERVER, "-k"], env=environment, check=False)
            prompt.communicate()

    @contextlib.contextmanager
    def without_driver(self) -> Iterator[None]:
        """Takes xencontrol.dll away, for the time of the block."""
        self._driver.unlink()
        try:
            yield
        finally:
            self._install_driver()

    @property
    def environment(self) -> dict[str, str]:
        """Returns what makes a process one of this machine."""
        return {
            "WINEPREFIX": str(self._prefix),
            "WINEARCH": "win64",
            "WINELOADER": str(LOADER),
            "WINEDLLPATH": str(BUILT),
            "WINEDEBUG": "-all",
            "DISPLAY": "",
        }

    @staticmethod
    def command(program: str | Path, *arguments: object) -> list[str]:
        return [str(LOADER), str(program), *map(str, arguments)]

    @property
    def _driver(self) -> Path:
        """Returns where Xen's drivers for Windows put their library."""
        return self._prefix / "drive_c/windows/system32" / DRIVER_LIBRARY

    def _install_driver(self) -> None:
        self._driver.symlink_to(BUILT / DRIVER_LIBRARY)
