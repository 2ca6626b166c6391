"""The socket: who may ask, what is said to nonsense, and that a client harms nobody else."""

import asyncio
import contextlib
import grp
import json
import os
import shutil
import socket
import sys
import tempfile
from asyncio.streams import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from usbbtd.config import ControlSettings
from usbbtd.control import server
from usbbtd.control.credentials import Credentials
from usbbtd.control.protocol import MAX_REQUEST, NextReply, RequestError, encode
from usbbtd.control.server import ControlError

TIME_LIMIT_S = 30
BIG = "x" * 60_000


class Answers:
    """What is asked for decides what comes."""

    async def ask(self, untrusted: dict[Any, Any], who: Credentials, next_reply: NextReply) -> AsyncIterator[Any]:
        match untrusted.get("command"):
            case "count":
                for number in range(untrusted["to"]):
                    yield {"number": number}
            case "endless":
                while True:
                    yield {"big": BIG}
            case "who":
                yield {"uid": who.uid, "pid": who.pid}
            case "repeat":
                while (reply := await next_reply()) is not None and "stop" not in reply:
                    yield reply
            case other:
                raise RequestError(f"no such command: {other!r}")


ANSWERS: Any = Answers()


@pytest.fixture
def directory() -> Iterator[Path]:
    """That anybody may enter, as /run/usbbtd."""
    made = Path(tempfile.mkdtemp(prefix="usbbtd-control-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@contextlib.asynccontextmanager
async def served(path: Path, group: str = "daemon") -> AsyncIterator[list[Any]]:
    with capture_logs() as logs:
        async with server.serve(ControlSettings(socket=str(path), group=group), ANSWERS, structlog.get_logger()):
            yield logs


class Client:
    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> "Client":
        return cls(*await asyncio.open_unix_connection(path, limit=1 << 20))

    async def ask(self, line: bytes) -> list[dict[str, Any]]:
        """The answers, with what ends them."""
        self.writer.write(line)
        answers: list[Any] = []
        async with asyncio.timeout(TIME_LIMIT_S):
            while not answers or "answer" in answers[-1]:
                if not (answer := await self.reader.readline()):
                    break
                answers.append(json.loads(answer))
        return answers

    def close(self) -> None:
        self.writer.close()


async def test_answers_come_in_order_and_end(directory: Path) -> None:
    async with served(directory / "control"):
        client = await Client.connect(directory / "control")
        for _ in range(2):
            answers = await client.ask(encode({"command": "count", "to": 100}))
            assert answers == [*({"answer": {"number": number}} for number in range(100)), {"end": True}]
        assert (await client.ask(encode({"command": "who"})))[0] == {"answer": {"uid": os.getuid(), "pid": os.getpid()}}
        client.close()
    assert not (directory / "control").exists()


async def test_a_client_replies_while_it_is_answered(directory: Path) -> None:
    async with served(directory / "control"):
        client = await Client.connect(directory / "control")
        client.writer.write(encode({"command": "repeat"}))
        for number in range(3):
            client.writer.write(encode({"reply": number}))
            assert json.loads(await client.reader.readline()) == {"answer": {"reply": number}}
        assert await client.ask(encode({"stop": True})) == [{"end": True}]
        client.writer.write(encode({"command": "repeat"}))
        assert await client.ask(b"nonsense\n") == [{"error": "not a line of JSON"}]
        assert await client.ask(encode({"command": "count", "to": 0})) == [{"end": True}]
        client.writer.write(encode({"command": "repeat"}))
        assert await client.ask(b"x" * (MAX_REQUEST + 1)) == [{"error": "a request is a line of at most 4096 bytes"}]
        client.close()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"status\n", "not a line of JSON"),
        (b"\xff\xfe\n", "not a line of JSON"),
        (b"[" * 4000 + b"\n", "not a line of JSON"),
        (b"[1]\n", "not a JSON object"),
        (b"\n", "not a line of JSON"),
        (b'{"command": "fly"}\n', "no such command: 'fly'"),
    ],
)
async def test_nonsense_is_told_and_the_client_may_go_on(directory: Path, line: bytes, error: str) -> None:
    async with served(directory / "control"):
        client = await Client.connect(directory / "control")
        assert await client.ask(line) == [{"error": error}]
        assert (await client.ask(encode({"command": "count", "to": 0}))) == [{"end": True}]
        client.close()


async def test_a_line_that_is_too_long_ends_the_client(directory: Path) -> None:
    async with served(directory / "control"):
        client = await Client.connect(directory / "control")
        assert await client.ask(b"x" * (MAX_REQUEST + 1)) == [{"error": "a request is a line of at most 4096 bytes"}]
        client.close()


async def test_more_clients_than_may_be_are_told_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CLIENTS", 2)
    async with served(directory / "control"):
        clients = [await Client.connect(directory / "control") for _ in range(2)]
        for client in clients:
            await client.ask(encode({"command": "who"}))
        third = await Client.connect(directory / "control")
        assert await third.ask(b"") == [{"error": "2 clients are connected already"}]
        for client in (*clients, third):
            client.close()


