"""The bed's end of the agents' wire: see domain/agent.py for what is said on it."""

import base64
import contextlib
import itertools
import json
import queue
import re
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.realxen.machine import MachineError

#: Octets of a file in one message: a console carries some 30 KB a second.
CHUNK = 16384
#: More than a command needs that was to end by itself.
_GRACE_S = 15.0
#: Of looking again whether something has come about.
PERIOD_S = 0.5

Message = dict[str, Any]
#: In the place of a message from a machine that has ended.
_ENDED: Message = {}


class Failed(Exception):
    """A command ended with another status than 0, or the agent could not do what it was asked."""


class Done(NamedTuple):
    status: int
    out: str
    err: str


class Agents:
    """All agents of a machine, through dom0's. Any thread may ask.

    ``first``: the number of the first request; a machine that was saved goes on with the ``next_number`` of then.
    """

    def __init__(self, path: Path, first: int = 1) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(path))
        self._numbers = itertools.count(first)
        self._lock = threading.Lock()
        self._answers: dict[int, queue.SimpleQueue[Message]] = {}
        self._followers: dict[int, queue.SimpleQueue[Message]] = {}
        self._up = threading.Event()
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_up(self, timeout_s: float) -> bool:
        """Whether dom0's agent has started within that time."""
        return self._up.wait(timeout_s)

    def ask(self, domid: int, request: Message, *, timeout_s: float = 60.0) -> Message:
        """Raises Failed with the agent's reason, MachineError where it does not answer."""
        number = next(self._numbers)
        return self._ask(number, domid, request, timeout_s)

    def next_number(self) -> int:
        return next(self._numbers)

    def start(self, domid: int, command: Sequence[str], log: str) -> int:
        """Starts a program: the number to follow it by."""
        number = next(self._numbers)
        self.follow(number)  # at once: it may speak before this is answered
        self._ask(number, domid, {"start": list(command), "log": log}, 60.0)
        return number

    def follow(self, number: int) -> "queue.SimpleQueue[Message]":
        """What comes from a program from now on; the same queue each time."""
        return self._followers.setdefault(number, queue.SimpleQueue())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the machine may have ended first
            self._connection.shutdown(socket.SHUT_RDWR)  # ends the thread
        self._reader.join()
        self._connection.close()

    def _ask(self, number: int, domid: int, request: Message, timeout_s: float) -> Message:
        answers = self._answers[number] = queue.SimpleQueue()
        whereto = {"domain": domid} if domid else {}
        line = b"?" + json.dumps({"id": number, **whereto, **request}).encode() + b"\n"
        if self._ended.is_set():
            answers.put(_ENDED)
        try:
            with contextlib.suppress(ConnectionError), self._lock:  # the machine ends, which is what is answered
                self._connection.sendall(line)
            answer = _not_ended(answers.get(timeout=timeout_s))
        except queue.Empty:
            raise MachineError(f"domain {domid} does not answer within {timeout_s:g} s: {str(request)[:200]}") from None
        finally:
            del self._answers[number]
        if "error" in answer:
            raise Failed(f"domain {domid}: {answer['error']}: {str(request)[:200]}")
        return answer

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._connection.makefile("rb") as lines:  # until it is closed
            for line in lines:
                if match := re.search(rb"!(\{.*\})\s*$", line):
                    self._take(json.loads(match[1]))
        self._ended.set()
        for waiting in (*self._answers.values(), *self._followers.values()):
            waiting.put(_ENDED)

    def _take(self, message: Message) -> None:
        if "id" in message:
            if (answers := self._answers.get(message["id"])) is not None:
                answers.put(message)
        elif "of" in message:
            if (follower := self._followers.get(message["of"])) is not None:
                follower.put(message)
        elif "up" in message and "domain" not in message:
            self._up.set()


def _not_ended(message: Message) -> Message:
    if message is _ENDED:
        raise MachineError("the machine has ended: see qemu.log")
    return message


