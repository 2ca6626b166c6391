"""Builds the C library, and runs its command, or other programs with it, in domains: of Linux or of Windows."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests import ROOT
from tests.sim.windows.wine import Wine
from tests.support.domain import Domain

SOURCES = ROOT / "clients" / "c"
TIME_LIMIT_S = 30
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
MINGW_64, MINGW_32 = "x86_64-w64-mingw32-gcc", "i686-w64-mingw32-gcc"
#: Compilers, with what programs on that system need.
FOR_LINUX = ("cc", *SANITIZERS, "-Wl,-rpath,$ORIGIN")
FOR_WINDOWS = (MINGW_64, "-D_WIN32_WINNT=0x0601", "-D__USE_MINGW_ANSI_STDIO=1", "-DVL2CAP_SHARED")
#: Programs in C over the library: one obeys lines, the other is one use of it after the other.
PROGRAMS = ("lines", "uses")


def build(directory: Path, *settings: str) -> Path:
    """Builds everything of clients/c, or the targets that are given, without a warning, and returns where."""
    command = ["make", "-s", "-j2", "-C", str(SOURCES), f"OUT={directory}", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return directory


def compile_programs(directory: Path, compiler: Sequence[str]) -> None:
    """Compiles what tests do with the shared library of a build, beside it."""
    for name in PROGRAMS:
        files = ["-o", str(directory / name), str(Path(__file__).parent / f"{name}.c")]
        flags = ["-std=c11", "-g", *WARNINGS, f"-I{SOURCES / 'include'}"]
        command = [*compiler, *flags, *files, f"-L{directory}", "-lvl2cap"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


class Vl2cap:
    """Starts programs of the build in domains, of Windows in ``wine``; what was not stopped is killed at the end."""

    def __init__(self, directory: Path, wine: Wine | None = None) -> None:
        self.directory = directory
        self.wine = wine
        self._processes: list[subprocess.Popen[str]] = []

    def start(
        self, guest: Domain, *arguments: str, program: str = "vl2cap", **environment: str
    ) -> subprocess.Popen[str]:
        path, wine = self.directory / program, self.wine
        process = subprocess.Popen(
            wine.command(path.with_suffix(".exe"), *arguments) if wine else [str(path), *arguments],
            env=os.environ | guest.world.environment(guest.domid) | (wine.environment if wine else {}) | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def run(
        self,
        guest: Domain,
        *arguments: str,
        status: int = 0,
        text: str = "",
        program: str = "vl2cap",
        **environment: str,
    ) -> tuple[str, str]:
        """Standard output and error of a run that ends by itself, of the command or of another program."""
        process = self.start(guest, *arguments, program=program, **environment)
        output, errors = process.communicate(text, timeout=TIME_LIMIT_S)
        assert process.returncode == status, (process.returncode, errors)
        return output, errors

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def stop(process: subprocess.Popen[str], by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    """Exit status, and standard error."""
    process.send_signal(by)
    _, errors = process.communicate(timeout=TIME_LIMIT_S)
    return process.returncode, errors