async def test_a_client_that_does_not_read_is_dropped_and_others_are_served(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READ_S", 0.1)
    async with served(directory / "control") as logs:
        lazy = socket.socket(socket.AF_UNIX)
        lazy.connect(str(directory / "control"))
        lazy.sendall(encode({"command": "endless"}))
        client = await Client.connect(directory / "control")
        async with asyncio.timeout(TIME_LIMIT_S):
            while not [log for log in logs if log["event"] == "control client dropped"]:
                assert (await client.ask(encode({"command": "count", "to": 40})))[-1] == {"end": True}
        client.close()
        lazy.close()


async def test_a_client_that_goes_while_it_is_answered_is_no_trouble(directory: Path) -> None:
    async with served(directory / "control") as logs:
        gone = socket.socket(socket.AF_UNIX)
        gone.connect(str(directory / "control"))
        gone.sendall(encode({"command": "endless"}))
        gone.close()
        client = await Client.connect(directory / "control")
        assert (await client.ask(encode({"command": "count", "to": 40})))[-1] == {"end": True}
        client.close()
    assert logs == []


async def test_clients_that_are_there_when_the_service_stops_see_an_end_and_nothing_is_wrong(directory: Path) -> None:
    wrong: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
    async with served(directory / "control") as logs:
        silent, busy = [await Client.connect(directory / "control") for _ in range(2)]
        await silent.ask(encode({"command": "who"}))
        busy.writer.write(encode({"command": "endless"}))
        assert await busy.reader.readline()
    async with asyncio.timeout(TIME_LIMIT_S):
        assert await silent.reader.read() == b""
        while await busy.reader.read(1 << 16):
            pass
    for client in (silent, busy):
        client.close()
    assert wrong == logs == []


# Who may ask


CHILD = """
import json, os, socket, sys
path, tries = sys.argv[1], json.loads(sys.argv[2])
for uid, gid, groups in tries:
    read, write = os.pipe()
    if not os.fork():
        os.setgroups(groups); os.setgid(gid); os.setuid(uid)
        with socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.connect(path)
                try:
                    asking.sendall(b'{"command": "who"}\\n')
                except BrokenPipeError:
                    pass  # sent away already: what was said can be read
                answer = asking.makefile().readline().strip()
            except OSError as error:
                answer = json.dumps(type(error).__name__)
        os.write(write, answer.encode())
        os._exit(0)
    os.wait()
    print(os.read(read, 4096).decode(), flush=True)
"""
NOBODY = 65534


async def _tries(path: Path, *tries: tuple[int, int, list[int]]) -> list[Any]:
    """What processes of these (uid, gid, groups) are told."""
    if os.geteuid() != 0:
        pytest.fail("only root can be somebody else: this test has to be run as root")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", CHILD, str(path), json.dumps(tries), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(child.communicate(), TIME_LIMIT_S)
    assert child.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


async def test_root_and_the_group_may_ask_and_nobody_else(directory: Path) -> None:
    group, other = grp.getgrnam("daemon").gr_gid, grp.getgrnam("bin").gr_gid
    path = directory / "control"
    who = [(0, 0, []), (NOBODY, NOBODY, [group]), (NOBODY, group, []), (NOBODY, NOBODY, [other]), (NOBODY, NOBODY, [])]
    async with served(path) as logs:
        assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o660, group)
        root, *members, stranger, _ = await _tries(path, *who)
        assert root["answer"]["uid"] == 0
        assert [member["answer"]["uid"] for member in members] == [NOBODY] * 2
        assert stranger == "PermissionError"
        path.chmod(0o666)  # as if the file's mode did not hold
        *_, stranger, nobody = await _tries(path, *who)
        refusal = {"error": "not permitted: this is for root and for members of the group daemon"}
        assert stranger == nobody == refusal
        assert [(log["event"], log["uid"]) for log in logs] == [("control refused", NOBODY)] * 2


async def test_without_the_group_the_socket_is_roots(directory: Path) -> None:
    path = directory / "control"
    async with served(path, "no-such-group") as logs:
        assert [log["event"] for log in logs] == ["control socket for root alone"]
        path.chmod(0o666)
        root, nobody = await _tries(path, (0, 0, []), (NOBODY, NOBODY, [grp.getgrnam("daemon").gr_gid]))
        assert root["answer"]["uid"] == 0
        assert "not permitted" in nobody["error"]


# Where the socket is


async def test_what_a_killed_service_left_is_replaced(directory: Path) -> None:
    path = directory / "control"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with served(path) as logs:
        client = await Client.connect(path)
        assert (await client.ask(encode({"command": "count", "to": 0}))) == [{"end": True}]
        client.close()
    assert logs == []


async def test_the_socket_of_a_living_service_is_not(directory: Path) -> None:
    path = directory / "control"
    async with served(path):
        with pytest.raises(ControlError, match="another usbbtd serves this socket"):
            async with served(path):
                pass
        client = await Client.connect(path)
        assert (await client.ask(encode({"command": "count", "to": 0}))) == [{"end": True}]
        client.close()


async def test_something_else_is_not_removed(directory: Path) -> None:
    (directory / "control").write_text("precious")
    with pytest.raises(ControlError, match="something else than a socket"):
        async with served(directory / "control"):
            pass
    assert (directory / "control").read_text() == "precious"


async def test_without_a_place_for_it_there_is_none_and_that_is_told_once(directory: Path) -> None:
    async with served(directory / "missing" / "control") as logs:
        assert [(log["event"], log["reason"]) for log in logs] == [("no control socket", "No such file or directory")]


async def test_a_group_that_cannot_be_given_the_socket_is_told_and_nothing_is_left(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    async with served(directory / "control") as logs:
        (log,) = logs
        group = grp.getgrnam("daemon").gr_gid
        assert log["reason"] == f"cannot give it to group {group}: Operation not permitted"
        assert not (directory / "control").exists()


async def test_an_empty_path_is_none_in_silence() -> None:
    with capture_logs() as logs:
        async with server.serve(ControlSettings(socket=""), ANSWERS, structlog.get_logger()):
            pass
    assert logs == []
