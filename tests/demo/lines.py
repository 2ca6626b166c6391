"""How the demo talks with its processes: one JSON object a line, commands on their standard input, reports from it."""

import asyncio
import json
import sys
from typing import Any

Message = dict[str, Any]


def report(**message: Any) -> None:
    """To the demo."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def commands() -> asyncio.StreamReader:
    """Standard input, for ``take``."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def take(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end."""
    line = await reader.readline()
    return json.loads(line) if line else None
