"""The air of btvirt, BlueZ's emulator of controllers: dual-mode ones, with one buffer of 192 octets for each transport.

The names of its sockets are fixed, so that one starts at a time; then its socket gets a name of its own.
"""

import asyncio
import fcntl
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.sim.hypervisor import LIBRARIES
from tests.sim.virtual_air import ServedAir, wait_until

_DIRECTORY = Path("/tmp")
#: In the order in which btvirt makes them; the first is of controllers with BR/EDR and LE.
_SOCKETS = [_DIRECTORY / f"bt-server-{kind}" for kind in ("bredrle", "bredr", "amp", "le", "mon")]


@asynccontextmanager
async def btvirt_air() -> AsyncIterator[ServedAir]:
    """Starts a btvirt and ends it. Raises FileNotFoundError where it is not installed."""
    with tempfile.TemporaryDirectory(prefix="btvirt-", dir=_DIRECTORY) as directory:
        path = Path(directory) / "h4"
        process = await asyncio.to_thread(_start, path)
        air = ServedAir("btvirt", lambda new: asyncio.get_running_loop().create_unix_connection(new, str(path)))
        try:
            yield air
        finally:
            await air.close()
            process.terminate()
            process.wait()


def _start(path: Path) -> subprocess.Popen[bytes]:
    with open(_DIRECTORY / "bt-server.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for socket in _SOCKETS:
            socket.unlink(missing_ok=True)
        environment = os.environ | {"LD_PRELOAD": str(LIBRARIES / "libalg.so")}
        process = subprocess.Popen(["btvirt", "-s"], env=environment, stdout=subprocess.DEVNULL)
        wait_until(_SOCKETS[-1].exists, process)
        _SOCKETS[0].rename(path)
        for socket in _SOCKETS[1:]:
            with suppress(FileNotFoundError):
                socket.unlink()
    return process
