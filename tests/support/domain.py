"""Domains of the simulated Xen as tests have them, and processes in them: see conftest.py."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.sim.world import World

_TIME_LIMIT_S = 30
_NUMBER_LIMIT = 32  # digits

DomainCode = Callable[..., Coroutine[Any, Any, Any]]


class DomainProcess:
    """A function that runs in a domain, in a fork of ``forks``."""

    def __init__(
        self, forks: socket.socket, environment: dict[str, str], function: DomainCode, arguments: tuple[object, ...]
    ) -> None:
        with contextlib.ExitStack() as self._held:
            self._output, self._errors = self._hold(os.memfd_create("output")), self._hold(os.memfd_create("errors"))
            ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._ear = self._held.enter_context(ear)
            with mouth:
                request = [environment, function.__module__, function.__name__, arguments]
                socket.send_fds(forks, [json.dumps(request).encode()], [self._output, self._errors, mouth.fileno()])
            ear.settimeout(_TIME_LIMIT_S)
            _, (process,), _, _ = socket.recv_fds(ear, _NUMBER_LIMIT, 1)
            self._process = self._hold(process)
            self._held = self._held.pop_all()
        self._status: int | None = None

    def wait(self) -> int:
        """Its exit status, or minus the number of the signal that ended it. TimeoutError."""
        if self._status is None:
            self._status = int(self._ear.recv(_NUMBER_LIMIT))
        return self._status

    def result(self) -> Any:
        """What the function returned; when it raised, the test fails with its traceback."""
        status = self.wait()
        if (errors := _content(self._errors)) or status:
            pytest.fail(f"in the domain (status {status}):\n{errors}", pytrace=False)
        return json.loads(_content(self._output))

    def kill(self) -> None:
        """As a crash: nothing is closed or said. Also when it has ended."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            self.wait()
        self._held.close()

    def _hold(self, descriptor: int) -> int:
        self._held.callback(os.close, descriptor)
        return descriptor


def _content(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode()


class Domain:
    """A domain of the simulated Xen."""

    def __init__(self, world: World, domid: int, forks: socket.socket) -> None:
        self.domid = domid
        self.world = world
        self._forks = forks
        self.home = f"/local/domain/{domid}"
        self._processes: list[DomainProcess] = []

    def start(self, function: DomainCode, *arguments: object) -> DomainProcess:
        process = DomainProcess(self._forks, self.world.environment(self.domid), function, arguments)
        self._processes.append(process)
        return process

    def run(self, function: DomainCode, *arguments: object) -> Any:
        return self.start(function, *arguments).result()

    def kill(self) -> None:
        """Its processes end, as in a crash. Idempotent."""
        for process in self._processes:
            process.kill()

    def destroy(self) -> None:
        """Kills its processes, too. Idempotent."""
        self.kill()
        with contextlib.suppress(ProcessLookupError):
            self.world.destroy_domain(self.domid)


NewDomain = Callable[[], Domain]
