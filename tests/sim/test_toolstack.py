import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.world import World


@pytest.fixture
def ask(world: World) -> Iterator[Callable[..., Any]]:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(world.directory / "toolstack"))
    lines = connection.makefile("rb")

    def ask(request: dict[str, Any]) -> Any:
        connection.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(lines.readline())

    yield ask
    lines.close()
    connection.close()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"do": "dance"}, "ENOSYS"),
        ({}, "EINVAL"),
        ({"do": "create"}, "EINVAL"),
        ({"do": "create", "domid": "x", "name": ""}, "EINVAL"),
        ({"do": "create", "domid": 0x7FF0, "name": ""}, "EINVAL"),
        ({"do": "read", "path": "/bad//path"}, "EINVAL"),
        ({"do": "destroy", "domid": 31000}, "ESRCH"),
        ([], "EINVAL"),
    ],
)
def test_errors_are_named_and_the_connection_lives(
    ask: Callable[..., Any], request_: dict[Any, Any] | list[Any], error: str
) -> None:
    assert ask(request_)["error"] == error
    assert ask({"do": "read", "path": "/local/domain/0/domid"}) == {"result": "0"}


def test_no_json_costs_the_connection(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(world.directory / "toolstack"))
        connection.sendall(b"hello\n")
        assert connection.recv(1) == b""


def test_who_waits_when_the_daemon_ends_costs_no_traceback(libraries: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.sim", str(tmp_path)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        assert daemon.stdout
        assert daemon.stdout.readline()
        connection.connect(str(tmp_path / "toolstack"))
        connection.sendall(b'{"do": "wait", "path": "/never", "values": ["1"], "timeout_s": 60}\n')
        assert World(tmp_path).read("/never") is None  # so the other has been taken, too
        daemon.send_signal(signal.SIGTERM)
        assert (daemon.communicate(timeout=10)[1], daemon.returncode) == ("", 0)


def test_removing_takes_empty_parents_along(ask: Callable[..., Any]) -> None:
    write = [["/tool/x/y/z", "1", None], ["/tool/keep", "1", None]]
    assert ask({"do": "store", "remove": [], "write": write}) == {"result": None}
    assert ask({"do": "store", "remove": ["/tool/x/y/z", "/not/there"], "write": []}) == {"result": None}
    assert ask({"do": "read", "path": "/tool/x"}) == {"result": None}
    assert ask({"do": "read", "path": "/tool/keep"}) == {"result": "1"}
