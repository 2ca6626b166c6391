"""A simulated Xen as tests and the demo use it: start it, make domains, attach devices, look at what is left."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.sim.hypervisor import LIBRARIES
from tests.sim.toolstack import NodeWrite
from usbbtd.l2capif.nodes import DOMAIN, VL2CAP
from usbbtd.nodes import BACKEND, BACKEND_ID, FRONTEND, FRONTEND_ID, NAME, ONLINE, STATE, DeviceClass, home
from usbbtd.usb.nodes import NUM_PORTS, PORTS, VUSB

INITIALISING = "1"
CLOSING = "5"
CLOSED = "6"

_PATH_MAX = 80  # of the directory: names in it must fit into sun_path


class World:
    """Speaks to the daemon of the world in `directory`. Calls block for one answer's time; failures are OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()

    @classmethod
    @contextlib.contextmanager
    def start(cls, directory: Path) -> Iterator[World]:
        """Runs `python -m tests.sim` until the block ends, with dom0. It ends with this process too, but not by ^C."""
        directory = directory.resolve()
        if len(os.fsencode(directory)) > _PATH_MAX:
            raise OSError(errno.ENAMETOOLONG, f"{directory}: sockets need a path of at most {_PATH_MAX} bytes")
        if not (LIBRARIES / "libxensim.so").exists():
            raise FileNotFoundError(errno.ENOENT, f"{LIBRARIES}: not built: run `make -C tests/sim/lib`")
        command = [sys.executable, "-m", "tests.sim", str(directory), "--lifeline"]
        pipe = subprocess.PIPE
        with _interrupts_wait():
            daemon = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
        with daemon:
            try:
                assert daemon.stdout
                if not daemon.stdout.readline():
                    raise ChildProcessError(errno.ECHILD, f"the simulated Xen ended with status {daemon.wait()}")
                yield cls(directory)
            finally:
                daemon.terminate()

    def environment(self, domid: int) -> dict[str, str]:
        """What makes a process one of that domain. The stand-ins come before the real libraries."""
        others = os.environ.get("LD_LIBRARY_PATH")
        return {
            "XENSIM_DIR": str(self.directory),
            "XENSIM_DOMID": str(domid),
            "XENSTORED_PATH": str(self.directory / f"xenstored.{domid}"),
            "LD_LIBRARY_PATH": f"{LIBRARIES}:{others}" if others else str(LIBRARIES),
        }

    @property
    def pid(self) -> int:
        """Of the process that is the hypervisor, xenstored and dom0's toolstack."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.directory / "toolstack"))
            (pid,) = struct.unpack("i8x", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def create_domain(self, domid: int, name: str) -> None:
        """With the nodes that xl makes, so not `backend`: that comes with the first device, and is dom0's."""
        self._ask({"do": "create", "domid": domid, "name": name})

    def destroy_domain(self, domid: int) -> None:
        """Its processes must be dead. Its nodes go; other domains' backend directories for it stay, as with xl."""
        self._ask({"do": "destroy", "domid": domid})

    def attach_vl2cap(self, guest: int, driver_domain: int, devid: int = 0, **config: str) -> None:
        """`config`: what the administrator wrote on the config line; nodes of the backend directory, as the name is."""
        config = {DOMAIN: self.read(f"{home(guest)}/{NAME}") or ""} | config
        self._attach(VL2CAP, guest, driver_domain, devid, config)

    def detach_vl2cap(self, guest: int, driver_domain: int, devid: int = 0, *, timeout_s: float = 10) -> None:
        """Asks the backend to close, gives it `timeout_s` for that, then removes the nodes of both ends in any case."""
        self._detach(VL2CAP, guest, driver_domain, devid, timeout_s)

    def attach_vusb(self, frontend: int, backend: int, devid: int = 0, *, ports: int = 4, usb_version: int = 2) -> None:
        """A virtual USB host controller of type qusb, with nothing plugged in."""
        config = {"type": "qusb", "usb-ver": str(usb_version), NUM_PORTS: str(ports), PORTS: ""}
        config |= {f"{PORTS}/{port}": "" for port in range(1, ports + 1)}
        self._attach(VUSB, frontend, backend, devid, config)

    def detach_vusb(self, frontend: int, backend: int, devid: int = 0, *, timeout_s: float = 10) -> None:
        self._detach(VUSB, frontend, backend, devid, timeout_s)

    def read(self, path: str) -> str | None:
        """As dom0. None: there is no such node."""
        value: str | None = self._ask({"do": "read", "path": path})
        return value

    def wait_value(self, path: str, *values: str | None, timeout_s: float = 10) -> str | None:
        """Until the node has one of these values (None: it is not there): that one. TimeoutError."""
        value: str | None = self._ask({"do": "wait", "path": path, "values": values, "timeout_s": timeout_s})
        return value

    def change_store(self, remove: Iterable[str] = (), write: Iterable[NodeWrite] = ()) -> None:
        """As dom0 in one transaction: removes those of the paths that exist, with parents left empty; then writes."""
        self._ask({"do": "store", "remove": list(remove), "write": list(write)})

    def statistics(self) -> dict[int, dict[str, int]]:
        """By domid: shared, mapped (pages), ports, handles, processes; nodes, watches, connections, transactions."""
        return {int(domid): counts for domid, counts in self._ask({"do": "statistics"}).items()}

    def _attach(self, kind: DeviceClass, frontend: int, backend: int, devid: int, config: dict[str, str]) -> None:
        """The nodes of libxl__device_generic_add."""
        frontend_path, backend_path = _paths(kind, frontend, backend, devid)
        if self.read(frontend_path) is not None:
            raise FileExistsError(errno.EEXIST, f"{frontend_path}: there is such a device")
        front = {BACKEND: backend_path, BACKEND_ID: str(backend), STATE: INITIALISING}
        back = {FRONTEND: frontend_path, FRONTEND_ID: str(frontend), ONLINE: "1", STATE: INITIALISING} | config
        nodes: list[NodeWrite] = [(frontend_path, "", [f"n{frontend}", f"r{backend}"])]
        nodes += [(f"{frontend_path}/{key}", value, None) for key, value in front.items()]
        nodes += [(backend_path, "", [f"n{backend}", f"r{frontend}"])]
        nodes += [(f"{backend_path}/{key}", value, None) for key, value in back.items()]
        self.change_store(write=nodes)

    def _detach(self, kind: DeviceClass, frontend: int, backend: int, devid: int, timeout_s: float) -> None:
        frontend_path, path = _paths(kind, frontend, backend, devid)
        try:
            if self.read(f"{path}/{STATE}") not in (None, CLOSED):
                self.change_store(write=[(f"{path}/{ONLINE}", "0", None), (f"{path}/{STATE}", CLOSING, None)])
                self.wait_value(f"{path}/{STATE}", CLOSED, None, timeout_s=timeout_s)
        except TimeoutError:
            pass  # as libxl: what does not close in time is taken away
        self.change_store(remove=[frontend_path, path])

    def _ask(self, request: dict[str, Any]) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.directory / "toolstack"))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline())
        if "error" in answer:
            raise OSError(getattr(errno, answer["error"]), answer["message"])
        return answer["result"]


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """^C, which also ends a child that is not yet in a session of its own, comes behind the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _paths(kind: DeviceClass, frontend: int, backend: int, devid: int) -> tuple[str, str]:
    """The directories of both ends of a device."""
    return f"{home(frontend)}/{kind.frontend_path(devid)}", f"{home(backend)}/{kind.backend_path(frontend, devid)}"
