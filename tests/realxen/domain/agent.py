"""Runs in a domain what the bed asks for: ``agent.py DEVICE``, in dom0 ``agent.py DEVICE relay``.

Lines of JSON after a mark, on a device where the kernel may print too. Requests begin with ``?``, answers with ``!``,
so that a terminal which echoes cannot confuse either end. Requests have an ``id``; answers have it again:

{"id": 1, "run": [argument, ...], "timeout_s": s}   {"id": 1, "status": n, "out": text, "err": text}
{"id": 2, "start": [argument, ...], "log": path}    {"id": 2, "pid": n}; later {"of": 2, "line": text} for each line of
                                                    its standard output, and {"of": 2, "status": n} at its end
{"id": 3, "of": 2, "text": text or null}            to its standard input, which null ends: {"id": 3}
{"id": 4, "of": 2, "signal": n}                     {"id": 4}
{"id": 5, "read": path, "offset": n, "size": n}     {"id": 5, "data": base64}
{"id": 6, "write": path, "data": base64}            {"id": 6}
{"id": 7, "find": text, "in": path, "lines": n,     {"id": 7} when so many lines of the file have the text
 "timeout_s": s}
Each with "domain": n, where n is not 0, is for that domain's agent and goes through its console; so do its answers,
with "domain": n. What fails is answered by {"id": n, "error": text}. Unasked, at start: {"up": name of the domain}.
"""

import base64
import json
import os
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

REQUEST, ANSWER = b"?", b"!"
Message = dict[str, Any]
_FIND_PERIOD_S = 0.1
#: Octets before the mark of a line are the kernel's, or an end of line that got lost.
_LINE = {mark: re.compile(re.escape(mark) + rb"(\{.*\})\s*$") for mark in (REQUEST, ANSWER)}


class Wire:
    """JSON lines over a terminal or port: ``sends`` is the mark of what goes out, ``takes`` of what comes in."""

    def __init__(self, path: str, sends: bytes, takes: bytes) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self._sends, self._takes = sends, _LINE[takes]
        self._lock = threading.Lock()
        make_raw(self._descriptor)

    def send(self, message: Message) -> None:
        rest = memoryview(b"\n" + self._sends + json.dumps(message).encode() + b"\n")
        with self._lock:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def messages(self) -> Iterator[Any]:
        """Messages, and as bytes whatever else comes, until the other end is gone."""
        pending = b""
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:
                return
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                match = self._takes.search(line)
                try:
                    yield json.loads(match[1]) if match else line
                except ValueError:
                    yield line


def make_raw(descriptor: int) -> None:
    if not os.isatty(descriptor):
        return
    attributes = termios.tcgetattr(descriptor)
    attributes[0] = attributes[1] = attributes[3] = 0
    attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


class Agent:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def answer(self, request: Message) -> None:
        try:
            answer = self._do(request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        self._wire.send({"id": request["id"], **answer})

    def _do(self, request: Message) -> Message:
        match request:
            case {"run": command, "timeout_s": timeout_s}:
                return self._run(command, timeout_s)
            case {"start": command, "log": path}:
                return self._start(request["id"], command, path)
            case {"of": started, "text": None}:
                self._input(started).close()
            case {"of": started, "text": text}:
                self._input(started).write(text.encode())
            case {"of": started, "signal": number}:
                self._started[started].send_signal(number)
            case {"read": path, "offset": offset, "size": size}:
                with open(path, "rb") as file:
                    file.seek(offset)
                    return {"data": base64.b64encode(file.read(size)).decode()}
            case {"write": path, "data": data}:
                with open(path, "wb") as file:
                    file.write(base64.b64decode(data))
            case {"find": text, "in": path, "lines": count, "timeout_s": timeout_s}:
                self._find(text, path, count, timeout_s)
            case _:
                raise ValueError(f"no such request: {request}")
        return {}

    def _input(self, started: int) -> IO[bytes]:
        pipe = self._started[started].stdin
        assert pipe
        return pipe

    def _run(self, command: list[str], timeout_s: float) -> Message:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
        return {
            "status": done.returncode,
            "out": done.stdout.decode(errors="replace"),
            "err": done.stderr.decode(errors="replace"),
        }

    def _find(self, text: str, path: str, count: int, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        pending = ""
        with open(path, errors="replace") as file:
            while True:
                *lines, pending = (pending + file.read()).split("\n")
                count -= sum(text in line for line in lines)
                if count <= 0:
                    return
                if time.monotonic() > end:
                    raise TimeoutError(f"not within {timeout_s:g} s")
                time.sleep(_FIND_PERIOD_S)

    def _start(self, number: int, command: list[str], path: str) -> Message:
        with open(path, "ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, start_new_session=True
            )
        self._started[number] = process
        threading.Thread(target=self._follow, args=(number, process), daemon=True).start()
        return {"pid": process.pid}

    def _follow(self, number: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        for line in os.fdopen(os.dup(process.stdout.fileno()), errors="replace"):
            self._wire.send({"of": number, "line": line.rstrip("\n")})
        self._wire.send({"of": number, "status": process.wait()})


class Relay:
    """dom0's: to and from the other domains' agents. What else their consoles say goes to a log."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._consoles: dict[int, Wire] = {}
        self._lock = threading.Lock()

    def pass_on(self, request: Message) -> None:
        domid = request.pop("domain")
        try:
            with self._lock:
                if (console := self._consoles.get(domid)) is None:
                    console = self._consoles[domid] = self._open(domid)
            console.send(request)
        except OSError as error:
            self._wire.send({"id": request["id"], "domain": domid, "error": str(error)})

    def _open(self, domid: int) -> Wire:
        path = subprocess.run(
            ["xenstore-read", f"/local/domain/{domid}/console/tty"], capture_output=True, text=True, check=False
        ).stdout.strip()
        if not path:
            raise OSError(f"domain {domid} has no console")
        console = Wire(path, REQUEST, ANSWER)
        threading.Thread(target=self._listen, args=(domid, console), daemon=True).start()
        return console

    def _listen(self, domid: int, console: Wire) -> None:
        with open(f"/var/log/console-{domid}", "ab", buffering=0) as log:
            for message in console.messages():
                if isinstance(message, bytes):
                    log.write(message + b"\n" if message.strip() else b"")
                else:
                    self._wire.send({**message, "domain": domid})
        del self._consoles[domid]
        self._wire.send({"domain": domid, "gone": True})


def main() -> None:
    wire = Wire(sys.argv[1], ANSWER, REQUEST)
    agent = Agent(wire)
    relay = Relay(wire) if sys.argv[2:] == ["relay"] else None
    wire.send({"up": os.uname().nodename})
    for request in wire.messages():
        if isinstance(request, bytes):
            continue
        work = relay.pass_on if relay is not None and request.get("domain") else agent.answer
        threading.Thread(target=work, args=(request,), daemon=True).start()


if __name__ == "__main__":
    main()
