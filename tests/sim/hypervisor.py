"""Domains and their processes. The tables are C's (lib/world.h); here is who enters, and who has gone."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import struct
from pathlib import Path

import structlog

from tests import ROOT

LIBRARIES = ROOT / "build" / "sim" / "lib"

_WELCOME = struct.Struct("=iI")  # struct sim_welcome
_COUNTS = ("shared", "mapped", "ports", "handles", "processes")  # SIM_COUNT_* in this order

log = structlog.get_logger("tests.sim")


class Hypervisor:
    """Listens at `directory`/hypervisor. A process of a domain is a connection: when it ends, the process is dead."""

    def __init__(self, directory: Path) -> None:
        self._c = ctypes.CDLL(str(LIBRARIES / "libxensim.so"), use_errno=True)
        world, pages = ctypes.c_int(-1), ctypes.c_int(-1)
        self._check(self._c.sim_world_create(os.fsencode(directory), ctypes.byref(world), ctypes.byref(pages)))
        self._files = (world.value, pages.value)
        self._processes: dict[socket.socket, tuple[int, int]] = {}  # process, domid
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._listener.bind(str(directory / "hypervisor"))
        self._listener.listen(128)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def create_domain(self, domid: int) -> None:
        """OSError EEXIST, EINVAL, ENOSPC."""
        self._check(self._c.sim_domain_create(domid))

    def destroy_domain(self, domid: int) -> None:
        """Takes away what the domain has. Pages that others still map live until those unmap them. OSError ESRCH."""
        for connection in [c for c, (_, of) in self._processes.items() if of == domid]:
            self._leave(connection)
        self._check(self._c.sim_domain_destroy(domid))

    def statistics(self, domid: int) -> dict[str, int]:
        """OSError ESRCH."""
        counts = (ctypes.c_uint32 * len(_COUNTS))()
        self._check(self._c.sim_domain_statistics(domid, counts))
        return dict(zip(_COUNTS, counts, strict=True))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for connection in list(self._processes):
            self._leave(connection)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        asyncio.get_running_loop().add_reader(connection, self._greet, connection)

    def _greet(self, connection: socket.socket) -> None:
        """The first message of a process is its domid; the answer carries the world. There is no second."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(connection)
        try:
            greeting = connection.recv(8)
            domid = int.from_bytes(greeting, "little") if len(greeting) == 4 else 0xFFFF
            process = self._c.sim_process_enter(domid)
            if process < 0:
                connection.send(_WELCOME.pack(ctypes.get_errno(), 0))
                connection.close()
                return
            self._processes[connection] = process, domid
            loop.add_reader(connection, self._leave, connection)
            socket.send_fds(connection, [_WELCOME.pack(0, process)], self._files)
        except OSError as error:
            log.debug("greeting failed", reason=str(error))
            self._leave(connection)

    def _leave(self, connection: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(connection)
        connection.close()
        process, domid = self._processes.pop(connection, (None, None))
        if process is not None:
            self._c.sim_process_leave(process)
            log.debug("process gone", domid=domid, process=process)

    def _check(self, result: int) -> None:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{errno.errorcode.get(code, code)}: {os.strerror(code)}")
