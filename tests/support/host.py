"""dom0 of the simulated Xen for tests of usbbt-toolstack: domains with names, usbbtd in some, the command itself.

Tests get it as the fixture ``host``.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Self

from tests.sim.configuration import write_configuration
from tests.sim.world import World
from tests.support.stack import Process
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.nodes import BACKEND, ONLINE, RECORDS, home

DOM0 = 0
TIME_LIMIT_S = 30


class Host:
    """All that it starts and makes ends with it."""

    def __init__(self, world: World, domids: Iterator[int]) -> None:
        self.world = world
        self._domids = domids
        self._domains: dict[int, list[Process]] = {}  # processes by domid
        self._dom0: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._dom0:
            process.kill()
        for domid in list(self._domains):
            self.destroy(domid)

    def create(self, name: str, domid: int | None = None) -> int:
        """``domid``: of one that has been destroyed, to be used again."""
        domid = next(self._domids) if domid is None else domid
        self.world.create_domain(domid, name)
        self._domains[domid] = []
        return domid

    def rename(self, domid: int, name: str) -> None:
        self.world.change_store(write=[(f"/local/domain/{domid}/name", name, None)])

    def destroy(self, domid: int) -> None:
        """As xl destroy."""
        for process in self._domains.pop(domid):
            process.kill()
        with contextlib.suppress(ProcessLookupError):
            self.world.destroy_domain(domid)

    def serve(self, domid: int) -> Process:
        """usbbtd runs there, without a dongle."""
        config = write_configuration(self.world.directory, "")
        process = Process(self.world, domid, "-m", "usbbtd", "run", "--config", config)
        self._domains[domid].append(process)
        process.wait_logged("usbbtd starts")
        return process

    def watch(self, *arguments: object, **environment: str) -> Process:
        process = Process(self.world, DOM0, "-m", "usbbtd.cli.toolstack", "watch", *arguments, **environment)
        self._dom0.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """(standard output, standard error) of a command that was started."""
        try:
            return process.communicate(timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # nobody who waits for its end is to wait for ever
            raise

    def start(self, *arguments: object, domid: int = DOM0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "usbbtd.cli.toolstack", *map(str, arguments)],
            env=os.environ | self.world.environment(domid),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, status: int = 0, domid: int = DOM0) -> str:
        """Standard output where it succeeds, standard error where it fails."""
        with self.start(*arguments, domid=domid) as process:
            output, errors = self.finish(process)
        assert process.returncode == status, output + errors
        return errors if status else output

    @staticmethod
    def backend(guest: int, driver: int, devid: int = 0) -> str:
        """The backend's directory."""
        return f"{home(driver)}/{VL2CAP.backend_path(guest, devid)}"

    def nodes(self, guest: int, devid: int = 0) -> tuple[str | None, ...]:
        """What is left of a device: (frontend's backend, the record's backend, the record's online)."""
        record = f"{RECORDS}/{guest}/{VL2CAP.frontend_path(devid)}"
        paths = (f"{home(guest)}/{VL2CAP.frontend_path(devid)}/{BACKEND}", f"{record}/{BACKEND}", f"{record}/{ONLINE}")
        return tuple(self.world.read(path) for path in paths)
