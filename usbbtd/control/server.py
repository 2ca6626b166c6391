"""Serves the control socket: checks who may ask, and keeps clients from disturbing the guests that are served."""

import asyncio
import contextlib
import grp
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from functools import partial

from structlog.typing import FilteringBoundLogger

from usbbtd.config import ControlSettings
from usbbtd.control.answers import Answers
from usbbtd.control.credentials import Credentials, credentials_of, may_control
from usbbtd.control.protocol import MAX_REQUEST, Message, RequestError, encode

MAX_CLIENTS = 16

#: How long a client may take to read an answer, and to send its next request.
READ_S, ASK_S = 5.0, 300.0

#: How many answers are written before the event loop has its turn.
BURST = 16

TOO_LONG = f"a request is a line of at most {MAX_REQUEST} bytes"

_MODE = 0o660


class ControlError(Exception):
    """The path of the control socket is taken; the message says by what, and what to do about it."""


@contextlib.asynccontextmanager
async def serve(settings: ControlSettings, answers: Answers, log: FilteringBoundLogger) -> AsyncIterator[None]:
    """Answers clients while the block runs; logs a warning and serves nobody if the socket cannot be made.

    Raises ControlError if its path is taken by another service, or by what is no socket.
    """
    if not settings.socket:
        yield
        return
    group = _group_number(settings.group, log)
    try:
        listener = _bind(settings.socket, group)
    except OSError as error:
        log.warning("no control socket", socket=settings.socket, reason=error.strerror or str(error))
        yield
        return
    clients = _Clients(answers, settings.group, group, log)
    server = await asyncio.start_unix_server(clients.connected, sock=listener, limit=MAX_REQUEST)
    try:
        yield
    finally:
        server.close()
        await clients.close()
        with contextlib.suppress(OSError):
            os.unlink(settings.socket)


class _Clients:
    def __init__(self, answers: Answers, group_name: str, group: int | None, log: FilteringBoundLogger) -> None:
        self._answers = answers
        self._group_name = group_name
        self._group = group
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Starts to serve a new client in a task of our own: asyncio's would log an error when it is cancelled."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("control client failed", reason=repr(error), exc_info=error)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client until it goes or is sent away."""
        who = credentials_of(writer.get_extra_info("socket"))
        try:
            if (refusal := self._refusal(who)) is not None:
                self._log.warning("control refused", uid=who.uid, pid=who.pid, reason=refusal)
                writer.write(encode({"error": refusal}))
                await _drain(writer)
            else:
                while await self._serve_request(reader, writer, who):
                    pass
        except ConnectionError:
            pass  # it has gone
        except TimeoutError:
            self._log.info("control client dropped", uid=who.uid, pid=who.pid, reason="it does not read, or ask")
            writer.transport.abort()
        finally:
            writer.close()

    def _refusal(self, who: Credentials) -> str | None:
        if not may_control(who, self._group):
            return f"not permitted: this is for root and for members of the group {self._group_name}"
        return f"{MAX_CLIENTS} clients are connected already" if len(self._tasks) > MAX_CLIENTS else None

    async def _serve_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: Credentials
    ) -> bool:
        """Answers the client's next request. Returns False if it is done, or cannot be understood any more."""
        try:
            async with asyncio.timeout(ASK_S):
                line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return False
        except asyncio.LimitOverrunError:
            writer.write(encode({"error": TOO_LONG}))
            await _drain(writer)
            return False
        try:
            await asyncio.sleep(0)  # others have their turn, even if this client's requests are all there already
            answers = self._answers.ask(_message(line), who, partial(_next_reply, reader))
            async with contextlib.aclosing(answers):
                count = 0
                async for answer in answers:
                    if (count := count + 1) % BURST == 0:
                        await asyncio.sleep(0)
                    writer.write(encode({"answer": answer}))
                    await _drain(writer)
            writer.write(encode({"end": True}))
        except RequestError as error:
            writer.write(encode({"error": str(error)}))
        await _drain(writer)
        return True


async def _next_reply(reader: asyncio.StreamReader) -> Message | None:
    """Returns a client's next message; see NextReply. What is not whole when this is cancelled stays for later."""
    try:
        return _message(await reader.readuntil(b"\n"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError:
        raise RequestError(TOO_LONG) from None


def _message(line: bytes) -> Message:
    try:
        untrusted = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("not a line of JSON") from None
    if not isinstance(untrusted, dict):
        raise RequestError("not a JSON object")
    return untrusted


async def _drain(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(READ_S):
        await writer.drain()


def _group_number(name: str, log: FilteringBoundLogger) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        log.info("control socket for root alone", reason=f"there is no group {name}")
        return None


def _bind(path: str, group: int | None) -> socket.socket:
    """Returns a listening socket. Raises OSError if it cannot be made there, ControlError if the path is taken."""
    _make_way(path)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        stack.callback(os.unlink, path)
        # Nobody can connect before listen().
        if group is not None and os.stat(path).st_gid != group:
            _give(path, group)
        os.chmod(path, _MODE)
        listener.listen(MAX_CLIENTS)
        stack.pop_all()
    return listener


def _give(path: str, group: int) -> None:
    try:
        os.chown(path, -1, group)
    except OSError as error:  # we are not in the group, or live in a user namespace without it
        raise OSError(error.errno, f"cannot give it to group {group}: {error.strerror}") from error


def _make_way(path: str) -> None:
    """Removes what a killed service has left."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path}: there is something else than a socket: control.socket must name another place")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # somebody listens, and is busy
    raise ControlError(f"{path}: another usbbtd serves this socket: stop it, or set control.socket to another place")
