"""Builds the C library, and runs its command, or other programs with it, in domains: of Linux or of Windows."""

import os
import signal
import subprocess
from pathlib import Path

from tests import ROOT
from tests.sim.windows.wine import Wine
from tests.support.domain import Domain

SOURCES = ROOT / "clients" / "c"
TIME_LIMIT_S = 30
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def build(directory: Path, *settings: str) -> Path:
    """Builds everything of clients/c, or the targets that are given, without a warning, and returns where."""
    command = ["make", "-s", "-j2", "-C", str(SOURCES), f"OUT={directory}", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return directory


def compile_program(directory: Path, source: Path) -> Path:
    """Compiles a program with the shared library of a build with sanitizers, beside it, and returns its path."""
    flags = ["-std=c11", "-g", *WARNINGS, *SANITIZERS, f"-I{SOURCES / 'include'}"]
    target = directory / source.stem
    libraries = [f"-L{directory}", "-lvl2cap", "-Wl,-rpath,$ORIGIN", f"-Wl,-rpath-link,{directory}"]
    done = subprocess.run(["cc", *flags, "-o", target, source, *libraries], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return target


class Vl2cap:
    """Starts programs of the build in domains, of Windows in ``wine``; what was not stopped is killed at the end."""

    def __init__(self, directory: Path, wine: Wine | None = None) -> None:
        self.directory = directory
        self.wine = wine
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, guest: Domain, *arguments: str, program: str = "vl2cap") -> subprocess.Popen[str]:
        path, wine = self.directory / program, self.wine
        process = subprocess.Popen(
            wine.command(path.with_suffix(".exe"), *arguments) if wine else [str(path), *arguments],
            env=os.environ | guest.world.environment(guest.domid) | (wine.environment if wine else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def run(
        self, guest: Domain, *arguments: str, status: int = 0, text: str = "", program: str = "vl2cap"
    ) -> tuple[str, str]:
        """Standard output and error of a run that ends by itself, of the command or of another program."""
        process = self.start(guest, *arguments, program=program)
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
