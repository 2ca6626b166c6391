"""The air of rootcanal, Android's virtual controller. Buffers: 10 of 1024 octets, and for LE 20 of 27."""

import asyncio
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rootcanal.binaries import get_package_binary_resource_path

from tests.sim.virtual_air import ServedAir, wait_until

#: It listens for tests, for two kinds of other airs, and for hosts, in this order. The kernel chooses the ports.
_PORTS = ("-test_port=0", "-hci_port=0", "-link_port=0", "-link_ble_port=0")
_HCI = 3


@asynccontextmanager
async def rootcanal_air() -> AsyncIterator[ServedAir]:
    """Starts a rootcanal and ends it."""
    with tempfile.TemporaryDirectory() as directory:
        process, port = await asyncio.to_thread(_start, Path(directory) / "log")
        air = ServedAir("rootcanal", lambda new: asyncio.get_running_loop().create_connection(new, "127.0.0.1", port))
        try:
            yield air
        finally:
            await air.close()
            process.terminate()
            process.wait()


def _start(log_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Returns the process and the port for hosts."""
    with log_path.open("wb") as log:
        binary = get_package_binary_resource_path("rootcanal")
        process = subprocess.Popen([binary, *_PORTS], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ports() -> list[int]:
        return [int(port) for port in re.findall(rb"Listening on: (\d+) ", log_path.read_bytes())]

    wait_until(lambda: len(ports()) == len(_PORTS), process)
    return process, ports()[_HCI]
