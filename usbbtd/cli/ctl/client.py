"""The client's end of the control socket."""

import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from usbbtd.control.protocol import Message, encode

#: How long an answer may take. usbbtd answers at once, and sends a capture packets or an empty answer every second.
_PATIENCE_S = 10.0

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
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, **arguments: Any) -> Iterator[Message]:
        """Sends a command, and yields its answers as they come."""
        try:
            with contextlib.suppress(BrokenPipeError):  # we were refused already: the reason can still be read
                self._socket.sendall(encode({"command": command, **arguments}))
            for line in self._lines:
                message: Message = json.loads(line)
                if "error" in message:
                    raise CommandFailed(message["error"])
                if "end" in message:
                    return
                yield message["answer"]
        except TimeoutError:
            raise CommandFailed(f"usbbtd has not answered for {_PATIENCE_S:g} s") from None
        except ConnectionError:
            pass
        raise CommandFailed("usbbtd went away")

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
