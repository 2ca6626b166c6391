"""The processes of the demo, as the demo sees them."""

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tests.demo.lines import Message

#: A report may list many round trips.
LINE_LIMIT = 1 << 22
LAST_WORDS = 8
STOP_TIMEOUT_S = 10


class DemoError(Exception):
    """Why the demo failed, for people."""


class Process:
    """A Python module that runs as a process of a domain; standard error goes to ``log_path``.

    It is in a session of its own: ^C is for the demo, which ends its processes in order. ``on_progress`` is called with
    reports that are progress, and with nothing else.
    """

    def __init__(self, name: str, log_path: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log: list[str] = []
        self.on_progress: Callable[[Message], None] = lambda _message: None
        self.log_path = log_path
        self._process = process
        self._reports: asyncio.Queue[Message | None] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._readers = [asyncio.create_task(self._read_reports()), asyncio.create_task(self._read_log())]

    @classmethod
    async def start(
        cls, name: str, log_path: Path, module: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> "Process":
        command = (sys.executable, "-m", module, *arguments)
        return await cls.start_command(name, log_path, *command, environment=environment)

    @classmethod
    async def start_command(
        cls, name: str, log_path: Path, *command: str, environment: dict[str, str] | None = None
    ) -> "Process":
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ | (environment or {}), limit=LINE_LIMIT,
            start_new_session=True,
        )  # fmt: skip
        return cls(name, log_path, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def take_report(self) -> Message:
        """The next report that is not progress. DemoError when the process has ended."""
        if (report := await self._reports.get()) is None:
            raise DemoError(await self.wait_end())
        return report

    async def wait_end(self) -> str:
        """How it ended, when it has: its status and the end of its log."""
        status = await self._process.wait()
        await asyncio.gather(*self._readers)
        last_words = "".join(f"\n    {line}" for line in deque(self.log, LAST_WORDS))
        return f"{self.name} ended with status {status}; the whole log is in {self.log_path}{last_words}"

    async def ask(self, **command: object) -> Message:
        """Sends a command and waits for its report."""
        await self.tell(**command)
        return await self.take_report()

    async def tell(self, **command: object) -> None:
        """Sends a command."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # the process has ended: its report says so
            await self._process.stdin.drain()

    async def wait_logged(self, *words: str) -> str:
        """The first log line with all these words; waits for it. DemoError when the process ends before."""
        seen = 0
        while True:
            for line in self.log[seen:]:
                seen += 1
                if all(word in line for word in words):
                    return line
            if self._readers[1].done():
                raise DemoError(f"{self.name} ended and never logged {' '.join(words)!r}; see {self.log_path}")
            self._changed.clear()
            await self._changed.wait()

    async def kill(self) -> None:
        """At once, as a crash would."""
        if self._process.returncode is None:
            self._process.kill()
        await self._end()

    async def stop(self) -> int:
        """Asks it to end and waits for that: its exit status. Idempotent."""
        if self._process.returncode is None:
            self._process.terminate()
        return await self._end()

    async def finish(self) -> int:
        """Lets it end by itself, as its commands have ended."""
        assert self._process.stdin
        self._process.stdin.close()
        return await self._end()

    async def _end(self) -> int:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                status = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise DemoError(f"{self.name} did not end within {STOP_TIMEOUT_S} s; see {self.log_path}") from None
        await asyncio.gather(*self._readers)
        return status

    async def _read_reports(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            report = json.loads(line) if line.startswith(b"{") else {"line": line.decode().rstrip()}
            if "progress" in report:
                self.on_progress(report)
            else:
                self._reports.put_nowait(report)
        self._reports.put_nowait(None)

    async def _read_log(self) -> None:
        assert self._process.stderr
        with self.log_path.open("w", encoding="utf-8") as file:
            async for line in self._process.stderr:
                text = line.decode(errors="replace").rstrip()
                file.write(text + "\n")
                file.flush()
                self.log.append(text)
                self._changed.set()
        self._changed.set()
