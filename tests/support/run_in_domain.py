"""Runs coroutine functions, each in a process of its own: see conftest.py.

A new Python that imports what these functions want costs 0.5 s, a fork of one that has it 0.01 s. So this is started
once, with the simulated Xen's libraries in LD_LIBRARY_PATH. It opens no Xen device itself: no handle survives a fork.

Standard input is a socket of requests, each a JSON list [environment, module, function, arguments] with three files:
the function's result goes into the first as JSON, standard error into the second; the third, a socket, gets the
process's descriptor and, when it has ended, its status.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import os
import select
import socket
import sys
from typing import NamedTuple

_REQUEST_LIMIT = 1 << 17
_IMPORTED = ("hypothesis", "tests.support.domain", "usbbtd.guest", "usbbtd.l2capif.backend")


class Request(NamedTuple):
    environment: dict[str, str]
    module: str
    function: str
    arguments: list[object]


def serve(requests: socket.socket) -> Request | None:
    """Forks for each request and returns it, in the fork. None: there will be no more."""
    running: dict[int, tuple[int, socket.socket]] = {}  # by the process's descriptor: its pid, whom to tell of its end
    events = select.poll()
    events.register(requests, select.POLLIN)
    while True:
        for descriptor, _ in events.poll():
            if descriptor in running:
                events.unregister(descriptor)
                os.close(descriptor)
                pid, starter = running.pop(descriptor)
                with starter:
                    _tell(starter, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])), [])
                continue
            message, files, _, _ = socket.recv_fds(requests, _REQUEST_LIMIT, 3)
            if not message:
                return None
            if not (pid := os.fork()):
                for inherited in (requests, *(starter for _, starter in running.values())):
                    inherited.detach()
                output, errors, _ = files
                for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), output, errors)):
                    os.dup2(file, number)
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                return Request(*json.loads(message))
            *files, ear = files
            for file in files:
                os.close(file)
            process = os.pidfd_open(pid)
            starter = socket.socket(fileno=ear)
            _tell(starter, "started", [process])
            running[process] = pid, starter
            events.register(process, select.POLLIN)


def _tell(starter: socket.socket, message: str, files: list[int]) -> None:
    """A starter that has gone wants to know nothing."""
    with contextlib.suppress(ConnectionError):
        socket.send_fds(starter, [message.encode()], files)


def run(request: Request) -> None:
    os.environ.update(request.environment)
    function = getattr(importlib.import_module(request.module), request.function)
    json.dump(asyncio.run(function(*request.arguments)), sys.stdout)


if __name__ == "__main__":
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # what is shared with the forks stays shared
    with socket.socket(fileno=0) as requests:
        request = serve(requests)
    if request:
        run(request)