class Domain:
    """A domain with an agent. ``name``: its own, as in xl's list."""

    def __init__(self, agents: Agents, name: str, domid: int) -> None:
        self.name = name
        self.domid = domid
        self._agents = agents

    def run(self, *command: str, timeout_s: float = 60.0, check: bool = True) -> Done:
        """Runs a program to its end. ``check``: Failed, with what it printed, when its status is not 0."""
        answer = self._agents.ask(self.domid, {"run": command, "timeout_s": timeout_s}, timeout_s=timeout_s + _GRACE_S)
        done = Done(answer["status"], answer["out"], answer["err"])
        if check and done.status:
            raise Failed(f"{self.name}: {' '.join(command)}: status {done.status}\n{done.out}{done.err}")
        return done

    def answers(self) -> bool:
        """Whether its agent is up."""
        try:
            self._agents.ask(self.domid, {"run": ["true"], "timeout_s": 5}, timeout_s=5)
        except (Failed, MachineError):
            return False
        return True

    def shell(self, script: str, *, timeout_s: float = 60.0) -> str:
        """What a script prints that has to succeed."""
        return self.run("sh", "-ec", script, timeout_s=timeout_s).out

    def start(self, *command: str, log: str) -> "Program":
        """``log``: a file in the domain, for its standard error."""
        return self.follow(self._agents.start(self.domid, command, log), command[0], log)

    def follow(self, number: int, name: str, log: str) -> "Program":
        """A program that was started as ``number``."""
        return Program(self, self._agents, number, name, log)

    def read(self, path: str) -> bytes:
        """A file, also one that grows."""
        content = b""
        while True:
            request = {"read": path, "offset": len(content), "size": CHUNK}
            chunk = base64.b64decode(self._agents.ask(self.domid, request)["data"])
            content += chunk
            if len(chunk) < CHUNK:
                return content

    def write(self, path: str, content: bytes) -> None:
        self._agents.ask(self.domid, {"write": path, "data": base64.b64encode(content).decode()})

    def wait(self, script: str, *, timeout_s: float = 60.0) -> None:
        """Until a script succeeds. Failed when it does not come to that."""
        end = time.monotonic() + timeout_s
        while self.run("sh", "-c", script, check=False).status:
            if time.monotonic() > end:
                raise Failed(f"{self.name}: not within {timeout_s:g} s: {script}")
            time.sleep(PERIOD_S)


class Program:
    """A program that runs in a domain. What it prints comes as lines."""

    def __init__(self, domain: Domain, agents: Agents, number: int, name: str, log: str) -> None:
        self.log = log
        self.domain = domain
        self.number = number
        self._name = f"{domain.name}: {name}"
        self._agents = agents
        self._messages = agents.follow(number)
        self._status: int | None = None

    def line(self, *, timeout_s: float = 60.0) -> str:
        """The next line of its standard output. Failed when it ends instead, with the end of its log."""
        message = self._next(timeout_s)
        if "status" in message:
            self._status = message["status"]
            raise Failed(f"{self._name} ended with status {self._status}\n{self.last_words()}")
        return str(message["line"])

    def report(self, *, timeout_s: float = 60.0) -> Message:
        """The next line that is JSON and no progress: see tests.demo.lines."""
        while True:
            line = self.line(timeout_s=timeout_s)
            report: Message = json.loads(line) if line.startswith("{") else {"progress": line}
            if "progress" not in report:
                return report

    def write(self, text: str) -> None:
        """To its standard input."""
        self._agents.ask(self.domain.domid, {"of": self.number, "text": text})

    def tell(self, message: Message) -> None:
        """A line of JSON to its standard input."""
        self.write(json.dumps(message) + "\n")

    def finish(self, *, timeout_s: float = 60.0) -> int:
        """Ends its standard input, and waits for its end: the status."""
        self._agents.ask(self.domain.domid, {"of": self.number, "text": None})
        return self.wait_end(timeout_s=timeout_s)

    def signal(self, number: int) -> None:
        self._agents.ask(self.domain.domid, {"of": self.number, "signal": int(number)})

    def wait_end(self, *, timeout_s: float = 60.0) -> int:
        while self._status is None:
            self._status = self._next(timeout_s).get("status")
        return self._status

    def wait_logged(self, text: str, *, times: int = 1, timeout_s: float = 60.0) -> None:
        """Until its log has this text, on so many lines."""
        request = {"find": text, "in": self.log, "lines": times, "timeout_s": timeout_s}
        self._agents.ask(self.domain.domid, request, timeout_s=timeout_s + _GRACE_S)

    def last_words(self) -> str:
        return self.domain.run("tail", "-n", "30", self.log, check=False).out

    def _next(self, timeout_s: float) -> Message:
        try:
            return _not_ended(self._messages.get(timeout=timeout_s))
        except queue.Empty:
            raise Failed(f"{self._name} says nothing for {timeout_s:g} s\n{self.last_words()}") from None
