import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sim.conftest import NewDomid, Until
from tests.sim.world import World


@pytest.fixture
def connect(world: World) -> Iterator[Callable[..., Any]]:
    connections = []

    def connect() -> socket.socket:
        connections.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        connections[-1].settimeout(10)
        connections[-1].connect(str(world.directory / "hypervisor"))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("greeting", [b"x", b"\xff\x7f\0\0", b"too long"])
def test_who_is_not_of_a_domain_is_refused(connect: Callable[..., Any], greeting: bytes) -> None:
    connection = connect()
    connection.send(greeting)
    assert struct.unpack("=iI", connection.recv(64)) == (errno.ESRCH, 0)
    assert connection.recv(64) == b""


def test_a_process_is_there_as_long_as_its_connection(
    connect: Callable[..., Any], world: World, new_domain: NewDomid, until: Until
) -> None:
    domid = new_domain()
    connect()  # says nothing
    connection = connect()
    connection.send(struct.pack("=I", domid))
    answer, files, _, _ = socket.recv_fds(connection, 64, 2)
    for file in files:
        socket.close(file)
    assert struct.unpack("=iI", answer)[0] == 0
    assert len(files) == 2
    assert world.statistics()[domid]["processes"] == 1
    connection.close()
    until(domid, processes=0)


def test_destroying_a_domain_ends_its_connections(
    connect: Callable[..., Any], world: World, new_domain: NewDomid
) -> None:
    domid = new_domain()
    connection = connect()
    connection.send(struct.pack("=I", domid))
    connection.recv(64)
    world.destroy_domain(domid)
    assert connection.recv(64) == b""
