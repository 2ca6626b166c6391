"""A guest's program in another language than Python, which obeys lines on its standard input.

One line of words gets one line back: ``ok`` and words, or ``error``, the kind of error, and a sentence. Octets are in
hex, ``-`` for none. The commands, with what comes after ``ok``:

    ready                                           waits until the adapter is connected and powered
    info                                            ADDRESS LE-ADDRESS POWERED FEATURES MAX-CHANNELS CHANNELS MAX-MTU
    connect ADDRESS TYPE PSM MTU LEVEL              CHANNEL ADDRESS TYPE TX-MTU RX-MTU LEVEL
    listen TRANSPORT PSM MTU LEVEL                  LISTENER
    accept LISTENER                                 as connect
    send CHANNEL OCTETS
    recv CHANNEL                                    OCTETS
    echo CHANNEL FIRST LAST                         COUNT of SDUs, one of each size, that came back as sent
    scan TRANSPORT                                  SCAN
    report SCAN                                     ADDRESS TYPE SOURCE RSSI OCTETS
    advertise OCTETS                                ADVERTISEMENT, which is connectable
    close THING                                     any of the above
    trouble                                         why there is no connection
    quit                                            closes the device

TYPE is bredr, public or random; TRANSPORT bredr or le; LEVEL none, encrypted, authenticated or secure.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

from tests.support.domain import Domain

TIME_LIMIT_S = 30


class ClientError(Exception):
    """What the program answers to a command with ``error``."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class ClientProgram(NamedTuple):
    """How the program is started, in any domain."""

    command: Sequence[str | Path]
    environment: Mapping[str, str] = MappingProxyType({})


class Client:
    """The program, in a domain; it is killed at the end of a ``with`` unless it has quit."""

    def __init__(self, guest: Domain, program: ClientProgram) -> None:
        environment = {**os.environ, **guest.world.environment(guest.domid), **program.environment}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            program.command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
        )
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def say(self, *words: object) -> None:
        """Gives a command whose answer may take a while: ``answer`` has it, or how the program has ended."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(" ".join(map(str, words)).encode() + b"\n")

    def answer(self) -> list[str]:
        """Waits for the answer to the oldest command, and returns the words after ``ok``. Raises ClientError."""
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._stdout], [], [], TIME_LIMIT_S)
            if not ready:
                raise TimeoutError(f"no answer after {TIME_LIMIT_S} s")
            if not (octets := self._stdout.read(1 << 16)):
                raise EOFError(f"the program ended with {self._process.wait()}: {self.errors()}")
            line += octets
        kind, *words = line.decode().split()
        if kind == "ok":
            return words
        raise ClientError(words[0], " ".join(words[1:]))

    def ask(self, *words: object) -> list[str]:
        """Gives a command, and returns its answer."""
        self.say(*words)
        return self.answer()

    def quit(self) -> None:
        """Ends the program in order: its device is closed, and it has complained of nothing."""
        assert self.ask("quit") == []
        assert (self._process.wait(TIME_LIMIT_S), self.errors()) == (0, "")

    def kill(self) -> None:
        """Ends the program as a crash."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def errors(self) -> str:
        """Returns the standard error of a program that has ended."""
        assert self._process.stderr
        return self._process.stderr.read().decode()
