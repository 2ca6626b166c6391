"""The client's end of the control socket."""

import contextlib
import errno
import json
import os
import select
import socket
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from usbbtd.control.protocol import Message, encode

#: How long an answer may take. usbbtd answers at once, and sends a capture packets or an empty answer every second.
_PATIENCE_S = 10.0

_NO_ANSWER = f"usbbtd has not answered for {_PATIENCE_S:g} s"
_AWAY = "usbbtd went away"

#: How many bytes are read at a time.
_PORTION = 1 << 18

_START = "start it: 'systemctl start usbbtd'"
_JOIN = "be root, or join the group: 'usermod -aG usbbtd USER', and log in again"


class CommandFailed(Exception):
    """The command failed; the message says why."""


class NoDaemon(Exception):
    """No usbbtd can be asked. ``why`` not, and ``advice``, what to do about it."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(f"{why}: {advice}" if advice else why)
        self.why = why
        self.advice = advice


class Client:
    """A connection to usbbtd. Raises NoDaemon if it cannot connect, CommandFailed if usbbtd refuses or goes away."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE_S)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise _no_daemon(path, error) from None
        self._received = b""  # behind the last whole line that was returned

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, command: str, **arguments: Any) -> Iterator[Message]:
        """Sends a command, and yields its answers as they come."""
        self.send({"command": command, **arguments})
        while (answer := self.receive()) is not None:
            yield answer

    def send(self, message: Message) -> None:
        """Sends a command, or a reply to an answer that asks for one."""
        try:
            with contextlib.suppress(BrokenPipeError):  # we were refused already: the reason can still be read
                self._socket.sendall(encode(message))
        except TimeoutError:
            raise CommandFailed(_NO_ANSWER) from None
        except ConnectionError:
            raise CommandFailed(_AWAY) from None

    def receive(self) -> Message | None:
        """Returns the next answer; None behind the last."""
        message: Message = json.loads(self._receive_line())
        if "error" in message:
            raise CommandFailed(message["error"])
        return None if "end" in message else message["answer"]

    def wait(self, other: int) -> bool:
        """Waits until there is an answer, or something to be read from the descriptor ``other``.

        Returns whether there is an answer, or the beginning of one, whose rest is on its way.
        """
        if self._received:
            return True
        ready, _, _ = select.select([self._socket.fileno(), other], [], [], _PATIENCE_S)
        if not ready:
            raise CommandFailed(_NO_ANSWER)
        return self._socket.fileno() in ready

    def _receive_line(self) -> bytes:
        try:
            while b"\n" not in self._received:
                if not (more := self._socket.recv(_PORTION)):
                    raise CommandFailed(_AWAY)
                self._received += more
        except TimeoutError:
            raise CommandFailed(_NO_ANSWER) from None
        except ConnectionError:
            raise CommandFailed(_AWAY) from None
        line, _, self._received = self._received.partition(b"\n")
        return line

    def ask_one(self, command: str) -> Message:
        """Returns the answer to a command that has exactly one."""
        (answer,) = self.ask(command)
        return answer


def _no_daemon(path: str, error: OSError) -> NoDaemon:
    match error.errno:
        case errno.ENOENT:
            return NoDaemon(
                f"{path}: there is no such socket: usbbtd does not run, or control.socket is another", _START
            )
        case errno.ECONNREFUSED if not stat.S_ISSOCK(os.stat(path).st_mode):
            return NoDaemon(f"{path}: this is no socket", "see --socket, and control.socket in the configuration")
        case errno.ECONNREFUSED:
            return NoDaemon(f"{path}: usbbtd has ended", _START)
        case errno.EACCES | errno.EPERM:
            return NoDaemon(f"{path}: not permitted", _JOIN)
        case _:
            return NoDaemon(f"{path}: {error.strerror or error}", "")
