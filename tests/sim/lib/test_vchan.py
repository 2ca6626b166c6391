"""The real libxenvchan, unmodified, between two simulated domains."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sim.conftest import NewDomid, Until
from tests.sim.world import World


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vchan") / "vchan"
    source = Path(__file__).with_name("vchan.c")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, source, "-lxenvchan"], check=True)
    return path


class Channel:
    """A server in one domain that lets a client in another connect."""

    def __init__(self, world: World, program: Path, server_domid: int, client_domid: int, size: int) -> None:
        self._world, self._program = world, program
        self.server_domid, self.client_domid = server_domid, client_domid
        self._path = f"/local/domain/{server_domid}/data/vchan"
        self._size = size

    def _run(self, role: str, domid: int, peer: int, *task: Any) -> subprocess.Popen[str]:
        command: list[str | Path] = [self._program, role, str(peer), self._path, str(self._size), *map(str, task)]
        environment = os.environ | self._world.environment(domid)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        return process

    def server(self, *task: Any) -> subprocess.Popen[str]:
        return self._run("server", self.server_domid, self.client_domid, *task)

    def client(self, *task: Any) -> subprocess.Popen[str]:
        return self._run("client", self.client_domid, self.server_domid, *task)


def finish(process: subprocess.Popen[str]) -> tuple[str, int]:
    """What it printed after "open", and its exit status."""
    with process:
        status = process.wait(20)
        assert process.stdout
        return process.stdout.read(), status


@pytest.fixture(params=[1024, 8192, 1 << 20], ids=["in one page", "two pages", "the largest"])
def channel(request: pytest.FixtureRequest, world: World, program: Path, new_domain: NewDomid) -> Channel:
    return Channel(world, program, new_domain(), new_domain(), request.param)


def test_the_stand_ins_are_what_is_used(world: World, program: Path, new_domain: NewDomid) -> None:
    environment = os.environ | world.environment(new_domain())
    libraries = subprocess.run(["ldd", program], env=environment, capture_output=True, text=True, check=True).stdout
    used = {line.split()[0]: line.split()[2] for line in libraries.splitlines() if "=>" in line}
    stand_ins = environment["LD_LIBRARY_PATH"].split(":")[0]
    assert used["libxengnttab.so.1"].startswith(stand_ins)
    assert used["libxenevtchn.so.1"].startswith(stand_ins)
    assert not used["libxenvchan.so.4.17"].startswith(stand_ins)
    assert not used["libxenstore.so.4"].startswith(stand_ins)


def test_exchange(channel: Channel, world: World) -> None:
    server = channel.server("serve")
    client = channel.client("exchange", 300_000)
    assert finish(client) == ("1\n", 0)
    assert finish(server) == ("0\n", 0)  # sees the close
    for counts in world.statistics().values():
        assert counts["shared"] == counts["mapped"] == counts["ports"] == 0


def test_a_killed_client_is_seen_by_the_server(channel: Channel, until: Until) -> None:
    server = channel.server("serve")
    client = channel.client("serve")
    client.kill()
    finish(client)
    assert finish(server) == ("0\n", 0)
    until(channel.client_domid, mapped=0, ports=0, processes=0)


def test_a_killed_server_is_seen_by_the_client(channel: Channel, until: Until) -> None:
    server = channel.server("serve")
    client = channel.client("serve")
    server.kill()
    finish(server)
    assert finish(client) == ("0\n", 0)
    until(channel.server_domid, shared=0, ports=0, processes=0)
