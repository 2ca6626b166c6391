"""dom0's process with the dongle and the virtual air."""

import asyncio
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bumble.link import LocalLink

from tests.sim.air import ServedController
from tests.sim.world import World

INIT_WAIT, CLOSED = "2", "6"
FRONTEND = 900

#: HCI Read_BD_ADDR and its Command Complete, in H4: Vol 4, Part A, 2 and Part E, 7.4.6.
READ_BD_ADDR = bytes.fromhex("01 091000")
BD_ADDR = bytes.fromhex("04 0e0a 01 0910 00 110000eeffc0")


@pytest.fixture
def air(world: World, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Offers a dongle of dom0 to a domain, and a controller at ``tmp_path``/h4."""
    world.create_domain(FRONTEND, "sys-bluetooth")
    world.attach_vusb(FRONTEND, 0)
    command = [sys.executable, "-m", "tests.sim.air", "--frontend", str(FRONTEND), "--address", "C0:FF:EE:00:00:01"]
    command += ["--peer", "C0:FF:EE:00:00:11", str(tmp_path / "h4")]
    environment = os.environ | world.environment(0)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()
    world.destroy_domain(FRONTEND)
    world.change_store(remove=[f"/local/domain/0/backend/qusb/{FRONTEND}/0"])


async def test_it_offers_a_dongle_and_a_controller_until_it_is_told_to_end(
    air: subprocess.Popen[str], world: World, tmp_path: Path
) -> None:
    assert air.stdout
    assert air.stdout.readline() == "offered\n"
    backend = f"/local/domain/0/backend/qusb/{FRONTEND}/0"
    world.wait_value(f"{backend}/state", INIT_WAIT)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "h4")
    writer.write(READ_BD_ADDR)
    assert await reader.readexactly(len(BD_ADDR)) == BD_ADDR
    writer.close()
    await writer.wait_closed()
    air.send_signal(signal.SIGTERM)
    assert air.wait(10) == 0
    assert world.read(f"{backend}/state") == CLOSED


async def test_a_controller_is_on_the_air_while_its_client_is_there(tmp_path: Path) -> None:
    gone = asyncio.Event()

    class Watched(ServedController):
        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            gone.set()

    link = LocalLink()
    protocol = functools.partial(Watched, link, "C0:FF:EE:00:00:11")
    server = await asyncio.get_running_loop().create_unix_server(protocol, tmp_path / "h4")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "h4")
    for octet in READ_BD_ADDR:
        writer.write(bytes([octet]))
        await writer.drain()
    assert await reader.readexactly(len(BD_ADDR)) == BD_ADDR
    assert len(link.controllers) == 1
    writer.close()
    await writer.wait_closed()
    await gone.wait()
    assert not link.controllers
    server.close()
    await server.wait_closed()
